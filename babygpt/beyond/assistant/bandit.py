"""Reinforcement learning so small that every answer can be written down.

The policy is version 1, the bigram model, with a handful of tokens. It writes answers of a few tokens, and each
possible answer has a reward. With 4 tokens and a length of 3 there are 64 answers, so the expected reward is a sum of
64 terms, and its gradient is exact. That is what the estimates of `objectives.py`, which only see some answers, are
tested against.

Source: Sutton and Barto, "Reinforcement Learning", chapters 2 and 13.
"""

import itertools

import torch
from torch import Tensor

from babygpt import v1
from babygpt.beyond.assistant.answers import log_probs
from babygpt.model import LanguageModel

START = 0  # the token that every answer begins behind


def new_policy(vocab_size: int = 4, seed: int = 0) -> v1.Model:
    """A bigram model of random weights."""
    torch.manual_seed(seed)
    return v1.Model(v1.Config(vocab_size=vocab_size))


def all_answers(vocab_size: int = 4, length: int = 3) -> Tensor:
    """Every answer there is, one a row: (N, A) int64, where N is vocab_size to the power of length."""
    return torch.tensor(list(itertools.product(range(vocab_size), repeat=length)))


def answer_log_probs(policy: LanguageModel, answers: Tensor) -> Tensor:
    """The log probabilities of the tokens of answers, (N, A)."""
    return log_probs(policy, torch.full((len(answers), 1), START), answers)


def expected_reward(policy: LanguageModel, answers: Tensor, rewards: Tensor) -> Tensor:
    """The reward that the policy gets on average, exactly: a sum over all answers, weighted by their probabilities.

    Args:
        answers: all there are, (N, A).
        rewards: (N,).

    Returns:
        a scalar with a gradient: that of the policy's probabilities.
    """
    probabilities = answer_log_probs(policy, answers).sum(dim=1).exp()  # (N,)
    return (probabilities * rewards).sum()  # ()


def exact_kl(policy: LanguageModel, reference: LanguageModel, answers: Tensor) -> Tensor:
    """KL(policy || reference) of whole answers, a sum over all of them: ()."""
    new, old = (answer_log_probs(model, answers).sum(dim=1) for model in (policy, reference))  # (N,)
    return (new.exp() * (new - old)).sum()  # ()


def draw(policy: LanguageModel, n: int, length: int = 3, generator: torch.Generator | None = None) -> Tensor:
    """n answers that the policy writes: (n, A) int64."""
    start = torch.full((n, 1), START)
    return policy.generate(start, length, generator=generator)[:, 1:]
