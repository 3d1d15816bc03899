"""Every shape comment in babygpt/ is run and must be true."""

import importlib.util
import re
import tokenize

import pytest
import torch
from conftest import TINY, B, random_tokens, tiny_model

from babygpt import kv_cache, v10
from babygpt.beyond import attention_only, encoder_decoder, gpt2, modern
from babygpt.beyond.assistant import bandit, heads
from babygpt.beyond.assistant.dpo import DPOTrainer
from babygpt.beyond.assistant.grpo import GRPOTrainer
from babygpt.beyond.assistant.instructions import Instructions
from babygpt.beyond.assistant.ppo import PPOTrainer
from babygpt.beyond.assistant.reward import Pair
from babygpt.beyond.assistant.sft import SFTTrainer
from babygpt.beyond.beam import beam_search, greedy
from babygpt.beyond.inside import ablation, chunks, embeddings, induction, lens, patching
from babygpt.beyond.inside import heads as inside_heads
from babygpt.beyond.inside.hooks import Inside
from babygpt.beyond.repeats import Repeats
from babygpt.beyond.sums import Sums
from babygpt.compare import ablations, lstm, unscaled
from babygpt.data import Corpus
from babygpt.kv_cache import KVCache
from babygpt.model import sample
from babygpt.playground import writing
from babygpt.playground.models import Player
from babygpt.shapes import ShapeTracer, find_comments, print_shapes, sizes_of, sources
from babygpt.tokenizer import CharTokenizer
from babygpt.training import TrainConfig, Trainer, new_trainer
from babygpt.versions import VERSIONS, get_version
from babygpt.workshop.clinic import loop

FILES = sources()
# Settings that reach every line of the modern GPT.
MODERN = [
    dict(ngrams=3, activation="gelu"),
    dict(positions="rope", n_kv_head=1, activation="swiglu", norm="rms", bias=False),
    dict(positions="alibi", activation="relu2", norm_at="post", dtype="bfloat16"),
    dict(positions="sinusoidal", qk_norm=True),
]


def trace_a_version(version, dtype="float32", **changes):
    """What the tracer sees in a training step, a shorter forward pass, and a draw."""
    corpus = Corpus.from_text("abcdefghijk" * 20)
    model = tiny_model(version, **changes)
    trainer = Trainer(model, corpus, TrainConfig(batch_size=B, dtype=dtype))
    with ShapeTracer(FILES, sizes_of(model.config, B, TINY["block_size"])) as step:
        trainer.update()
    with ShapeTracer(FILES, sizes_of(model.config, B, 5)) as shorter, torch.no_grad():
        logits, _ = model(random_tokens(B, 5))
        next(model.stream(random_tokens(B, 5), 1))
        sample(logits[:, -1], top_k=3)
        sample(logits[:, -1], temperature=0)
    return step.seen + shorter.seen


def trace_the_cache():
    """What the tracer sees while a cache reads several tokens, then one, and one of one text."""
    model = tiny_model(get_version(10))
    cache, seen = KVCache(model, B), []
    for T in (3, 1):
        with ShapeTracer(FILES, sizes_of(model.config, B, T)) as tracer:
            cache.read(random_tokens(B, T))
        seen += tracer.seen
    with ShapeTracer(FILES, sizes_of(model.config, B, 3)) as tracer:
        next(kv_cache.stream(model, random_tokens(B, 3), 1))
    seen += tracer.seen
    with ShapeTracer(FILES, sizes_of(model.config, 1, 1)) as tracer:
        KVCache(model, 1).read(random_tokens(1, 1))  # a single token has a shortcut
    return seen + tracer.seen


def trace_a_variant(module, **changes):
    """What the tracer sees in a training step of a variant, with some settings changed."""
    corpus = Corpus.from_text("abcdefghijk" * 20)
    trainer = new_trainer(module, corpus, {**TINY, "batch_size": B, **changes})
    with ShapeTracer(FILES, sizes_of(trainer.model.config, B, TINY["block_size"])) as tracer:
        trainer.update()
    return tracer.seen


def trace_gpt2():
    """What the tracer sees in a training step of GPT-2, and in a draw with all controls."""
    corpus = Corpus.from_text("abcdefghijk" * 20)
    trainer = new_trainer(gpt2, corpus, {**TINY, "batch_size": B})
    with ShapeTracer(FILES, sizes_of(trainer.model.config, B, TINY["block_size"])) as step:
        trainer.update()
    with ShapeTracer(FILES, sizes_of(trainer.model.config, B, 5)) as draw:
        next(trainer.model.stream(random_tokens(B, 5), 1, top_p=0.5, repetition_penalty=2.0))
    return step.seen + draw.seen


def trace_pairs(module):
    """What the tracer sees in the loss of an encoder-decoder, and while it translates."""
    torch.manual_seed(0)
    model = module.Model(module.Config(**{name: size for name, size in TINY.items() if name != "dropout"}))
    seen = []
    for S, T in ((4, 4), (6, 4)):
        source, target = torch.randint(3, 11, (B, S)), torch.randint(3, 11, (B, 1 + T))
        sizes = sizes_of(model.config, B, T)
        if S != T:
            del sizes["T"]  # source and target share their code, so only a function knows what its T is
        with ShapeTracer(FILES, sizes) as tracer:
            model(source, target)
        seen += [entry for entry in tracer.seen if "T" in sizes or isinstance(entry.expected, tuple)]
    for search in (lambda: model(source), lambda: greedy(model, source, 1), lambda: beam_search(model, source, 1, 3)):
        with ShapeTracer(FILES, {"B": B, "V": 11}) as tracer:
            search()
        seen += [
            entry for entry in tracer.seen if entry.comment.path.name == "beam.py" or "start" in entry.comment.names
        ]
    return seen


def trace_sums():
    """What the tracer sees in a batch of sums."""
    with ShapeTracer(FILES, {"B": B}) as tracer:
        Sums.new().get_batch("train", B, 10, torch.Generator().manual_seed(0))
    return tracer.seen


def trace_assistant():
    """What the tracer sees of the lesson on assistants: its bandit, its losses, and a step of each trainer."""
    corpus = Instructions.new(Corpus.load())
    sizes = {**TINY, "vocab_size": 68, "block_size": 128}
    model, judge = (module.Model(module.Config(**sizes)) for module in (v10, heads))
    config = TrainConfig(batch_size=8, device="cpu")
    pairs = [Pair("Go on as All: x", "All:\nO my!", "All:\nO my.")]
    with ShapeTracer(FILES, {"N": 64}) as tracer:
        policies = [bandit.new_policy(seed=seed) for seed in (0, 1)]
        bandit.expected_reward(policies[0], bandit.all_answers(), torch.zeros(64))
        bandit.exact_kl(*policies, bandit.all_answers())
    seen = [entry for entry in tracer.seen if entry.comment.path.name == "bandit.py"]
    with ShapeTracer(FILES, {"B": 2, "T": 9, "C": TINY["n_embd"]}) as tracer:
        judge.both(random_tokens(2, 9))
    seen += [entry for entry in tracer.seen if entry.comment.path.name == "heads.py"]
    for kind in (PPOTrainer, GRPOTrainer):
        trainer = kind(judge if kind is PPOTrainer else model, corpus, config, model, judge, 0.1)
        trainer.rollouts = trainer.collect()
        A = trainer.rollouts.answers.shape[1]
        with ShapeTracer(FILES, {"B": 8, "A": A, "N": 1, "G": 8}) as tracer:
            trainer.collect = lambda rollouts=trainer.rollouts: rollouts
            trainer.batch_loss()
        seen += [e for e in tracer.seen if e.comment.path.name in ("ppo.py", "grpo.py", "objectives.py")]
        torch.manual_seed(0)
        with ShapeTracer(FILES, {"B": 8}) as tracer:
            PPOTrainer.collect(trainer)
        seen += [e for e in tracer.seen if e.comment.path.name == "reward.py"]
    with ShapeTracer(FILES, {"B": 16, "T": len("Go on as All: x") + 2 + len("All:\nO my!")}) as tracer:
        DPOTrainer(model, corpus, config, model, judge, 0.1, pairs=pairs).batch_loss()
    seen += [e for e in tracer.seen if e.comment.path.name == "dpo.py"]
    with ShapeTracer(FILES, {"B": 8}) as tracer:
        SFTTrainer(model, corpus, config).batch_loss()
    return seen + [e for e in tracer.seen if e.comment.path.name == "sft.py"]


def trace_the_loop_on_one_page(monkeypatch):
    """What the tracer sees in the bug clinic's training loop, with an evaluation and a text."""
    monkeypatch.setattr(loop, "batch_size", B)
    monkeypatch.setattr(loop, "eval_iters", 1)
    config = loop.Config(n_embd=TINY["n_embd"], block_size=TINY["block_size"], n_head=1)
    with ShapeTracer(FILES, sizes_of(config, B, config.block_size)) as tracer:
        loop.run(loop.Model, config, max_iters=1)
    return [entry for entry in tracer.seen if entry.comment.path.name == "loop.py"]


def trace_the_playground():
    """What the tracer sees while the playground looks into version 1, an average, a version with blocks, and GPT-2."""
    models = [tiny_model(get_version(n), **more) for n, more in ((1, {}), (4, {}), (10, {"attention": "loop"}))]
    sizes = {name: size for name, size in TINY.items() if name != "dropout"}
    seen, T = [], 5
    for model in (*models, gpt2.Model(gpt2.Config(**sizes))):
        player = Player("tiny", "tiny", model, CharTokenizer("abcdefghijk"), None)
        ids, off = random_tokens(1, T)[0].tolist(), [(0, 1)] if player.inside.can_switch else []
        with ShapeTracer(FILES, sizes_of(model.config, 1, T)) as tracer:
            for look in (writing.surprises, writing.alternatives, writing.attention, writing.lens):
                look(player, ids, off)
            writing.next_token(player, ids, seed=0, off=off, top_k=3)
            writing.draw(torch.zeros(TINY["vocab_size"]), 0.5, temperature=0)
        seen += tracer.seen
        with ShapeTracer([path for path in FILES if path.name == "writing.py"], {}) as tracer:
            writing.surprises(player, 3 * ids)
        seen += tracer.seen
    return seen


def trace_the_inside():
    """What the tracer sees of the lesson on what a model has learned: a batch of strings, and all that is measured."""
    corpus, L = Corpus.from_text("abcdefghijk" * 20), 3
    model = tiny_model(get_version(10), attention="loop")
    inside, V, T, N = Inside(model), TINY["vocab_size"], TINY["block_size"], 1 + TINY["n_layer"]
    with ShapeTracer(FILES, {"V": V, "C": TINY["n_embd"]}) as tracer:
        cos = embeddings.cosines(model.token_embedding_table.weight.detach())
        embeddings.same_kind_by_chance(embeddings.neighbors(cos), torch.arange(V) % 2, times=7)
        embeddings.similarity_by_chance(cos, 4, times=7)
        embeddings.pca(model.token_embedding_table.weight.detach())
        x, y = chunks.validation_chunks(corpus, T, B)
        inside_heads.scores(inside, corpus.tokenizer, x)
        chunks.interval(torch.rand(5), resamples=9)
    seen = [e for e in tracer.seen if e.comment.path.parent.name == "inside" and e.comment.path.name != "hooks.py"]
    sizes = sizes_of(model.config, B, T) | {"N": N, "RESAMPLES": chunks.RESAMPLES}
    with ShapeTracer(FILES, sizes) as tracer:
        ablation.changes(inside, x, y, mean=True)
        lens.layer_losses(inside, x, y), lens.agreement(inside, x)
    seen += tracer.seen
    with ShapeTracer(FILES, sizes | {"N": TINY["n_layer"]}) as tracer:
        gained, lost = patching.effects(inside, x, x.roll(1, dims=0), y[:, 0])
        patching.recovered(gained[0, 0], lost)
    seen += tracer.seen
    with ShapeTracer(FILES, {"B": B, "T": 16}) as tracer:
        induction.copy_losses(inside, random_tokens(B, L))
        Repeats.new().get_batch("train", B, 16, torch.Generator().manual_seed(0))
    return seen + [e for e in tracer.seen if e.comment.path.name in ("induction.py", "repeats.py")]


@pytest.fixture(scope="module")
def seen():
    seen = [entry for version in VERSIONS for entry in trace_a_version(version)]
    tenth = get_version(10)
    seen += trace_a_variant(ablations) + trace_a_variant(unscaled) + trace_gpt2()
    seen += trace_the_inside() + trace_a_variant(attention_only)
    seen += trace_pairs(encoder_decoder) + trace_pairs(lstm) + trace_sums() + trace_assistant() + trace_the_playground()
    for changes in MODERN:
        seen += trace_a_variant(modern, **changes)
    with pytest.MonkeyPatch.context() as monkeypatch:
        seen += trace_the_loop_on_one_page(monkeypatch)
    return (
        seen + trace_a_version(tenth, attention="loop") + trace_a_version(tenth, dtype="bfloat16") + trace_the_cache()
    )


def test_every_shape_comment_is_true(seen):
    false = {f"{entry.comment} is {entry.shape}, expected {entry.expected}" for entry in seen if not entry.true}
    assert not false


def test_every_shape_comment_is_reached(seen):
    comments = {comment for path in FILES for comment in find_comments(path)}
    assert len(comments) > 60
    missed = sorted(map(str, comments - {entry.comment for entry in seen}))
    assert not missed


def test_every_comment_that_looks_like_a_shape_is_checked():
    """No `# a (B, T) thing` that reads like a checked comment and is not."""
    for path in FILES:
        checked = {comment.last_line for comment in find_comments(path)}
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type == tokenize.COMMENT and re.search(r"\((B|T|C|V|hs|n_head)\b", token.string):
                    assert token.start[0] in checked, f"{path.name}: {token.line.strip()}"


# The tracer itself


def trace_source(tmp_path, body, *arguments, **sizes):
    """What the tracer sees in `def f(x): body`."""
    path = tmp_path / "traced.py"
    path.write_text("import torch\n\ndef f(x):\n" + "".join(f"    {line}\n" for line in body), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("traced", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with ShapeTracer([path], sizes) as tracer:
        module.f(*arguments)
    return tracer.seen


X = torch.zeros(2, 5)


@pytest.mark.parametrize(
    ("line", "true"),
    [
        ("y = x  # (B, T)", True),
        ("y = x  # (T, B)", False),
        ("y = x  # (B, T, 1)", False),
        ("y = x.T  # (B, T) -> (T, B)", True),
        ("y = x.T  # (B, T) -> (B, T)", False),
        ("y = torch.cat((x, x))  # (2 * B, T)", True),
        ("y, z = x, x[:1]  # (B, T)", False),
        ("y = x.sum()  # ()", True),
        ("y = x[0]  # (T,)", True),
        ("y = x  # (B, Q)", False),
        ("y = 3  # (B, T)", False),
        ("y = x  # (B, T), new", True),
        ("return x  # (B, T)", True),
        ("return x.T  # (B, T)", False),
        ("y = (x +\n         x.mean())  # (B, T)", True),
    ],
)
def test_the_tracer_tells_true_comments_from_false_ones(tmp_path, line, true):
    seen = trace_source(tmp_path, [line], X, B=2, T=5)
    assert seen and all(entry.true for entry in seen) == true


def test_the_tracer_sees_each_iteration_of_a_loop_with_its_own_sizes(tmp_path):
    body = ["for t in range(3):", "    y = x[:, :t + 1]  # (B, t + 1)"]
    seen = trace_source(tmp_path, body, X, B=2)
    assert [entry.shape for entry in seen] == [(2, 1), (2, 2), (2, 3)]
    assert all(entry.true for entry in seen)


def test_the_tracer_sees_nothing_of_a_line_that_does_not_run(tmp_path):
    assert trace_source(tmp_path, ["if x is None:", "    y = x  # (B, T)"], X, B=2, T=5) == []


def test_a_shape_comment_without_an_assignment_is_an_error(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text("print(1)  # (B, T)\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"wrong.py:1: no assignment or return"):
        find_comments(path)


def test_the_table_for_the_learner_shows_code_letters_and_sizes(capsys):
    print_shapes(get_version(6), get_version(6).module().Config())
    out = capsys.readouterr().out
    assert out.startswith("v6 multi-head, one forward pass with B = 4, T = 8, V = 65, C = 32, hs = 8\n")
    assert re.search(r"v5.py, Head.forward\n  k = self.key\(x\) +\(B, T, hs\) = \(4, 8, 8\)  \(4 times\)\n", out)
    assert re.search(r"return self.lm_head\(x\) +\(B, T, V\) = \(4, 8, 65\)\n", out)
