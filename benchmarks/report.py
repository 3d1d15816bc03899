"""Figures as text: the table of all figures, and the table of goals."""

from collections.abc import Iterator

from babygpt.harness.markdown import with_block
from benchmarks.measure import Result

SUMMARY = ("unit", "median", "low", "high", "rounds")


def lines(result: Result, indent: int = 2) -> Iterator[str]:
    """A result as the lines of a table."""
    for name, value in result.items():
        label = f"{'':{indent}}{name}"
        if not isinstance(value, dict):
            yield f"{label:<50} {value:>9,g}"
        elif "unit" in value:
            spread = f"  ({value['low']:g} to {value['high']:g})" if "low" in value else ""
            yield f"{label:<50} {value['median']:>9,g} {value['unit']}{spread}"
            yield from lines({k: v for k, v in value.items() if k not in SUMMARY}, indent + 2)
        else:
            yield label
            yield from lines(value, indent + 2)


def report(results: Result) -> str:
    """All results as text."""
    parts = []
    for name, entry in results.items():
        about = ", ".join(f"{key} {value}" for key, value in entry["machine"].items() if value is not None)
        parts.append("\n".join([f"{name}: {entry['measures']}", f"  ({about})", *lines(entry["result"])]))
    return "\n\n".join(parts)


def goals(results: Result) -> str:
    """The goals as a Markdown table: each goal, whether it was met, and the figures."""
    found = {name: entry["result"] for name, entry in results.items()}

    def median(benchmark: str, *names: str) -> float:
        value = found[benchmark]
        for name in names:
            value = value[name]
        return value["median"]

    run, drawn = found["laptop"]["laptop"], found["generation"]
    loss, seconds = run["val, as the run measures it"]["median"], run["median"]
    took = found["small"]["v1 to v9, s"]
    share = took["babygpt"] / took["baseline"]
    first = median("generation", "first 255: cache") / median("generation", "first 255: no cache, heads in a loop")
    full = median("generation", "full context: cache, window fast") / median(
        "generation", "full context: no cache, heads in a loop"
    )
    start = median("startup", "babygpt.v1 --help") / median("startup", "import torch")
    speed, memory = median("data", "speed"), median("data", "memory at the peak")
    ceiling = drawn["ceiling for one text: reading the weights"]["median"]
    ratios = [entry["ratio"] for entry in found["busy"].values()] if "busy" in found else []
    rows = [
        (
            "The recipe `laptop`: a validation loss of 1.60 or lower in 100 s on two cores",
            loss <= 1.60 and seconds <= 100,
            f"{loss:.3f} in {seconds:.0f} s (float32: {median('laptop', 'float32 instead of bfloat16'):.0f} s)",
        ),
        step_row(found["step"]),
        (
            "Versions 1 to 9 by the lecture's recipes: half the time of the straightforward loop",
            share <= 0.5,
            f"{share:.2f} of it: {took['babygpt']:.0f} s instead of {took['baseline']:.0f} s",
        ),
        (
            "Two runs at once: at most 2.2x the time of one alone",
            max(ratios) <= 2.2 if ratios else None,
            " and ".join(f"{ratio:.2f}x" for ratio in ratios) + " (versions 9 and 10)" if ratios else "not measured",
        ),
        (
            "Generation, the first 255 tokens: 10x the tokens/s of reading the whole context each time",
            first >= 10,
            f"{first:.1f}x: {median('generation', 'first 255: cache'):.0f} tokens/s; reading the weights once "
            f"per token would allow {ceiling:,}",
        ),
        (
            "Generation with a full context: 10x (window `fast`)",
            full >= 10,
            f"{full:.1f}x: {median('generation', 'full context: cache, window fast'):.0f} tokens/s",
        ),
        ("`python -m babygpt.v1 --help`: 1.3x a bare `import torch`", start <= 1.3, f"{start:.2f}x"),
        (
            "A corpus of 1 GB: 50 MB/s, 3 bytes a character at the peak",
            speed >= 50 and memory <= 3,
            f"{speed:.0f} MB/s, {memory:.1f} bytes",
        ),
        shards_row(found.get("shards")),
        target_row(found.get("target on a GPU")),
    ]
    says = {True: "met", False: "**not met**", None: ""}
    return "\n".join(
        ["| goal | | measured |", "|---|---|---|", *(f"| {goal} | {says[met]} | {out} |" for goal, met, out in rows)]
    )


def step_row(speeds: Result) -> tuple[str, bool, str]:
    """The row of the goals on a training step, with --fast-dropout if that was measured."""
    goal = "Version 10 at the lecture's sizes, B 16, T 256: 2x the tokens/s of a loop over heads in float32"
    loop, plain = speeds["heads in a loop, float32"]["median"], speeds["fused, bfloat16"]
    best = speeds.get("fused, bfloat16, --fast-dropout", plain)
    flag = "" if best is plain else f" with `--fast-dropout` (without: {plain['median'] / loop:.1f}x)"
    measured = (
        f"{best['median'] / loop:.1f}x{flag}: {best['median']:,.0f} tokens/s; {best['share of the peak']:.0%} of the "
        f"{best['matmul peak, GFLOP/s']} GFLOP/s of a large matrix product in bfloat16"
    )
    return goal, best["median"] >= 2 * loop, measured


def shards_row(speeds: Result | None) -> tuple[str, bool | None, str]:
    """The row of the goals on token shards."""
    goal = "A text of 1 GB as token shards, by several processes: 50 MB/s"
    if speeds is None:
        return goal, None, "not measured"
    several, alone, gpt2 = (
        speeds[name]["median"] for name in ("char, a process per core", "char, one process", "gpt2, a process per core")
    )
    return goal, several >= 50, f"{several:.0f} MB/s (one process: {alone:.0f}); with GPT-2's tokens {gpt2:.0f} MB/s"


def target_row(run: Result | None) -> tuple[str, bool | None, str]:
    """The row of the goals on a GPU, which has no number to reach."""
    goal = "On a CUDA GPU: time to a validation loss of 1.47"
    if run is None:
        return goal, None, "not measured: there was none"
    if "time to it" not in run:
        return goal, None, f"not reached: {run['lowest val']['median']:.3f} by the lecture's recipe"
    return goal, None, f"{run['time to it']['median']:.0f} s"


def with_figures(readme: str, results: Result) -> str:
    """The README of this folder with its goals and figures brought up to date."""
    page = with_block(readme, "goals", goals(results))
    return with_block(page, "figures", f"```text\n{report(results)}\n```")
