"""All stages in one command: `python -m babygpt.beyond.assistant`.

    pretrain   version 10 learns to continue the plays
    sft        it learns to obey instructions
    pairs      it answers, and a rater says which of two answers is better
    reward     a reward model learns to say the same
    ppo-0      PPO by the reward model, without KL
    ppo        PPO with KL
    grpo       GRPO with KL
    dpo        DPO on the pairs

Each stage is a run folder in --out-dir. A command that is stopped or killed goes on when it is started again: what is
finished is not repeated, and the stage in the middle continues from its last checkpoint.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from babygpt import v10
from babygpt.beyond.assistant import heads, report
from babygpt.beyond.assistant.dpo import DPOTrainer
from babygpt.beyond.assistant.grpo import GRPOTrainer
from babygpt.beyond.assistant.instructions import LONGEST, Instructions
from babygpt.beyond.assistant.ppo import PPOTrainer
from babygpt.beyond.assistant.reward import Pair, RewardTrainer, collect_pairs
from babygpt.beyond.assistant.sft import SFTTrainer, grow_vocabulary
from babygpt.data import Corpus
from babygpt.errors import UserError, require, require_within
from babygpt.harness.files import write_atomically
from babygpt.harness.pace import PaceReport
from babygpt.harness.ranks import launched
from babygpt.harness.runs import Run
from babygpt.harness.signals import stop_on_signal
from babygpt.harness.terminal import print_line, run_command
from babygpt.harness.threads import worthwhile_threads
from babygpt.model import LanguageModel
from babygpt.training import TrainConfig, Trainer
from babygpt.versions import Recipe

MODEL: Recipe = dict(block_size=LONGEST, n_embd=128, n_head=4, n_layer=4, dropout=0.0, init_std=0.05)
MUON: Recipe = dict(optimizer="muon", warmup_iters=100, lr_schedule="linear", weight_decay=0.1, beta2=0.99,
                    dtype="auto")  # fmt: skip
REINFORCE: Recipe = dict(max_iters=80, batch_size=32, learning_rate=2e-4, eval_interval=20, grad_clip=1.0, beta2=0.99,
                         weight_decay=0.0)  # fmt: skip
RECIPES: dict[str, Recipe] = {
    "pretrain": MUON | dict(max_iters=1200, batch_size=12, learning_rate=9e-3, eval_interval=300, eval_iters=20),
    "sft": MUON | dict(max_iters=1000, batch_size=32, learning_rate=6e-3, eval_interval=250, eval_iters=8),
    "reward": dict(max_iters=90, batch_size=16, learning_rate=3e-4, warmup_iters=10, lr_schedule="linear",
                   eval_interval=30, beta2=0.99),
    "ppo-0": REINFORCE,
    "ppo": REINFORCE,
    "grpo": REINFORCE,
    "dpo": REINFORCE | dict(batch_size=16, learning_rate=5e-5),
}  # fmt: skip
KL = {"ppo-0": 0.0, "ppo": 0.3, "grpo": 0.3, "dpo": 0.3}
PAIRS = {"train": 600, "val": 200}


@dataclass(frozen=True)
class AssistantConfig:
    """Train an assistant: pretraining, supervised finetuning, reward model, PPO, GRPO and DPO."""

    out_dir: Path = Path("runs/assistant")
    """Folder for the runs of all stages, and for their table. If it holds some, they are continued."""

    seed: int = 1337
    """Seed of all stages."""

    scale: float = 1.0
    """Share of the steps of each stage, for example 0.1 for a quick look."""

    def __post_init__(self) -> None:
        require_within(self, 0, 2**63 - 1, "seed")
        require_within(self, 0.001, 100, "scale")


def main(argv: Sequence[str] | None = None) -> None:
    """Train an assistant as the command line says, and exit: 0, 2 for bad input, 130 after Ctrl-C."""
    run_command(AssistantConfig, train, "python -m babygpt.beyond.assistant", argv)


class Stopped(KeyboardInterrupt):
    """A signal has ended a stage, which is saved."""


def train(config: AssistantConfig) -> None:
    """Do what is missing of all stages, then write the table."""
    require(not launched(), "an assistant is trained in one process: start it without torchrun")
    with Run(config.out_dir).locked():
        try:
            Stages(config).run()
        except Stopped:
            print_line("Stopped and saved. To continue, run the same command again.")
            raise


class Stages:
    """The stages of one seed, in one folder."""

    def __init__(self, config: AssistantConfig) -> None:
        self.config, self.folder = config, config.out_dir
        self.plays = Corpus.load()
        self.corpus = Instructions.new(self.plays)

    def run(self) -> None:
        """Every stage, in order."""
        torch.manual_seed(self.config.seed)
        base = self.stage("pretrain", lambda: v10.Model(v10.Config(**MODEL)), Trainer, corpus=self.plays)
        grown = self.corpus.tokenizer.vocab_size
        sft = self.stage("sft", lambda: grow_vocabulary(base, grown), SFTTrainer)
        pairs = self.pairs(sft)
        with_head = lambda: heads.Model.on_top_of(sft)  # noqa: E731
        reward = self.stage("reward", with_head, RewardTrainer, pairs["train"], pairs["val"])
        for name, model, kind, more in (
            ("ppo-0", with_head, PPOTrainer, {}),
            ("ppo", with_head, PPOTrainer, {}),
            ("grpo", lambda: copy_of(sft), GRPOTrainer, {}),
            ("dpo", lambda: copy_of(sft), DPOTrainer, {"pairs": pairs["train"]}),
        ):
            self.stage(name, model, kind, sft, reward, KL[name], **more)
        report.write(self.folder, self.corpus, self.config.seed)

    def stage(
        self,
        name: str,
        model: Callable[[], LanguageModel],
        kind: type[Trainer],
        *args: Any,
        corpus: Corpus | None = None,
        **more: Any,
    ) -> LanguageModel:
        """The model that a stage ends with: trained, resumed, or loaded if the stage is finished."""
        run, corpus = Run(self.folder / name), corpus or self.corpus
        settings = self.settings(name)
        trainer = kind(model(), corpus, settings, *args, **more)
        if run.exists():
            saved = run.read("last")
            run.check_resumable(saved, trainer)
            trainer.load_state(saved["state"])
        if trainer.step < settings.max_iters:
            parameters = sum(p.numel() for p in trainer.model.parameters())
            print_line(f"\n{name}: {parameters:,} parameters, steps {trainer.step:,} to {settings.max_iters:,}")
            sizes = trainer.model.config
            threads = worthwhile_threads(settings.batch_size, sizes.block_size, sizes.n_embd)
            with threads, stop_on_signal(trainer):
                trainer.train(on_eval=lambda trainer: save_and_print(run, trainer), on_step=PaceReport())
            if trainer.stop:
                run.save(trainer)
                raise Stopped
        return run.load_model("last")[0]

    def settings(self, name: str) -> TrainConfig:
        """The settings of a stage: its recipe, with its share of the steps."""
        recipe, scale = RECIPES[name], self.config.scale
        counts = {key: max(1, round(recipe[key] * scale)) for key in ("max_iters", "eval_interval")}
        return TrainConfig(**{**recipe, **counts, "seed": self.config.seed, "device": "cpu"})

    def pairs(self, model: LanguageModel) -> dict[str, list[Pair]]:
        """The pairs of both splits, from pairs.json if it is there."""
        path = self.folder / "pairs.json"
        if not path.exists():
            print_line("\npairs: answering, and asking the rater")
            found = {}
            for split, n in PAIRS.items():
                generator = torch.Generator().manual_seed(self.config.seed)
                wanted = max(2, round(n * min(1, self.config.scale)))
                found[split] = [asdict(each) for each in collect_pairs(model, self.corpus, split, wanted, generator)]
            write_atomically(path, json.dumps(found, indent=1).encode())
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return {split: [Pair(**each) for each in content[split]] for split in PAIRS}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}): remove it, and run the same command again") from error


def copy_of(model: LanguageModel) -> LanguageModel:
    """A model of the same kind with the same weights."""
    new = type(model)(model.config)
    new.load_state_dict(model.state_dict())
    return new


def save_and_print(run: Run, trainer: Trainer) -> None:
    """After an evaluation: save, then print it."""
    run.save(trainer)
    last = trainer.history[-1]
    losses = "" if "reward" in last else f": train {last['train']:.2f}, val {last['val']:.2f}"
    print_line(f"step {last['step']:5d}{losses}{trainer.remark()}")
