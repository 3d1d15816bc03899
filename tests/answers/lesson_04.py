"""Right answers to the exercises of lesson 4, and wrong ones that people really give."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from babygpt import v2, v4
from babygpt.course.checks import lesson_04 as checks


def causal(T):
    return torch.tril(torch.ones(T, T))


def average(x):
    return masked_average(causal(x.shape[1])) @ x


def kept_nothing(x):
    wei = torch.zeros(x.shape[1], x.shape[1])
    wei.masked_fill(causal(x.shape[1]) == 0, float("-inf"))
    return F.softmax(wei, dim=-1) @ x


def columns_of_the_mask(x):
    T = x.shape[1]
    return F.softmax(torch.zeros(T, T).masked_fill(causal(T) == 0, float("-inf")), dim=0) @ x


def mask_after_softmax(x):
    T = x.shape[1]
    return F.softmax(torch.zeros(T, T), dim=-1).masked_fill(causal(T) == 0, 0) @ x


def zeros_as_a_mask(x):
    return F.softmax(causal(x.shape[1]), dim=-1) @ x


def without_the_diagonal(x):
    return masked_average(torch.tril(causal(x.shape[1]), diagonal=-1)) @ x


def by_numpy(x):
    return torch.from_numpy(average(x.detach()).numpy())


def of_integers(x):
    return F.softmax(torch.zeros(x.shape[1], x.shape[1], dtype=torch.long), dim=-1) @ x


def softmax(scores):
    powers = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    return powers / powers.sum(dim=-1, keepdim=True)


def naive_softmax(scores):
    return scores.exp() / scores.exp().sum(dim=-1, keepdim=True)


def in_place(scores):
    scores -= scores.amax(dim=-1, keepdim=True)
    return naive_softmax(scores)


def softmax_by_numpy(scores):
    return torch.from_numpy(softmax(scores.detach()).numpy())


def one_maximum_for_all(scores):
    return naive_softmax(scores - scores.max())


def without_keepdim(scores):
    powers = (scores - scores.max()).exp()
    return powers / powers.sum()


def down_the_columns(scores):
    powers = (scores - scores.amax(dim=0, keepdim=True)).exp()
    return powers / powers.sum(dim=0, keepdim=True)


def of_matrices_only(scores):
    powers = (scores - scores.amax(dim=1, keepdim=True)).exp()
    return powers / powers.sum(dim=1, keepdim=True)


def masked_average(allowed):
    return F.softmax(torch.zeros(allowed.shape).masked_fill(allowed == 0, float("-inf")), dim=-1)


def same_text(text):
    return (text[:, None] == text[None, :]).float()


def within_texts(text):
    return masked_average(causal(len(text)) * same_text(text))


def masked_after(text):
    return masked_average(causal(len(text))) * same_text(text)


def without_softmax(text):
    allowed = causal(len(text)) * same_text(text)
    return torch.zeros(allowed.shape).masked_fill(allowed == 0, float("-inf"))


def down_each_column(text):
    return F.softmax(without_softmax(text), dim=0)


class LearnedScores(v2.Model):
    def __init__(self, config):
        super().__init__(config)
        self.scores = nn.Parameter(torch.zeros(config.block_size, config.block_size))

    def body(self, x):
        T = x.shape[1]
        wei = self.scores[:T, :T].masked_fill(causal(T) == 0, float("-inf"))
        return F.softmax(wei, dim=-1) @ x


class PlainTensor(LearnedScores):
    def __init__(self, config):
        super().__init__(config)
        del self.scores
        self.scores = torch.zeros(config.block_size, config.block_size)


class RandomStart(LearnedScores):
    def __init__(self, config):
        super().__init__(config)
        self.scores = nn.Parameter(torch.randn(config.block_size, config.block_size))


class NotCropped(LearnedScores):
    def body(self, x):
        T = x.shape[1]
        return F.softmax(self.scores.masked_fill(causal(T) == 0, float("-inf")), dim=-1) @ x


class NotMasked(LearnedScores):
    def body(self, x):
        T = x.shape[1]
        return F.softmax(self.scores[:T, :T], dim=-1) @ x


class MaskedAfter(LearnedScores):
    def body(self, x):
        T = x.shape[1]
        return F.softmax(self.scores[:T, :T], dim=-1).masked_fill(causal(T) == 0, 0) @ x


class DownTheColumns(LearnedScores):
    def body(self, x):
        T = x.shape[1]
        return F.softmax(self.scores[:T, :T].masked_fill(causal(T) == 0, float("-inf")), dim=0) @ x


class ScoresNotUsed(LearnedScores):
    def body(self, x):
        return v4.average(x)


class Detached(LearnedScores):
    def body(self, x):
        T = x.shape[1]
        wei = self.scores.data[:T, :T].masked_fill(causal(T) == 0, float("-inf"))
        return F.softmax(wei, dim=-1) @ x


class WithShortcut(LearnedScores):
    def body(self, x):
        return x + super().body(x)


class NoSoftmax(LearnedScores):
    def body(self, x):
        T = x.shape[1]
        return self.scores[:T, :T].masked_fill(causal(T) == 0, 0) @ x


class ForSixTokens(LearnedScores):
    def __init__(self, config):
        super().__init__(config)
        self.scores = nn.Parameter(torch.zeros(6, 6))


class InFloat64(LearnedScores):
    def body(self, x):
        T = x.shape[1]
        return F.softmax(self.scores[:T, :T].double().masked_fill(causal(T) == 0, float("-inf")), dim=-1) @ x.double()


# check: (a right answer or {name: right answer}, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.average: (
        {
            "masked scores": average,
            "in float64": lambda x: masked_average(causal(x.shape[1])).double() @ x.double(),
            "the package's": v4.average,
        },
        {
            "the mask is thrown away": (kept_nothing, "keep what it returns"),
            "down the columns": (columns_of_the_mask, "down the columns"),
            "masked after the softmax": (mask_after_softmax, "not after it"),
            "no softmax": (lambda x: causal(x.shape[1]) @ x, "softmax is missing"),
            "zeros as a mask": (zeros_as_a_mask, "0 is an ordinary score"),
            "no diagonal": (without_the_diagonal, "is the diagonal in the mask"),
            "x itself": (lambda x: x, "scores of 0, minus infinity"),
            "cut off from the gradient": (by_numpy, "no gradient flows"),
            "nothing returned": (lambda x: None, "return wei @ x"),
        },
    ),
    checks.where_nan: (
        {
            "lists": lambda: ([0], [0], [0, 1, 2, 3], [0, 1, 2, 3]),
            "ranges, arrays and tensors": lambda: [(0,), np.array([0]), torch.arange(4), [3, 2, 1, 0]],
            "numbers": lambda: (0, 0, [0, 1, 2, 3], [0, 1, 2, 3]),
        },
        {
            "no NaN at all": (lambda: ([], [], [], []), "all scores are minus infinity"),
            "everywhere at once": (lambda: ([0, 1, 2, 3],) * 4, "no 1 at all"),
            "it spreads in one step": (lambda: ([0], [0, 1, 2, 3], [0, 1, 2, 3], [2]), "after one average"),
            "it spreads along the arrows, one at a time": (lambda: ([0], [0], [0, 1], [2]), "after two averages"),
            "it stays where it is": (lambda: ([0], [0], [0], [2]), "after two averages"),
            "only those that hear token 2": (lambda: ([0], [0], [0, 1, 2, 3], [2, 3]), "0 times NaN"),
            "token 2 alone": (lambda: ([0], [0], [0, 1, 2, 3], [2]), "0 times NaN"),
            "one list": (lambda: [0], "four lists"),
            "words": (lambda: (["zero"], [0], [0], [0]), "one of your lists"),
        },
    ),
    checks.softmax: (
        {
            "by hand": softmax,
            "in float64": lambda scores: softmax(scores.double()),
            "by its logarithm": lambda scores: (scores - scores.logsumexp(dim=-1, keepdim=True)).exp(),
        },
        {
            "nothing subtracted": (naive_softmax, r"1000 and 1001 is NaN: exp\(1000\)"),
            "the largest of all subtracted": (one_maximum_for_all, "each row its own largest"),
            "one sum for all": (without_keepdim, "its own sum"),
            "down the columns": (down_the_columns, "columns sum to 1"),
            "right for matrices only": (of_matrices_only, "last, -1"),
            "not divided": (lambda scores: scores.exp(), "rows sum to"),
            "written into the scores": (in_place, "in place"),
            "cut off from the gradient": (softmax_by_numpy, "no gradient flows"),
        },
    ),
    checks.within_texts: (
        {
            "masked scores": within_texts,
            "in float64": lambda text: within_texts(text).double(),
            "nested lists": lambda text: within_texts(text).tolist(),
        },
        {
            "the future, too": (lambda text: masked_average(same_text(text)), "hears a later one"),
            "all texts": (lambda text: masked_average(causal(len(text))), "another text"),
            "masked after the softmax": (masked_after, "mask before the softmax"),
            "without the diagonal": (
                lambda text: masked_average(torch.tril(same_text(text), diagonal=-1)),
                "allowed to hear itself",
            ),
            "no softmax": (without_softmax, "take their softmax"),
            "zeros and ones": (lambda text: causal(len(text)) * same_text(text), "a row must sum to 1"),
            "down the columns": (down_each_column, "along each row, dim=-1"),
            "one number for each token": (lambda text: torch.ones(len(text)), r"shape \(5,\), expected \(5, 5\)"),
        },
    ),
    checks.learned_scores: (
        {"a parameter": LearnedScores, "in float64": InFloat64, "the package's": checks.LearnedScores},
        {
            "a plain tensor": (PlainTensor, "not among the model's parameters"),
            "a random start": (RandomStart, "begin at 0"),
            "not cropped": (NotCropped, "stopped"),
            "not masked": (NotMasked, "the scores are not masked"),
            "masked after the softmax": (MaskedAfter, "comes after the softmax"),
            "down the columns": (DownTheColumns, "down the columns"),
            "scores not used": (ScoresNotUsed, "the scores are not used"),
            "a shortcut around the average": (WithShortcut, "x is added"),
            "no softmax": (NoSoftmax, "take their softmax"),
            "for six tokens only": (ForSixTokens, r"shape \(6, 6\), expected \(3, 3\)"),
            "detached": (Detached, "no gradient reaches the scores"),
        },
    ),
}
