"""The losses and estimates of the lesson, each as a function of a few tensors. No model, no loop.

In the names, a *policy* is the language model that is trained, and a *reference* is the one it started from. An answer
has A tokens; `real`, (B, A), is 1 where a token belongs to the answer and 0 behind its end.

Sources: Bradley and Terry, "Rank Analysis of Incomplete Block Designs"; Williams, "Simple Statistical
Gradient-Following Algorithms" (REINFORCE); Schulman et al., "High-Dimensional Continuous Control Using Generalized
Advantage Estimation" and "Proximal Policy Optimization Algorithms"; Shao et al., "DeepSeekMath" (GRPO); Rafailov et
al., "Direct Preference Optimization"; Schulman, "Approximating KL Divergence" (k3).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def bradley_terry(better: Tensor, worse: Tensor) -> Tensor:
    """The loss of a reward model, from its scores of the better and the worse answers of pairs: (N,), (N,) -> ().

    The model says that the better one wins with the probability sigmoid(better - worse).
    """
    return -F.logsigmoid(better - worse).mean()


def mean_over(values: Tensor, real: Tensor) -> Tensor:
    """The mean of the values, (B, A), where `real` is 1: ()."""
    return (values * real).sum() / real.sum()


def reinforce(log_probs: Tensor, advantages: Tensor, real: Tensor) -> Tensor:
    """A loss whose gradient is minus the policy gradient: make each token likelier, by as much as it was good.

    All three are (B, A); advantages are numbers without a gradient.
    """
    return -mean_over(log_probs * advantages, real)


def ppo(new: Tensor, old: Tensor, advantages: Tensor, real: Tensor, clip: float = 0.2) -> Tensor:
    """PPO's loss. The answers came from an older policy, and may be used for several updates, as long as it is near.

    `new` and `old` are log probabilities, (B, A), of the policy in training and of the one that wrote the answers.
    Their ratio starts at 1. Once it has moved past 1 + clip or 1 - clip in the direction that the advantage asks for,
    the minimum is a constant, so the token has no gradient any more. In the other direction nothing is clipped.
    """
    ratio = (new - old).exp()  # (B, A)
    clipped = ratio.clamp(1 - clip, 1 + clip)  # (B, A)
    return -mean_over(torch.minimum(ratio * advantages, clipped * advantages), real)


def kl_estimate(policy: Tensor, reference: Tensor) -> Tensor:
    """For each token that the policy drew, an estimate of KL(policy || reference) from both log probabilities, (B, A).

    With r = reference / policy, it is r - 1 - log r: never negative, and right on average. So is -log r, on average,
    but it is often negative and varies more.
    """
    log_r = reference - policy  # (B, A)
    return log_r.exp() - 1 - log_r  # (B, A)


def gae(rewards: Tensor, values: Tensor, lam: float = 0.95) -> Tensor:
    """Generalized advantage estimation: how much better than expected it went on from each token, (B, A).

    With lam = 1 the advantage of a token is the sum of the rewards from there on, minus its value. With less, later
    values are trusted in place of later rewards: less noise, more bias. Rewards are not discounted.

    Args:
        rewards: (B, A), what each token earned; 0 behind the end.
        values: (B, A), the reward that was expected from there on, before the token was drawn; 0 behind the end.
    """
    advantages, later = torch.zeros_like(rewards), torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        next_value = values[:, t + 1] if t + 1 < rewards.shape[1] else 0.0
        surprise = rewards[:, t] + next_value - values[:, t]  # (B,)
        later = surprise + lam * later  # (B,)
        advantages[:, t] = later
    return advantages


def group_advantages(rewards: Tensor) -> Tensor:
    """GRPO's advantages: each answer against the others to the same prompt, (N, G) -> (N, G).

    N prompts have G answers each. Each row has mean 0 and standard deviation 1; where all answers are equally good, 0.
    """
    centered = rewards - rewards.mean(dim=1, keepdim=True)  # (N, G)
    return centered / (rewards.std(dim=1, keepdim=True) + 1e-4)  # (N, G)


def dpo(better: Tensor, worse: Tensor, better_ref: Tensor, worse_ref: Tensor, beta: float = 0.1) -> Tensor:
    """DPO's loss: Bradley-Terry, with the policy itself as the reward model. All four are (N,), and the loss is ().

    They are log probabilities of whole answers, by the policy and by the reference. The reward of an answer is beta
    times how much likelier the policy finds it than the reference does.
    """
    return bradley_terry(beta * (better - better_ref), beta * (worse - worse_ref))
