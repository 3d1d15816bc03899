"""The assistant: instructions, the stages and their table, the chat; and that training does what the lesson says."""

import json
import os
import re
import signal
import sys

import pytest
import torch
import torch.nn.functional as F
from forked import Process

from babygpt import v10
from babygpt.beyond import chat
from babygpt.beyond.assistant import answers, heads, ppo, report, reward, stages
from babygpt.beyond.assistant.dpo import DPOTrainer
from babygpt.beyond.assistant.grpo import GRPOTrainer
from babygpt.beyond.assistant.instructions import (
    LONGEST,
    MAX_ANSWER,
    MAX_PROMPT,
    SPECIAL,
    TASKS,
    Instructions,
    has_special_tokens,
    passages,
    special_ids,
)
from babygpt.beyond.assistant.ppo import PPOTrainer
from babygpt.beyond.assistant.reward import liked
from babygpt.beyond.assistant.sft import SFTTrainer, grow_vocabulary
from babygpt.beyond.sums import IGNORE
from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.harness.runs import Run
from babygpt.training import TrainConfig

TINY = dict(block_size=LONGEST, n_embd=16, n_head=2, n_layer=1, dropout=0.0)


@pytest.fixture(scope="module")
def corpus():
    return Instructions.new(Corpus.load())


def new_model(seed=0, module=v10, **sizes):
    torch.manual_seed(seed)
    return module.Model(module.Config(**TINY | {"vocab_size": 68} | sizes))


def draw(corpus, n=60, split="val", task=None, seed=0):
    return corpus.draw(split, n, torch.Generator().manual_seed(seed), task)


# Instructions


def test_the_three_special_tokens_are_ids_65_to_67_and_the_characters_keep_theirs(corpus):
    plays = Corpus.load().tokenizer
    assert special_ids(corpus.tokenizer) == [65, 66, 67] and corpus.tokenizer.vocab_size == 68
    assert corpus.tokenizer.encode("Romeo") == plays.encode("Romeo") and not has_special_tokens(plays)


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_instruction_is_obeyed_by_its_own_answer_and_fits(corpus, split):
    for each in draw(corpus, 1500, split):
        assert each.obeyed(each.answer), each
        x, y = corpus.encode_document(each)
        assert len(x) == len(y) <= LONGEST and len(each.answer) <= MAX_ANSWER


def test_what_is_right_can_be_said_in_python(corpus):
    """A second way to compute each answer, from the prompt alone."""
    right = {
        "capitals": str.upper,
        "backwards": lambda said: "".join(reversed(said)),
        "first": lambda said: re.match(r"[A-Za-z'-]+", said)[0],
        "count": lambda said: ["one", "two", "three", "four", "five"][len(said.split()) - 1],
        "speaker": lambda said: said.split(":")[0],
    }
    for task, answer in right.items():
        for each in draw(corpus, 50, task=task):
            said = each.prompt.partition("? " if task == "speaker" else ": ")[2]
            assert each.answer == answer(said), each


def test_a_wrong_answer_does_not_obey(corpus):
    for each in draw(corpus, 300):
        assert not each.obeyed("") and not each.obeyed(each.answer + "x y" * (each.task != "voice") + "\nxqz")
    voice = draw(corpus, 1, task="voice")[0]
    name = voice.answer.partition("\n")[0]
    assert voice.obeyed(f"{name}\nGood morrow.") and not voice.obeyed(f"{name}\nGood morrqw.")
    assert not voice.obeyed("Good morrow.") and not voice.obeyed(f"{name}\nGood.")


def test_instructions_for_validation_come_from_text_that_no_stage_trains_on(corpus):
    text = Corpus.load().tokenizer.decode(Corpus.load().train.tolist())
    lines = {(each.speaker, each.line) for each in corpus.passages["train"]}
    held_out = [each for each in corpus.passages["val"] if (each.speaker, each.line) not in lines]
    assert len(held_out) > 0.99 * len(corpus.passages["val"]) > 1000
    assert sum(f"{each.line}\n{each.following}" in text for each in held_out) == 0


def test_only_the_answer_and_its_end_are_targets(corpus):
    for each in draw(corpus, 50):
        x, y = corpus.encode_document(each)
        told = corpus.tokenizer.decode([token for token in y if token != IGNORE])
        assert told == each.answer + SPECIAL[2]
        assert all(b in (a, IGNORE) for a, b in zip(x[1:], y[:-1], strict=True))  # shifted by one


def test_the_masked_prompt_and_the_padding_have_no_part_in_the_loss(corpus):
    model, (x, y) = new_model(), corpus.get_batch("train", 8, LONGEST, torch.Generator().manual_seed(0))
    logits, loss = model(x, y)
    each = F.cross_entropy(logits.flatten(0, 1), y.flatten().clamp(min=0), reduction="none")
    assert loss.item() == pytest.approx(each[(y != IGNORE).flatten()].mean().item(), abs=1e-5)
    assert 0.2 < (y == IGNORE).float().mean() < 0.95


def test_the_portions_of_a_batch_have_the_loss_of_the_batch(corpus):
    trainer = SFTTrainer(new_model(), corpus, TrainConfig(batch_size=9, device="cpu"))
    found = trainer.batch_loss()
    x, y = corpus.get_batch("train", 9, LONGEST, torch.Generator().manual_seed(1337))
    assert found.item() == pytest.approx(trainer.model(x, y)[1].item(), abs=1e-5)


def test_a_grown_model_says_the_same_about_the_old_tokens():
    old = new_model(vocab_size=65)
    new, idx = grow_vocabulary(old, 68), torch.randint(65, (2, 9))
    assert torch.allclose(new(idx)[0][:, :, :65], old(idx)[0], atol=1e-6) and new(idx)[0].shape[-1] == 68
    assert torch.allclose(new.lm_head.weight[66], old.lm_head.weight.mean(dim=0), atol=1e-7)


def test_a_text_without_speeches_is_refused_in_a_sentence():
    with pytest.raises(UserError, match="has no speeches in its train split"):
        Instructions.new(Corpus.from_text("no plays here " * 50))
    assert passages("A lord:\nGood sir,\nhow do you do?\n\nx")[0].following == "how do you do?"


# Answers


def test_answers_end_at_the_first_end_and_their_probabilities_are_those_of_each_token_in_turn():
    model = new_model(seed=3).eval()
    prompts, end = torch.randint(65, (4, 5)), 67
    found = answers.write(model, prompts, end, generator=torch.Generator().manual_seed(0))
    real = answers.real_tokens(found, end)
    for row, mask in zip(found.tolist(), real.tolist(), strict=True):
        length = row.index(end) + 1 if end in row else len(row)
        assert mask == [n < length for n in range(len(row))]
    log_p = answers.log_probs(model, prompts, found)
    for t in (0, 1, 7):
        logits, _ = model(torch.cat((prompts, found[:, :t]), dim=1))
        expected = logits[:, -1].log_softmax(dim=-1).gather(-1, found[:, [t]])[:, 0]
        assert torch.allclose(log_p[:, t], expected, atol=1e-5)


def test_prompts_of_any_length_are_answered_as_they_are_alone(corpus):
    model, prompts = new_model(seed=1).eval(), [each.prompt for each in draw(corpus, 12)]
    together = answers.answer_all(model, corpus.tokenizer, prompts)
    assert together == [answers.answer_all(model, corpus.tokenizer, [prompt])[0] for prompt in prompts]


# Reward


@pytest.mark.parametrize(
    ("answer", "like"),
    [
        ("All:\nCome, sir.", True), ("All:\nO, my lord, no.", True), ("All:\nGood night.", False),
        ("All:\nO, O, O, no.", False), ("All:\n,,", False), ("Come, sir.", False), ("All:\nNo, , sir", False),
    ],
)  # fmt: skip
def test_the_rater_likes_one_or_two_commas_behind_words(answer, like):
    assert liked(answer) == like


def test_a_reward_model_reads_an_answer_and_nothing_behind_its_end(corpus):
    model, encode = new_model(module=heads), corpus.tokenizer.encode
    torch.nn.init.normal_(model.score_head.weight)
    text = ("Go on as All: x", "All:\nGood night!")
    alone = reward.score_texts(model, corpus, [text])
    batch = reward.score_texts(model, corpus, [text, ("Go on as All: xyz", "All:\nA much longer answer.")])
    assert alone.item() == pytest.approx(batch[0].item(), abs=1e-5)
    prompt = torch.tensor([answers.encode_prompt(corpus.tokenizer, text[0])])
    padded = torch.tensor([[*encode(text[1]), 67, 67, 67]])
    assert reward.score(model, prompt, padded, 67).item() == pytest.approx(alone.item(), abs=1e-5)


def test_the_longest_answer_to_the_longest_prompt_just_fits_and_both_ways_to_score_it_agree(corpus):
    """It has no end."""
    model = new_model(module=heads)
    torch.nn.init.normal_(model.score_head.weight)
    text = ("x" * MAX_PROMPT, "e" * (MAX_ANSWER + 1))
    prompt = torch.tensor([answers.encode_prompt(corpus.tokenizer, text[0])])
    answer = torch.tensor([corpus.encode_answer(text[1])])
    assert prompt.shape[1] + answer.shape[1] == model.config.block_size
    scores = model.both(torch.cat((prompt, answer), dim=1))[1][0, prompt.shape[1] :]
    assert reward.score(model, prompt, answer, 67).item() == pytest.approx(scores.sum().item(), abs=1e-4)
    assert reward.score_texts(model, corpus, [text]).item() == pytest.approx(scores.sum().item(), abs=1e-4)


def test_an_answer_that_was_cut_has_no_end_and_every_other_one_has(corpus):
    end = corpus.tokenizer.encode(SPECIAL)[2]
    assert corpus.encode_answer("e" * MAX_ANSWER)[-1] == end and end not in corpus.encode_answer("e" * (MAX_ANSWER + 1))


def test_a_reward_model_learns_the_order_of_pairs_that_it_has_not_seen(corpus):
    prompt, calm = "Go on as All: x", ["Good night.", "My lord:", "We go.", "Speak sir;", "Come hither:", "Not I."]
    pairs = [reward.Pair(prompt, f"All:\n{text[:-1]}, ay.", f"All:\n{text}") for text in calm]
    config = TrainConfig(max_iters=40, batch_size=8, learning_rate=1e-2, eval_interval=40, device="cpu")
    trainer = reward.RewardTrainer(new_model(module=heads), corpus, config, pairs[:4], pairs[4:])
    trainer.train(progress=False)
    assert trainer.history[0]["val"] == pytest.approx(0.6931, abs=1e-3)
    assert trainer.history[-1]["accuracy"] == 1 and trainer.history[-1]["val"] < 0.2


# Reinforcement


def policy_trainer(corpus, kind, kl=0.1, **settings):
    model = new_model(module=heads if kind is PPOTrainer else v10)
    judge = new_model(seed=5, module=heads)
    torch.nn.init.normal_(judge.score_head.weight)
    config = TrainConfig(**{**dict(batch_size=16, learning_rate=1e-3, device="cpu", max_iters=4), **settings})
    return kind(model, corpus, config, new_model(seed=9), judge, kl)


def test_every_policy_is_asked_the_same_held_out_prompts(corpus, monkeypatch):
    """Also if its answers are shorter, and use fewer random numbers."""
    asked = {}
    for bias in (0.0, 20.0):
        trainer = policy_trainer(corpus, GRPOTrainer)
        trainer.model.lm_head.bias.data[trainer.end] += bias
        module, found = sys.modules["babygpt.beyond.assistant.policy"], asked.setdefault(bias, [])
        monkeypatch.setattr(
            module, "write", lambda m, p, *a, to=found, **k: to.append(p) or answers.write(m, p, *a, **k)
        )
        trainer.evaluate()
    assert all(map(torch.equal, asked[0.0], asked[20.0])) and len({p.shape[1] for p in asked[0.0]}) > 1


def ppo_by_hand(trainer):
    """The advantages and the returns of a batch of answers, one answer and one token at a time."""
    r, lam = trainer.rollouts, 0.95
    advantages, returns = torch.zeros_like(r.real), torch.zeros_like(r.real)
    for row in range(len(r.real)):
        n = int(r.real[row].sum())
        value = []
        for t in range(n):
            before = torch.cat((r.prompts[row], r.answers[row, :t]))[None]  # all that is read before token t is drawn
            value.append(trainer.model.both(before)[1][0, -1].item())
        later = 0.0
        for t in reversed(range(n)):
            earned = -trainer.kl * (r.old[row, t] - r.reference[row, t]) + (r.scores[row] if t == n - 1 else 0)
            later = earned + (value[t + 1] if t + 1 < n else 0) - value[t] + lam * later
            advantages[row, t], returns[row, t] = later, later + value[t]
    real = r.real.bool()
    spread = advantages[real].std(correction=0)
    advantages[real] = (advantages[real] - advantages[real].mean()) / (spread + 1e-4)
    return advantages, returns


def test_the_advantages_and_returns_of_ppo_are_those_computed_by_hand(corpus):
    """The score is earned at the last token, the KL at each; a value is predicted before its token is drawn."""
    trainer = policy_trainer(corpus, PPOTrainer)
    torch.nn.init.normal_(trainer.model.score_head.weight)
    trainer.model.lm_head.bias.data[trainer.end] += 3  # some answers are short
    with torch.no_grad():
        loss = trainer.batch_loss()
        advantages, returns = ppo_by_hand(trainer)
        real = trainer.rollouts.real.bool()
        assert not real.all() and torch.allclose(trainer.advantages[real], advantages[real], atol=1e-3)
        assert torch.allclose(trainer.returns[real], returns[real], atol=1e-3)
        new, values = trainer.predict()
        expected = -advantages[real].mean() + ppo.VALUE_WEIGHT * (values[real] - returns[real]).square().mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-3)  # all ratios are 1


def test_the_loss_of_grpo_is_the_advantage_in_the_group_and_plus_the_kl_to_the_reference(corpus):
    trainer = policy_trainer(corpus, GRPOTrainer, kl=0.5)
    with torch.no_grad():
        trainer.batch_loss()
        for p in trainer.model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
        r, loss = trainer.rollouts, trainer.loss()
        assert (r.prompts.view(-1, ppo.GROUP, r.prompts.shape[1]) == r.prompts[:: ppo.GROUP, None]).all()
        groups = r.scores.view(-1, ppo.GROUP)
        better = ((groups - groups.mean(1, True)) / (groups.std(1, keepdim=True) + 1e-4)).flatten()[:, None]
        new = answers.log_probs(trainer.model, r.prompts, r.answers)
        ratio = (new - r.old).exp()
        gain = torch.minimum(ratio * better, ratio.clamp(0.8, 1.2) * better)
        kl = (r.reference - new).exp() - 1 - (r.reference - new)
        expected = ((0.5 * kl - gain) * r.real).sum() / r.real.sum()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_loss_of_dpo_prefers_the_better_answer_of_each_pair(corpus):
    pairs = [reward.Pair("Go on as All: x", f"All:\n{a}, ay.", f"All:\n{a}.") for a in ("Good", "My lord, no", "O")]
    model, reference, judge = new_model(), new_model(seed=9), new_model(seed=5, module=heads)
    config = TrainConfig(batch_size=5, device="cpu", max_iters=4)
    trainer = DPOTrainer(model, corpus, config, reference, judge, 0.3, pairs=pairs)
    chosen = torch.randint(3, (5,), generator=torch.Generator().manual_seed(config.seed)).tolist()

    def log_p(model, prompt, answer):
        prompt, answer = (torch.tensor([ids]) for ids in (prompt, corpus.encode_answer(answer)))
        return answers.log_probs(model, prompt, answer).sum()

    with torch.no_grad():
        losses = []
        for pair in (pairs[number] for number in chosen):
            prompt = answers.encode_prompt(corpus.tokenizer, pair.prompt)
            better, worse = (log_p(model, prompt, a) - log_p(reference, prompt, a) for a in (pair.better, pair.worse))
            losses.append(-torch.nn.functional.logsigmoid(0.3 * (better - worse)))
        assert trainer.batch_loss().item() == pytest.approx(torch.stack(losses).mean().item(), abs=1e-4)


def test_new_answers_are_drawn_at_every_second_step_only(corpus):
    trainer = policy_trainer(corpus, GRPOTrainer)
    drawn = []
    for _ in range(4):
        trainer.update()
        drawn.append(trainer.rollouts.answers)
    assert drawn[0] is drawn[1] and drawn[2] is drawn[3] and drawn[1] is not drawn[2]


@pytest.mark.parametrize("kind", [PPOTrainer, GRPOTrainer])
def test_reinforcement_raises_a_reward_that_counts_one_character(corpus, kind, monkeypatch):
    """The judge likes e: its share of the answers grows many times over."""
    e = corpus.tokenizer.encode("e")[0]
    for module in (ppo, sys.modules["babygpt.beyond.assistant.policy"]):
        monkeypatch.setattr(module, "score", lambda m, p, a, end: (a == e).float().mean(dim=1) * 10)
    trainer = policy_trainer(corpus, kind, kl=0.0, max_iters=40, learning_rate=1e-2, batch_size=32, eval_interval=40)
    trainer.train(progress=False)
    first, last = trainer.history
    assert last["reward"] > 5 * first["reward"] and last["kl"] > 1


# All stages


@pytest.fixture(scope="module")
def quick():
    """Settings that make each stage a matter of a second."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(stages, "MODEL", TINY)
        recipes = {name: r | dict(batch_size=8, eval_iters=1, dtype="float32") for name, r in stages.RECIPES.items()}
        recipes["ppo"] |= dict(max_iters=200)  # long enough to be killed between two evaluations
        monkeypatch.setattr(stages, "RECIPES", recipes)
        monkeypatch.setattr("babygpt.beyond.assistant.sft.ASKED", 4)
        monkeypatch.setattr("babygpt.beyond.assistant.policy.ASKED", 1)
        monkeypatch.setattr(report, "EXAMINED", 2)
        # An untrained model has to be liked and disliked now and then, or there would be no pairs.
        monkeypatch.setattr(reward, "liked", lambda text: "e" in text)
        yield


def all_stages(folder, scale="0.04"):
    with pytest.raises(SystemExit) as exit_:
        stages.main(["--out-dir", str(folder), "--scale", scale])
    return exit_.value.code


@pytest.fixture(scope="module")
def finished(quick, tmp_path_factory):
    folder = tmp_path_factory.mktemp("assistant") / "all"
    assert all_stages(folder) == 0
    return folder


def test_one_command_runs_all_stages_and_writes_their_table(finished):
    content = json.loads((finished / "assistant.json").read_text())
    assert set(content["obeyed"]) == {"pretrain", "sft", "ppo-0", "ppo", "grpo", "dpo"}
    assert set(content["history"]) == set(content["obeyed"]) | {"reward"}
    table = (finished / "assistant.md").read_text()
    assert "| sft |" in table and "| grpo |" in table and "kl" in table


def test_finished_stages_are_not_repeated(quick, finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.pt")}
    assert all_stages(finished) == 0
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*.pt")} == before
    assert "parameters, steps" not in capsys.readouterr().out


def test_other_settings_in_the_same_folder_are_refused_in_a_sentence(quick, finished, capsys):
    assert all_stages(finished, "0.05") == 2
    assert "was trained with other settings" in capsys.readouterr().err


def test_stages_that_are_killed_and_stopped_in_the_middle_go_on_and_end_with_the_same_weights(
    quick, finished, tmp_path, monkeypatch
):
    """Killed in the first stage, stopped between two updates of PPO's answers, and then killed in PPO."""
    folder, killed, stopped, save = tmp_path / "all", [], [], stages.save_and_print

    def die(run, trainer):
        save(run, trainer)
        name = run.folder.name
        due = name == "pretrain" and trainer.step > 0 or name == "ppo" and trainer.step > 4
        if due and trainer.step < trainer.config.max_iters and name not in killed:
            killed.append(name)
            raise RuntimeError("killed")

    def ctrl_c(trainer):
        if type(trainer) is PPOTrainer and trainer.kl > 0 and trainer.step == 3 and not stopped:
            trainer.stop = True
            stopped.append(trainer.step)

    monkeypatch.setattr(stages, "save_and_print", die)
    monkeypatch.setattr(stages, "PaceReport", lambda: ctrl_c)
    with pytest.raises(RuntimeError, match="killed"):
        stages.main(["--out-dir", str(folder), "--scale", "0.04"])
    assert all_stages(folder) == 130
    with pytest.raises(RuntimeError, match="killed"):
        stages.main(["--out-dir", str(folder), "--scale", "0.04"])
    assert (killed, stopped) == (["pretrain", "ppo"], [3]) and not (folder / "grpo").exists()
    assert all_stages(folder) == 0
    for name in ("sft", "grpo", "ppo"):
        old, new = (Run(parent / name).read("last")["state"]["model"] for parent in (finished, folder))
        assert all(torch.equal(old[key], new[key]) for key in old), name


@pytest.mark.parametrize("step", [5, 6])
def test_a_stage_that_is_stopped_at_its_end_is_evaluated_at_its_end_and_stops_the_command(
    quick, tmp_path, monkeypatch, step
):
    def ctrl_c(trainer):
        trainer.stop = trainer.config.max_iters == step_count and trainer.step == step

    step_count = 6
    recipes = stages.RECIPES | {"pretrain": stages.RECIPES["pretrain"] | dict(max_iters=150)}
    monkeypatch.setattr(stages, "RECIPES", recipes)
    monkeypatch.setattr(stages, "PaceReport", lambda: ctrl_c)
    assert all_stages(tmp_path / "all") == 130
    assert not (tmp_path / "all" / "sft").exists()
    monkeypatch.setattr(
        stages, "PaceReport", lambda: lambda sft: setattr(sft, "stop", sft.config.max_iters != step_count)
    )
    assert all_stages(tmp_path / "all") == 130
    assert (tmp_path / "all" / "sft").exists()
    assert Run(tmp_path / "all" / "pretrain").read("last")["state"]["history"][-1]["step"] == step_count


def test_a_stage_that_was_trained_again_is_examined_again(quick, finished, capsys):
    os.utime(finished / "assistant.json", (1, 1))
    assert all_stages(finished) == 0
    assert "examining all stages" in capsys.readouterr().out
    assert all_stages(finished) == 0
    assert "examining all stages" not in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_process_that_is_killed_leaves_a_folder_from_which_the_command_continues(tmp_path):
    """SIGKILL, in the middle of the first stage."""
    process = Process(small_stages, tmp_path / "a")
    for line in process.stdout:
        if line.startswith("step    50"):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate(60)
    step = Run(tmp_path / "a" / "pretrain").read("last")["state"]["step"]
    process = Process(small_stages, tmp_path / "a")
    line = next(line for line in process.stdout if ": " in line)
    process.send_signal(signal.SIGKILL)
    process.communicate(60)
    assert 50 <= step < 1200 and f"steps {step:,} to 1,200" in line


def small_stages(folder):
    """The command, in a process of its own."""
    stages.MODEL.update(n_embd=16, n_layer=1)
    stages.RECIPES["pretrain"].update(eval_interval=50, eval_iters=1)
    stages.main(["--out-dir", str(folder)])


# The chat


def say(capsys, *argv):
    with pytest.raises(SystemExit) as exit_:
        chat.main(list(argv))
    out, err = capsys.readouterr()
    return exit_.value.code, out, err


def test_the_chat_shows_special_tokens_on_demand_only(finished, capsys):
    status, plain, _ = say(capsys, str(finished / "sft"), "--say", "Count the words: good night")
    assert status == 0 and "<|" not in plain and not set(SPECIAL) & set(plain)
    status, shown, _ = say(capsys, str(finished / "sft"), "--say", "Count the words: good night", "--show-tokens")
    assert shown.startswith("<|user|>Count the words: good night<|assistant|>")
    assert re.sub(r"<\|\w+\|>", "", shown).replace("Count the words: good night", "").strip() == plain.strip()


@pytest.mark.parametrize("stage", ["pretrain", "ppo", "grpo", "dpo"])
def test_the_chat_works_with_the_run_of_every_stage(finished, capsys, stage):
    status, out, err = say(capsys, str(finished / stage), "--say", "Good night", "--temperature", "1")
    assert status == 0 and err == "" and len(out) > 1


def test_the_chat_goes_on_after_a_question_that_it_cannot_read(finished, capsys, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("caf\u00e9\ngood night\n\n"))
    status, out, err = say(capsys, str(finished / "sft"))
    assert status == 0 and "the character 'é' is not in the vocabulary" in err and out.count("> ") == 3


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--say", "x" * 66], "say 1 to 65 characters"),
        (["--say", ""], "say 1 to 65 characters: '' has 0"),
        (["--say", "hi■"], "'■' is a special token, which only the chat itself may use"),
        (["--say", "hi", "--temperature", "-1"], "temperature must be from 0 to 100, and it is -1.0"),
    ],
)
def test_the_chat_refuses_what_it_cannot_read_in_a_sentence(finished, capsys, argv, told):
    status, _, err = say(capsys, str(finished / "sft"), *argv)
    assert status == 2 and told in err


def test_the_chat_says_how_to_train_a_model_where_there_is_none(tmp_path, capsys):
    status, _, err = say(capsys, str(tmp_path / "none"))
    assert status == 2 and "train one with python -m babygpt.beyond.assistant" in err


def test_all_tasks_are_in_the_exam(corpus):
    assert {each.task for each in report.exam(corpus)} == set(TASKS)
