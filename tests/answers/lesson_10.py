"""Right answers to the exercises of lesson 10, and wrong ones that people really give."""

import torch

from babygpt.course.checks import lesson_10 as checks


def my_dropout(x, p, training):
    return x * (torch.rand_like(x) >= p) / (1 - p) if training else x


def count_parameters(vocab_size, block_size, n_embd, n_layer):
    C = n_embd
    return (vocab_size + block_size) * C + n_layer * (12 * C * C + 10 * C) + 2 * C + C * vocab_size + vocab_size


def in_place(x, p, training):
    if training:
        x *= (torch.rand_like(x) >= p) / (1 - p)
    return x


def one_mask_for_all_rows(x, p, training):
    return x * (torch.rand_like(x[0]) >= p) / (1 - p) if training else x


# check: (a right answer, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.my_dropout: (
        my_dropout,
        {
            "the division forgotten": (
                lambda x, p, training: x * (torch.rand_like(x) >= p) if training else x,
                "1 - p",
            ),
            "p kept instead of dropped": (
                lambda x, p, training: x * (torch.rand_like(x) < p) / (1 - p) if training else x,
                "share that is dropped",
            ),
            "scaled in evaluation": (
                lambda x, p, training: my_dropout(x, p, True) * (1 - p) if training else x * (1 - p),
                "outside of training",
            ),
            "nothing dropped": (lambda x, p, training: x.clone(), "nothing is dropped"),
            "on in evaluation, too": (lambda x, p, training: my_dropout(x, p, True), "outside of training"),
            "one mask for all rows": (one_mask_for_all_rows, "each number of x"),
            "x is changed": (in_place, "x itself was changed"),
        },
    ),
    checks.dropout_places: (
        lambda: "b, d and f",
        {
            "the scores": (lambda: "ADF", "exp"),
            "the stream": (lambda: "BDE", "stream"),
            "the input": (lambda: "CDF", "send back"),
            "only two": (lambda: "DF", "1 of the three"),
        },
    ),
    checks.count_parameters: (
        count_parameters,
        {
            "a bias in query, key and value": (lambda V, T, C, n: count_parameters(V, T, C, n) + 3 * C * n, "no bias"),
            "no ln_f": (lambda V, T, C, n: count_parameters(V, T, C, n) - 2 * C, "ln_f"),
            "tied lm_head": (lambda V, T, C, n: count_parameters(V, T, C, n) - V * C, "two matrices"),
            "no norms in the blocks": (lambda V, T, C, n: count_parameters(V, T, C, n) - 4 * C * n, "two norms"),
            "no blocks": (lambda V, T, C, n: (V + T) * C, "compare each part"),
        },
    ),
    checks.times_larger: (
        lambda: 2.449,
        {
            "the root forgotten": (lambda: 6.0, "root"),
            "the other way round": (lambda: 0.408, "larger one"),
            "4 heads of 8": (lambda: 2.0, "64"),
        },
    ),
}
