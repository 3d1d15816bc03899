"""`python -m babygpt`: the ten versions, what each adds, and what to run next."""

import sys
from collections.abc import Sequence

from babygpt.errors import exit_status, require
from babygpt.versions import VERSIONS


def main(argv: Sequence[str] = ()) -> None:
    """Print the list.

    Raises:
        UserError: there are arguments other than --help.
    """
    require(
        set(argv) <= {"-h", "--help"},
        f"python -m babygpt takes no arguments, and got {' '.join(argv)!r}: train with python -m babygpt.v1, say",
    )
    print("babygpt: a GPT in ten versions, each with one new idea.\n")
    for version in VERSIONS:
        print(f"  {version.name:<4} {version.title:<29} {version.adds}")
    print(
        "\nTrain one:           python -m babygpt.v1      (flags: --help; shapes of its tensors: --shapes)"
        "\nThe whole GPT:       python -m babygpt.v10     (about two minutes on a laptop)"
        '\nText from a model:   python -m babygpt.sample runs/v10 --prompt "ROMEO:"'
        "\nIs a loss normal:    python -m babygpt.expect runs/v6"
        "\nAll ten compared:    python -m babygpt.compare --quick    (two minutes on two cores)"
        "\n\nStart with the lessons (lessons/README.md), or read babygpt/v1.py, train it, and go on to version 2."
    )


if __name__ == "__main__":
    sys.exit(exit_status(lambda: main(sys.argv[1:])))
