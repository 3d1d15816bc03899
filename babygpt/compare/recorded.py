"""What `results/` holds: full runs of all versions, recorded by `python -m babygpt.compare`.

The lessons draw them. `python -m babygpt.expect` and `make reproduce` compare other runs with them: at each step the
losses of the recorded runs give a band in which nearly every healthy run lies, whatever its seed.
"""

import json
import math
from functools import cache
from pathlib import Path
from statistics import mean, median, variance
from typing import Any

from babygpt.errors import UserError, require
from babygpt.versions import Trainable, Version

RESULTS = Path(__file__).resolve().parents[2] / "results"

WIDTH = 5  # standard deviations from the mean to the edge of the band
MIN_WIDTH = 0.02  # nats: no band is narrower on either side of the mean

# The lecture's last model, which has no recorded run as long as no GPU trained it: it must end near the lecture's 1.48.
LECTURE_BAND = (1.44, 1.53)


@cache
def read(stem: str, folder: Path = RESULTS) -> dict[str, Any]:
    """The comparison in `stem`.json.

    Raises:
        UserError: the file is damaged, or missing, as it is when babygpt was installed without its repository.
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


def trainings(version: Trainable, preset: str = "lecture") -> list[dict[str, Any]]:
    """The recorded runs of a model by one of its recipes, one per seed.

    Each is a dictionary with `seed`, `history` (as `Trainer.history`), `fingerprint` (of the text) and more.

    Raises:
        UserError: there are none, as for a recipe that needs a GPU.
    """
    name = version.name if len(version.presets) == 1 else f"{version.name} {preset}"
    study = "ladder" if isinstance(version, Version) else "nanogpt"
    found = next((row["records"] for row in read(study)["rows"] if row["name"] == name), [])
    low, high = LECTURE_BAND
    hint = f"; the lecture's own run ends between {low} and {high}" if name == "v10 lecture" else ""
    require(len(found) > 0, f"no run of {version.name} by the recipe {preset} is among the results{hint}")
    return found


def find_bands(trainings: list[dict[str, Any]], chunks: int) -> dict[int, tuple[float, float]]:
    """For each step at which the recorded runs were evaluated, the lowest and highest loss of a healthy run.

    A few seeds give a shaky estimate of the spread. So the variance at a step is averaged with its neighbors', or is
    the median of all steps if that is larger. The start has no similar neighbors, and gets a band twice as wide.

    Args:
        trainings: the recorded runs.
        chunks: how many chunks of text an evaluation of the run to be judged averages over. If they are fewer than
            the recorded runs', the band is wider by the noise of a chunk.
    """
    steps = [evaluation["step"] for evaluation in trainings[0]["history"]]
    losses = [[training["history"][i]["val"] for training in trainings] for i in range(len(steps))]
    variances = [variance(at_step) for at_step in losses]
    typical = median(variances[1:])
    of_a_chunk = mean(training["val"]["error"] ** 2 * training["val"]["chunks"] for training in trainings)
    settings = trainings[0]["settings"]
    noise = of_a_chunk * max(0, 1 / chunks - 1 / (settings["eval_iters"] * settings["batch_size"]))
    bands = {}
    for i, step in enumerate(steps):
        around = mean(variances[max(1, i - 1) : i + 2]) if i else 4 * variances[0]
        half = WIDTH * math.sqrt(max(around, typical) * (1 + 1 / len(trainings)) + noise)
        half = max(MIN_WIDTH, half)
        bands[step] = (mean(losses[i]) - half, mean(losses[i]) + half)
    return bands


def misses(record: dict[str, Any]) -> str | None:
    """Why a run by one of the lecture's recipes is not like the recorded ones; "" if it is.

    None if nothing can be said, because no recorded run has its settings and learned from its text.

    Args:
        record: the record of a run in the comparison `lecture`.
    """
    name, last = record["name"], record["history"][-1] if record["history"] else {}
    rows = {row["name"]: row["records"] for row in read("ladder")["rows"]}
    alike = [r for r in rows.get(name, []) if all(r[key] == record[key] for key in ("settings", "fingerprint"))]
    if not alike and name != "v10 lecture":
        return None
    if record["diverged"]:
        return f"{name}, seed {record['seed']}: {record['diverged']}"
    if alike and record["parameters"] != alike[0]["parameters"]:
        return f"{name} has {record['parameters']:,} parameters, and {alike[0]['parameters']:,} in the recorded runs"
    chunks = record["settings"]["eval_iters"] * record["settings"]["batch_size"]
    low, high = find_bands(alike, chunks)[last["step"]] if len(alike) > 1 else LECTURE_BAND
    inside = low <= last["val"] <= high
    return (
        "" if inside else f"{name}, seed {record['seed']}, ends at {last['val']:.3f}, outside {low:.3f} to {high:.3f}"
    )
