"""Right answers to the exercises of lesson 10, and wrong ones that people really give."""

import numpy as np
import torch
import torch.nn.functional as F

from babygpt.course.checks import lesson_10 as checks


def my_dropout(x, p, training):
    return x * (torch.rand_like(x) >= p) / (1 - p) if training else x


def in_place(x, p, training):
    if training:
        x *= (torch.rand_like(x) >= p) / (1 - p)
    return x


def one_mask_for_all_rows(x, p, training):
    return x * (torch.rand_like(x[0]) >= p) / (1 - p) if training else x


def exactly_a_share(x, p, training):
    if not training:
        return x
    order = torch.rand(x.numel()).argsort()
    kept = torch.ones(x.numel())
    kept[order[: round(p * x.numel())]] = 0
    return x * kept.view(x.shape) / (1 - p)


def cut_off(x, p, training):
    return my_dropout(x.detach(), p, training)


def gradient_not_scaled(x, p, training):
    """The right numbers, but all of the gradient passes as if nothing were dropped."""
    return x + (my_dropout(x, p, training) - x).detach()


def raise_left_below(x, p, training):
    if not training:
        return x
    x = my_dropout(x, p, training)
    raise NotImplementedError("draw a mask")


def raise_after_the_if(x, p, training):
    if training:
        return my_dropout(x, p, training)
    raise NotImplementedError("draw a mask")


def nothing_returned(x, p, training):
    if not training:
        return x
    my_dropout(x, p, training)


def same_mask(x, p, training):
    if not training:
        return x
    return x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(x.numel() % 7919)) >= p) / (1 - p)


def is_dropout(dropout):
    x = torch.ones(100, 100)
    off, on = dropout(x, 0.2, False), dropout(x, 0.2, True)
    zeros = (on == 0).double()
    if not torch.equal(off, x) or abs(zeros.mean() - 0.2) > 0.03 or not torch.allclose(on[on != 0], torch.tensor(1.25)):
        return False
    return bool(((zeros.mean(dim=1) > 0) & (zeros.mean(dim=1) < 1)).any())


def count_parameters(vocab_size, block_size, n_embd, n_layer):
    C = n_embd
    return (vocab_size + block_size) * C + n_layer * (12 * C * C + 10 * C) + 2 * C + C * vocab_size + vocab_size


# check: (right answers, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.my_dropout: (
        {
            "a mask": my_dropout,
            "PyTorch's": F.dropout,
            "where": lambda x, p, training: (
                torch.where(torch.rand(x.shape) < p, torch.zeros_like(x), x / (1 - p)) if training else x
            ),
            "in float64": lambda x, p, training: my_dropout(x.double(), p, training),
        },
        {
            "the division forgotten": (
                lambda x, p, training: x * (torch.rand_like(x) >= p) if training else x,
                "1 - p",
            ),
            "p kept instead of dropped": (
                lambda x, p, training: x * (torch.rand_like(x) < p) / (1 - p) if training else x,
                "probability of being dropped",
            ),
            "scaled in evaluation": (
                lambda x, p, training: my_dropout(x, p, True) * (1 - p) if training else x * (1 - p),
                "outside of training",
            ),
            "nothing dropped": (lambda x, p, training: x.clone(), "nothing is dropped"),
            "on in evaluation, too": (lambda x, p, training: my_dropout(x, p, True), "outside of training"),
            "one mask for all rows": (one_mask_for_all_rows, "each number of x"),
            "x is changed": (in_place, "changes its input x in place"),
            "exactly the share p": (exactly_a_share, "independently"),
            "the mask cuts the gradient": (cut_off, "no gradient flows"),
            "the gradient is not masked": (gradient_not_scaled, "the gradient at x"),
            "the raise line left below": (raise_left_below, "training=True .*delete that line"),
            "the raise line left below the if": (raise_after_the_if, "training=False .*delete that line"),
            "nothing returned": (nothing_returned, "nothing is returned"),
            "the same mask in every call": (same_mask, "two calls drop the same|every time"),
            "1.25 as a constant": (
                lambda x, p, training: x * (torch.rand_like(x) >= p) * 1.25 if training else x,
                "p = 0.5",
            ),
        },
    ),
    checks.is_dropout: (
        {
            "several properties": is_dropout,
            "a NumPy bool": lambda dropout: np.bool_(is_dropout(dropout)),
            "a tensor": lambda dropout: torch.tensor(is_dropout(dropout)),
        },
        {
            "always True": (lambda dropout: True, "passes a wrong dropout"),
            "always False": (lambda dropout: False, "rejects a right dropout"),
            "the mean alone": (
                lambda dropout: abs(dropout(torch.ones(300, 300), 0.2, True).mean() - 1) < 0.1,
                "training=False",
            ),
            "evaluation alone": (
                lambda dropout: torch.equal(dropout(torch.ones(9), 0.2, False), torch.ones(9)),
                "divide by 1 - p",
            ),
            "rows forgotten": (
                lambda dropout: is_dropout(lambda x, p, on: dropout(x.view(-1, 1), p, on).view(x.shape)),
                "whole rows",
            ),
            "no room for chance": (
                lambda dropout: (dropout(torch.ones(100, 100), 0.2, True) == 0).double().mean().item() == 0.2,
                "some room",
            ),
            "compared with another draw": (
                lambda dropout: torch.equal(dropout(torch.ones(99), 0.2, True), my_dropout(torch.ones(99), 0.2, True)),
                "rejects a right dropout",
            ),
            "nothing returned": (lambda dropout: None, "True or False"),
            "a tensor of verdicts": (lambda dropout: dropout(torch.ones(9), 0.2, False) == 1, "True or False"),
        },
    ),
    checks.dropout_places: (
        {"words": lambda: "b, d and f", "letters": lambda: "FDB", "a list": lambda: ["B", "D", "F"]},
        {
            "the scores": (lambda: "ADF", "exp"),
            "the stream": (lambda: "BDE", "stream"),
            "the input": (lambda: "CDF", "send back"),
            "only two": (lambda: "DF", "1 of the three is still"),
            "only one": (lambda: "B", "2 of the three are still"),
            "a letter that doesn't exist": (lambda: "BDFG", "from A to F"),
        },
    ),
    checks.count_parameters: (
        {
            "a formula": count_parameters,
            "a float": lambda *sizes: float(count_parameters(*sizes)),
            "a tensor": lambda *sizes: torch.tensor(count_parameters(*sizes)),
        },
        {
            "a bias in query, key and value": (lambda V, T, C, n: count_parameters(V, T, C, n) + 3 * C * n, "no bias"),
            "no ln_f": (lambda V, T, C, n: count_parameters(V, T, C, n) - 2 * C, "ln_f"),
            "tied lm_head": (lambda V, T, C, n: count_parameters(V, T, C, n) - V * C, "two matrices"),
            "no norms in the blocks": (lambda V, T, C, n: count_parameters(V, T, C, n) - 4 * C * n, "two norms"),
            "no blocks": (lambda V, T, C, n: (V + T) * C, "compare each part"),
            "vocab_size and block_size swapped": (lambda V, T, C, n: count_parameters(T, V, C, n), "swapped"),
            "n_embd and n_layer swapped": (lambda V, T, C, n: count_parameters(V, T, n, C), "compare each part"),
            "the sizes of the lecture as constants": (
                lambda V, T, C, n: count_parameters(65, 256, 384, 6),
                "compare each part",
            ),
        },
    ),
    checks.times_larger: (
        {"two decimals": lambda: 2.45, "three": lambda: 2.449, "NumPy's": lambda: np.sqrt(384 / 64)},
        {
            "the root forgotten": (lambda: 6.0, "root"),
            "the other way around": (lambda: 0.408, "larger one"),
            "4 heads of 8": (lambda: 2.0, "64"),
            "one decimal": (lambda: 2.4, "at least two decimals"),
        },
    ),
}
