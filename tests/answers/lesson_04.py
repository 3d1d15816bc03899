"""Right answers to the exercises of lesson 4, and wrong ones that people really give."""

import torch
import torch.nn.functional as F
from torch import nn

from babygpt import v2, v4
from babygpt.course.checks import lesson_04 as checks


def causal(T):
    return torch.tril(torch.ones(T, T))


def softmax(scores):
    powers = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    return powers / powers.sum(dim=-1, keepdim=True)


def naive_softmax(scores):
    return scores.exp() / scores.exp().sum(dim=-1, keepdim=True)


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


# check: (a right answer, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.where_nan: (
        lambda: ([0], [0], [0, 1, 2, 3]),
        {
            "no NaN at all": (lambda: ([], [], []), "all scores are minus infinity"),
            "everywhere at once": (lambda: ([0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]), "no 1 at all"),
            "it spreads in one step": (lambda: ([0], [0, 1, 2, 3], [0, 1, 2, 3]), "after one average"),
            "it spreads along the arrows, one at a time": (lambda: ([0], [0], [0, 1]), "later token hears token 0"),
            "it stays where it is": (lambda: ([0], [0], [0]), "after two averages"),
            "one list": (lambda: [0], "three lists"),
        },
    ),
    checks.softmax: (
        softmax,
        {
            "nothing subtracted": (naive_softmax, r"1000 and 1001 is NaN: exp\(1000\)"),
            "the largest of all subtracted": (one_maximum_for_all, "each row's own largest"),
            "one sum for all": (without_keepdim, "its own sum"),
            "down the columns": (down_the_columns, "columns sum to 1"),
            "right for matrices only": (of_matrices_only, "last, -1"),
            "not divided": (lambda scores: scores.exp(), "rows sum to"),
        },
    ),
    checks.within_texts: (
        within_texts,
        {
            "the future, too": (lambda text: masked_average(same_text(text)), "hears a later one"),
            "all texts": (lambda text: masked_average(causal(len(text))), "another text"),
            "masked after the softmax": (masked_after, "mask before the softmax"),
            "without the diagonal": (
                lambda text: masked_average(torch.tril(same_text(text), diagonal=-1)),
                "allowed to hear itself",
            ),
            "one number for each token": (lambda text: torch.ones(len(text)), r"shape \(5,\), expected \(5, 5\)"),
        },
    ),
    checks.learned_scores: (
        LearnedScores,
        {
            "a plain tensor": (PlainTensor, "not among the model's parameters"),
            "a random start": (RandomStart, "begin at 0"),
            "not cropped": (NotCropped, "stopped"),
            "not masked": (NotMasked, "are the scores masked"),
            "masked after the softmax": (MaskedAfter, "before the softmax"),
            "down the columns": (DownTheColumns, "before the softmax|dim=-1"),
            "scores not used": (ScoresNotUsed, "masked scores, dim=-1"),
            "detached": (Detached, "no gradient|stopped"),
        },
    ),
}
