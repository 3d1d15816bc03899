"""Tables of equality: this package beside the programs that it follows. `python tests/equality.py`

It prints the largest differences, and writes results/equality.md. The rows of nanoGPT and llm.c need their code, which
is not part of this package:

    python tests/equality.py --nanogpt path/to/nanoGPT --llmc path/to/llm.c

Every comparison is also a test, except for those two; see tests/test_bpe.py, test_pretrained.py and test_by_hand.py.
"""

import argparse
import hashlib
import importlib.util
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tiktoken.load
import tiktoken_ext.openai_public
import torch
import transformers

from babygpt.beyond import by_hand, gpt2, gpt2_vocabulary, llmc, pretrained
from babygpt.beyond.bpe import BPETokenizer
from babygpt.beyond.gpt2_vocabulary import GPT2Tokenizer
from babygpt.compare.table import markdown
from babygpt.data import SHAKESPEARE, Corpus

ROOT = Path(__file__).resolve().parents[1]
SIZES = dict(vocab_size=97, block_size=32, n_embd=48, n_head=4, n_layer=3)


def random_model(seed=0, **changes):
    """A small GPT-2 whose biases and norms are not zero and one."""
    torch.manual_seed(seed)
    model = gpt2.Model(gpt2.Config(**SIZES | changes)).eval()
    for p in model.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return model


def tokens(rows=4, T=32):
    return torch.randint(97, (2, rows, T), generator=torch.Generator().manual_seed(0))


def tiktoken_rows():
    """GPT-2's ids against OpenAI's library."""
    ours = GPT2Tokenizer()
    characters = dict(zip(gpt2_vocabulary.BYTE_ORDER, gpt2_vocabulary.CHARACTERS, strict=True))
    ids = {"".join(characters[byte] for byte in token): i for i, token in enumerate(ours.tokens[:-1])}
    encoder = json.dumps(ids | {"<|endoftext|>": 50256}).encode()
    files = {"vocab.bpe": gpt2_vocabulary.FILE.read_bytes(), "encoder.json": encoder}
    tiktoken.load.read_file = lambda address: files[address.rpartition("/")[2]]
    theirs = tiktoken.Encoding(**tiktoken_ext.openai_public.gpt2())
    text = SHAKESPEARE.read_text(encoding="utf-8")
    n, rng = int(0.9 * len(text)), random.Random(0)
    ranges = [(32, 127), (0x4E00, 0x9FFF), (0x1F300, 0x1F6FF)]  # ASCII, Chinese, emoji
    strings = [
        "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(20))) for _ in range(10_000)
    ]
    for what, parts in (("the training text", [text[:n]]), ("the validation text", [text[n:]]),
                        ("10,000 random strings", strings)):  # fmt: skip
        pairs = [(ours.encode(part), theirs.encode_ordinary(part)) for part in parts]
        different = sum(a != b for a, b in pairs)
        yield (
            f"tokens of {what}",
            f"tiktoken {tiktoken.__version__}",
            f"{sum(len(a) for a, _ in pairs):,} tokens",
            different,
        )
    digest = hashlib.sha256(encoder).hexdigest()[:12]
    yield "encoder.json from our vocabulary", "OpenAI's file", f"sha256 {digest}...", int(digest != "196139668be6")


def transformers_rows():
    """Logits, loss and generated tokens against Hugging Face's GPT-2."""
    name = f"transformers {transformers.__version__}"
    x, ours = tokens()[0], random_model()
    with tempfile.TemporaryDirectory() as folder:
        pretrained.save_folder(ours, Path(folder))
        theirs = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
        yield "logits of a model saved here", name, "largest difference", gap(theirs(x).logits, ours.logits(x))
    torch.manual_seed(1)
    config = transformers.GPT2Config(vocab_size=97, n_positions=32, n_embd=48, n_head=4, n_layer=3)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = pretrained.load(Path(folder)).eval()
    yield "logits of a model saved there", name, "largest difference", gap(theirs(x).logits, ours.logits(x))
    options = dict(max_new_tokens=24, do_sample=False, pad_token_id=0, eos_token_id=None)
    generated = theirs.generate(x[:, :8], attention_mask=torch.ones_like(x[:, :8]), **options)
    wrong = int((generated != ours.generate(x[:, :8], 24, temperature=0)).sum())
    yield "4 x 24 generated tokens", name, "different tokens", wrong


def autograd_rows():
    """Gradients, AdamW and a training without autograd against PyTorch."""
    name = f"PyTorch {torch.__version__}"
    for dtype in (torch.float32, torch.float64):
        model, (x, y) = random_model().to(dtype), tokens()
        ours = by_hand.GPT.from_torch(model)
        model(x, y)[1].backward()
        ours.forward(x.numpy(), y.numpy())
        ours.backward()
        for p in model.parameters():
            p.data = p.grad
        theirs = by_hand.GPT.from_torch(model).params
        worst = max(np.abs(ours.grads[n] - theirs[n]).max() for n in theirs)
        yield (
            f"all gradients of 3 blocks, {str(dtype).removeprefix('torch.')}",
            name,
            "largest difference",
            float(worst),
        )
    corpus, generator = Corpus.load(), torch.Generator().manual_seed(0)
    model = random_model()
    ours = by_hand.GPT.from_torch(model)
    theirs, adamw, worst = torch.optim.AdamW(model.parameters(), lr=1e-3), by_hand.AdamW(ours.params, lr=1e-3), 0.0
    for _ in range(100):
        x, y = corpus.get_batch("train", 8, 32, generator)
        _, loss = model(x, y)
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        _, our_loss = ours.forward(x.numpy(), y.numpy())
        ours.zero_grad()
        ours.backward()
        adamw.step(ours.grads)
        worst = max(worst, abs(loss.item() - our_loss))
    yield "losses of 100 steps with AdamW, float32", name, "largest difference", worst


def nanogpt_rows(path):
    """Logits, loss and gradients against nanoGPT's model.py, with its weights loaded here."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", path / "model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    for bias in (True, False):
        torch.manual_seed(2)
        args = SIZES | {"dropout": 0.0, "bias": bias}
        theirs = module.GPT(module.GPTConfig(**args)).eval()
        with tempfile.TemporaryDirectory() as folder:
            torch.save({"model": theirs.state_dict(), "model_args": args}, Path(folder) / "ckpt.pt")
            ours = pretrained.load(Path(folder) / "ckpt.pt").eval()
        x, y = tokens()
        (logits, loss), (our_logits, our_loss) = theirs(x, y), ours(x, y)
        loss.backward(), our_loss.backward()
        gradient = gap(theirs.transformer.wte.weight.grad, ours.wte.weight.grad)
        what = f"with{'' if bias else 'out'} biases"
        yield f"logits, {what}", "nanoGPT's model.py", "largest difference", gap(logits, our_logits)
        yield f"gradient of the tied table, {what}", "nanoGPT's model.py", "largest difference", gradient


PROBE = """
#define TESTING
#include "train_gpt2.c"
int main() {
    GPT2 model;
    gpt2_build_from_checkpoint(&model, "probe.bin");
    DataLoader loader;
    dataloader_init(&loader, "tokens.bin", 4, 32, 0, 1, 0);
    dataloader_next_batch(&loader);
    for (int step = 0; step <= 3; step++) {
        gpt2_forward(&model, loader.inputs, loader.targets, 4, 32);
        printf("loss %.7f\\n", model.mean_loss);
        gpt2_zero_grad(&model);
        gpt2_backward(&model);
        gpt2_update(&model, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.0f, step + 1);
    }
    Tokenizer tokenizer;
    tokenizer_init(&tokenizer, "tokenizer.bin");
    printf("token %s\\n", tokenizer_decode(&tokenizer, 300));
    return 0;
}
"""


def llmc_rows(path):
    """The C program reads our files, and trains to the same losses."""
    text = SHAKESPEARE.read_text(encoding="utf-8")[:100_000]
    tokenizer = BPETokenizer.train(text, 100)
    ids = tokenizer.encode(text[:5000])
    model = random_model(vocab_size=tokenizer.vocab_size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        llmc.save_model(model, folder / "probe.bin")
        llmc.save_tokens(ids, folder / "tokens.bin")
        llmc.save_tokenizer(tokenizer, folder / "tokenizer.bin", 0)
        (folder / "probe.c").write_text(PROBE, encoding="utf-8")
        subprocess.run(["gcc", "-O2", f"-I{path}", "probe.c", "-o", "probe", "-lm"], cwd=folder, check=True)
        out = subprocess.run(["./probe"], cwd=folder, check=True, capture_output=True, text=True).stdout
    losses = [float(line.split()[1]) for line in out.splitlines() if line.startswith("loss")]
    x, y = (np.array(ids[i : i + 128]).reshape(4, 32) for i in (0, 1))
    ours = by_hand.GPT.from_torch(model)
    adamw, found = by_hand.AdamW(ours.params, lr=1e-3, weight_decay=0.0), []
    for _ in losses:
        found.append(ours.forward(x, y)[1])
        ours.zero_grad()
        ours.backward()
        adamw.step(ours.grads)
    name = "llm.c's train_gpt2.c"
    yield "loss of a model written here", name, "difference", abs(losses[0] - found[0])
    yield (
        "losses after 1, 2, 3 steps of AdamW",
        name,
        "largest difference",
        max(abs(a - b) for a, b in zip(losses[1:], found[1:], strict=True)),
    )
    printed = next(line for line in out.splitlines() if line.startswith("token ")).removeprefix("token ")
    yield "a token, printed by the C program", name, repr(printed), int(printed != tokenizer.decode([300]))


def gap(a, b):
    return (a - b).abs().max().item()


LIMIT = 1e-5  # for differences of numbers; what is counted must be 0. A training in float32 may drift apart by 1e-4.


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--llmc", type=Path)
    options = parser.parse_args()
    rows = [*tiktoken_rows(), *transformers_rows(), *autograd_rows()]
    for path, function, name in ((options.nanogpt, nanogpt_rows, "nanoGPT"), (options.llmc, llmc_rows, "llm.c")):
        rows += function(path) if path else [(f"{name}: needs its code", "", "not run", "")]
    lines, equal = [], True
    for what, reference, unit, value in rows:
        if isinstance(value, float):
            limit = 1e-4 if "100 steps" in what else LIMIT
            equal, shown = equal and value < limit, f"{unit} {value:.0e}"
        else:
            equal, shown = equal and value in (0, ""), f"{unit}" + (f", {value} different" if value != "" else "")
        lines.append({"what": what, "compared with": reference, "result": shown})
        print(f"{what:45} {reference:24} {shown}")
    page = f"""# Equality

What this package computes, beside the programs and libraries that it follows. `python tests/equality.py` prints the
table and writes this page; the rows of nanoGPT and llm.c need their code, given with `--nanogpt` and `--llmc`. The
sizes are small and the weights random, since equality doesn't depend on them.

{markdown(["what", "compared with", "result"], lines)}

Differences of about 1e-6 are rounding in float32. In a training of 100 steps they grow a little.
"""
    (ROOT / "results" / "equality.md").write_text(page, encoding="utf-8")
    print("\nEverything is equal." if equal else "\nSomething is different.")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
