"""Right answers to the exercises of lesson 11, and wrong ones that people really give."""

import math
from collections import Counter

import torch

from babygpt.beyond import bpe
from babygpt.course.checks import lesson_11 as checks


def count_pairs(words):
    counts = {}
    for word, count in words.items():
        for i in range(len(word) - 1):
            counts[word[i : i + 2]] = counts.get(word[i : i + 2], 0) + count
    return counts


def words_counted_once(words):
    return Counter(pair for word in words for pair in zip(word, word[1:], strict=False))


def pairs_counted_once_per_word(words):
    counts = Counter()
    for word, count in words.items():
        for pair in set(zip(word, word[1:], strict=False)):
            counts[pair] += count
    return counts


def all_combinations(words):
    counts = Counter()
    for word, count in words.items():
        for i, a in enumerate(word):
            for b in word[i + 1 :]:
                counts[a, b] += count
    return counts


def joined(words):
    return {"".join(map(str, pair)): count for pair, count in bpe.count_pairs(words).items()}


def merge_with_an_index(word, pair, new):
    merged, i = [], 0
    while i < len(word):
        if word[i : i + 2] == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


def merge_once(word, pair, new):
    for i in range(len(word) - 1):
        if word[i : i + 2] == pair:
            return (*word[:i], new, *word[i + 2 :])
    return word


def merge_without_skipping(word, pair, new):
    merged = []
    for i, unit in enumerate(word):
        merged.append(new if word[i : i + 2] == pair else unit)
    return tuple(merged)


def merge_by_replace(word, pair, new):
    return "".join(map(str, word)).replace("".join(map(str, pair)), str(new))


def encode(piece, merges):
    ids = tuple(piece.encode("utf-8"))
    for n, pair in enumerate(merges):
        ids = bpe.merge(ids, pair, 256 + n)
    return list(ids)


def encode_by_rank(piece, merges):
    return bpe.BPETokenizer(merges)._encode_piece(piece.encode("utf-8"))


def from_left_to_right(piece, merges):
    """The first pair of the piece that is a merge, not the first merge that is in the piece."""
    ids = list(piece.encode("utf-8"))
    while True:
        for i in range(len(ids) - 1):
            if (ids[i], ids[i + 1]) in merges:
                ids[i : i + 2] = [256 + merges.index((ids[i], ids[i + 1]))]
                break
        else:
            return ids


def by_code_points(piece, merges):
    ids = tuple(map(ord, piece))
    for n, pair in enumerate(merges):
        ids = bpe.merge(ids, pair, 256 + n)
    return list(ids)


RIGHT = (("a", "b"), 7, [("a", "ab"), ("ab",), ("b", "a")])

ANSWERS = {
    checks.count_pairs: (
        {"a dictionary": count_pairs, "the package's": bpe.count_pairs},
        {
            "words counted once": (words_counted_once, "a word that occurs 5 times adds 5"),
            "a pair counted once per word": (pairs_counted_once_per_word, "for each place where the pair is"),
            "all combinations": (all_combinations, "and you say|only direct neighbors count"),
            "joined pairs": (joined, "each key is a pair"),
            "a list": (lambda words: list(bpe.count_pairs(words).items()), "return a dictionary or a Counter"),
            "nothing": (lambda words: None, "return a dictionary"),
        },
    ),
    checks.merge: (
        {"the package's": bpe.merge, "with an index": merge_with_an_index},
        {
            "the first one only": (merge_once, "go from left to right"),
            "without skipping": (merge_without_skipping, "don't use a unit twice"),
            "replace in a string": (merge_by_replace, "not a str"),
            "a list": (lambda *args: list(bpe.merge(*args)), "return a tuple, not a list"),
            "nothing": (lambda *args: None, "returns nothing"),
        },
    ),
    checks.bits_per_byte: (
        {
            "a formula": checks.package_bits_per_byte,
            "a tensor": lambda loss, tokens, size: torch.tensor(loss * tokens / size) / math.log(2),
            "log2": lambda loss, tokens, size: math.log2(math.e) * loss * tokens / size,
        },
        {
            "nats": (lambda loss, tokens, size: loss * tokens / size, "nats per byte"),
            "per token": (lambda loss, tokens, size: loss / math.log(2), "bits per token"),
            "swapped": (lambda loss, tokens, size: loss * size / tokens / math.log(2), "swapped"),
            "multiplied": (lambda loss, tokens, size: loss * tokens / size * math.log(2), "a bit is less than a nat"),
        },
    ),
    checks.encode: (
        {"merge by merge": encode, "by rank": encode_by_rank},
        {
            "from left to right": (from_left_to_right, "the pair that was learned first"),
            "the bytes": (lambda piece, merges: list(piece.encode("utf-8")), "the pair that was learned first"),
            "code points": (by_code_points, "start with the bytes"),
            "nothing": (lambda piece, merges: None, "returns nothing"),
        },
    ),
    checks.tokens_per_character: (
        {"a division": lambda tokenizer, text: len(tokenizer.encode(text)) / len(text)},
        {
            "upside down": (lambda tokenizer, text: len(text) / len(tokenizer.encode(text)), "the other way around"),
            "per byte": (
                lambda tokenizer, text: len(tokenizer.encode(text)) / len(text.encode("utf-8")),
                "len counts characters, not bytes",
            ),
        },
    ),
    checks.first_merge: (
        {"the solution": lambda: RIGHT, "lists": lambda: [["a", "b"], 7, [["a", "ab"], ["ab"], ["b", "a"]]]},
        {
            "the other pair of the tie": (lambda: (("b", "a"), 7, []), "there is a tie"),
            "a a": (lambda: (("a", "a"), 4, []), "occurs less often"),
            "words counted once": (lambda: (("a", "b"), 2, []), "you say 2 times"),
            "the words before": (lambda: (("a", "b"), 7, ["aab", "ab", "ba"]), "merge a b in each"),
            "the pair alone": (lambda: ("a", "b"), "return three things"),
        },
    ),
}
