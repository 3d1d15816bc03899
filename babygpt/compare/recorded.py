"""What `results/` holds: full trainings of all versions, recorded on a machine that the files name.

`python -m babygpt.compare` made them. The lessons draw them, and `python -m babygpt.expect` takes them for the
measure of a training that went well.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from babygpt.errors import UserError, require
from babygpt.versions import Version

RESULTS = Path(__file__).resolve().parents[2] / "results"


@cache
def read(stem: str, folder: Path = RESULTS) -> dict[str, Any]:
    """The comparison in `stem`.json.

    Raises:
        UserError: the file is missing, as it is where babygpt was installed without its repository; or damaged.
    """
    path = folder / f"{stem}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"cannot read {path} ({error.strerror}): install babygpt from a complete clone, with pip install -e ."
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: fetch it from the repository again") from error


def trainings(version: Version, preset: str = "lecture") -> list[dict[str, Any]]:
    """The recorded trainings of a version by one of its recipes, one a seed.

    Each is a dictionary with `seed`, `history` (as `Trainer.history`), `fingerprint` (of the text) and more.

    Raises:
        UserError: there are none, as for a recipe that needs a GPU.
    """
    name = version.name if len(version.presets) == 1 else f"{version.name} {preset}"
    found = [row["records"] for row in read("ladder")["rows"] if row["name"] == name]
    low, high = version.band
    require(
        bool(found and found[0]),
        f"no training of {version.name} by the recipe {preset} is among the results, so there is nothing to compare "
        f"with but the lecture: by its recipe the loss ends between {low} and {high}",
    )
    return found[0]
