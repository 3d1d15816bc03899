"""Instructions with answers that a program can check, made from the plays.

    Write in capitals: Speak, speak.        SPEAK, SPEAK.
    Count the words: Speak, speak.          two
    Go on as All: Speak, speak.             All:
                                            Resolved. resolved.

A document for finetuning is an instruction and its answer, with three special tokens that say who speaks:

    <|user|>Count the words: Speak, speak.<|assistant|>two<|end|>

They are three new ids behind the 65 of the characters. Only what the assistant says is trained: all other targets are
IGNORE, which `cross_entropy` leaves out. Instructions for validation come from the last tenth of the plays, which no
stage has been trained on.

Source: Ouyang et al., "Training language models to follow instructions with human feedback" (InstructGPT).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from babygpt.beyond.sums import IGNORE
from babygpt.data import Corpus, Split
from babygpt.errors import require
from babygpt.tokenizer import CharTokenizer

SPECIAL = "▶◀■"  # one character each, so that a token stays one character; none of them is in the plays
NAMES = dict(zip(SPECIAL, ("<|user|>", "<|assistant|>", "<|end|>"), strict=True))

MAX_PROMPT, MAX_ANSWER = 65, 60  # in characters
LONGEST = MAX_PROMPT + MAX_ANSWER + 3  # with the special tokens, 128
NUMBERS = ("no", "one", "two", "three", "four", "five")


@dataclass(frozen=True)
class Instruction:
    """What the user says, a right answer, and how to tell whether an answer obeys."""

    task: str
    prompt: str
    answer: str
    obeyed: Callable[[str], bool]


@dataclass(frozen=True)
class Passage:
    """A line of the plays, who says it, and the line after it in the same speech."""

    speaker: str
    line: str
    following: str

    def phrase(self, n: int, longest: int, start: int) -> str:
        """Up to n words in a row of the line, at least one, with up to `longest` characters if it has more than one."""
        parts = self.line.split(" ")
        start %= max(1, len(parts) - n + 1)
        parts = parts[start : start + n]
        while len(parts) > 1 and len(" ".join(parts)) > longest:
            parts.pop()
        return " ".join(parts)


def passages(text: str) -> list[Passage]:
    """The passages of a text that is written as the plays are: a name with a colon, lines, a blank line."""
    found = []
    for part in text.split("\n\n"):
        heading, *lines = part.strip("\n").split("\n")
        if re.fullmatch(r"[A-Za-z ]{2,16}:", heading):
            for line, following in zip(lines, lines[1:], strict=False):
                passage = Passage(heading[:-1], line, following)
                if PLAIN.fullmatch(line) and voice_fits(passage):
                    found.append(passage)
    return found


PLAIN = re.compile(r"[A-Za-z'-]+[,.;:!?]*( [A-Za-z'-]+[,.;:!?]*)+")  # words with punctuation after them only


def words(text: str) -> list[str]:
    """The words of a text in lowercase letters, without punctuation."""
    return re.findall(r"[a-z]+(?:['-][a-z]+)*", text.lower())


def chat_tokenizer(tokenizer: CharTokenizer) -> CharTokenizer:
    """The characters of a tokenizer with the special tokens behind them: 65 ids become 68."""
    return CharTokenizer(tokenizer.chars + SPECIAL)


@dataclass(frozen=True)
class Instructions(Corpus):
    """Instructions, drawn when they are needed. `train` and `val` are the text that they are made of."""

    unit = "characters"

    @classmethod
    def new(cls, plays: Corpus) -> "Instructions":
        """The instructions that can be made of a corpus of characters, split as the corpus is.

        Raises:
            UserError: the corpus has no lines that are long enough to ask about.
        """
        corpus = cls("instructions", chat_tokenizer(plays.tokenizer), plays.train, plays.val, plays.path)
        for split in ("train", "val"):
            require(
                len(corpus.passages[split]) > 0,
                f"{plays.name} has no speeches in its {split} split, written as in the plays (a name and a colon, "
                "two lines or more, a blank line): use the plays, input.txt",
            )
        return corpus

    @cached_property
    def passages(self) -> dict[Split, list[Passage]]:
        """The passages of both splits."""
        return {split: passages(self.tokenizer.decode(getattr(self, split).tolist())) for split in ("train", "val")}

    @cached_property
    def dictionary(self) -> set[str]:
        """All words of the plays, to check spelling by."""
        return {word for ids in (self.train, self.val) for word in words(self.tokenizer.decode(ids.tolist()))}

    def draw(self, split: Split, n: int, generator: torch.Generator, task: str | None = None) -> list[Instruction]:
        """n random instructions of a split; of one task, or of all of them in equal shares."""
        found, choice = [], self.passages[split]
        while len(found) < n:
            pick, which, a, b = torch.randint(2**30, (4,), generator=generator).tolist()
            name = task or list(TASKS)[which % len(TASKS)]
            found.append(TASKS[name](self, choice[pick % len(choice)], a, b))
        return found

    def encode_document(self, instruction: Instruction) -> tuple[list[int], list[int]]:
        """An instruction and its answer as inputs and targets, both of the same length. Only the answer is a target."""
        user, assistant, _ = special_ids(self.tokenizer)
        prompt = [user, *self.tokenizer.encode(instruction.prompt), assistant]
        ids = prompt + self.encode_answer(instruction.answer)
        return ids[:-1], [IGNORE] * (len(prompt) - 1) + ids[len(prompt) :]

    def encode_answer(self, answer: str) -> list[int]:
        """The tokens of an answer and <|end|>; one that is longer than MAX_ANSWER was cut and has no end."""
        return self.tokenizer.encode(answer) + special_ids(self.tokenizer)[2:] * (len(answer) <= MAX_ANSWER)

    def get_batch(
        self, split: Split, batch_size: int, block_size: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Random documents, as `batch` returns them."""
        return self.batch(self.draw(split, batch_size, generator or torch.Generator()))

    def batch(self, instructions: Sequence[Instruction]) -> tuple[Tensor, Tensor]:
        """Documents as inputs and targets, both (B, T), where T is the length of the longest.

        What follows the end of a shorter one is <|end|> as input and IGNORE as target.
        """
        rows = [self.encode_document(each) for each in instructions]
        longest, end = max(len(x) for x, _ in rows), special_ids(self.tokenizer)[2]
        xs = torch.tensor([x + [end] * (longest - len(x)) for x, _ in rows])
        ys = torch.tensor([y + [IGNORE] * (longest - len(y)) for _, y in rows])
        return xs.to(self.train.device), ys.to(self.train.device)

    def check(self, block_size: int) -> None:
        """Raise UserError unless the longest document fits into `block_size`."""
        require(
            block_size >= LONGEST,
            f"instructions need a block size of {LONGEST}, and it is {block_size}",
        )


def capitals(corpus: Instructions, passage: Passage, a: int, b: int) -> Instruction:
    """Up to four words in capitals."""
    phrase = passage.phrase(1 + a % 4, 24, b)
    return exact("capitals", f"Write in capitals: {phrase}", phrase.upper())


def backwards(corpus: Instructions, passage: Passage, a: int, b: int) -> Instruction:
    """A word or two from the last letter to the first."""
    phrase = passage.phrase(1 + a % 2, 12, b)
    return exact("backwards", f"Write backwards: {phrase}", phrase[::-1])


def first(corpus: Instructions, passage: Passage, a: int, b: int) -> Instruction:
    """The first word, without the punctuation after it."""
    phrase = passage.phrase(2 + a % 3, 24, b)
    return exact("first", f"Give the first word: {phrase}", phrase.split(" ")[0].rstrip(",.;:!?"))


def count(corpus: Instructions, passage: Passage, a: int, b: int) -> Instruction:
    """The number of words, in letters, since the only digit in the plays is 3."""
    phrase = passage.phrase(1 + a % 5, 30, b)
    return exact("count", f"Count the words: {phrase}", NUMBERS[phrase.count(" ") + 1])


def speaker(corpus: Instructions, passage: Passage, a: int, b: int) -> Instruction:
    """The name of who says it."""
    return exact("speaker", f"Who says this? {passage.speaker}: {passage.phrase(4, 24, b)}", passage.speaker)


def voice(corpus: Instructions, passage: Passage, a: int, b: int) -> Instruction:
    """A line that could come next: the speaker's name, then at least two words, all of which are in the plays."""
    start = f"{passage.speaker}:\n"

    def obeyed(text: str) -> bool:
        found = words(text.removeprefix(start))
        return (
            text.startswith(start) and text.count("\n") == 1 and len(found) >= 2 and corpus.dictionary.issuperset(found)
        )

    return Instruction("voice", f"Go on as {passage.speaker}: {passage.line}", start + passage.following, obeyed)


def exact(task: str, prompt: str, answer: str) -> Instruction:
    """An instruction with a single right answer."""
    return Instruction(task, prompt, answer, answer.__eq__)


def voice_fits(passage: Passage) -> bool:
    """Whether the longest instruction about a passage fits, and its answer has two words."""
    prompt, answer = f"Go on as {passage.speaker}: {passage.line}", f"{passage.speaker}:\n{passage.following}"
    fits = len(prompt) <= MAX_PROMPT and len(answer) <= MAX_ANSWER
    return fits and len(words(passage.following)) >= 2


TASKS = {
    "speaker": speaker,
    "first": first,
    "count": count,
    "capitals": capitals,
    "backwards": backwards,
    "voice": voice,
}


def has_special_tokens(tokenizer: CharTokenizer) -> bool:
    """Whether a vocabulary has grown by the special tokens."""
    return set(SPECIAL) <= set(tokenizer.chars)


def special_ids(tokenizer: CharTokenizer) -> list[int]:
    """The ids of <|user|>, <|assistant|> and <|end|>."""
    return tokenizer.encode(SPECIAL)
