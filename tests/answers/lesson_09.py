"""Right answers to the exercises of lesson 9, and wrong ones that people really give."""

import torch
import torch.nn.functional as F

from babygpt import v9
from babygpt.course.checks import lesson_09 as checks


def rms_norm(x, gamma, eps=1e-5):
    return gamma * x / torch.sqrt((x**2).mean(dim=-1, keepdim=True) + eps)


def layer_norm_backward(dxhat, x, eps=1e-5):
    rstd = (x.var(dim=-1, keepdim=True, correction=0) + eps).rsqrt()
    xhat = (x - x.mean(dim=-1, keepdim=True)) * rstd
    mean_of_product = (dxhat * xhat).mean(dim=-1, keepdim=True)
    return rstd * (dxhat - dxhat.mean(dim=-1, keepdim=True) - xhat * mean_of_product)


def without_the_variance(dxhat, x, eps=1e-5):
    rstd = (x.var(dim=-1, keepdim=True, correction=0) + eps).rsqrt()
    return rstd * (dxhat - dxhat.mean(dim=-1, keepdim=True))


def without_the_mean(dxhat, x, eps=1e-5):
    rstd = (x.var(dim=-1, keepdim=True, correction=0) + eps).rsqrt()
    return layer_norm_backward(dxhat, x) + rstd * dxhat.mean(dim=-1, keepdim=True)


def without_rstd(dxhat, x, eps=1e-5):
    return layer_norm_backward(dxhat, x) * (x.var(dim=-1, keepdim=True, correction=0) + eps).sqrt()


class PostNorm(v9.Block):
    def forward(self, x):
        x = self.ln1(x + self.sa(x))
        return self.ln2(x + self.ffwd(x))


class PreNorm(v9.Block):
    pass


class NormOfTheBranch(v9.Block):
    def forward(self, x):
        x = x + self.ln1(self.sa(x))
        return x + self.ln2(self.ffwd(x))


class OnlyTheLast(v9.Block):
    def forward(self, x):
        x = x + self.sa(self.ln1(x))
        return self.ln2(x + self.ffwd(x))


class InPlace(v9.Block):
    def forward(self, x):
        x += self.sa(x)
        x = self.ln1(x)
        return self.ln2(x + self.ffwd(x))


# check: (a right answer, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.normalized_by_hand: (
        lambda: [-0.71, -0.71, 1.41],
        {
            "divided by n - 1": (lambda: [-0.577, -0.577, 1.155], "n - 1"),
            "the root forgotten": (lambda: [-0.5, -0.5, 1], "root"),
            "not divided": (lambda: [-1, -1, 2], "standard deviation"),
            "the mean not subtracted": (lambda: [0.71, 0.71, 2.83], "subtracted"),
            "a number often printed": (lambda: [-1.0, 0.5, 0.5], "outputs are not"),
        },
    ),
    checks.rms_norm: (
        rms_norm,
        {
            "layer norm": (lambda x, gamma: gamma * F.layer_norm(x, (4,)), "does not subtract"),
            "the sum instead of the mean": (
                lambda x, gamma: gamma * x / torch.sqrt((x**2).sum(-1, keepdim=True) + 1e-5),
                "mean of the squares",
            ),
            "gamma forgotten": (lambda x, gamma: rms_norm(x, torch.ones(4)), "gamma"),
            "eps outside the root": (
                lambda x, gamma: gamma * x / ((x**2).mean(-1, keepdim=True).sqrt() + 1e-5),
                "inside the root",
            ),
            "over the batch": (
                lambda x, gamma: gamma * x / torch.sqrt((x**2).mean(0, keepdim=True) + 1e-5),
                "mean of a token's squares",
            ),
        },
    ),
    checks.post_norm_block: (
        PostNorm,
        {
            "pre-norm": (PreNorm, "pre-norm"),
            "the branch normalized, not the sum": (NormOfTheBranch, "enclose the whole sum"),
            "one pre, one post": (OnlyTheLast, "ln1"),
            "the input changed": (InPlace, "input itself was changed"),
        },
    ),
    checks.layer_norm_backward: (
        layer_norm_backward,
        {
            "the term of the variance forgotten": (without_the_variance, "variance"),
            "the term of the mean forgotten": (without_the_mean, "mean of dxhat"),
            "rstd forgotten": (without_rstd, "rstd"),
        },
    ),
}
