"""Right answers to the exercises of lesson 1, and wrong ones that people really give."""

import math

import torch

from babygpt.course.checks import lesson_01 as checks


def greedy(model, idx, max_new_tokens):
    for _ in range(max_new_tokens):
        idx_next = model(idx)[0][:, -1, :].argmax(dim=-1, keepdim=True)
        idx = torch.cat((idx, idx_next), dim=1)
    return idx


def drawn(model, idx, max_new_tokens):
    return model.generate(idx, max_new_tokens)


def first_place(model, idx, max_new_tokens):
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


def all_at_once(model, xb, yb):
    model.zero_grad()
    model(xb, yb)[1].backward()


def counts(tokens, vocab_size):
    pairs = vocab_size * tokens[:-1] + tokens[1:]
    return torch.bincount(pairs, minlength=vocab_size**2).view(vocab_size, vocab_size).float()


def without_minlength(tokens, vocab_size):
    return (torch.bincount(vocab_size * tokens[:-1] + tokens[1:]) + 1.0).log()


# check: (a right answer, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.perplexity_and_bits: (
        lambda loss: (math.exp(loss), loss / math.log(2)),
        {
            "the other way round": (lambda loss: (loss / math.log(2), math.exp(loss)), "the perplexity first"),
            "two to the power": (lambda loss: (2**loss, loss / math.log(2)), "e to the power"),
            "times instead of divided": (lambda loss: (math.exp(loss), loss * math.log(2)), "divided by the natural"),
            "the binary log of the loss": (lambda loss: (math.exp(loss), math.log2(loss)), "divided by the natural"),
            "one number": (lambda loss: math.exp(loss), "expected two numbers"),
        },
    ),
    checks.greedy: (
        greedy,
        {
            "drawn": (drawn, "nothing drawn"),
            "the first place": (first_place, r"logits\[:, -1, :\]"),
            "keepdim forgotten": (without_keepdim, "stopped"),
            "only the new tokens": (only_the_new, r"expected \(2, 8\)"),
            "the last row of the batch": (logits_of_the_last_row, "argmax of logits"),
        },
    ),
    checks.in_halves: (
        halves(),
        {
            "zero_grad forgotten": (halves(zero_first=False), "earlier step"),
            "zero_grad between": (halves(zero_between=True), "between the halves"),
            "the mean forgotten": (halves(scale=1), "twice as large"),
            "both forgotten": (halves(zero_first=False, scale=1), "earlier step"),
            "zero_grad at the end": (halves(zero_after=True), "before the backwards"),
            "all at once": (all_at_once, "2 rows, twice"),
        },
    ),
    checks.count_logits: (
        lambda tokens, vocab_size: (counts(tokens, vocab_size) + 1).log(),
        {
            "not smoothed": (lambda tokens, vocab_size: counts(tokens, vocab_size).log(), "add 1"),
            "no logarithm": (lambda tokens, vocab_size: counts(tokens, vocab_size) + 1, "take their logarithm"),
            "rows and columns swapped": (
                lambda tokens, vocab_size: (counts(tokens, vocab_size) + 1).log().T,
                "rows and columns are swapped",
            ),
            "minlength forgotten": (without_minlength, "minlength"),
            "a tiny number added": (
                lambda tokens, vocab_size: (counts(tokens, vocab_size) + 1e-9).log(),
                "count \\+ 1",
            ),
        },
    ),
}
