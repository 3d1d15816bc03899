"""GRPO: PPO with four things left out.

1. The value head is gone. An answer is compared with the others to the same prompt.
2. So is the value head's loss.
3. So is generalized advantage estimation: all tokens of an answer have the same advantage.
4. The KL is no longer a part of what each token earns. It is a term of the loss.

What is left is shorter, and needs no second head. The price: several answers to each prompt.

Source: Shao et al., "DeepSeekMath".
"""

import torch
from torch import Tensor

from babygpt.beyond.assistant import objectives
from babygpt.beyond.assistant.answers import log_probs
from babygpt.beyond.assistant.ppo import GROUP, PPOTrainer


class GRPOTrainer(PPOTrainer):
    """GRPO, on any language model."""

    @torch.no_grad()
    def prepare(self) -> None:
        """The advantages: each score against the others of its group."""
        groups = self.rollouts.scores.view(-1, GROUP)
        self.advantages = objectives.group_advantages(groups).view(-1, 1)

    def loss(self) -> Tensor:
        """PPO's loss, and the estimate of the KL."""
        r = self.rollouts
        new = log_probs(self.model, r.prompts, r.answers)  # (B, A)
        kl = objectives.mean_over(objectives.kl_estimate(new, r.reference), r.real)  # ()
        return objectives.ppo(new, r.old, self.advantages, r.real) + self.kl * kl
