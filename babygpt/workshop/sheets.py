"""Sheets to print, as PDF: `python -m babygpt.workshop.sheets` writes them for A4 and for Letter.

Three for learners (every tensor of version 10, what things are called elsewhere, the ladder), the closing quiz, and a
form for feedback. matplotlib draws them, so that the text stays text and nothing else has to be installed.
"""

import textwrap
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from babygpt.compare.recorded import trainings
from babygpt.course.generated import ROOT
from babygpt.harness.files import write_atomically
from babygpt.harness.terminal import run_command
from babygpt.shapes import forward_pass, sizes_of
from babygpt.versions import VERSIONS, get_version

FORMATS = {"a4": (8.27, 11.69), "letter": (8.5, 11.0)}  # inches
MARGIN = 0.7  # inches
POINTS = 72  # in an inch

# Here and in the lecture, in nanoGPT, in OpenAI's code of GPT-2, in "Attention Is All You Need".
NAMES = [
    ("token_embedding_table", "wte", "wte", "input embedding"),
    ("position_embedding_table", "wpe", "wpe", "positional encoding (fixed)"),
    ("blocks", "h", "h0, h1, ...", "N identical layers"),
    ("ln1, ln2", "ln_1, ln_2", "ln_1, ln_2", "layer norm"),
    ("sa", "attn", "attn", "masked multi-head attention"),
    ("query, key, value", "c_attn, one layer", "c_attn, one layer", "W^Q, W^K, W^V"),
    ("proj", "c_proj", "c_proj", "W^O"),
    ("tril", "bias (a buffer)", "b", "mask"),
    ("ffwd", "mlp", "mlp", "feed-forward network"),
    ("net[0], net[2]", "c_fc, c_proj", "c_fc, c_proj", "W_1, W_2"),
    ("ReLU", "GELU", "GELU", "ReLU"),
    ("ln_f", "ln_f", "ln_f", "-"),
    ("lm_head", "lm_head, tied to wte", "wte again", "tied to the embedding"),
    ("n_embd, C", "n_embd", "n_embd", "d_model"),
    ("head size, hs", "n_embd // n_head", "-", "d_k"),
    ("n_head", "n_head", "n_head", "h"),
    ("n_layer", "n_layer", "n_layer", "N"),
    ("block_size, T", "block_size", "n_ctx", "-"),
    ("vocab_size, V", "vocab_size", "n_vocab", "-"),
    ("dropout", "dropout", "-", "P_drop"),
]

FEEDBACK = [
    ("How was the pace?", "too slow   o     o     o     o     o   too fast"),
    ("How much of it was new to you?", "nothing   o     o     o     o     o   everything"),
    ("Could you explain attention to a colleague now?", "no   o     o     o     o     o   yes"),
    ("What was the moment at which something became clear?", ""),
    ("What is still unclear?", ""),
    ("What should we leave out, and what should we add?", ""),
    ("Would you recommend this workshop? To whom?", ""),
]


class Sheet:
    """A page that is written from the top down."""

    def __init__(self, size: tuple[float, float], title: str) -> None:
        from matplotlib.figure import Figure

        self.width, self.height = size
        self.figure = Figure(figsize=size)
        self.y = self.height - MARGIN  # inches from the bottom
        self.line(title, size=17, weight="bold")
        self.space(8)

    def line(self, text: str, x: float = 0.0, size: float = 10, **style: Any) -> None:
        """Write a line of text, x inches from the left margin, and go to the next line."""
        self.y -= 1.4 * size / POINTS
        self.figure.text((MARGIN + x) / self.width, self.y / self.height, text, size=size, va="bottom", **style)

    def paragraph(self, text: str, size: float = 10, **style: Any) -> None:
        """Write a text that may need several lines."""
        letters = int((self.width - 2 * MARGIN) * POINTS / (0.55 * size))
        for line in textwrap.wrap(text, letters):
            self.line(line, size=size, **style)

    def space(self, points: float) -> None:
        """Leave some space."""
        self.y -= points / POINTS

    def row(self, cells: Sequence[str], starts: Sequence[float], size: float = 9, **style: Any) -> None:
        """Write the cells of a row of a table; starts are in inches from the left margin."""
        y = self.y
        for cell, x in zip(cells, starts, strict=True):
            self.y = y
            self.line(cell, x, size, **style)

    def rule(self) -> None:
        """Draw a thin line from margin to margin."""
        from matplotlib.lines import Line2D

        y = (self.y - 2 / POINTS) / self.height
        x = MARGIN / self.width
        self.figure.add_artist(Line2D([x, 1 - x], [y, y], color="0.6", linewidth=0.6))
        self.space(5)


def shapes(size: tuple[float, float]) -> Sheet:
    """Every tensor of version 10 in a forward pass, in order."""
    sheet = Sheet(size, "Version 10, tensor by tensor")
    version = get_version(10)
    config = version.module().Config(attention="loop")
    sheet.paragraph(
        f"B texts of T = {config.block_size} tokens, V = {config.vocab_size} characters, C = {config.n_embd} channels, "
        f"{config.n_head} heads of hs = {config.n_embd // config.n_head}, {config.n_layer} blocks."
    )
    sheet.space(6)
    function = None
    for seen in forward_pass(version, config, sizes_of(config, 4, config.block_size))[0]:
        if seen.function != function:
            function = seen.function
            sheet.space(4)
            sheet.line(f"{seen.comment.path.name}, {function}", size=9, weight="bold")
        code = seen.comment.code
        code = code if len(code) <= 66 else code[:63] + "..."
        sheet.row([code, f"({seen.comment.shape})"], [0.15, 5.6], 9, family="monospace")
        sheet.space(3)
    return sheet


def names(size: tuple[float, float]) -> Sheet:
    """What the parts are called here and elsewhere."""
    sheet = Sheet(size, "The same thing under other names")
    starts = [0, 2.0, 3.65, 5.0]
    sheet.row(["here and in the lecture", "nanoGPT", "GPT-2", "the paper (2017)"], starts, weight="bold")
    sheet.rule()
    for row in NAMES:
        sheet.row(row, starts)
        sheet.space(8)
    sheet.space(8)
    sheet.paragraph(
        'The paper is "Attention Is All You Need". Its model translates, so it has an encoder as well, and only the '
        "decoder is masked. It normalizes after each addition, GPT-2 and version 10 before each part."
    )
    return sheet


def ladder(size: tuple[float, float]) -> Sheet:
    """What each version adds, its parameters and its loss."""
    sheet = Sheet(size, "The ladder")
    starts = [0, 0.5, 4.75, 5.75]
    sheet.row(["", "what it adds", "parameters", "loss"], starts, 10.5, weight="bold")
    sheet.rule()
    for version in VERSIONS:
        preset = "laptop" if version.number == 10 else "lecture"
        runs = trainings(version, preset)
        losses = [run["val"]["loss"] for run in runs]
        adds = "dropout and small initial weights; here in the laptop's size" if version.number == 10 else version.adds
        lines = textwrap.wrap(adds, 52)
        loss = f"{mean(losses):.2f} ± {stdev(losses):.2f}"
        sheet.row([version.name, lines[0], f"{runs[0]['parameters']:,}", loss], starts, 10.5)
        for line in lines[1:]:
            sheet.line(line, starts[1], 10.5)
        sheet.space(14)
    sheet.space(8)
    sheet.paragraph(
        "The validation loss in nats per character, mean and standard deviation over several seeds. Versions 1 to 9 by "
        "the lecture's recipes, version 10 by the recipe for laptops. A blind guess costs ln 65 = 4.17."
    )
    return sheet


def quiz(size: tuple[float, float]) -> Sheet:
    """The closing quiz, with room for the answers."""
    sheet = Sheet(size, "Closing quiz")
    for number, question in enumerate(read_quiz(), 1):
        sheet.paragraph(f"{number}. {question['ask']}")
        sheet.space(18)
        sheet.rule()
    return sheet


def feedback(size: tuple[float, float]) -> Sheet:
    """A form for feedback."""
    sheet = Sheet(size, "How was the workshop?")
    for ask, scale in FEEDBACK:
        sheet.space(6)
        sheet.paragraph(ask, size=11, weight="bold")
        if scale:
            sheet.space(8)
            sheet.line(scale, size=11)
        else:
            for _ in range(3):
                sheet.space(18)
                sheet.rule()
        sheet.space(8)
    return sheet


def read_quiz() -> list[dict[str, Any]]:
    """The questions of the quiz: lesson, ask, answer."""
    return tomllib.loads((ROOT / "workshop" / "quiz.toml").read_text(encoding="utf-8"))["question"]


def answers() -> bytes:
    """The quiz with its answers, the instructor's page."""
    lines = ["# The closing quiz, with answers", "", "Ten minutes alone, then compare with a neighbor.", ""]
    for number, question in enumerate(read_quiz(), 1):
        lines += [f"{number}. {question['ask']} *(Lesson {question['lesson']})*", "", f"   {question['answer']}", ""]
    return "\n".join(lines).encode("utf-8")


SHEETS: dict[str, Callable[[tuple[float, float]], Sheet]] = {
    "shapes": shapes,
    "names": names,
    "ladder": ladder,
    "quiz": quiz,
    "feedback": feedback,
}


@dataclass(frozen=True)
class SheetsConfig:
    """Write the sheets as PDF files."""

    out: Path = ROOT / "site" / "sheets"
    """The folder to write to."""


def write(config: SheetsConfig) -> None:
    """Write all sheets in both formats."""
    from io import BytesIO

    from matplotlib import rc_context

    config.out.mkdir(parents=True, exist_ok=True)
    for name, make in SHEETS.items():
        for format_name, size in FORMATS.items():
            content = BytesIO()
            with rc_context({"pdf.fonttype": 42}):  # so that the text can be searched and copied
                make(size).figure.savefig(content, format="pdf")
            path = config.out / f"{name}-{format_name}.pdf"
            write_atomically(path, content.getvalue())
            print(path)


def main(argv: list[str] | None = None) -> None:
    """Write as the command line says, and exit."""
    run_command(SheetsConfig, write, "python -m babygpt.workshop.sheets", argv)


if __name__ == "__main__":
    main()
