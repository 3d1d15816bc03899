"""How long the playground takes for a character: `python -m benchmarks.playground`, on an idle machine.

A real server streams a text of version 10 `laptop`, the largest model that comes with it, over HTTP. The prompt fills
the context, so every character is as slow as it gets. One after another: all heads on, one head off, all ten versions.
"""

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from statistics import median

import torch

from benchmarks.measure import Result, machine, summary

RESULTS = Path(__file__).with_name("playground.json")
ADDRESS = "http://127.0.0.1:8798"
CHARACTERS, ROUNDS = 100, 5
PROMPT = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n"
V10 = {"models": ["v10"], "prompt": PROMPT, "count": CHARACTERS, "seed": 1}
QUESTIONS = {
    "v10, all heads on": V10,
    "v10, one head off": V10 | {"off": [[0, 0]]},
    "all ten versions": V10 | {"models": [f"v{n}" for n in range(1, 11)]},
}


def gaps(question: dict[str, object]) -> list[float]:
    """The milliseconds between a character and the next one of the same model."""
    request = urllib.request.Request(f"{ADDRESS}/write", json.dumps(question).encode())
    arrived: dict[str, list[float]] = {}
    with urllib.request.urlopen(request, timeout=600) as answer:
        for line in map(json.loads, answer):
            if line.get("written"):
                arrived.setdefault(line["model"], []).append(1000 * time.perf_counter())
    return [after - before for times in arrived.values() for before, after in zip(times, times[1:], strict=False)]


def measure() -> Result:
    """The median time of a character in each of several texts."""
    found = {name: [] for name in QUESTIONS}
    for _ in range(ROUNDS):
        for name, question in QUESTIONS.items():
            found[name].append(median(gaps(question)))
    return {name: summary(figures, "ms a character") for name, figures in found.items()}


def main() -> None:
    """Start a server, measure, print the figures and store them."""
    command = [sys.executable, "-m", "babygpt.playground", "--no-browser", "--port", ADDRESS.rsplit(":", 1)[1]]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        server.stdout.readline()
        gaps(V10)  # to warm up
        result = measure()
    finally:
        server.terminate()
    entry = {"measures": __doc__.splitlines()[0], "machine": machine(torch.device("cpu")), "result": result}
    RESULTS.write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
    for name, figures in result.items():
        print(f"{name:<20} {figures['median']:g} ms a character ({figures['low']:g} to {figures['high']:g})")


if __name__ == "__main__":
    main()
