"""Checks of lesson 19, many machines."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from babygpt.beyond import data_parallel, gpt2, scale
from babygpt.beyond.data_parallel import simulate
from babygpt.course.checks.core import as_tensor, exercise, expect, expect_same

CONFIG = gpt2.Config(vocab_size=11, block_size=6, n_embd=8, n_head=2, n_layer=1)
LIMIT = 65504.0  # the largest number of float16


def package_accumulate(model: nn.Module, x: Tensor, y: Tensor, parts: int) -> None:
    """Gradients of a batch in parts, for those who leave exercise 19.A open."""
    model.zero_grad()
    for xb, yb in zip(x.chunk(parts), y.chunk(parts), strict=True):
        loss = model(xb, yb)[1] * len(xb) / len(x)
        loss.backward()


package_accumulate.__qualname__ = "accumulate"
package_average = data_parallel.average_gradients


def gradients(model: nn.Module) -> Tensor:
    """All gradients of a model as one vector; those that are missing are 0."""
    return torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in model.parameters()])


def gradients_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The gradients of the loss of some rows, on a copy of the model."""
    model = copy.deepcopy(model)
    model.zero_grad()
    model(x, y)[1].backward()
    return gradients(model)


def refuse(found: Tensor, right: Tensor, mistakes: dict[str, Tensor], case: str) -> None:
    """Fail with the mistake that gives what was found, if it is not what is right."""
    for message, wrong in mistakes.items():
        same = found.shape == wrong.shape and torch.allclose(found.double(), wrong.double(), atol=1e-6)
        expect(not same or torch.allclose(wrong, right, atol=1e-5), f"{case}: {message}")


@exercise("19.A")
def accumulate(answer: Callable[[nn.Module, Tensor, Tensor, int], object]) -> None:
    """The answer computes the gradients of a batch in parts, one part in memory at a time."""
    model = gpt2.Model(CONFIG)
    for rows, parts in ((4, 2), (6, 3), (5, 2), (3, 1)):
        x, y = (torch.randint(11, (rows, 6)) for _ in range(2))
        case = f"with {rows} rows in {parts} parts" if parts > 1 else f"with {rows} rows in one part"
        mine, order = copy.deepcopy(model), []
        for p in mine.parameters():
            p.grad = torch.ones_like(p)  # left over from an earlier step
        mine.register_forward_pre_hook(lambda module, inputs, order=order: order.append(len(inputs[0])))
        mine.lm_head.weight.register_hook(lambda grad, order=order: order.append(0))  # a backward pass
        answer(mine, x, y, parts)
        each = [gradients_of(model, xb, yb) for xb, yb in zip(x.chunk(parts), y.chunk(parts), strict=True)]
        right, found, old = gradients_of(model, x, y), gradients(mine), torch.ones_like(each[0])
        expect(0 in order, f"{case}: there is no backward pass: call backward() on the loss of each part")
        mistakes = {
            "the gradients of the step before are still in: begin with model.zero_grad()": right + old,
            "the gradients of the parts are added up: weight each part by its share of the rows": sum(each),
            "only the last part is left: call zero_grad once, before the loop": each[-1]
            * len(x.chunk(parts)[-1])
            / rows,
            "only the last part is left, and with its full weight: zero_grad belongs before the loop": each[-1],
            "you divide by the number of parts, but not all parts have the same number of rows": sum(each) / parts,
        }
        refuse(found, right, mistakes, case)
        forwards = [n for n in order if n]
        expect(max(forwards) <= math.ceil(rows / parts), f"{case}: a forward pass has {max(forwards)} rows at once")
        together = any(a and b for a, b in zip(order, order[1:], strict=False))
        expect(
            not together,
            f"{case}: a second forward pass runs before the first one's backward pass, so both are in memory: call "
            "backward() in the loop",
        )
        expect_same(found, right, f"the gradient {case}", "for each part: (loss * len(xb) / len(x)).backward()")
        same = all(torch.equal(a, b) for a, b in zip(mine.parameters(), model.parameters(), strict=True))
        expect(same, f"{case}: the weights have changed, and the function should only compute gradients")


@exercise("19.B")
def average_gradients(answer: Callable[[nn.Module, float, Callable[[Tensor], None]], object]) -> None:
    """The answer makes the gradients of each process those of the whole batch."""
    model = gpt2.Model(CONFIG)
    for rows, processes in ((5, 2), (4, 2), (7, 3)):
        x, y = (torch.randint(11, (rows, 6)) for _ in range(2))
        shares = [len(range(rank, rows, processes)) / rows for rank in range(processes)]
        local = [gradients_of(model, x[rank::processes], y[rank::processes]) for rank in range(processes)]

        def work(rank: int, all_reduce: Callable[[Tensor], None], processes: int = processes) -> tuple[Tensor, Tensor]:
            mine = copy.deepcopy(model)
            mine(x[rank::processes], y[rank::processes])[1].backward()  # noqa: B023
            answer(mine, shares[rank], all_reduce)  # noqa: B023
            return gradients(mine), nn.utils.parameters_to_vector(mine.parameters()).detach()

        found = simulate(processes, work)
        right = gradients_of(model, x, y)
        case = f"with {rows} rows and {processes} processes"
        for rank, (gradient, weights) in enumerate(found):
            expect(
                torch.equal(weights, nn.utils.parameters_to_vector(model.parameters()).detach()),
                f"{case}: process {rank} has other weights now; change the gradients, p.grad",
            )
            mistakes = {
                "the gradients of each process are still those of its own rows: call all_reduce(p.grad)": local[rank],
                "the gradients are weighted, but not added up over the processes": local[rank] * shares[rank],
                "the gradients are added up, but not weighted: multiply each by the process's share first": sum(local),
                "you average with equal weights; a process with more rows counts more": sum(local) / processes,
                "the share comes after all_reduce; then each process multiplies the same sum by its own share": (
                    sum(local) * shares[rank]
                ),
            }
            refuse(gradient, right, mistakes, f"{case}, process {rank}")
            look_at = "p.grad *= share, then all_reduce(p.grad), for each parameter"
            expect_same(gradient, right, f"the gradient {case} in process {rank}", look_at)


@exercise("19.1")
def count_bytes(answer: Callable[[nn.Module, torch.optim.Optimizer], int]) -> None:
    """The answer adds up the bytes of weights, gradients and what an optimizer keeps."""
    for optimizer_class, tied in ((torch.optim.AdamW, True), (torch.optim.AdamW, False), (torch.optim.SGD, True)):
        model = gpt2.Model(gpt2.Config(**vars(CONFIG) | {"tied": tied}))
        optimizer = optimizer_class(model.parameters(), lr=1e-3)
        n = sum(p.numel() for p in model.parameters())
        for trained in (False, True):
            if trained:
                x = torch.randint(11, (2, 6))
                model(x, x)[1].backward()
                optimizer.step()
            kept = sum(t.nbytes for s in optimizer.state.values() for t in s.values() if isinstance(t, Tensor))
            steps = sum(
                t.nbytes for s in optimizer.state.values() for t in s.values() if isinstance(t, Tensor) and t.dim() == 0
            )
            gradient = 4 * n if trained else 0
            right = 4 * n + gradient + kept
            found = int(as_tensor(answer(model, optimizer), "what count_bytes returns", "return a number"))
            when = "after a step" if trained else "before the first step"
            case = f"with {optimizer_class.__name__}, {when}"
            twice = 4 * model.wte.weight.numel() if tied else 0
            mistakes = {
                "you count numbers, and a float32 has 4 bytes": right // 4,
                "the matrix that embedding and output layer share is counted twice: go through model.parameters()": (
                    right + twice
                ),
                "4 bytes a parameter are missing: the gradients, or one of AdamW's two averages": (
                    right - 4 * n if kept else -1
                ),
                "the gradients are missing": right - gradient,
                "what the optimizer keeps is missing": right - kept,
                "it is the formula of 16 bytes a parameter, which holds for AdamW after its first step": 16 * n,
            }
            for message, wrong in mistakes.items():
                expect(found != wrong or wrong in (right, right - steps), f"{case}: {message}")
            # AdamW also counts its steps, a number for each tensor. With or without these is right.
            expect(found in (right, right - steps), f"{case} you count {found:,} bytes, expected {right:,}")


@exercise("19.2")
def utilization(answer: Callable[..., float]) -> None:
    """The answer is the share of a machine's operations that a training step uses."""
    for config, B, seconds, peak in (
        (gpt2.Config(), 12, 0.135, 312e12),
        (gpt2.Config(vocab_size=65, block_size=256, n_embd=384, n_head=6, n_layer=6), 64, 1.5, 4e11),
        (CONFIG, 4, 1e-3, 1e9),
    ):
        n = scale.parameters(config) - config.block_size * config.n_embd
        L, H, Q, T = config.n_layer, config.n_head, config.n_embd // config.n_head, config.block_size
        output = answer(n, L, H, Q, T, B, seconds, peak)
        found = float(as_tensor(output, "what utilization returns", "return a number"))
        right = (6 * n + 12 * L * H * Q * T) * B * T / seconds / peak
        case = f"for N = {n:,}, T = {T} and B = {B}"
        mistakes = {
            "this counts the forward pass alone: the backward pass takes twice as many": right / 3,
            "attention is missing: add 12 L H Q T for each token": 6 * n * B * T / seconds / peak,
            "this counts one token of each row: a step has B * T tokens": right / T,
            "this counts a single token: a step has B * T": right / T / B,
            "this is in percent: return the share": 100 * right,
            "this is the number of operations in a second: divide by the peak": right * peak,
            "this multiplies by the seconds: operations a second are operations / seconds": right * seconds**2,
        }
        for message, wrong in mistakes.items():
            expect(not math.isclose(found, wrong, rel_tol=1e-6), f"{case}: {message}")
        look_at = "(6 N + 12 L H Q T) operations a token, times B T tokens, divided by seconds and peak"
        expect(
            math.isclose(found, right, rel_tol=1e-6), f"{case} you return {found:.4g}, expected {right:.4g}: {look_at}"
        )


@exercise("19.3")
def scaled_step(answer: Callable[..., float]) -> None:
    """The answer steps with a scaled loss, and skips a step whose gradients overflow."""

    def weights_after(gradients: list[float], scale: float, lr: float = 0.5) -> tuple[list[float], float, list[int]]:
        params = [nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([3.0]))]
        optimizer, calls = torch.optim.SGD(params, lr=lr), []
        step = optimizer.step
        optimizer.step = lambda *args: (calls.append(1), step(*args))[1]
        for p, slope in zip(params, gradients, strict=True):  # gradients in float16, as on a GPU
            p.register_hook(lambda grad: grad.masked_fill(grad.abs() > LIMIT, float("inf")))
            p.slope = slope
        loss = sum((p * p.slope).sum() for p in params)
        new = answer(loss, params, optimizer, scale)
        return [x for p in params for x in p.tolist()], float(new), calls

    small, scale_ = [0.25, -0.5], 1024.0
    weights, new, calls = weights_after(small, scale_)
    right = [1 - 0.125, 2 - 0.125, 3 + 0.25]
    case = f"with gradients of {small} and a scale of {scale_:g}"
    start = [1.0, 2.0, 3.0]
    expect(weights != start or not calls, f"{case} the optimizer steps, but there are no gradients: call backward()")
    expect(weights != start, f"{case} the weights don't change: call optimizer.step()")
    expect(
        weights != [1 - 0.125 * scale_, 2 - 0.125 * scale_, 3 + 0.25 * scale_],
        f"{case} the step is {scale_:g} times too large: divide the gradients by the scale before the step",
    )
    look_at = "scale the loss, backward, divide each gradient by the scale, step"
    expect(
        weights != [1 - 0.125 / scale_, 2 - 0.125 / scale_, 3 + 0.25 / scale_],
        f"{case} the step is {scale_:g} times too small: multiply the loss by the scale before backward()",
    )
    expect_same(weights, right, f"{case} the weights", look_at)
    expect(new == scale_, f"{case} you return a scale of {new:g}: nothing overflowed, so it stays {scale_:g}")
    for gradients_ in ([100.0, 0.5], [0.5, -100.0]):
        case = f"with gradients of {gradients_} and a scale of {scale_:g}, which overflow in float16"
        weights, new, calls = weights_after(gradients_, scale_)
        expect(
            all(math.isfinite(w) for w in weights),
            f"{case}, the weights are {weights}: skip the step if a gradient of any parameter is not finite",
        )
        expect(weights == start and not calls, f"{case}, you step: skip it, for all parameters")
        expect(new == scale_ / 2, f"{case}, you return a scale of {new:g}: return half of it, {scale_ / 2:g}")
