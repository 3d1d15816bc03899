"""Right answers to the exercises of lesson 2, and wrong ones that people really give."""

import numpy as np
import torch
import torch.nn.functional as F

from babygpt import v2
from babygpt.course.checks import lesson_02 as checks


def two_loops(x, end=1, dim=0):
    B, T, C = x.shape
    xbow = torch.zeros((B, T, C))
    for b in range(B):
        for t in range(T):
            xbow[b, t] = x[b, : t + end].mean(dim=dim)
    return xbow


def mean_over_channels(x):
    return x.mean(dim=2, keepdim=True).expand_as(x)


def first_chunk_only(x):
    xbow = torch.zeros_like(x)
    for t in range(x.shape[1]):
        xbow[0, t] = x[0, : t + 1].mean(dim=0)
    return xbow


def rows_filled_from_one_chunk(x):
    return v2.average(x)[:1].expand_as(x)


def means_of_the_future(x):
    return v2.average(x.flip(1)).flip(1)


def in_numpy(x):
    return np.cumsum(x.detach().numpy(), axis=1) / np.arange(1, x.shape[1] + 1)[:, None]


def numbers_copied(x):
    return v2.average(torch.tensor(x.tolist()))


def in_float64(x):
    return v2.average(x).double()


def cumsum_in_float64(x):
    return x.double().cumsum(dim=1) / torch.arange(1, x.shape[1] + 1)[:, None]


def one_loop(x):
    total = torch.zeros_like(x[:, 0])
    means = []
    for t in range(x.shape[1]):
        total = total + x[:, t]
        means.append(total / (t + 1))
    return torch.stack(means, dim=1)


def changes_x(x):
    for t in range(1, x.shape[1]):
        x[:, t] += x[:, t - 1]
    return x / torch.arange(1, x.shape[1] + 1)[:, None]


def begins_with_a_view(x):
    total = x[:, 0]
    means = [total.clone()]
    for t in range(1, x.shape[1]):
        total += x[:, t]
        means.append(total / (t + 1))
    return torch.stack(means, dim=1)


def without_the_current_token(x):
    means = [torch.zeros_like(x[:, 0])]
    for t in range(1, x.shape[1]):
        means.append(x[:, :t].mean(dim=1))
    return torch.stack(means, dim=1)


class NoAverage(v2.Model):
    def body(self, x):
        return x


class OnOneLine(v2.Model):
    body = staticmethod(lambda x: x)


class HiddenByTheMethod(v2.Model):
    """The class has a method of that name, so the layer is never called."""

    def __init__(self, config):
        super().__init__(config)
        self.body = torch.nn.Identity()


class NoPositions(v2.Model):
    """The positions are removed as well."""

    def logits(self, idx):
        return self.lm_head(self.token_embedding_table(idx))

    def body(self, x):
        return x


class PositionsThatAreZero(v2.Model):
    def logits(self, idx):
        torch.nn.init.zeros_(self.position_embedding_table.weight)
        return super().logits(idx)

    def body(self, x):
        return x


class NoPositionTable(v2.Model):
    def __init__(self, config):
        super().__init__(config)
        del self.position_embedding_table

    def logits(self, idx):
        return self.lm_head(self.token_embedding_table(idx))

    def body(self, x):
        return x


class OneMoreLayer(v2.Model):
    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(config.n_embd, config.n_embd)

    def body(self, x):
        return x


class ReluBeforeTheHead(v2.Model):
    def logits(self, idx):
        x = self.token_embedding_table(idx) + self.position_embedding_table(torch.arange(idx.shape[1]))
        return self.lm_head(F.relu(self.body(x)))

    def body(self, x):
        return x


class StillAverages(v2.Model):
    def body(self, x):
        return v2.average(x)


class ForgottenReturn(v2.Model):
    def body(self, x):
        x  # noqa: B018


class MeanOfAll(v2.Model):
    def body(self, x):
        return x.mean(dim=1, keepdim=True)


AVERAGES = {
    "the token itself is left out": (lambda x: two_loops(x, end=0), "NaN"),
    "the mean of all": (lambda x: x.mean(dim=1, keepdim=True).expand_as(x), "the mean of the whole chunk"),
    "the mean of what follows": (means_of_the_future, "the result for token 0"),
    "sums": (lambda x: x.cumsum(dim=1), "these are the sums"),
    "a zero for token 0": (without_the_current_token, "the result for token 0"),
    "nothing returned": (lambda x: None, "does the function return"),
    "x changed": (changes_x, "changes its input x in place"),
    "cut off from the gradient": (numbers_copied, "no gradient flows"),
}

# check: (right answers, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.average: (
        {
            "two loops": two_loops,
            "the package's": v2.average,
            "one loop": one_loop,
            "one line": lambda x: x.cumsum(dim=1) / torch.arange(1, x.shape[1] + 1)[:, None],
        },
        AVERAGES
        | {
            "the mean over the channels": (mean_over_channels, "the result for token 0"),
            "dim=1": (lambda x: two_loops(x, dim=1), "stopped with RuntimeError"),
            "one chunk only": (first_chunk_only, "the result for token 0"),
            "the first chunk for all": (rows_filled_from_one_chunk, "the result for token 0"),
            "in NumPy": (in_numpy, "expected a tensor"),
            "in float64": (in_float64, "keep the type"),
        },
    ),
    checks.parameters: (
        {
            "an integer": lambda V, C, T: V * C + T * C + C * V + V,
            "a tensor": lambda V, C, T: torch.tensor([V * C, T * C, C * V, V]).sum(),
            "NumPy": lambda V, C, T: np.int64(2 * V * C + T * C + V),
        },
        {
            "no bias": (lambda V, C, T: V * C + T * C + C * V, "bias"),
            "no positions": (lambda V, C, T: V * C + C * V + V, "positions"),
            "one bias for each channel": (lambda V, C, T: V * C + T * C + C * V + C, "weights and biases"),
            "the number for one size": (lambda V, C, T: 4481, "vocab_size 11"),
        },
    ),
    checks.shapes_of_sums: (
        {
            "tuples": lambda: [(4, 8, 32), None, (4, 8, 32), (4, 8, 32), (8, 32)],
            "lists": lambda: ([4, 8, 32], None, [4, 8, 32], [4, 8, 32], [8, 32]),
            "torch.Size": lambda: [
                torch.Size(s) if s else None for s in ((4, 8, 32), 0, (4, 8, 32), (4, 8, 32), (8, 32))
            ],
        },
        {
            "lined up on the left": (
                lambda: [None, (4, 8, 32), None, (4, 8, 32), None],
                r"sum 1, \(4, 8, 32\) \+ \(8, 32\): you say None",
            ),
            "number by number": (lambda: [(4, 8, 32), None, (4, 8, 32), (4, 8, 32), None], "sum 5"),
            "everything fits": (lambda: [(4, 8, 32)] * 4 + [(8, 32)], "sum 2.*two different numbers"),
            "one missing": (lambda: [(4, 8, 32), None, (4, 8, 32), (4, 8, 32)], "list of 5"),
        },
    ),
    checks.one_loop: (
        {
            "a running total": one_loop,
            "cumsum": lambda x: x.cumsum(dim=1) / torch.arange(1, x.shape[1] + 1)[:, None],
            "cumsum in float64": cumsum_in_float64,
        },
        AVERAGES
        | {
            "divided by t": (lambda x: x.cumsum(dim=1) / torch.arange(x.shape[1])[:, None], "NaN"),
            "both loops": (v2.average, "still a loop over b"),
            "a total that is part of x": (begins_with_a_view, "changes its input x in place"),
            "sums over the channels": (lambda x: x.cumsum(dim=2) / torch.arange(1, x.shape[2] + 1), "token 0"),
        },
    ),
    checks.no_average: (
        {
            "body returns x": NoAverage,
            "on one line": OnOneLine,
        },
        {
            "a layer with the name of the method": (HiddenByTheMethod, "still averages"),
            "the old body": (StillAverages, "still averages"),
            "no return": (ForgottenReturn, "returns None"),
            "the mean of all": (MeanOfAll, "what goes in comes out"),
            "positions removed as well": (NoPositions, "the positions are gone too"),
            "positions set to zero": (PositionsThatAreZero, "the positions are gone too"),
            "the table of positions removed": (NoPositionTable, "the same parameters as version 2"),
            "one more layer": (OneMoreLayer, "the same parameters as version 2"),
            "something else before the head": (ReluBeforeTheHead, "replace body, and nothing else"),
        },
    ),
}
