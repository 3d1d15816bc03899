"""Did a step help? A paired t-test over seeds.

Both runs of a pair have the same seed, so they saw the same batches in the same order. What a seed does to
both of them cancels in their difference.
"""

import math
from collections.abc import Sequence
from statistics import mean, stdev

LEVEL = 0.05
SMALL = 0.002  # nats; versions 2, 3 and 4 compute the same average and differ only by rounding

HELPED, WORSE, SAME, NOISE = "helped", "made it worse", "no difference", "cannot be told apart from noise"
TEST = (
    f"The verdict comes from a paired t-test over seeds (two-sided, level {LEVEL:.0%} for each step). About one step "
    f"in {1 / LEVEL:.0f} that has no effect will still be said to have one. A mean difference below {SMALL} nats "
    "counts as no difference."
)


def verdict(before: Sequence[float], after: Sequence[float]) -> str:
    """What a change did to the loss, given the losses of the same seeds before and after; "" for one seed."""
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
    """The probability of differences at least this far from 0 on average if their true mean were 0 (two-sided)."""
    n, spread = len(differences), stdev(differences)
    if spread == 0:
        return 0.0 if mean(differences) else 1.0
    return t_test(mean(differences) / (spread / math.sqrt(n)), n - 1)


def t_test(t: float, df: int) -> float:
    """The probability that Student's t with `df` degrees of freedom is beyond t on either side.

    Substituting t = sqrt(df) * tan(angle) turns the density into a power of the cosine, which Simpson's rule
    integrates. A dependency on scipy would be too much for this one number.
    """
    steps, end = 1000, math.atan(abs(t) / math.sqrt(df))
    weights = [1] + [4, 2] * (steps // 2 - 1) + [4, 1]
    area = sum(w * math.cos(end * i / steps) ** (df - 1) for i, w in enumerate(weights)) * end / steps / 3
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(math.pi)
    return max(0.0, 1 - 2 * scale * area)
