"""What all checks share."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from babygpt.course.tracebacks import not_implemented, what_stopped
from babygpt.harness.reports import send

Answer = TypeVar("Answer")

_solved: set[str] = set()  # the exercises whose check has passed in this process


class CheckFailed(AssertionError):
    """The answer is wrong. The message says what was seen, what was expected, and where to look."""

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows: the sentence alone."""
        return [str(self)]


def exercise(number: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a check out of a function that calls `expect` and `expect_same`.

    Args:
        number: the number of the exercise, for example "5.2", or "5.A" for the piece that a lesson builds.
    """

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(check)
        def wrapper(*answers: Any) -> None:
            _solved.discard(number)
            cause: Exception | None = None
            try:
                # The check is the same every time, and the learner's random numbers stay as they are.
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    check(*answers)
            except NotImplementedError as error:
                problem, cause = not_implemented(error, answers), error
                if problem is None:
                    print(f"Exercise {number} is still open.")
                    return
            except CheckFailed as failure:
                problem = str(failure)
            except Exception as error:
                problem, cause = what_stopped(error), error
            else:
                _solved.add(number)
                send("check", exercise=number, right=True)
                print(f"Exercise {number} is right.")
                return
            send("check", exercise=number, right=False)
            raise CheckFailed(f"Exercise {number}: {problem}") from cause

        wrapper.exercise = number
        return wrapper

    return decorate


def solved(number: str) -> bool:
    """Whether the check of an exercise has passed. A cell that uses the learner's answer asks this first."""
    return number in _solved


def choose(number: str, mine: Answer, package: Answer) -> Answer:
    """The learner's own piece if its check has passed, and the package's if not; prints which one it is."""
    name = getattr(package, "__qualname__", str(package))
    if solved(number):
        print(f"From here on the notebook uses your {getattr(mine, '__name__', 'answer')}.")
        return mine
    print(f"Exercise {number} is not solved yet, so from here on the notebook uses babygpt's {name}.")
    return package


def expect(condition: bool | Tensor, message: str) -> None:
    """Fail with `message` unless `condition` holds."""
    if not bool(condition):
        raise CheckFailed(message)


def as_tensor(found: Any, what: str, look_at: str) -> Tensor:
    """An answer as a tensor: a tensor, a NumPy array, a number, or a nested list of any of them.

    Fails, naming `what`, if it is something else.
    """
    if isinstance(found, Tensor):
        return found.detach()
    try:
        if isinstance(found, list | tuple) and any(isinstance(part, Tensor) for part in found):
            return torch.stack([as_tensor(part, what, look_at) for part in found])
        return torch.from_numpy(np.array(found))
    except (TypeError, ValueError, RuntimeError):
        raise CheckFailed(f"{what} is of type {type(found).__name__}, expected a tensor: {look_at}") from None


def expect_same(found: Any, expected: Any, what: str, look_at: str, atol: float = 1e-5) -> None:
    """Fail unless `found` equals `expected`, in shape and, compared in float64, in values to `atol`."""
    expected, found = torch.as_tensor(expected), as_tensor(found, what, look_at)
    if found.shape != expected.shape:
        raise CheckFailed(f"{what} has the shape {tuple(found.shape)}, expected {tuple(expected.shape)}: {look_at}")
    if not torch.allclose(found.double(), expected.double(), atol=atol, rtol=1e-5):
        raise CheckFailed(f"{what} is {differing_row(found, expected)}: {look_at}")


@contextmanager
def unchanged(**inputs: Tensor) -> Iterator[None]:
    """Fail if the answer changes one of the tensors that it was given: `with unchanged(x=x): ...`."""
    before = {name: tensor.detach().clone() for name, tensor in inputs.items()}
    yield
    for name, tensor in inputs.items():
        expect(
            torch.equal(tensor.detach(), before[name]),
            f"your code changes its input {name} in place: make a new tensor, for example with x = x + ... "
            f"instead of x += ...",
        )


def expect_gradient(output: Tensor, source: Tensor, what: str, look_at: str) -> None:
    """Fail unless a gradient flows from `output` back to `source`, which must require one."""
    flows = isinstance(output, Tensor) and output.requires_grad
    gradient = torch.autograd.grad(output.double().square().sum(), source, allow_unused=True)[0] if flows else None
    expect(gradient is not None, f"no gradient flows from {what} back to its input, so nothing could learn: {look_at}")


def differing_row(found: Tensor, expected: Tensor) -> str:
    """The two tensors in one line: the numbers, or the rows that differ most, with enough digits to differ."""
    if found.dim() == 0:
        wide = found.reshape(1, 1), expected.reshape(1, 1)
    else:
        wide = found.reshape(-1, found.shape[-1]), expected.reshape(-1, found.shape[-1])
    row = (wide[0].double() - wide[1].double()).abs().nan_to_num(nan=float("inf")).amax(dim=1).argmax().item()
    where = f" (row {row})" if found.dim() == 2 else ""
    pair = [part[row].tolist() for part in wide]
    texts = ["", ""]
    for digits in (4, 6, 9):
        texts = [short(numbers, digits, found.dim() == 0) for numbers in pair]
        if texts[0] != texts[1]:
            break
    return f"{texts[0]}, expected {texts[1]}{where}"


def short(numbers: list[float], digits: int, alone: bool) -> str:
    """Numbers in a line: at most six of them."""
    texts = [f"{x:.{digits}g}" for x in numbers[:6]]
    return texts[0] if alone else "[" + ", ".join(texts) + (", ..." if len(numbers) > 6 else "") + "]"


def expect_forward(module: nn.Module) -> None:
    """Fail unless the module's class has a method `forward`: PyTorch's own says NotImplementedError, like a stub."""
    if type(module).forward is not nn.Module.forward:
        return
    near = get_close_matches("forward", [name.lower() for name in vars(type(module))])
    names = [name for name in vars(type(module)) if name.lower() in near]
    name = type(module).__name__
    if names:
        expect(False, f"{name} has a method named {names[0]!r}, which PyTorch doesn't know: the name must be 'forward'")
    expect(
        False,
        f"{name} has no method named 'forward': define one, indented as far as __init__ and not inside of it",
    )
