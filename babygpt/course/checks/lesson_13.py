"""Checks of lesson 13, gradients by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy import ndarray as Array
from torch import Tensor

from babygpt.beyond import layers_by_hand
from babygpt.course.checks.core import as_tensor, exercise, expect, expect_same


def untouched(before: dict[str, Array], after: dict[str, Array]) -> None:
    """Fail if the answer has changed one of its inputs."""
    for name, array in after.items():
        expect(np.array_equal(before[name], array), f"your code changes its input {name}: make a copy first")


def three(found: Any, names: Sequence[str]) -> list[Any]:
    """The answer as a list of as many things as there are names."""
    good = isinstance(found, tuple | list) and len(found) == len(names)
    expect(good, f"return {len(names)} things: {', '.join(names)}")
    return list(found)


def package_matmul_backward(dout: Array, inp: Array, weight: Array) -> tuple[Array, Array, Array]:
    """The package's backward pass, with the gradients of the parameters returned, for those who leave 13.A open."""
    dweight, dbias = np.zeros_like(weight), np.zeros(len(weight), weight.dtype)
    return layers_by_hand.matmul_backward(dout, inp, weight, dweight, dbias), dweight, dbias


package_matmul_backward.__qualname__ = "matmul_backward"  # as `choose` prints it


@exercise("13.A")
def matmul_backward(answer: Callable[[Array, Array, Array], tuple[Array, Array, Array]]) -> None:
    """The answer returns the three gradients of a linear layer."""
    rng = np.random.default_rng(0)
    for B, T, C, OC in ((2, 3, 4, 5), (1, 1, 3, 2), (3, 2, 4, 4), (2, 5, 6, 1)):
        given = {"dout": rng.standard_normal((B, T, OC)), "inp": rng.standard_normal((B, T, C)),
                 "weight": rng.standard_normal((OC, C))}  # fmt: skip
        before = {name: array.copy() for name, array in given.items()}
        names = ("dinp", "dweight", "dbias")
        found = three(answer(*given.values()), names)
        untouched(before, given)
        inp, weight, bias = (torch.tensor(a, requires_grad=True) for a in (given["inp"], given["weight"], np.zeros(OC)))
        F.linear(inp, weight, bias).backward(torch.tensor(given["dout"]))
        hints = (
            "dout @ weight has its shape",
            "dout and inp as rows: (OC, B * T) @ (B * T, C)",
            "sum dout over B and T",
        )
        for name, value, right, look_at in zip(names, found, (inp.grad, weight.grad, bias.grad), hints, strict=True):
            value = as_tensor(value, name, look_at)
            averaged = value.shape == right.shape and B * T > 1 and torch.allclose(value.double(), right / (B * T))
            expect(
                not averaged or name == "dinp",
                f"{name} is divided by B * T: here gradients are added; the loss has been averaged already",
            )
            case = f"{name} for (B, T, C) = {(B, T, C)} and OC = {OC}"
            expect_same(value, right, case, look_at, atol=1e-8)


@exercise("13.B")
def cross_entropy_backward(answer: Callable[[Array, Array], Array]) -> None:
    """The answer is the gradient of the mean cross-entropy with respect to the logits."""
    rng = np.random.default_rng(0)
    for B, T, V in ((2, 3, 5), (1, 1, 4), (3, 2, 7)):
        logits = torch.tensor(rng.standard_normal((B, T, V)), requires_grad=True)
        targets = rng.integers(V, size=(B, T))
        F.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten()).backward()
        probs = logits.detach().softmax(dim=-1).numpy()
        given = {"probs": probs, "targets": targets}
        before = {name: array.copy() for name, array in given.items()}
        found = answer(probs, targets)
        untouched(before, given)
        case = f"the gradient for (B, T, V) = {(B, T, V)}"
        found = as_tensor(found, case, "return an array of the shape of probs").double()
        right = logits.grad
        if found.shape == right.shape and B * T > 1:
            mistakes = {
                "it is not divided by the number of positions, B * T": right * B * T,
                "it is divided by B only, and the loss is the mean over all B * T positions": right * T,
                "the sign is wrong: subtract 1 from the probability of the target": -right,
                "1 is not subtracted at the targets": torch.tensor(before["probs"]) / (B * T),
            }
            for message, wrong in mistakes.items():
                expect(not torch.allclose(found, wrong, atol=1e-9), f"{case}: {message}")
        expect_same(found, right, case, "(probs, minus 1 at each target) / (B * T)", atol=1e-8)


@exercise("13.1")
def adamw_step(answer: Callable[..., tuple[Array, Array, Array]]) -> None:
    """The answer is PyTorch's AdamW, for several steps."""
    for lr, decay, betas in ((1e-3, 0.01, (0.9, 0.999)), (0.1, 0.5, (0.8, 0.95))):
        rng = np.random.default_rng(0)
        p, m, v = rng.standard_normal(5), np.zeros(5), np.zeros(5)
        theirs = torch.tensor(p, requires_grad=True)
        optimizer = torch.optim.AdamW([theirs], lr=lr, betas=betas, weight_decay=decay)
        start = p.copy()
        for t in range(1, 6):
            grad = rng.standard_normal(5) * 10.0 ** rng.integers(-3, 3, size=5)
            theirs.grad = torch.tensor(grad)
            optimizer.step()
            given = {"p": p, "grad": grad, "m": m, "v": v}
            before = {name: array.copy() for name, array in given.items()}
            found = answer(p, grad, m, v, t, lr=lr, beta1=betas[0], beta2=betas[1], weight_decay=decay)
            untouched(before, given)
            p, m, v = (np.asarray(x) for x in three(found, ("p", "m", "v")))
            right = theirs.detach()
            where = f"p after step {t}"
            value = as_tensor(p, where, "return p, m, v").double()
            if t == 1 and value.shape == right.shape:
                moved = torch.tensor(start) - value
                without = torch.tensor(lr * (1 - betas[0]) * grad / (np.sqrt((1 - betas[1]) * grad**2) + 1e-8))
                mistakes = {
                    "p moves in the direction of the gradient: the step goes against it": -torch.tensor(
                        lr * (grad / (np.abs(grad) + 1e-8) - decay * start)
                    ),
                    "m and v are not corrected: divide by 1 - beta1**t and 1 - beta2**t": without
                    + torch.tensor(lr * decay * start),
                    "the weight decay is missing, lr * weight_decay * p": torch.tensor(
                        lr * grad / (np.abs(grad) + 1e-8)
                    ),
                    "this is a step of SGD: divide by the root of v": torch.tensor(lr * grad + lr * decay * start),
                }
                for message, wrong in mistakes.items():
                    expect(not torch.allclose(moved, wrong, rtol=1e-4, atol=1e-9), f"{where}: {message}")
            look_at = "m and v are running means, both corrected; the decay uses the old p and not the gradient"
            expect_same(value, right, where, look_at, atol=1e-8)


@exercise("13.2")
def place(answer: Callable[[int, int, int, int, int], int]) -> None:
    """The answer finds a number of qkvw in llm.c's block."""
    for start, C in ((0, 4), (100, 6), (39_438_336, 768)):
        for layer, i, j in ((0, 0, 0), (0, 0, C - 1), (0, 2, 1), (1, 0, 0), (2, 3 * C - 1, C - 1)):
            found = as_tensor(answer(start, layer, i, j, C), "your answer", "return a number").double()
            expect(found.numel() == 1, "return a single number")
            right = start + layer * 3 * C * C + i * C + j
            hints = {
                "rows and columns are swapped: numbers of a row lie side by side": start
                + layer * 3 * C * C
                + j * 3 * C
                + i,
                "a layer has 3 * C * C numbers, not C * C": start + layer * C * C + i * C + j,
                "the start is missing": right - start,
            }
            case = f"with start {start:,} and C = {C}, qkvw[{layer}, {i}, {j}]"
            for message, wrong in hints.items():
                expect(found.item() != wrong or wrong == right, f"{case}: {message}")
            expect(
                found.item() == right,
                f"{case} lies at {right:,}, and you say {found.item():,.0f}: skip {layer} layers, {i} rows, and {j} "
                "numbers",
            )


@exercise("13.3")
def norm_backward(answer: Callable[[Array, Array, Array], Array]) -> None:
    """The answer is the gradient of the input of a layer norm."""
    rng = np.random.default_rng(0)
    for shape in ((8,), (2, 5), (2, 3, 12)):
        inp = torch.tensor(3 * rng.standard_normal(shape) + 1, requires_grad=True)
        dnorm = rng.standard_normal(shape)
        F.layer_norm(inp, shape[-1:], eps=0).backward(torch.tensor(dnorm))
        values = inp.detach().numpy()
        rstd = 1 / values.std(axis=-1, keepdims=True)
        norm = (values - values.mean(axis=-1, keepdims=True)) * rstd
        given = {"dnorm": dnorm, "norm": norm, "rstd": rstd}
        before = {name: array.copy() for name, array in given.items()}
        found = answer(dnorm, norm, rstd)
        untouched(before, given)
        case, right = f"the gradient for the shape {shape}", inp.grad
        found = as_tensor(found, case, "return an array of the shape of dnorm").double()
        if found.shape == right.shape:
            d, n, r = (torch.tensor(array) for array in (dnorm, norm, rstd))
            mean, along = d.mean(-1, keepdim=True), n * (d * n).mean(-1, keepdim=True)
            mistakes: dict[str, Tensor] = {
                "the way through the mean is missing: subtract the mean of dnorm": r * (d - along),
                "the way through the standard deviation is missing: norm * mean(dnorm * norm)": r * (d - mean),
                "only the direct way is there": r * d,
                "rstd is missing: a change of inp changes norm by rstd times as much": d - mean - along,
            }
            for message, wrong in mistakes.items():
                expect(not torch.allclose(found, wrong, atol=1e-9), f"{case}: {message}")
        expect_same(
            found, right, case, "rstd * (dnorm - mean(dnorm) - norm * mean(dnorm * norm)), means over C", atol=1e-8
        )
