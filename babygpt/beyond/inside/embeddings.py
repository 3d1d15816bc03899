"""Finding 1: which characters have similar vectors?

Two statistics, and for each the question what it would be by chance. The first: how similar are the characters of one
kind, compared with as many characters drawn at random? The second: of how many characters is the nearest neighbor of
the same kind? Compare that with kinds that are dealt out at random.
"""

import string

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("vowel", "consonant", "capital", "other")
TIMES = 10_000


def kind(character: str) -> str:
    """The kind of a character. Vowels and consonants are lowercase letters; what is no letter is "other"."""
    if character in "aeiou":
        return "vowel"
    if character in string.ascii_lowercase:
        return "consonant"
    return "capital" if character in string.ascii_uppercase else "other"


def cosines(table: Tensor) -> Tensor:
    """How nearly two rows point in the same direction, from -1 to 1: (V, C) -> (V, V)."""
    unit = F.normalize(table, dim=1)  # (V, C)
    return unit @ unit.T  # (V, V)


def similarity(cos: Tensor, chosen: Tensor) -> Tensor:
    """The mean cosine of all pairs among n chosen rows: (V, V) and (..., n) -> (...)."""
    n = chosen.shape[-1]
    pairs = cos[chosen[..., :, None], chosen[..., None, :]]  # with the 1 of each row and itself
    return (pairs.sum(dim=(-2, -1)) - n) / (n * (n - 1))


def similarity_by_chance(cos: Tensor, n: int, times: int = TIMES, seed: int = 0) -> Tensor:
    """The similarity of n rows drawn at random, many times: (V, V) -> (times,)."""
    order = torch.rand(times, len(cos), generator=torch.Generator().manual_seed(seed)).argsort(dim=1)  # (times, V)
    return similarity(cos, order[:, :n])  # (times,)


def neighbors(cos: Tensor) -> Tensor:
    """For each row the other row with the largest cosine: (V, V) -> (V,)."""
    V = len(cos)
    itself = torch.eye(V, dtype=torch.bool)  # (V, V)
    return cos.masked_fill(itself, float("-inf")).argmax(dim=1)  # (V,)


def same_kind(nearest: Tensor, kinds: Tensor) -> Tensor:
    """The share of rows whose neighbor is of their own kind: (V,) and (..., V) -> (...)."""
    return (kinds[..., nearest] == kinds).float().mean(dim=-1)


def same_kind_by_chance(nearest: Tensor, kinds: Tensor, times: int = TIMES, seed: int = 0) -> Tensor:
    """The same if the kinds are dealt out at random, many times: (V,) and (V,) -> (times,)."""
    order = torch.rand(times, len(kinds), generator=torch.Generator().manual_seed(seed)).argsort(dim=1)  # (times, V)
    return same_kind(nearest, kinds[order])  # (times,)


def own_capitals(cos: Tensor, chars: str) -> str:
    """The capitals whose most similar lowercase letter is their own: (V, V) and V characters -> for example "ABD"."""
    lowercase = [chars.index(letter) for letter in string.ascii_lowercase]
    found = cos[:, lowercase].argmax(dim=1).tolist()
    return "".join(c for c in string.ascii_uppercase if string.ascii_lowercase[found[chars.index(c)]] == c.lower())


def p_value(found: Tensor | float, by_chance: Tensor) -> float:
    """How often chance gives at least as much as was found. It is never 0, because what was found counts as a draw."""
    return (1 + (by_chance >= found).sum().item()) / (1 + len(by_chance))


def pca(table: Tensor, k: int = 2) -> tuple[Tensor, Tensor]:
    """Where the rows lie on the k axes along which they differ most: (V, C) -> (V, k); and the axes' shares, (k,).

    A share is the part of the variance that lies along an axis. The sign of an axis is arbitrary; here the coordinate
    that is farthest from 0 is positive.
    """
    centered = table - table.mean(dim=0)  # (V, C)
    U, S, _ = torch.linalg.svd(centered, full_matrices=False)
    points = U[:, :k] * S[:k]  # (V, k)
    signs = points.gather(0, points.abs().argmax(dim=0, keepdim=True)).sign()  # (1, k)
    return points * signs, S[:k].square() / S.square().sum()
