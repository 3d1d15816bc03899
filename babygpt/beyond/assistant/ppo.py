"""PPO: write answers, let the reward model score them, and make the tokens likelier that did better than expected.

Every other step begins with answers that the policy draws. What a token earns is
- at the last token, the score of the reward model;
- at each token, minus kl times the log of how much likelier the policy finds it than the reference: who leaves the
  reference's language has to earn it.
A second head, the value head, predicts what is still to come. What went better than it had predicted is the advantage.
The same answers then serve for UPDATES updates, and the clip keeps them from going too far.

Source: Schulman et al., "Proximal Policy Optimization Algorithms"; Ziegler et al., "Fine-Tuning Language Models from
Human Preferences" (the KL in the reward).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from babygpt.beyond.assistant import objectives
from babygpt.beyond.assistant.answers import log_probs, of_answers, real_tokens, write
from babygpt.beyond.assistant.policy import PolicyTrainer
from babygpt.beyond.assistant.reward import score

UPDATES = 2  # of the policy, for each batch of answers
GROUP = 8  # answers to each prompt
VALUE_WEIGHT = 0.1  # of the value head's loss


@dataclass(frozen=True)
class Rollouts:
    """Answers to prompts, (B, A), and what is known about them when they are written."""

    prompts: Tensor
    answers: Tensor
    real: Tensor
    old: Tensor
    reference: Tensor
    scores: Tensor


class PPOTrainer(PolicyTrainer):
    """PPO. The model is `heads.Model`, which has the value head. Of each UPDATES steps, the first one draws answers."""

    rollouts: Rollouts | None = None
    advantages: Tensor | None = None
    returns: Tensor | None = None

    def batch_loss(self) -> Tensor:
        """The loss of the answers at hand; first, if it is time, draw new ones."""
        if self.step % UPDATES == 0:
            self.rollouts = self.collect()
            self.prepare()
        return self.loss()

    @torch.no_grad()
    def collect(self) -> Rollouts:
        """GROUP answers to each of some prompts of the same length, and their scores."""
        prompts = self.prompts("train", self.config.batch_size // GROUP, self.batches).repeat_interleave(GROUP, dim=0)
        answers = write(self.model, prompts, self.end, generator=self.batches)
        real = real_tokens(answers, self.end).float()
        old, reference = (log_probs(model, prompts, answers) for model in (self.model, self.reference))
        return Rollouts(prompts, answers, real, old, reference, score(self.reward, prompts, answers, self.end))

    @torch.no_grad()
    def prepare(self) -> None:
        """The advantages, and what the value head should have said."""
        r = self.rollouts
        earned = -self.kl * (r.old - r.reference) * r.real  # (B, A)
        last = r.real.sum(dim=1).long() - 1  # (B,)
        earned[torch.arange(len(last)), last] += r.scores
        values = self.predict()[1] * r.real  # (B, A)
        advantages = objectives.gae(earned, values)  # (B, A)
        centered = advantages - objectives.mean_over(advantages, r.real)  # (B, A)
        self.advantages = centered / (objectives.mean_over(centered.square(), r.real).sqrt() + 1e-4)
        self.returns = advantages + values

    def predict(self) -> tuple[Tensor, Tensor]:
        """The policy's log probabilities of the answers, and the value head's predictions before each token: (B, A)."""
        r = self.rollouts
        logits, values = self.model.both(torch.cat((r.prompts, r.answers), dim=1)[:, :-1])
        return of_answers(logits, r.answers), values[:, -r.answers.shape[1] :]

    def state(self) -> dict[str, Any]:
        """As for every trainer, and the answers at hand, which the next update may need."""
        at_hand = {"advantages": self.advantages, "returns": self.returns}
        return super().state() | {"rollouts": self.rollouts and vars(self.rollouts), "at_hand": at_hand}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken."""
        super().load_state(state)
        self.rollouts = state["rollouts"] and Rollouts(**state["rollouts"])
        self.advantages, self.returns = state["at_hand"]["advantages"], state["at_hand"]["returns"]

    def loss(self) -> Tensor:
        """PPO's loss, and the squared error of the value head."""
        new, values = self.predict()
        r = self.rollouts
        error = objectives.mean_over((values - self.returns).square(), r.real)  # ()
        return objectives.ppo(new, r.old, self.advantages, r.real) + VALUE_WEIGHT * error
