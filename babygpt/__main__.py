"""`python -m babygpt`: the ten versions, what each one adds, what comes after them, and what to run next."""

import sys
from collections.abc import Sequence

from babygpt.beyond.models import IDEAS
from babygpt.errors import require
from babygpt.harness.terminal import exit_status
from babygpt.versions import VERSIONS


def main(argv: Sequence[str] = ()) -> None:
    """Print the list.

    Raises:
        UserError: there are arguments other than --help.
    """
    require(
        set(argv) <= {"-h", "--help"},
        f"python -m babygpt takes no arguments, and got {' '.join(argv)!r}: to train, run python -m babygpt.v1",
    )
    print("babygpt: a GPT in ten versions, from a table of letter pairs to a transformer.\n")
    for version in VERSIONS:
        print(f"  {version.name:<4} {version.title:<29} {version.adds}")
    print("\nPart two, after the lecture (python -m babygpt.beyond.gpt2, and so on):\n")
    width = max(len(idea.name) for idea in IDEAS)
    for idea in IDEAS:
        print(f"  {idea.name:<{width}}  {idea.adds}")
    print(f"  {'assistant':<{width}}  from a GPT to a small assistant, in stages; then talk to it with beyond.chat")
    print(
        "\nTrain one:           python -m babygpt.v1      (--help lists the flags, --shapes the tensors)"
        "\nThe whole GPT:       python -m babygpt.v10     (about two minutes on a laptop)"
        '\nText from a model:   python -m babygpt.sample runs/v10 --prompt "ROMEO:"'
        "\nLook inside:         python -m babygpt.playground runs/v10    (a page that shows a model at work)"
        "\nIs all in order?     python -m babygpt.doctor  (checks this machine and the installation)"
        "\nIs my loss normal?   python -m babygpt.expect runs/v6"
        "\nFallen behind?       python -m babygpt.catchup 6    (solutions for what is open before lesson 6)"
        "\nFind the bug:        python -m babygpt.clinic  (twelve classic ones, each in a file of its own)"
        "\nThe room's board:    python -m babygpt.board   (for instructors; so is workshop/README.md)"
        "\nCompare all ten:     python -m babygpt.compare --quick    (two minutes on two cores)"
        "\n\nStart with the lessons (lessons/README.md), or read babygpt/v1.py, train it, and continue with version 2."
    )


if __name__ == "__main__":
    sys.exit(exit_status(lambda: main(sys.argv[1:])))
