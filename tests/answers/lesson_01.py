"""Right answers to the exercises of lesson 1, and wrong ones that people really give."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from babygpt.course.checks import lesson_01 as checks


def batch(high=0, shift=1, use_generator=True, step=1, same=False):
    """A right get_batch, or a wrong one, by the bound of the starts, the shift of y, ..."""

    def get_batch(data, batch_size, block_size, generator):
        end = (len(data) - block_size + high) // step
        ix = step * torch.randint(end, (batch_size,), generator=generator if use_generator else None)
        if same:
            ix = ix[:1].expand(batch_size)
        x = torch.stack([data[i : i + block_size] for i in ix])
        y = torch.stack([data[i + shift : i + block_size + shift] for i in ix])
        return x, y

    return get_batch


def batch_by_index(data, batch_size, block_size, generator):
    ix = torch.randint(len(data) - block_size, (batch_size, 1), generator=generator)
    positions = ix + torch.arange(block_size)
    return data[positions], data[positions + 1]


def batch_by_unfold(data, batch_size, block_size, generator):
    windows = data.unfold(0, block_size + 1, 1)
    rows = windows[torch.randint(len(windows), (batch_size,), generator=generator)]
    return [rows[:, :-1], rows[:, 1:]]


def batch_in_a_loop(data, batch_size, block_size, generator):
    xs, ys = [], []
    for _ in range(batch_size):
        i = torch.randint(len(data) - block_size, (1,), generator=generator).item()
        xs.append(data[i : i + block_size].tolist())
        ys.append(data[i + 1 : i + 1 + block_size].tolist())
    return torch.tensor(xs), torch.tensor(ys)


def batch_rolled(data, batch_size, block_size, generator):
    x, _ = batch()(data, batch_size, block_size, generator)
    return x, x.roll(-1, dims=1)


def batch_of_lists(data, batch_size, block_size, generator):
    ix = torch.randint(len(data) - block_size, (batch_size,), generator=generator)
    return [data[i : i + block_size] for i in ix], [data[i + 1 : i + block_size + 1] for i in ix]


def batch_one_after_the_other(data, batch_size, block_size, generator):
    x = torch.stack([data[i * block_size : (i + 1) * block_size] for i in range(batch_size)])
    return x, x + 1


def batch_from_one_chunk(data, batch_size, block_size, generator):
    i = torch.randint(len(data) - block_size, (1,), generator=generator).item()
    return data[i : i + block_size], data[i + 1 : i + block_size + 1]


def batch_in_columns(data, batch_size, block_size, generator):
    x, y = batch()(data, batch_size, block_size, generator)
    return x.T, y.T


def continued(
    last=lambda logits: logits[:, -1, :],
    probabilities=lambda logits: F.softmax(logits, dim=-1),
    see=lambda idx: idx,
    use_generator=True,
    keep=True,
):
    """A right generate, or a wrong one, by the position, the probabilities, what the model sees, ..."""

    def generate(model, idx, max_new_tokens, generator=None):
        start = idx.shape[1]
        for _ in range(max_new_tokens):
            logits, _ = model(see(idx))
            probs = probabilities(last(logits))
            idx_next = torch.multinomial(probs, num_samples=1, generator=generator if use_generator else None)
            idx = torch.cat((idx, idx_next), dim=1)
        return idx if keep else idx[:, start:]

    return generate


def continued_in_place_of_the_oldest(model, idx, max_new_tokens, generator=None):
    for _ in range(max_new_tokens):
        idx = torch.cat((idx[:, 1:], continued()(model, idx, 1, generator)[:, -1:]), dim=1)
    return idx


def continued_from_the_start_only(model, idx, max_new_tokens, generator=None):
    probs = F.softmax(model(idx)[0][:, -1, :], dim=-1)
    return torch.cat((idx, torch.multinomial(probs, max_new_tokens, replacement=True, generator=generator)), dim=1)


def continued_with_one_draw_for_all(model, idx, max_new_tokens, generator=None):
    for _ in range(max_new_tokens):
        probs = F.softmax(model(idx)[0][:, -1, :], dim=-1)
        idx_next = torch.multinomial(probs[:1], 1, generator=generator).expand(len(idx), 1)
        idx = torch.cat((idx, idx_next), dim=1)
    return idx


def continued_by_gumbel(model, idx, max_new_tokens, generator=None):
    for _ in range(max_new_tokens):
        logits = model(idx)[0][:, -1]
        noise = -(-torch.rand(logits.shape, generator=generator).log()).log()
        idx = torch.cat((idx, (logits + noise).argmax(dim=-1)[:, None]), dim=1)
    return idx


def greedy(model, idx, max_new_tokens):
    for _ in range(max_new_tokens):
        idx_next = model(idx)[0][:, -1, :].argmax(dim=-1, keepdim=True)
        idx = torch.cat((idx, idx_next), dim=1)
    return idx


def drawn(model, idx, max_new_tokens):
    return model.generate(idx, max_new_tokens)


def first_position(model, idx, max_new_tokens):
    for _ in range(max_new_tokens):
        idx = torch.cat((idx, model(idx)[0][:, 0, :].argmax(dim=-1, keepdim=True)), dim=1)
    return idx


def without_keepdim(model, idx, max_new_tokens):
    for _ in range(max_new_tokens):
        idx = torch.cat((idx, model(idx)[0][:, -1, :].argmax(dim=-1)), dim=1)
    return idx


def only_the_new(model, idx, max_new_tokens):
    return greedy(model, idx, max_new_tokens)[:, idx.shape[1] :]


def logits_of_the_last_row(model, idx, max_new_tokens):
    for _ in range(max_new_tokens):
        idx = torch.cat((idx, model(idx)[0][-1].argmax(dim=-1, keepdim=True)[: len(idx)]), dim=1)
    return idx


def halves(zero_first=True, zero_between=False, scale=0.5, zero_after=False):
    def in_halves(model, xb, yb):
        if zero_first:
            model.zero_grad()
        half = len(xb) // 2
        (scale * model(xb[:half], yb[:half])[1]).backward()
        if zero_between:
            model.zero_grad()
        (scale * model(xb[half:], yb[half:])[1]).backward()
        if zero_after:
            model.zero_grad()

    return in_halves


def with_a_step(model, xb, yb):
    halves()(model, xb, yb)
    torch.optim.SGD(model.parameters(), lr=0.1).step()


def in_halves_with_one_backward(model, xb, yb):
    model.zero_grad()
    losses = [model(x, y)[1] for x, y in zip(xb.chunk(2), yb.chunk(2), strict=True)]
    (sum(losses) / 2).backward()


def all_at_once(model, xb, yb):
    model.zero_grad()
    model(xb, yb)[1].backward()


def counts(tokens, vocab_size):
    pairs = vocab_size * tokens[:-1] + tokens[1:]
    return torch.bincount(pairs, minlength=vocab_size**2).view(vocab_size, vocab_size).float()


def count_logits(tokens, vocab_size):
    return (counts(tokens, vocab_size) + 1).log()


def shares_in_float64(tokens, vocab_size):
    smooth = counts(tokens, vocab_size).double() + 1
    return (smooth / smooth.sum(dim=1, keepdim=True)).log()


def counted_by_numpy(tokens, vocab_size):
    table = np.ones((vocab_size, vocab_size))
    np.add.at(table, (tokens[:-1].numpy(), tokens[1:].numpy()), 1)
    return np.log(table)


def counted_in_lists(tokens, vocab_size):
    table = [[1] * vocab_size for _ in range(vocab_size)]
    for i, j in zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True):
        table[i][j] += 1
    return [[math.log(count) for count in row] for row in table]


def without_minlength(tokens, vocab_size):
    return (torch.bincount(vocab_size * tokens[:-1] + tokens[1:]) + 1.0).log()


def log_of_the_difference(tokens, vocab_size):
    return (counts(tokens, vocab_size) - 1).log()


# check: (right answers, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.get_batch: (
        {
            "stacked": batch(),
            "indexed": batch_by_index,
            "unfolded": batch_by_unfold,
            "in a loop": batch_in_a_loop,
            "the package's": checks.package_get_batch,
        },
        {
            "runs over the end": (batch(high=1), "Does a chunk run over the end"),
            "drawn up to the length": (
                lambda data, B, T, generator: batch(high=T)(data, B, T, generator),
                "Does a chunk run over the end",
            ),
            "never the last chunk": (batch(high=-1), "which `high`"),
            "only every other start": (batch(step=2), "which `high`"),
            "y is x": (batch(shift=0), "cut y one token further"),
            "y is two further": (batch(shift=2), "the token right after|over the end"),
            "y is x, rolled": (batch_rolled, "the token right after"),
            "the generator is forgotten": (batch(use_generator=False), "generator=generator"),
            "one start for all rows": (batch(same=True), "draw a start for each row"),
            "not drawn": (batch_one_after_the_other, "drawn at random"),
            "lists": (batch_of_lists, "torch.stack"),
            "one chunk": (batch_from_one_chunk, r"expected \(4, 8\)"),
            "rows and columns swapped": (batch_in_columns, r"expected \(4, 8\)"),
            "only x": (lambda *given: batch()(*given)[0], "return x, y"),
        },
    ),
    checks.generate: (
        {
            "as in the lecture": continued(),
            "the exponentials": continued(probabilities=lambda logits: logits.exp()),
            "cropped to the block size": continued(see=lambda idx: idx[:, -8:]),
            "the package's": checks.package_generate,
            "by another way of drawing": continued_by_gumbel,
        },
        {
            "the first position": (continued(last=lambda logits: logits[:, 0, :]), r"logits\[:, -1, :\]"),
            "the last row": (continued(last=lambda logits: logits[-1]), r"stopped with|logits\[:, -1, :\]"),
            "no softmax": (continued(probabilities=lambda logits: logits), "softmax of the logits"),
            "softmax over the batch": (
                continued(probabilities=lambda logits: F.softmax(logits, dim=0)),
                "softmax along dim=-1",
            ),
            "the likeliest": (
                continued(probabilities=lambda logits: F.one_hot(logits.argmax(-1), logits.shape[-1]).float()),
                "instead of taking the likeliest",
            ),
            "the last token only": (continued(see=lambda idx: idx[:, -1:]), "pass the whole idx"),
            "only the new tokens": (continued(keep=False), r"expected \(2, 7\)"),
            "the oldest dropped": (continued_in_place_of_the_oldest, r"expected \(2, 7\)"),
            "all from the start": (continued_from_the_start_only, "does idx grow"),
            "one draw for all rows": (continued_with_one_draw_for_all, "one for each row|probability of 0"),
            "the generator is forgotten": (continued(use_generator=False), "generator=generator"),
        },
    ),
    checks.perplexity_and_bits: (
        {
            "two numbers": lambda loss: (math.exp(loss), loss / math.log(2)),
            "a list": lambda loss: [math.exp(loss), loss / math.log(2)],
            "a tensor": lambda loss: torch.tensor([math.exp(loss), loss / math.log(2)]),
            "two tensors": lambda loss: (torch.tensor(loss).exp(), torch.tensor(loss) / math.log(2)),
            "a tensor and a number": lambda loss: (torch.tensor(loss).exp(), loss / math.log(2)),
            "NumPy": lambda loss: np.array([np.exp(loss), loss / np.log(2)]),
            "bits by log2": lambda loss: (np.exp(loss), math.log2(math.exp(loss))),
        },
        {
            "the other way round": (lambda loss: (loss / math.log(2), math.exp(loss)), "the perplexity first"),
            "two to the power": (lambda loss: (2**loss, loss / math.log(2)), "e to the power"),
            "times instead of divided": (lambda loss: (math.exp(loss), loss * math.log(2)), "divided by ln 2"),
            "the binary log of the loss": (lambda loss: (math.exp(loss), math.log2(loss)), "divided by ln 2"),
            "one number": (lambda loss: math.exp(loss), "expected two numbers"),
            "words": (lambda loss: "65 and 6", "return the perplexity"),
        },
    ),
    checks.greedy: (
        {
            "as in the lesson": greedy,
            "by the package": lambda model, idx, n: model.generate(idx, n, temperature=0),
        },
        {
            "drawn": (drawn, "nothing drawn"),
            "the first position": (first_position, r"logits\[:, -1, :\]"),
            "keepdim forgotten": (without_keepdim, "stopped"),
            "only the new tokens": (only_the_new, r"expected \(2, 8\)"),
            "the last row of the batch": (logits_of_the_last_row, "argmax of logits"),
        },
    ),
    checks.in_halves: (
        {
            "two backwards": halves(),
            "one backward": in_halves_with_one_backward,
        },
        {
            "zero_grad forgotten": (halves(zero_first=False), "earlier step"),
            "zero_grad between": (halves(zero_between=True), "between the halves"),
            "the mean forgotten": (halves(scale=1), "twice as large"),
            "both forgotten": (halves(zero_first=False, scale=1), "earlier step"),
            "zero_grad at the end": (halves(zero_after=True), "before the two backwards"),
            "all at once": (all_at_once, "2 rows, twice"),
            "a step of the optimizer": (with_a_step, "the weights have changed"),
        },
    ),
    checks.count_logits: (
        {
            "log of count + 1": count_logits,
            "log of the shares, in float64": shares_in_float64,
            "NumPy": counted_by_numpy,
            "lists": counted_in_lists,
        },
        {
            "not smoothed": (lambda tokens, vocab_size: counts(tokens, vocab_size).log(), "add 1"),
            "NaN": (log_of_the_difference, "are NaN"),
            "no logarithm": (lambda tokens, vocab_size: counts(tokens, vocab_size) + 1, "take their logarithm"),
            "rows and columns swapped": (
                lambda tokens, vocab_size: count_logits(tokens, vocab_size).T,
                "rows and columns are swapped",
            ),
            "minlength forgotten": (without_minlength, "minlength"),
            "a tiny number added": (
                lambda tokens, vocab_size: (counts(tokens, vocab_size) + 1e-9).log(),
                "count \\+ 1",
            ),
            "for a vocabulary of 5 only": (
                lambda tokens, vocab_size: count_logits(tokens, 5),
                "stopped|vocabulary of 11",
            ),
        },
    ),
}
