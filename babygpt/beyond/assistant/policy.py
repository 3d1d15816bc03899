"""What PPO, GRPO and DPO share: a policy, the reference it started from, and how an evaluation asks it."""

import torch
from torch import Tensor

from babygpt.beyond.assistant import heads
from babygpt.beyond.assistant.answers import encode_prompt, log_probs, real_tokens, text_of, write
from babygpt.beyond.assistant.instructions import Instructions, special_ids, words
from babygpt.beyond.assistant.objectives import kl_estimate
from babygpt.beyond.assistant.reward import liked, same_length, score
from babygpt.data import Split
from babygpt.model import LanguageModel
from babygpt.training import TrainConfig, Trainer

ASKED = 8  # lengths of prompts in an evaluation; with 16 prompts each, it asks 128 times


class PolicyTrainer(Trainer):
    """A policy in training by a reward.

    Its `history` also holds, for answers drawn to held-out prompts: `reward`, the reward model's mean score; `liked`,
    the share that the rater likes; `spelled`, the share of their words that are in the plays; `kl`, the KL to the
    reference, in nats per answer; and `tokens`, the mean length. There is no loss to compare, so `val` is minus the
    reward.
    """

    def __init__(
        self,
        model: LanguageModel,
        corpus: Instructions,
        config: TrainConfig,
        reference: LanguageModel,
        reward: heads.Model,
        kl: float,
    ) -> None:
        super().__init__(model, corpus, config)
        self.reference, self.reward, self.kl = reference.eval(), reward.eval(), kl
        self.end = special_ids(corpus.tokenizer)[2]

    def prompts(self, split: Split, n: int, generator: torch.Generator) -> Tensor:
        """n prompts of the task `voice` of the same length, (n, P)."""
        asked = same_length(self.corpus, split, n, generator)
        return torch.tensor([encode_prompt(self.corpus.tokenizer, each.prompt) for each in asked])

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Ask 128 times, about the same held-out lines each time."""
        generator, sums, n = torch.Generator().manual_seed(self.config.seed), dict.fromkeys(MEASURED, 0.0), 0
        asked = [self.prompts("val", 16, generator) for _ in range(ASKED)]  # all of them before the first answer
        for prompts in asked:
            answers = write(self.model, prompts, self.end, generator=generator)
            real = real_tokens(answers, self.end)
            kl = kl_estimate(*(log_probs(model, prompts, answers) for model in (self.model, self.reference)))
            texts = [text_of(self.corpus.tokenizer, row) for row in answers.tolist()]
            sums["reward"] += score(self.reward, prompts, answers, self.end).sum().item()
            sums["liked"] += sum(liked(text) for text in texts)
            sums["spelled"] += sum(map(self.spelled, texts))
            sums["kl"] += (kl * real).sum().item()
            sums["tokens"] += real.sum().item()
            n += len(texts)
        found = {name: total / n for name, total in sums.items()}
        return {"train": -found["reward"], "val": -found["reward"], **found}

    def spelled(self, text: str) -> float:
        """The share of an answer's words, behind the speaker's name, that are in the plays; 0 if it has none."""
        found = words(text.partition("\n")[2])
        return sum(word in self.corpus.dictionary for word in found) / max(1, len(found))

    def remark(self) -> str:
        """The measurements of the last evaluation."""
        last = self.history[-1]
        return f", reward {last['reward']:.2f}, liked {last['liked']:.0%}, KL {last['kl']:.1f}"


MEASURED = ("reward", "liked", "spelled", "kl", "tokens")
