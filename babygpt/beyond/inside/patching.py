"""Finding 6: through which position, and up to which layer, does a token have its effect?

Two prompts that differ in one token: after the clean one, the model finds some answer likely; after the corrupted one,
less so. Now run the corrupted prompt, but at one layer and one position put in the vector that the clean prompt has
there. Does the answer come back? If so, what made the difference passed through this vector.

Recovered is a share: 0 if the answer is as unlikely as after the corrupted prompt, 1 if it is as likely as after the
clean one (in log probability). It can be below 0 or above 1. A vector that recovers everything *carried* the
difference; that the model needs nothing else is not shown.

Source: Meng et al., "Locating and Editing Factual Associations in GPT" (causal tracing); Heimersheim and Nanda, "How to
Use and Interpret Activation Patching".
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt.beyond.inside.chunks import RESAMPLES, Interval
from babygpt.beyond.inside.hooks import Inside


def answer_log_probs(logits: Tensor, answers: Tensor) -> Tensor:
    """The log probability of the answer after each prompt: (B, T, V) and (B,) -> (B,)."""
    return F.log_softmax(logits[:, -1], dim=-1).gather(-1, answers[:, None])[:, 0]  # (B,)


def effects(inside: Inside, clean: Tensor, corrupted: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """How much of the log probability of the answers comes back, and how much had been lost.

    Args:
        clean, corrupted: (B, T) int64.
        answers: (B,) int64.

    Returns:
        gained: (N, T, B), for each layer and position that is patched; layer 0 is the embedding.
        lost: (B,), how much less likely the corrupted prompts make the answers.
    """
    before = answer_log_probs(inside.logits(corrupted), answers)  # (B,)
    lost = answer_log_probs(inside.logits(clean), answers) - before  # (B,)
    layers = []
    for layer, stream in enumerate(inside.streams(clean)[:-1]):
        rows = [
            answer_log_probs(inside.patched(corrupted, layer, t, stream[:, t]), answers) - before
            for t in range(clean.shape[1])
        ]
        layers.append(torch.stack(rows))
    gained = torch.stack(layers)  # (N, T, B)
    return gained, lost


def recovered(gained: Tensor, lost: Tensor, seed: int = 0) -> Interval:
    """The share that came back at one layer and position, with its interval over prompts: (B,) and (B,) -> Interval.

    It is the sum of what was gained over the sum of what was lost, so a prompt that lost nothing does no harm.
    """
    n = len(lost)
    drawn = torch.randint(n, (RESAMPLES, n), generator=torch.Generator().manual_seed(seed))  # (RESAMPLES, n)
    shares = gained[drawn].sum(dim=1) / lost[drawn].sum(dim=1)
    low, high = shares.quantile(torch.tensor([0.025, 0.975])).tolist()
    return Interval((gained.sum() / lost.sum()).item(), low, high)


def string_prompts(n: int, L: int, vocab_size: int, at: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts for a model that copies: a random string and its beginning again, up to the token at position `at`.

    In a string no token comes twice. The corrupted prompt has another token at position `at` of the first copy, so
    there is no earlier copy of the last token.

    Returns:
        clean, corrupted: (n, L + at + 1).
        answers: (n,), the token after position `at`.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(n, vocab_size, generator=generator).argsort(dim=1)
    first = order[:, :L]
    clean = torch.cat((first, first[:, : at + 1]), dim=1)
    corrupted = clean.clone()
    corrupted[:, at] = order[:, L]
    return clean, corrupted, first[:, at + 1]


def text_prompts(inside: Inside, x: Tensor, letters: Tensor, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts from a text: each row of x, (B, T), is a prompt and, as its last token, the answer.

    The corrupted prompt has another letter one before the last position. Only those prompts are kept whose answer has
    at least half of the probability after the clean prompt, and after the corrupted one is at least e times less
    likely: elsewhere there is nothing to recover.

    Args:
        letters: the ids that may take its place, (n,).

    Returns:
        clean, corrupted: (some, T - 1).
        answers: (some,).
    """
    clean, answers = x[:, :-1], x[:, -1]
    corrupted = clean.clone()
    drawn = torch.randint(len(letters), (len(x),), generator=torch.Generator().manual_seed(seed))
    corrupted[:, -2] = letters[drawn]
    likely = answer_log_probs(inside.logits(clean), answers)
    lost = likely - answer_log_probs(inside.logits(corrupted), answers)
    kept = (likely > torch.tensor(0.5).log()) & (lost > 1)
    return clean[kept], corrupted[kept], answers[kept]
