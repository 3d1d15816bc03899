"""Pictures of a run as PNG files. matplotlib is imported when one is drawn, because that takes a second."""

import io
from typing import Any


def png(figure: Any, dpi: int = 120) -> bytes:
    """A matplotlib figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()


def losses_against_steps(history: list[dict[str, float]], title: str) -> bytes:
    """The training and validation losses of a run against the step, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    steps = [record["step"] for record in history]
    for split, style in (("train", "--"), ("val", "-")):
        losses = [record[split] for record in history]
        ax.plot(steps, losses, style, marker=".", label=f"{split}: {losses[-1]:.2f} at the end")
    ax.set(title=title, xlabel="training step", ylabel="loss (nats per token)")
    ax.grid(alpha=0.3)
    ax.legend()
    return png(figure)
