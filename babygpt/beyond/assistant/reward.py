"""A taste, pairs of answers that it has judged, and a reward model that learns it from the pairs.

People can say which of two answers they like better, and can't say what makes an answer good. So a reward model learns
from their choices. Here a program is the rater, so that we can ask it about every answer later on, and see what the
reward model has missed. Its taste: an answer should pause once or twice,
and no more. A pause is a comma.

Source: Christiano et al., "Deep Reinforcement Learning from Human Preferences"; Stiennon et al., "Learning to Summarize
with Human Feedback".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from babygpt.beyond.assistant import heads
from babygpt.beyond.assistant.answers import encode_prompt, real_tokens, text_of, write
from babygpt.beyond.assistant.instructions import Instruction, Instructions, special_ids, words
from babygpt.beyond.assistant.objectives import bradley_terry
from babygpt.data import Split
from babygpt.model import LanguageModel
from babygpt.training import TrainConfig, Trainer

PROMPTS, GROUP = 32, 8  # prompts asked at the same time, and answers to each


def liked(answer: str) -> bool:
    """Whether the rater likes an answer: one or two commas behind the speaker's name, each behind a word or more."""
    *parts, _ = answer.partition("\n")[2].split(",")
    return len(parts) in (1, 2) and all(map(words, parts))


@dataclass(frozen=True)
class Pair:
    """Two answers to a prompt; the rater likes the first one and not the second."""

    prompt: str
    better: str
    worse: str


def same_length(corpus: Instructions, split: Split, n: int, generator: torch.Generator) -> list[Instruction]:
    """n instructions of the task `voice` whose prompts have the same length, so that they fit into one tensor.

    Where too few of that length were drawn, they are repeated.
    """
    several = corpus.draw(split, 40 * n, generator, task="voice")
    wanted = len(several[0].prompt)
    found = [each for each in several if len(each.prompt) == wanted]
    return (found * n)[:n]


def collect_pairs(
    model: LanguageModel, corpus: Instructions, split: Split, n: int, generator: torch.Generator
) -> list[Pair]:
    """Let a model write GROUP answers to each of many prompts, and pair liked ones with others, up to n pairs."""
    pairs, end = [], special_ids(corpus.tokenizer)[2]
    while len(pairs) < n:
        asked = same_length(corpus, split, PROMPTS, generator)
        ids = torch.tensor([encode_prompt(corpus.tokenizer, each.prompt) for each in asked])
        answers = write(model, ids.repeat_interleave(GROUP, dim=0), end, generator=generator)
        texts = [text_of(corpus.tokenizer, row) for row in answers.tolist()]
        for number, each in enumerate(asked):
            group = texts[number * GROUP : (number + 1) * GROUP]
            better, worse = [text for text in group if liked(text)], [text for text in group if not liked(text)]
            pairs += [Pair(each.prompt, a, b) for a, b in zip(better, worse, strict=False)]
    return pairs[:n]


def score(model: heads.Model, prompts: Tensor, answers: Tensor, end: int) -> Tensor:
    """A reward model's score of answers: prompts (B, P), answers (B, A) -> (B,).

    It is the sum of what the second head says at the tokens of the answer. Larger models have room to keep it all for
    the last token; with a few hundred pairs, ours learns the sum sooner.
    """
    real = torch.cat((torch.zeros_like(prompts), real_tokens(answers, end)), dim=1)
    return add_up(model, torch.cat((prompts, answers), dim=1), real)


def score_texts(model: heads.Model, corpus: Instructions, texts: Sequence[tuple[str, str]]) -> Tensor:
    """The same for prompts of any length: n prompts with an answer each -> (n,)."""
    rows, counts = [], []
    for prompt, answer in texts:
        before, after = encode_prompt(corpus.tokenizer, prompt), corpus.encode_answer(answer)
        rows.append(torch.tensor(before + after))
        counts.append(torch.tensor([0] * len(before) + [1] * len(after)))
    return add_up(model, pad_sequence(rows, batch_first=True), pad_sequence(counts, batch_first=True))


def add_up(model: heads.Model, idx: Tensor, real: Tensor) -> Tensor:
    """The sum of what the second head says where `real` is 1: (B, T), (B, T) -> (B,)."""
    return (model.both(idx)[1] * real).sum(dim=1)


class RewardTrainer(Trainer):
    """A reward model in training. `history` also holds `accuracy`: the share of held-out pairs in the right order."""

    def __init__(
        self, model: heads.Model, corpus: Instructions, config: TrainConfig, train: list[Pair], val: list[Pair]
    ) -> None:
        super().__init__(model, corpus, config)
        self.pairs = {"train": train, "val": val}

    def scores(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        """The scores of the better and of the worse answers, (n,) each."""
        texts = [(pair.prompt, pair.better) for pair in pairs] + [(pair.prompt, pair.worse) for pair in pairs]
        return score_texts(self.model, self.corpus, texts).chunk(2)

    def batch_loss(self) -> Tensor:
        """The loss of Bradley and Terry on random pairs."""
        chosen = torch.randint(len(self.pairs["train"]), (self.config.batch_size,), generator=self.batches).tolist()
        return bradley_terry(*self.scores([self.pairs["train"][number] for number in chosen]))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The loss on up to 200 pairs of each split, and the accuracy on the held-out ones."""
        found = {split: self.scores(pairs[:200]) for split, pairs in self.pairs.items()}
        better, worse = found["val"]
        losses = {split: bradley_terry(*scores).item() for split, scores in found.items()}
        return losses | {"accuracy": (better > worse).float().mean().item()}

    def remark(self) -> str:
        """The accuracy of the last evaluation."""
        return f", {self.history[-1]['accuracy']:.0%} of the held-out pairs in the right order"
