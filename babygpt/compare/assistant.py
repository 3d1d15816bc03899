"""The study of lesson 17: all stages from several seeds, and what the KL does against reward hacking.

`python -m babygpt.compare.assistant --out-dir results`. Stages that are finished are not done again.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from babygpt.beyond.assistant.stages import AssistantConfig, Stages
from babygpt.compare.assistant_page import files
from babygpt.compare.records import circumstances, write_study
from babygpt.compare.table import FIRST_SEED
from babygpt.errors import require_within
from babygpt.harness.files import write_atomically
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command


@dataclass(frozen=True)
class AssistantStudyConfig:
    """Train assistants from several seeds, and write what was found."""

    out_dir: Path = Path("runs/compare-assistant")
    """Folder for the page, the picture and the data."""

    runs: Path = Path("runs/assistants")
    """Folder for the runs, one folder for each seed."""

    seeds: int = 3
    """How many times all stages are run."""

    scale: float = 1.0
    """Share of the steps of each stage."""

    def __post_init__(self) -> None:
        require_within(self, 1, 100, "seeds")


def main(argv: list[str] | None = None) -> None:
    """Do the study as the command line says, and exit."""
    run_command(AssistantStudyConfig, study, "python -m babygpt.compare.assistant", argv)


def study(config: AssistantStudyConfig) -> None:
    """Run all stages from each seed, and write assistant.json and what is drawn from it."""
    with Run(config.out_dir).locked():
        records = []
        for seed in range(FIRST_SEED, FIRST_SEED + config.seeds):
            folder = config.runs / str(seed)
            made = folder / "made.json"
            with Run(folder).locked():
                Stages(AssistantConfig(folder, seed, config.scale)).run()  # only what is missing
            if not made.exists():
                write_atomically(made, json.dumps(circumstances()).encode())
            found = (json.loads(path.read_text(encoding="utf-8")) for path in (folder / "assistant.json", made))
            records.append(next(found) | next(found))
        write_study(config.out_dir, "assistant", {"records": records}, files)
    print((config.out_dir / "assistant.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
