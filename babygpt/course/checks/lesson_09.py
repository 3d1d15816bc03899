"""Checks of lesson 9, layer norm."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt import v9
from babygpt.course.checks.core import as_tensor, exercise, expect, expect_gradient, expect_same, unchanged


class LayerNorm(nn.Module):
    """What exercise 9.A asks for: each token to mean 0 and variance 1, then a learned scale and shift."""

    def __init__(self, C: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(C))  # (C,)
        self.beta = nn.Parameter(torch.zeros(C))  # (C,)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return F.layer_norm(x, self.gamma.shape, self.gamma, self.beta, self.eps)  # (..., C)


@exercise("9.A")
def layer_norm(answer: Callable[..., nn.Module]) -> None:
    """The answer is a layer norm with the parameters gamma and beta."""
    for shape, eps in (((2, 3, 4), 0.4), ((5, 7), 1e-5)):
        C, which = shape[-1], f"with C = {shape[-1]}, eps = {eps:g}: "
        layer = answer(C, eps)
        named = dict(layer.named_parameters())
        expect(set(named) == {"gamma", "beta"}, "keep gamma and beta, and nothing else, as the parameters")
        with torch.no_grad():
            layer.gamma.copy_(1 + torch.rand(C))
            layer.beta.copy_(torch.randn(C))
        source = (3 + 2 * torch.randn(*shape)).requires_grad_()
        x = source.clone()  # PyTorch itself forbids writing into the source
        with unchanged(x=x):
            output = layer(x)
        found = as_tensor(output, "what forward returns", "return a tensor")
        expected = F.layer_norm(x.double(), (C,), layer.gamma.double(), layer.beta.double(), eps).detach()
        if found.shape == x.shape:
            reject(found, expected, wrong_norms(x.detach(), layer.gamma.detach(), layer.beta.detach(), eps), which)
        expect_same(found, expected, f"{which}the output", "return gamma * xhat + beta")
        for name in ("gamma", "beta") if output.requires_grad else ():
            gradient = torch.autograd.grad(output.sum(), named[name], allow_unused=True, retain_graph=True)[0]
            expect(gradient is not None, f"no gradient reaches {name}, so it would never learn: use self.{name} itself")
        expect_gradient(output, source, "the output", "use PyTorch functions, on x itself")


def wrong_norms(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> dict[str, Tensor]:
    """What comes out of usual mistakes in layer norm, by the message for it."""
    x, gamma, beta = x.double(), gamma.double(), beta.double()
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, correction=0)
    xhat = centered * (variance + eps).rsqrt()
    columns = (x - x.mean(dim=0, keepdim=True)) * (x.var(dim=0, keepdim=True, correction=0) + eps).rsqrt()
    by_n_minus_1 = centered * (x.var(dim=-1, keepdim=True) + eps).rsqrt()
    return {
        "nothing is normalized": gamma * x + beta,
        "the mean is not subtracted": gamma * x * (variance + eps).rsqrt() + beta,
        "divide by the square root of variance + eps, not by the variance itself": gamma * centered / (variance + eps)
        + beta,
        "the variance is divided by n - 1, var's default: pass correction=0": gamma * by_n_minus_1 + beta,
        "this is batch norm: mean and variance must be those of a token, along dim=-1": gamma * columns + beta,
        "eps is outside the square root, and it belongs inside: sqrt(variance + eps)": gamma
        * centered
        / (variance.sqrt() + eps)
        + beta,
        "eps is missing, or a constant: use self.eps": gamma * centered / variance.sqrt() + beta,
        "gamma and beta are missing": xhat,
        "gamma is missing": xhat + beta,
        "beta is missing": gamma * xhat,
        "first multiply by gamma, then add beta": gamma * (xhat + beta),
    }


def reject(found: Tensor, expected: Tensor, mistakes: dict[str, Tensor], which: str = "") -> None:
    """Fail with the message of the mistake that gives `found`, if one does."""
    for message, wrong in mistakes.items():
        can_tell = not torch.allclose(wrong.double(), expected.double(), atol=1e-3)  # a tiny eps hardly matters
        expect(not (can_tell and torch.allclose(found.double(), wrong.double(), atol=5e-4)), f"{which}{message}")


@exercise("9.1")
def normalized_by_hand(answer: Callable[[], list[float]]) -> None:
    """The answer returns the layer norm of [1, 1, 4]."""
    found = as_tensor(answer(), "your answer", "return a list of three numbers").double()
    expect(found.shape == (3,), f"expected three numbers, and the shape is {tuple(found.shape)}")
    expect(abs(found[0] - found[1]) < 1e-6, "inputs 0 and 1 are equal, and their outputs are not")
    expect(abs(found.sum()) < 0.05, f"the sum is {found.sum():.2f} and must be 0: is the mean, 2, subtracted?")
    for ratio, mistake in (
        (0.5**0.5, "this is divided by the variance: divide by its square root"),
        ((2 / 3) ** 0.5, "here the variance is (1 + 1 + 4) / 2: divide by n = 3, not by n - 1"),
        (2**0.5, "the mean is subtracted; now divide by the standard deviation"),
    ):
        expect(abs(found[2] - ratio * 2**0.5) > 0.02, mistake)
    expected = torch.tensor([-1, -1, 2], dtype=torch.float64) / 2**0.5
    expect_same(found, expected, "the list", "subtract 2, then divide by the square root of the variance, 2", atol=0.01)


@exercise("9.2")
def rms_norm(answer: Callable[..., Tensor]) -> None:
    """The answer divides each token by the root mean square of its numbers, and multiplies by gamma."""
    for shape, eps in (((2, 3, 4), 1e-5), ((5, 7), 0.4), ((2, 2, 6), 3.0)):
        C, which = shape[-1], f"for x of the shape {shape}, eps = {eps:g}: "
        source, gamma = (3 + 2 * torch.randn(*shape)).requires_grad_(), 0.5 + torch.rand(C)
        x = source.clone()  # PyTorch itself forbids writing into the source
        with unchanged(x=x, gamma=gamma):
            output = answer(x, gamma, eps)
        found = as_tensor(output, "what rms_norm returns", "return a tensor")
        given = x.detach().double()
        squares = (given**2).mean(dim=-1, keepdim=True)
        sums, columns = (given**2).sum(dim=-1, keepdim=True), (given**2).mean(dim=0, keepdim=True)
        expected = gamma * given * (squares + eps).rsqrt()
        if found.shape == x.shape:
            reject(found, expected, {
                "this is layer norm: RMSNorm does not subtract the mean": gamma
                * F.layer_norm(given, (C,), eps=eps),
                "these are divided by the square root of the sum of the squares: take their mean": gamma
                * given * (sums + eps).rsqrt(),
                "divide by the square root: this is divided by the mean square": gamma * given / (squares + eps),
                "the mean is over the batch: take the mean of a token's squares, along dim=-1": gamma
                * given * (columns + eps).rsqrt(),
                "gamma is missing": given * (squares + eps).rsqrt(),
                "eps is outside the square root, and it belongs inside": gamma * given / (squares.sqrt() + eps),
                "eps is missing, or a constant: use the argument": gamma * given / squares.sqrt(),
            }, which)  # fmt: skip
        look_at = "the mean of a token's squares, plus eps, then the square root"
        expect_same(found, expected, f"{which}the output", look_at)
        expect_gradient(output, source, "the output", "use PyTorch functions, on x itself")


@exercise("9.3")
def post_norm_block(answer: type[v9.Block]) -> None:
    """The answer is a block that normalizes each sum."""
    for config, shape in ((v9.Config(), (2, 8, 32)), (v9.Config(block_size=5, n_embd=24, n_head=3), (3, 4, 24))):
        block = answer(config)
        expect(
            type(block).forward is not v9.Block.forward,
            "the class has no forward of its own: look at its spelling (a small f) and at its indentation",
        )
        with torch.no_grad():  # as after some training; at first both norms are the same
            for ln in (block.ln1, block.ln2):
                ln.weight.copy_(0.5 + torch.rand(config.n_embd))
                ln.bias.copy_(torch.randn(config.n_embd))
        source = (5 * torch.randn(*shape)).requires_grad_()
        x = source.clone()  # PyTorch itself forbids writing into the source
        with unchanged(x=x):
            output = block(x)
        found = as_tensor(output, "the output", "return x at the end of forward")
        with torch.no_grad():
            expected = post_norm(block, x, block.ln1, block.ln2)
            if found.shape == x.shape:
                reject(found, expected, wrong_blocks(block, x))
        expect_same(found, expected, "the output", "x = ln1(x + sa(x)), then the same with ln2 and ffwd")
        expect_gradient(output, source, "the output", "use x itself, without detach, .data or no_grad")


def post_norm(block: v9.Block, x: Tensor, first: Callable[..., Tensor], second: Callable[..., Tensor]) -> Tensor:
    """What a block gives that normalizes its sums by these two norms: (B, T, C) -> (B, T, C)."""
    x = first(x + block.sa(x))
    return second(x + block.ffwd(x))


def wrong_blocks(block: v9.Block, x: Tensor) -> dict[str, Tensor]:
    """What comes out when the norms are in other positions, by the message for it."""
    sa, ffwd, ln1, ln2 = block.sa, block.ffwd, block.ln1, block.ln2
    before, after, branch, raw = x + sa(ln1(x)), ln1(x + sa(x)), x + ln1(sa(x)), x + sa(x)

    def bare(x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:])

    return {
        "this is pre-norm, version 9's own block: normalize the sum, not the input of the part": before
        + ffwd(ln2(before)),
        "the norm must enclose the whole sum, ln1(x + ...): here it normalizes the branch alone": branch
        + ln2(ffwd(branch)),
        "ln1 is still in front of the attention: x = ln1(x + sa(x))": ln2(before + ffwd(before)),
        "ln2 is still in front of ffwd: x = ln2(x + ffwd(x))": after + ffwd(ln2(after)),
        "the two norms are swapped: ln1 belongs to the attention": post_norm(block, x, ln2, ln1),
        "ln1 is used twice: the second norm is ln2": post_norm(block, x, ln1, ln1),
        "ln2 is used twice: the first norm is ln1": post_norm(block, x, ln2, ln2),
        "gamma and beta are missing: call self.ln1 and self.ln2": post_norm(block, x, bare, bare),
        "the norms are missing": raw + ffwd(raw),
        "the second norm is missing": after + ffwd(after),
        "the first norm is missing": ln2(raw + ffwd(raw)),
    }


@exercise("9.4")
def layer_norm_backward(answer: Callable[..., Tensor]) -> None:
    """The answer is the gradient of layer norm with respect to its input."""
    for shape, eps in (((2, 3, 8), 1e-5), ((4, 5), 0.7), ((3, 6), 4.0)):
        which = f"for x of the shape {shape}, eps = {eps:g}: "
        x = (1 + 3 * torch.randn(*shape)).double().requires_grad_()
        dxhat = 1 + torch.randn(*shape).double()
        F.layer_norm(x, shape[-1:], eps=eps).backward(dxhat)
        given, sent = x.detach().float(), dxhat.float()
        with unchanged(dxhat=sent, x=given):
            output = answer(sent, given, eps)
        found = as_tensor(output, "what layer_norm_backward returns", "return a tensor")
        if found.shape == given.shape:
            reject(found, x.grad, wrong_gradients(dxhat, x.detach(), eps), which)
        expect_same(found, x.grad, f"{which}the gradient", "add the three terms, and multiply by rstd", atol=1e-4)


def wrong_gradients(dxhat: Tensor, x: Tensor, eps: float) -> dict[str, Tensor]:
    """What comes out of usual mistakes in the gradient of layer norm, by the message for it."""

    def gradient(rstd: Tensor, variance_term: float = 1, mean_term: float = 1, factor: bool = True) -> Tensor:
        xhat = (x - x.mean(dim=-1, keepdim=True)) * rstd
        through_mean = mean_term * dxhat.mean(dim=-1, keepdim=True)
        through_variance = variance_term * xhat * (dxhat * xhat).mean(dim=-1, keepdim=True)
        return (rstd if factor else 1) * (dxhat - through_mean - through_variance)

    variance = x.var(dim=-1, keepdim=True, correction=0)
    rstd = (variance + eps).rsqrt()
    return {
        "the factor rstd is missing": gradient(rstd, factor=False),
        "the term through the mean is missing: a token's gradient must sum to 0": gradient(rstd, mean_term=0),
        "the term through the variance is missing: the mean of dxhat * xhat comes in": gradient(rstd, variance_term=0),
        "both the term through the mean and the term through the variance are missing": gradient(rstd, 0, 0),
        "the sign of the term through the variance is wrong": gradient(rstd, variance_term=-1),
        "the variance is divided by n - 1, var's default: pass correction=0": gradient(
            (x.var(dim=-1, keepdim=True) + eps).rsqrt()
        ),
        "eps is missing, or a constant: use the argument": gradient(variance.rsqrt()),
        "eps is outside the square root, and it belongs inside": gradient(1 / (variance.sqrt() + eps)),
    }
