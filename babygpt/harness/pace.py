"""How long a run will take."""

import time

from babygpt.harness.terminal import print_line
from babygpt.training import Trainer

PACE_STEPS = 20  # steps to time before estimating how long training will take


class PaceReport:
    """Says once, after the first steps, how long the rest will take, if that is long enough to wonder."""

    def __init__(self) -> None:
        self.steps = 0
        self.start = 0.0

    def __call__(self, trainer: Trainer) -> None:
        """Count a step."""
        self.steps += 1
        if self.steps == 1:  # the first step is slower than the others
            self.start = time.perf_counter()
        elif self.steps == 1 + PACE_STEPS:
            config = trainer.config
            left = config.max_iters - trainer.step
            evaluation = trainer.history[0]["seconds"]  # the first one came before any step
            pace = (time.perf_counter() - self.start) / PACE_STEPS
            seconds = left * (pace + evaluation / config.eval_interval)
            if seconds >= 20:
                minutes = f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
                print_line(f"This will take about {minutes}.")
