"""Did a step help? A paired t-test over seeds, in plain words.

Both sides of a pair have the same seed, so they saw the same batches in the same order: what
a seed does to both drops out of the difference.
"""

import math
from collections.abc import Sequence
from statistics import mean, stdev

LEVEL = 0.05
SMALL = 0.002  # nats; versions 2, 3 and 4 compute the same average, and differ by rounding

HELPED, WORSE, SAME, NOISE = "helped", "made it worse", "no difference", "cannot be told apart from noise"
TEST = (
    f"The verdict is that of a paired t-test over seeds (two-sided, level {LEVEL:.0%} for each step, so that about one "
    f"verdict in {1 / LEVEL:.0f} on a step without effect is a false alarm). "
    f"A mean difference below {SMALL} nats counts as none."
)


def verdict(before: Sequence[float], after: Sequence[float]) -> str:
    """What a change did to the loss, given the losses of the same seeds before and after; "" for fewer than two."""
    differences = [b - a for a, b in zip(before, after, strict=True)]
    if len(differences) < 2:
        return ""
    change, p = mean(differences), p_value(differences)
    if abs(change) < SMALL and (p < LEVEL or max(map(abs, differences)) < SMALL):
        return SAME
    if abs(change) < SMALL or p >= LEVEL:
        return NOISE
    return HELPED if change < 0 else WORSE


def p_value(differences: Sequence[float]) -> float:
    """How often differences whose true mean is 0 would lie at least as far from it: the two-sided t-test."""
    n, spread = len(differences), stdev(differences)
    if spread == 0:
        return 0.0 if mean(differences) else 1.0
    return t_test(mean(differences) / (spread / math.sqrt(n)), n - 1)


def t_test(t: float, df: int) -> float:
    """The probability that Student's t with `df` degrees of freedom is beyond t on either side.

    With t = sqrt(df) * tan(angle), the density becomes a power of the cosine: Simpson's rule does the rest. The one
    number that is needed here is not worth a dependency on scipy.
    """
    steps, end = 1000, math.atan(abs(t) / math.sqrt(df))
    weights = [1] + [4, 2] * (steps // 2 - 1) + [4, 1]
    area = sum(w * math.cos(end * i / steps) ** (df - 1) for i, w in enumerate(weights)) * end / steps / 3
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(math.pi)
    return max(0.0, 1 - 2 * scale * area)
