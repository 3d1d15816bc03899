"""Right answers to the exercises of lesson 9, and wrong ones that people really give."""

import torch
import torch.nn.functional as F
from torch import nn

from babygpt import v9
from babygpt.course.checks import lesson_09 as checks


class LayerNorm(nn.Module):
    def __init__(self, C, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(C))
        self.beta = nn.Parameter(torch.zeros(C))

    def forward(self, x):
        return self.gamma * self.xhat(x) + self.beta

    def xhat(self, x):
        mean = x.mean(dim=-1, keepdim=True)
        variance = x.var(dim=-1, keepdim=True, correction=0)
        return (x - mean) / torch.sqrt(variance + self.eps)


def layer_norm(xhat):
    """A layer norm with another xhat."""
    return type("Changed", (LayerNorm,), {"xhat": xhat})


class Float64(LayerNorm):
    def forward(self, x):
        return super().forward(x.double())


class NoGamma(LayerNorm):
    def forward(self, x):
        return self.xhat(x) + self.beta


class NoBeta(LayerNorm):
    def forward(self, x):
        return self.gamma * self.xhat(x)


class NotLearned(LayerNorm):
    def forward(self, x):
        return self.gamma.detach() * self.xhat(x) + self.beta.detach()


class NoParameters(LayerNorm):
    def __init__(self, C, eps=1e-5):
        super().__init__(C, eps)
        del self.gamma, self.beta
        self.gamma, self.beta = torch.ones(C), torch.zeros(C)


class WritesIntoX(LayerNorm):
    def forward(self, x):
        x -= x.mean(dim=-1, keepdim=True)
        return super().forward(x)


def deviation(x, **how):
    return (x.var(**{"dim": -1, "keepdim": True, "correction": 0} | how)).sqrt()


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


def gradient(dxhat, x, rstd):
    """Right if rstd is."""
    xhat = (x - x.mean(dim=-1, keepdim=True)) * rstd
    mean_of_product = (dxhat * xhat).mean(dim=-1, keepdim=True)
    return rstd * (dxhat - dxhat.mean(dim=-1, keepdim=True) - xhat * mean_of_product)


def through_autograd(dxhat, x, eps=1e-5):
    """Right, if not by hand."""
    x = x.double().requires_grad_()
    F.layer_norm(x, x.shape[-1:], eps=eps).backward(dxhat.double())
    return x.grad


def in_place_backward(dxhat, x, eps=1e-5):
    result = layer_norm_backward(dxhat, x, eps)
    x -= x.mean(dim=-1, keepdim=True)
    return result


def post_norm(forward):
    """Version 9's block with another forward."""
    return type("Block", (v9.Block,), {"forward": forward})


class PostNorm(v9.Block):
    def forward(self, x):
        x = self.ln1(x + self.sa(x))
        return self.ln2(x + self.ffwd(x))


class Misspelled(v9.Block):
    def foward(self, x):
        x = self.ln1(x + self.sa(x))
        return self.ln2(x + self.ffwd(x))


def chain(first, second):
    """A forward that normalizes the sums by these two norms, given as functions of the block."""

    def forward(self, x):
        x = first(self)(x + self.sa(x))
        return second(self)(x + self.ffwd(x))

    return post_norm(forward)


def pre_norm(self, x):
    x = x + self.sa(self.ln1(x))
    return x + self.ffwd(self.ln2(x))


def norm_of_the_branch(self, x):
    x = x + self.ln1(self.sa(x))
    return x + self.ln2(self.ffwd(x))


def only_the_last(self, x):
    x = x + self.sa(self.ln1(x))
    return self.ln2(x + self.ffwd(x))


def only_the_first(self, x):
    x = self.ln1(x + self.sa(x))
    return x + self.ffwd(self.ln2(x))


def no_second(self, x):
    x = self.ln1(x + self.sa(x))
    return x + self.ffwd(x)


def in_place(self, x):
    x += self.sa(x)
    x = self.ln1(x)
    return self.ln2(x + self.ffwd(x))


def without_weights(self):
    return lambda x: F.layer_norm(x, x.shape[-1:])


# check: (right answers, {what is wrong: (a wrong answer, what the message says)})
def pytorchs_rms_norm(x, gamma, eps=1e-5):
    return F.rms_norm(x, gamma.shape, gamma, eps)


ANSWERS = {
    checks.layer_norm: (
        {"by hand": LayerNorm, "in float64": Float64, "the package's": checks.LayerNorm},
        {
            "the mean not subtracted": (
                layer_norm(lambda self, x: x / (deviation(x) ** 2 + self.eps).sqrt()),
                "mean is not subtracted",
            ),
            "divided by the variance": (
                layer_norm(lambda self, x: (x - x.mean(-1, keepdim=True)) / (deviation(x) ** 2 + self.eps)),
                "root of variance",
            ),
            "divided by n - 1": (
                layer_norm(
                    lambda self, x: (x - x.mean(-1, keepdim=True)) / (deviation(x, correction=1) ** 2 + self.eps).sqrt()
                ),
                "n - 1",
            ),
            "batch norm": (
                layer_norm(
                    lambda self, x: (x - x.mean(0, keepdim=True)) / (deviation(x, dim=0) ** 2 + self.eps).sqrt()
                ),
                "batch norm",
            ),
            "eps outside the root": (
                layer_norm(lambda self, x: (x - x.mean(-1, keepdim=True)) / (deviation(x) + self.eps)),
                "outside the square root",
            ),
            "eps missing": (
                layer_norm(lambda self, x: (x - x.mean(-1, keepdim=True)) / deviation(x)),
                "eps is missing",
            ),
            "eps a constant": (
                layer_norm(lambda self, x: (x - x.mean(-1, keepdim=True)) / (deviation(x) ** 2 + 1e-5).sqrt()),
                "eps is missing, or a constant",
            ),
            "without keepdim": (layer_norm(lambda self, x: (x - x.mean(-1)) / deviation(x)), "your code stopped"),
            "gamma forgotten": (NoGamma, "gamma is missing"),
            "beta forgotten": (NoBeta, "beta is missing"),
            "gamma and beta cut off": (NotLearned, "no gradient reaches gamma, so it would never learn"),
            "gamma and beta are plain tensors": (NoParameters, "as the parameters"),
            "the input changed": (WritesIntoX, "in place"),
            "for width 4 only": (
                layer_norm(lambda self, x: F.layer_norm(x.reshape(-1, 4), (4,), eps=self.eps).view(x.shape)),
                "your code stopped",
            ),
        },
    ),
    checks.normalized_by_hand: (
        {
            "to two decimals": lambda: [-0.71, -0.71, 1.41],
            "a tensor": lambda: F.layer_norm(torch.tensor([1.0, 1.0, 4.0]), (3,)),
            "an array": lambda: F.layer_norm(torch.tensor([1.0, 1.0, 4.0]).double(), (3,)).numpy(),
        },
        {
            "divided by n - 1": (lambda: [-0.577, -0.577, 1.155], "n - 1"),
            "the root forgotten": (lambda: [-0.5, -0.5, 1], "root"),
            "not divided": (lambda: [-1, -1, 2], "standard deviation"),
            "the mean not subtracted": (lambda: [0.71, 0.71, 2.83], "subtracted"),
            "a number often printed": (lambda: [-1.0, 0.5, 0.5], "outputs are not"),
            "two numbers": (lambda: [-0.71, 1.41], "three numbers"),
        },
    ),
    checks.rms_norm: (
        {
            "by hand": rms_norm,
            "in float64": lambda x, gamma, eps=1e-5: rms_norm(x.double(), gamma.double(), eps),
            **({"PyTorch's": pytorchs_rms_norm} if hasattr(F, "rms_norm") else {}),  # PyTorch has it since 2.4
        },
        {
            "layer norm": (
                lambda x, gamma, eps: gamma * F.layer_norm(x, x.shape[-1:], eps=eps),
                "does not subtract",
            ),
            "the sum instead of the mean": (
                lambda x, gamma, eps: gamma * x / torch.sqrt((x**2).sum(-1, keepdim=True) + eps),
                "take their mean",
            ),
            "the root forgotten": (
                lambda x, gamma, eps: gamma * x / ((x**2).mean(-1, keepdim=True) + eps),
                "divide by the square root",
            ),
            "gamma forgotten": (lambda x, gamma, eps: rms_norm(x, torch.ones_like(gamma), eps), "gamma is missing"),
            "eps outside the root": (
                lambda x, gamma, eps: gamma * x / ((x**2).mean(-1, keepdim=True).sqrt() + eps),
                "outside the square root",
            ),
            "eps missing": (
                lambda x, gamma, eps: gamma * x / (x**2).mean(-1, keepdim=True).sqrt(),
                "eps is missing",
            ),
            "eps a constant": (lambda x, gamma, eps: rms_norm(x, gamma), "eps is missing, or a constant"),
            "width 4 as a constant": (
                lambda x, gamma, eps: gamma * x / torch.sqrt((x**2).sum(-1, keepdim=True) / 4 + eps),
                r"shape \(5, 7\).*the output",
            ),
            "over the batch": (
                lambda x, gamma, eps: gamma * x / torch.sqrt((x**2).mean(0, keepdim=True) + eps),
                "mean of a token's squares",
            ),
            "the input changed": (lambda x, gamma, eps: x.div_(x.norm()), "in place"),
            "cut off from the gradient": (
                lambda x, gamma, eps: rms_norm(x.detach(), gamma, eps),
                "no gradient flows",
            ),
        },
    ),
    checks.post_norm_block: (
        {"two lines": PostNorm, "in a row": chain(lambda block: block.ln1, lambda block: block.ln2)},
        {
            "pre-norm": (post_norm(pre_norm), "pre-norm"),
            "the branch normalized, not the sum": (post_norm(norm_of_the_branch), "enclose the whole sum"),
            "one pre, one post": (post_norm(only_the_last), "ln1 is still in front"),
            "one post, one pre": (post_norm(only_the_first), "ln2 is still in front"),
            "the norms swapped": (chain(lambda block: block.ln2, lambda block: block.ln1), "swapped"),
            "ln1 twice": (chain(lambda block: block.ln1, lambda block: block.ln1), "ln1 is used twice"),
            "ln2 twice": (chain(lambda block: block.ln2, lambda block: block.ln2), "ln2 is used twice"),
            "without gamma and beta": (chain(without_weights, without_weights), "gamma and beta are missing"),
            "the second norm forgotten": (post_norm(no_second), "second norm is missing"),
            "no norm at all": (post_norm(lambda self, x: x + self.sa(x) + self.ffwd(x + self.sa(x))), "missing"),
            "the input changed": (post_norm(in_place), "in place"),
            "foward": (Misspelled, "no forward of its own"),
            "cut off from the gradient": (
                post_norm(lambda self, x: PostNorm.forward(self, x.detach())),
                "no gradient flows",
            ),
        },
    ),
    checks.layer_norm_backward: (
        {
            "three terms": layer_norm_backward,
            "in float64": lambda dxhat, x, eps=1e-5: layer_norm_backward(dxhat.double(), x.double(), eps),
            "autograd": through_autograd,
        },
        {
            "the term of the variance forgotten": (without_the_variance, "through the variance is missing"),
            "the term of the mean forgotten": (without_the_mean, "through the mean is missing"),
            "rstd forgotten": (without_rstd, "rstd is missing"),
            "eps forgotten": (
                lambda dxhat, x, eps: gradient(dxhat, x, 1 / deviation(x)),
                "eps is missing",
            ),
            "eps outside the root": (
                lambda dxhat, x, eps: gradient(dxhat, x, 1 / (deviation(x) + eps)),
                "outside the square root",
            ),
            "eps a constant": (lambda dxhat, x, eps: layer_norm_backward(dxhat, x), "eps is missing, or a constant"),
            "divided by n - 1": (
                lambda dxhat, x, eps: gradient(dxhat, x, (deviation(x, correction=1) ** 2 + eps).rsqrt()),
                "n - 1",
            ),
            "the input changed": (in_place_backward, "in place"),
        },
    ),
}
