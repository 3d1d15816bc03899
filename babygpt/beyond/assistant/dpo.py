"""DPO: the same pairs, without a reward model and without drawing answers.

The policy that PPO looks for, with the highest reward minus kl times the KL, has a formula: the reference, times the
exponential of the reward over kl. Turned around, each policy says what reward it would be the best for. So the loss of
Bradley and Terry, which trains a reward model, can train the policy itself.

Source: Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward Model".
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt.beyond.assistant import objectives
from babygpt.beyond.assistant.instructions import Instruction
from babygpt.beyond.assistant.policy import PolicyTrainer
from babygpt.beyond.assistant.reward import Pair
from babygpt.model import LanguageModel


class DPOTrainer(PolicyTrainer):
    """DPO on pairs. `kl` is its beta. The reward model is only used to measure."""

    def __init__(self, *args: Any, pairs: list[Pair]) -> None:
        super().__init__(*args)
        self.pairs = pairs

    def answer_log_probs(self, model: LanguageModel, prompts: list[str], answers: list[str]) -> Tensor:
        """The log probability of each answer as a whole: (n,)."""
        documents = [
            Instruction("voice", prompt, answer, bool) for prompt, answer in zip(prompts, answers, strict=True)
        ]
        x, y = self.corpus.batch(documents)  # (B, T), (B, T)
        logits, _ = model(x)
        return -F.cross_entropy(logits.transpose(1, 2), y, reduction="none").sum(dim=1)  # (B,)

    def batch_loss(self) -> Tensor:
        """The loss of random pairs."""
        chosen = torch.randint(len(self.pairs), (self.config.batch_size,), generator=self.batches).tolist()
        pairs = [self.pairs[number] for number in chosen]
        prompts = [pair.prompt for pair in pairs] * 2
        answers = [pair.better for pair in pairs] + [pair.worse for pair in pairs]
        better, worse = self.answer_log_probs(self.model, prompts, answers).chunk(2)
        with torch.no_grad():
            better_ref, worse_ref = self.answer_log_probs(self.reference, prompts, answers).chunk(2)
        return objectives.dpo(better, worse, better_ref, worse_ref, self.kl)
