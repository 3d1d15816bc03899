"""Right answers to the exercises of lesson 16, and wrong ones that people really give."""

import hashlib
import random
import zlib

import torch
import torch.nn.functional as F
from torch import nn

from babygpt.beyond.sums import IGNORE
from babygpt.course.checks import lesson_16 as checks


def masked_batch(rows):
    T = max(len(prompt) + len(answer) for prompt, answer in rows) - 1
    x, y = [], []
    for prompt, answer in rows:
        padding = T + 1 - len(prompt) - len(answer)
        x.append(prompt + answer[:-1] + [0] * padding)
        y.append([IGNORE] * (len(prompt) - 1) + answer + [IGNORE] * padding)
    return torch.tensor(x), torch.tensor(y)


def from_one_tensor(rows):
    """Prompt, answer and padding in one tensor; then a mask by position."""
    lengths = torch.tensor([[len(prompt), len(prompt + answer)] for prompt, answer in rows])
    T = lengths[:, 1].max()
    whole = torch.stack(
        [F.pad(torch.tensor(prompt + answer), (0, T - len(prompt + answer))) for prompt, answer in rows]
    )
    t = torch.arange(1, T)
    counts = (t >= lengths[:, :1]) & (t < lengths[:, 1:])
    x = whole[:, :-1].masked_fill(t - 1 >= lengths[:, 1:] - 1, 0)
    return x, whole[:, 1:].masked_fill(~counts, IGNORE)


def with_pad_sequence(rows):
    pad = nn.utils.rnn.pad_sequence
    x = [torch.tensor((prompt + answer)[:-1]) for prompt, answer in rows]
    y = [torch.tensor([IGNORE] * (len(prompt) - 1) + answer) for prompt, answer in rows]
    return pad(x, batch_first=True), pad(y, batch_first=True, padding_value=IGNORE)


def no_mask(rows):
    x, y = masked_batch(rows)
    for i, (prompt, _) in enumerate(rows):
        y[i, : len(prompt) - 1] = torch.tensor(prompt[1:])
    return x, y


def one_too_many(rows):
    x, y = masked_batch(rows)
    for i, (prompt, _) in enumerate(rows):
        y[i, len(prompt) - 1] = IGNORE
    return x, y


def one_too_few(rows):
    x, y = masked_batch(rows)
    for i, (prompt, _) in enumerate(rows):
        if len(prompt) > 1:
            y[i, len(prompt) - 2] = prompt[-1]
    return x, y


def padding_counts(rows):
    x, y = masked_batch(rows)
    for i, (prompt, answer) in enumerate(rows):
        y[i, len(prompt + answer) - 1 :] = 0
    return x, y


def not_shifted(rows):
    x, y = masked_batch(rows)
    return x, torch.where(y == IGNORE, y, x)


def with_minus_one(rows):
    x, y = masked_batch(rows)
    return x, torch.where(y == IGNORE, -1, y)


def with_the_last_token(rows):
    x, y = masked_batch(rows)
    last = [[(prompt + answer)[-1]] for prompt, answer in rows]
    return torch.cat((x, torch.tensor(last)), dim=1), F.pad(y, (0, 1), value=IGNORE)


def lora(x, weight, A, B, scale):
    return x @ weight.T + scale * (x @ A.T) @ B.T


def merged(x, weight, A, B, scale):
    return F.linear(x, weight + scale * B @ A)


def without_scale(x, weight, A, B, scale):
    return lora(x, weight, A, B, 1.0)


def scaled_all(x, weight, A, B, scale):
    return scale * (x @ weight.T + (x @ A.T) @ B.T)


def in_place(x, weight, A, B, scale):
    with torch.no_grad():
        weight += scale * B @ A
    return x @ weight.T


def detached(x, weight, A, B, scale):
    return lora(x, weight, A.detach(), B, scale)


def by_sha(a, b):
    low, high = sorted((a, b))
    return hashlib.sha256(f"{low},{high}".encode()).digest()[0] < 26


def by_crc(a, b):
    return zlib.crc32(f"{min(a, b)} {max(a, b)}".encode()) % 10 == 0


def by_seeded_random(a, b):
    return random.Random(1000 * min(a, b) + max(a, b)).random() < 0.1


def one_order_only(a, b):
    return zlib.crc32(f"{a} {b}".encode()) % 10 == 0


def by_chance(a, b):
    return random.random() < 0.1


def by_the_sum(a, b):
    return (a + b) % 10 == 0


def half(a, b):
    return zlib.crc32(f"{min(a, b)} {max(a, b)}".encode()) % 2 == 0


def working(a, b):
    steps = [str(a * int(digit) * 10**place)[::-1] for place, digit in enumerate(str(b)[::-1])]
    return "+".join(steps) + "=" + str(a * b)[::-1]


def with_remainders(a, b):
    steps, rest, place = [], b, 1
    while rest or not steps:
        steps.append(str(a * (rest % 10) * place)[::-1])
        rest, place = rest // 10, place * 10
    return "+".join(steps) + "=" + str(a * b)[::-1] + "\n"


def forward(a, b):
    steps = [str(a * int(digit) * 10**place) for place, digit in enumerate(str(b)[::-1])]
    return "+".join(steps) + "=" + str(a * b)


def first_digit_first(a, b):
    steps, _, result = working(a, b).partition("=")
    return "+".join(steps.split("+")[::-1]) + "=" + result


def without_zeros(a, b):
    steps = [str(a * int(digit))[::-1] for digit in str(b)[::-1]]
    return "+".join(steps) + "=" + str(a * b)[::-1]


def new_table(table, old, new):
    rows = [table[old.index(ch)] if ch in old else table.mean(dim=0) for ch in new]
    return torch.stack(rows)


def row_by_row(table, old, new):
    found = table.mean(dim=0).repeat(len(new), 1)
    for i, ch in enumerate(new):
        if ch in old:
            found[i] = table[old.index(ch)]
    return found


def by_number(table, old, new):
    found = table.mean(dim=0).repeat(len(new), 1)
    n = min(len(old), len(new))
    found[:n] = table[:n]
    return found


def zeros(table, old, new):
    return torch.stack([table[old.index(ch)] if ch in old else torch.zeros(table.shape[1]) for ch in new])


ANSWERS = {
    checks.masked_batch: (
        {
            "lists": masked_batch,
            "one tensor and a mask": from_one_tensor,
            "pad_sequence": with_pad_sequence,
            "the package's": checks.package_masked_batch,
        },
        {
            "no mask": (no_mask, "guess the question"),
            "one too many": (one_too_many, "the last token of the prompt is there"),
            "one too few": (one_too_few, "nothing before it can know it"),
            "padding counts": (padding_counts, "ignore it as well"),
            "not shifted": (not_shifted, "its own input"),
            "with -1": (with_minus_one, "prompt and padding get -100"),
            "the last token is an input": (with_the_last_token, "without the last token"),
            "inputs only": (lambda rows: masked_batch(rows)[0], "return two things"),
            "floats": (lambda rows: (masked_batch(rows)[0], masked_batch(rows)[1].float()), "needs int64"),
        },
    ),
    checks.lora: (
        {"two products": lora, "merged": merged, "the package's": checks.package_lora},
        {
            "only W": (lambda x, weight, *rest: x @ weight.T, "only the pretrained layer"),
            "without W": (lambda x, weight, A, B, scale: scale * (x @ A.T) @ B.T, "W is missing"),
            "without scale": (without_scale, "the scale is missing"),
            "scaled all": (scaled_all, "multiply the pretrained layer, too"),
            "in place": (in_place, "in place"),
            "detached": (detached, "no gradient flows"),
            "A and B exchanged": (
                lambda x, weight, A, B, scale: lora(x, weight, B.T, A.T, scale),
                "x W|stopped|expected",
            ),
        },
    ),
    checks.is_held_out: (
        {"SHA": by_sha, "CRC": by_crc, "a seed per pair": by_seeded_random},
        {
            "one order only": (one_order_only, "in the other order"),
            "by chance": (by_chance, "in the other order|always be in the same split"),
            "by the sum": (by_the_sum, "hides whole kinds of sums"),
            "half": (half, "expected about one in ten"),
            "by one number": (lambda a, b: min(a, b) == 5, "expected about one in ten"),
        },
    ),
    checks.working: (
        {"digits of a text": working, "remainders": with_remainders},
        {
            "forward": (forward, "from its last digit to its first"),
            "result only": (lambda a, b: str(a * b)[::-1], "only the result"),
            "first digit first": (first_digit_first, "begin with the last digit of b"),
            "without zeros": (without_zeros, "with its zeros"),
        },
    ),
    checks.new_table: (
        {"stacked": new_table, "row by row": row_by_row},
        {
            "by number": (by_number, "look it up"),
            "zeros": (zeros, "expected the mean"),
            "the old table": (lambda table, old, new: table, "shape|look it up|old row"),
        },
    ),
    checks.count: (
        {"a sum": lambda shapes, rank: sum(rank * (m + n) for m, n in shapes)},
        {
            "all": (lambda shapes, rank: sum(m * n for m, n in shapes), "those are frozen"),
            "only A": (lambda shapes, rank: sum(rank * n for _, n in shapes), "only one of A and B"),
            "twice": (lambda shapes, rank: 2 * sum(rank * (m + n) for m, n in shapes), "A is"),
        },
    ),
}
