"""A whole training run on one page: batches, an estimate of the loss, the loop, and a text.

It trains exactly as `python -m babygpt.v6 --max-iters 2000` does, without what long runs need: no checkpoints, no
schedule of the learning rate, no GPU.
"""

from typing import Any

import torch
from torch import Tensor

from babygpt.data import Corpus
from babygpt.model import LanguageModel
from babygpt.v6 import Config, Model

config = Config(block_size=8, n_embd=32, n_head=4)
batch_size = 32
learning_rate = 1e-3
eval_interval = 500  # steps
eval_iters = 200  # batches


def get_batch(data: Tensor, count: int, block_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw `count` chunks, the inputs x and the targets y: two of (B, T)."""
    ix = torch.randint(len(data) - block_size, (count,), generator=generator)  # (B,)
    x = torch.stack([data[i : i + block_size] for i in ix]).long()  # (B, T)
    y = torch.stack([data[i + 1 : i + block_size + 1] for i in ix]).long()  # (B, T)
    return x, y


@torch.no_grad()
def estimate_loss(model: LanguageModel, corpus: Corpus) -> dict[str, float]:
    """The mean loss over many batches of each split, in nats per token: always the same batches."""
    model.eval()
    losses = {}
    for split, data in (("train", corpus.train), ("val", corpus.val)):
        generator = torch.Generator().manual_seed(1337)
        x, y = get_batch(data, eval_iters * batch_size, model.config.block_size, generator)  # (B, T)
        _, loss = model(x, y)
        losses[split] = loss.item()
    model.train()
    return losses


def train(model: LanguageModel, corpus: Corpus, max_iters: int) -> list[dict[str, float]]:
    """Train a model; return the evaluations: step, train and val."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(1337)
    torch.manual_seed(1337)  # for dropout
    history = []
    for step in range(max_iters + 1):
        if step % eval_interval == 0 or step == max_iters:
            history.append({"step": step, **estimate_loss(model, corpus)})
        if step == max_iters:
            break
        xb, yb = get_batch(corpus.train, batch_size, model.config.block_size, generator)  # (B, T)
        _, loss = model(xb, yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return history


def run(model_class: type[LanguageModel], config: Any, max_iters: int = 2000) -> None:
    """Build a model, train it on tiny Shakespeare, and print its losses and a text."""
    corpus = Corpus.load()
    torch.manual_seed(1337)
    model = model_class(config)
    for losses in train(model, corpus, max_iters):
        print(f"step {losses['step']:>5}: train {losses['train']:.3f}, val {losses['val']:.3f}")
    idx = model.generate(torch.zeros((1, 1), dtype=torch.long), 200)  # (1, 201)
    print(corpus.tokenizer.decode(idx[0].tolist()))


if __name__ == "__main__":
    run(Model, config)
