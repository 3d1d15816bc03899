"""Ten training steps, for `doctor`: do they give the recorded loss, and how fast is this machine?"""

import json
import time

from babygpt import v6
from babygpt.data import Corpus
from babygpt.harness.threads import worthwhile_threads
from babygpt.training import new_trainer
from babygpt.versions import get_version

STEPS = 10
TIMED_STEPS = 100


def probe() -> dict[str, float]:
    """Train version 6 for ten steps with the lecture's recipe, then time a hundred more.

    Returns:
        `loss`: the validation loss after ten steps, in nats per character; `seconds`: what the recipe's 5,000 steps
        will take at this pace, without the evaluations.
    """
    recipe = get_version(6).preset("lecture")
    short = {"device": "cpu", "max_iters": STEPS, "eval_interval": STEPS, "eval_iters": 10}
    trainer = new_trainer(v6, Corpus.load(), {**recipe, **short})
    with worthwhile_threads(recipe["batch_size"], recipe["block_size"], recipe["n_embd"]):
        trainer.train(progress=False)
        start = time.perf_counter()
        for _ in range(TIMED_STEPS):
            trainer.update()
        seconds = (time.perf_counter() - start) / TIMED_STEPS * recipe["max_iters"]
    return {"loss": trainer.history[-1]["val"], "seconds": seconds}


if __name__ == "__main__":
    print(json.dumps(probe()))
