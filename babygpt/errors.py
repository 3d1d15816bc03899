"""Bad input gets one sentence; a bug keeps its traceback."""


class UserError(ValueError):
    """Bad input. The message says what is wrong, the value seen, and what to do."""


def require(condition: bool, message: str) -> None:
    """Raise UserError with `message` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def require_within(settings: object, low: float, high: float, *names: str) -> None:
    """Raise UserError unless every named field of `settings` is a number from `low` to `high`, both included."""
    for name in names:
        value = getattr(settings, name)
        require(low <= value <= high, f"{name} must be from {low} to {high}, and it is {value}")
