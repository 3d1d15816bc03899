"""What all checks share."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class CheckFailed(AssertionError):
    """The answer is wrong. The message says what was seen, what was expected, and where to look."""


def exercise(number: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a check of a function that calls `expect` and `expect_same`.

    Args:
        number: the number of the exercise, "5.2" say.
    """

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(check)
        def wrapper(*answers: Any) -> None:
            try:
                # The learner's random numbers stay as they are, and the check is the same every time.
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    check(*answers)
            except NotImplementedError:
                print(f"Exercise {number} is still open.")
                return
            except CheckFailed as failure:
                raise CheckFailed(f"Exercise {number}: {failure}") from None
            except Exception as error:
                raise CheckFailed(
                    f"Exercise {number}: your code stopped with {type(error).__name__}: {error}"
                ) from error
            print(f"Exercise {number} is right.")

        wrapper.exercise = number
        return wrapper

    return decorate


def expect(condition: bool | Tensor, message: str) -> None:
    """Fail with `message` unless `condition` holds."""
    if not bool(condition):
        raise CheckFailed(message)


def expect_same(found: Any, expected: Any, what: str, look_at: str, atol: float = 1e-5) -> None:
    """Fail unless `found` is a tensor (or number) equal to `expected`, in shape and in values to `atol`."""
    expected = torch.as_tensor(expected)
    if not isinstance(found, Tensor):
        if not isinstance(found, int | float | list | tuple):
            raise CheckFailed(f"{what} is {type(found).__name__}, expected a tensor: {look_at}")
        found = torch.as_tensor(found)
    found = found.detach()
    if found.shape != expected.shape:
        raise CheckFailed(f"{what} has the shape {tuple(found.shape)}, expected {tuple(expected.shape)}: {look_at}")
    if not torch.allclose(found.double(), expected.double(), atol=atol):
        raise CheckFailed(f"{what} is {differing_row(found, expected)}: {look_at}")


def differing_row(found: Tensor, expected: Tensor) -> str:
    """The two tensors in one line: the numbers, or the rows that differ most."""
    if found.dim() == 0:
        return f"{found.item():.4g}, expected {expected.item():.4g}"
    wide = found.reshape(-1, found.shape[-1]), expected.reshape(-1, found.shape[-1])
    row = (wide[0].double() - wide[1].double()).abs().nan_to_num(nan=float("inf")).amax(dim=1).argmax().item()
    where = f" (row {row})" if found.dim() == 2 else ""

    def short(numbers: Tensor) -> str:
        return "[" + ", ".join(f"{x:.4g}" for x in numbers[:6].tolist()) + (", ..." if len(numbers) > 6 else "") + "]"

    return f"{short(wide[0][row])}, expected {short(wide[1][row])}{where}"
