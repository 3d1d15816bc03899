"""The bug clinic: every bug is found by its check, wrong fixes fail, and right ones pass, whatever they look like."""

import subprocess
import sys

import pytest
import torch

from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.expect import sees_the_future
from babygpt.train_config import TrainConfig
from babygpt.training import Trainer
from babygpt.versions import get_version
from babygpt.workshop.clinic import commands, loop, symptoms
from babygpt.workshop.clinic.bugs import get_bug, read_bugs, replace_all
from babygpt.workshop.clinic.checks import PROBES, check, judge, small
from babygpt.workshop.clinic.symptoms import as_module

BUGS = read_bugs()
every_bug = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.number} {bug.name}")

MASK = '        wei = wei.masked_fill(self.tril[:T, :T] == 0, float("-inf"))  # (B, T, T)\n'
SOFTMAX = "        wei = F.softmax(wei, dim=-1)  # (B, T, T)\n"

# What people try, as replacements in the file with the bug.
WRONG = {
    1: [
        (SOFTMAX, SOFTMAX + MASK.replace('float("-inf")', "0.0")),  # after the softmax
        (SOFTMAX, MASK.replace("== 0", "== 1") + SOFTMAX + "        wei = wei.nan_to_num(0)\n"),  # the other triangle
        (SOFTMAX, MASK.replace('float("-inf")', "0.0") + SOFTMAX),  # a score of 0 is not a weight of 0
        (SOFTMAX, MASK.replace("T = x.shape[1]", "").replace("tril[:T, :T]", "tril[:T, :T].T") + SOFTMAX),
    ],
    2: [
        ("        wei = wei.masked_fill(self.tril[:T, :T] == 0, 0.0)  # (B, T, T)\n", ""),  # no mask at all
        ("wei.masked_fill(self.tril[:T, :T] == 0, 0.0)", "wei.tril()"),
        ("== 0, 0.0)", '== 0, float("-inf"))'),
    ],
    3: [("dim=-2", "dim=1"), ("dim=-2", "dim=0")],
    4: [
        ("* x.shape[-1] ** -0.5", ""),
        ("x.shape[-1] ** -0.5", "k.shape[-1] ** 0.5"),
        ("x.shape[-1] **", "k.shape[1] **"),
    ],
    5: [
        ("        optimizer.step()\n", "        optimizer.zero_grad()\n        optimizer.step()\n"),  # no step at all
        ("    for step in", "    optimizer.zero_grad()\n    for step in"),  # once is not enough
        ("learning_rate = 1e-3", "learning_rate = 1e-4"),
    ],
    6: [
        ("y = torch.stack([data[i : i + block_size]", "y = torch.stack([data[i + 2 : i + block_size + 2]"),
        ("y = torch.stack([data[i : i + block_size]", "y = torch.stack([data[i - 1 : i + block_size - 1]"),
    ],
    7: [
        ("    losses = {}\n", "    model.eval()\n    losses = {}\n"),  # never back to training
        ("    losses = {}\n", "    model.eval()\n    losses = {}\n    model.train()\n"),  # back too early
        ("    return losses", "    model.train()\n    return losses"),
        ("def estimate_loss", "@torch.no_grad()\ndef estimate_loss"),  # gradients off, dropout still on
    ],
    8: [
        ("x = self.sa(self.ln1(x))", "x = x * self.sa(self.ln1(x))"),
        ("x = self.sa(self.ln1(x))", "x = self.ln1(x) + self.sa(self.ln1(x))"),
    ],
    9: [
        ("sum(head(x) for head in self.heads)", "sum(head(x) for head in self.heads) / len(self.heads)"),
        ("sum(head(x) for head in self.heads)", "torch.cat([head(x)[..., :8] for head in self.heads], dim=-1)"),
    ],
    10: [
        ("x = tok_emb  #", "x = tok_emb * pos_emb  #"),
        ("x = tok_emb  #", "x = pos_emb + 0 * tok_emb  #"),
        ("x = tok_emb  #", "x = tok_emb + pos_emb.flip(0)  #"),
    ],
    11: [("3e-2", "3e-1"), ("3e-2", "3e-4")],
    12: [
        ("dim=0, keepdim=True)\n        variance", "dim=1, keepdim=True)\n        variance"),  # one of the two
        ("mean = x.mean(dim=0, keepdim=True)\n        variance = x.var(dim=0, keepdim=True,",
         "mean = x.mean(dim=(1, 2), keepdim=True)\n        variance = x.var(dim=(1, 2), keepdim=True,"),
        ("mean = x.mean(dim=0, keepdim=True)\n", "mean = x.mean(dim=-1, keepdim=True)\n"),
    ],
}  # fmt: skip

# Right answers that are not the original text.
RIGHT = {
    1: [(SOFTMAX, "        wei = wei + torch.full((T, T), float('-inf')).triu(1)\n" + SOFTMAX)],
    2: [
        (SOFTMAX + "        wei = wei.masked_fill(self.tril[:T, :T] == 0, 0.0)",
         "        wei = torch.exp(wei) * self.tril[:T, :T]\n        wei = wei / wei.sum(-1, keepdim=True)"),
    ],
    3: [("dim=-2", "dim=2")],
    4: [("x.shape[-1] ** -0.5", "(1 / k.size(-1)) ** 0.5")],
    5: [("        optimizer.step()\n", "        optimizer.step()\n        model.zero_grad(set_to_none=True)\n")],
    6: [
        ("y = torch.stack([data[i : i + block_size] for i in ix]).long()",
         "y = data[ix[:, None] + 1 + torch.arange(block_size)].long()"),
    ],
    7: [
        ("    losses = {}\n", "    model.train(False)\n    losses = {}\n    torch.set_grad_enabled(False)\n"),
        ("    return losses", "    model.train()\n    torch.set_grad_enabled(True)\n    return losses"),
    ],
    8: [("x = self.sa(self.ln1(x))", "x = self.sa(self.ln1(x)) + x")],
    9: [
        ("Head(config, config.n_embd)", "Head(config, config.n_embd // config.n_head)"),
        ("sum(head(x) for head in self.heads)", "torch.cat(tuple(h(x) for h in self.heads), 2)"),
    ],
    10: [("x = tok_emb  #", "x = pos_emb + tok_emb  #")],
    11: [("3e-2", "2e-3")],
    12: [("class Block(", "LayerNorm = nn.LayerNorm\n\n\nclass Block(")],
}  # fmt: skip


def test_there_are_twelve_bugs_with_two_hints_each():
    assert [bug.number for bug in BUGS] == sorted(PROBES) == sorted(WRONG) == sorted(RIGHT) == list(range(1, 13))
    for bug in BUGS:
        assert len(bug.hints) == 2 and bug.complaint and bug.explanation and 1 <= bug.lesson <= 10
        assert bug.name not in bug.complaint


@every_bug
def test_a_bug_is_found_by_the_test_of_what_it_breaks(bug):
    assert PROBES[bug.number](as_module(bug.broken())) == judge(bug, as_module(bug.broken())) is not None


@every_bug
def test_nothing_less_finds_a_bug_because_the_file_runs_and_its_model_learns(bug, monkeypatch):
    module = as_module(bug.broken())
    config = module.config if bug.file == "loop" else module.Config()
    torch.manual_seed(0)
    model = module.Model(config)
    logits, loss = model(torch.zeros((2, 8), dtype=torch.long), torch.ones((2, 8), dtype=torch.long))
    assert logits.shape == (2, 8, 65) and loss.isfinite()
    trainer = module if bug.file == "loop" else loop
    monkeypatch.setattr(trainer, "eval_iters", 2)
    history = trainer.train(model, Corpus.from_text("".join(map(chr, range(48, 113))) * 20), 20)
    assert history[-1]["train"] < history[0]["train"]


@every_bug
def test_the_original_passes_and_computes_what_the_version_does(bug):
    module = as_module(bug.healthy())
    assert judge(bug, module) is None
    if bug.file != "loop":
        version = get_version(int(bug.file[1:])).module()
        torch.manual_seed(0)
        ours, theirs = version.Model(version.Config()), module.Model(module.Config())
        theirs.load_state_dict(ours.state_dict())
        idx = torch.randint(65, (4, 8))
        assert torch.allclose(ours(idx)[0], theirs(idx)[0], atol=1e-6)


@pytest.mark.parametrize(("number", "patch"), [(n, p) for n, patches in WRONG.items() for p in patches])
def test_wrong_fixes_fail(number, patch, tmp_path):
    path = tmp_path / "case.py"
    path.write_text(replace_all(get_bug(number).broken(), (patch,)), encoding="utf-8")
    assert check(get_bug(number), path)


@pytest.mark.parametrize("number", RIGHT)
def test_right_fixes_pass_whatever_they_look_like(number, tmp_path):
    path = tmp_path / "case.py"
    path.write_text(replace_all(get_bug(number).broken(), tuple(RIGHT[number])), encoding="utf-8")
    assert check(get_bug(number), path) is None


def test_the_loop_on_one_page_trains_the_same_weights_as_the_trainer(monkeypatch):
    monkeypatch.setattr(loop, "eval_iters", 3)
    corpus = Corpus.load()
    version = get_version(6).module()
    torch.manual_seed(1337)
    model = version.Model(version.Config())
    history = loop.train(model, corpus, 30)
    torch.manual_seed(1337)
    trainer = Trainer(version.Model(version.Config()), corpus, TrainConfig(max_iters=30, eval_iters=3, device="cpu"))
    trainer.train(progress=False)
    for ours, theirs in zip(model.parameters(), trainer.model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    for a, b in zip(history, trainer.history, strict=True):
        assert (a["step"], pytest.approx(a["val"], abs=1e-4)) == (b["step"], b["val"])


@every_bug
def test_the_recorded_runs_say_whether_the_loss_shows_a_bug(bug):
    runs = symptoms.read()[str(bug.number)]
    healthy, broken = (runs[name]["history"] for name in ("healthy", "broken"))
    assert [e["step"] for e in healthy] == [e["step"] for e in broken] == [0, 500, 1000, 1500, 2000]
    limits = symptoms.band(bug)
    if limits:
        assert limits[0] <= healthy[-1]["val"] <= limits[1]
    page = symptoms.render().decode("utf-8")
    section = page.split(f"\n## {bug.number}. ")[1].split("\n## ")[0]
    said = {True: "The loss doesn't show it", False: "The loss shows it", None: "There are no recorded runs to compare"}
    assert said[symptoms.is_inside(bug)] in section


def test_the_claims_of_the_complaints_and_explanations_hold_in_the_recorded_runs():
    def losses(number, name="broken", split="val"):
        return [e[split] for e in symptoms.read()[str(number)][name]["history"]]

    sees = [sees_the_future(small(as_module(get_bug(n).broken())), 11) for n in (1, 2, 3, 4)]
    assert sees == [True, True, True, False]
    assert losses(1)[-1] < 0.6
    assert losses(2)[-1] < losses(4, "healthy")[-1]  # "it beats version 6"
    assert losses(3)[-1] < 1.3
    assert symptoms.is_inside(get_bug(4)) and symptoms.is_inside(get_bug(10))
    assert losses(5)[1] < losses(5)[0] < losses(5)[-1]  # falls, then rises above where it began
    assert losses(6)[-1] < 0.01 and len(set(symptoms.read()["6"]["broken"]["sample"])) == 1
    assert 0.02 < losses(7)[-1] - losses(7, "healthy")[-1] < 0.15
    assert losses(8)[-1] - losses(8, "healthy")[-1] > 0.05
    counts = [symptoms.read()["9"][name]["parameters"] for name in ("healthy", "broken")]
    assert counts[1] - counts[0] == 3 * 3 * 32 * 32 and losses(9)[-1] <= losses(9, "healthy")[-1]
    late = losses(11)[1:]
    assert max(late) - min(late) < 0.07 and losses(11)[-1] - losses(11, "healthy")[-1] > 0.1
    assert losses(12)[-1] - losses(12, "healthy")[-1] < 0.1


@pytest.fixture
def clinic(tmp_path, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            commands.main([*arguments, "--folder", str(tmp_path / "mine")])
        return ended.value.code, capsys.readouterr()

    return run


def test_start_shows_the_curve_then_the_text_then_where_the_code_is(clinic, tmp_path):
    status, said = clinic("start", "1")
    assert status == 0
    places = [said.out.index(part) for part in ("validation loss", "What it writes", "The code")]
    assert places == sorted(places)
    assert (tmp_path / "mine" / "case_01.py").read_text(encoding="utf-8") == get_bug(1).broken()
    assert (tmp_path / "mine" / "case_01.png").read_bytes().startswith(b"\x89PNG") and "case_01.png" in said.out
    assert get_bug(1).name not in said.out


def test_start_never_replaces_a_file_unless_told_to(clinic, tmp_path):
    clinic("start", "2")
    path = tmp_path / "mine" / "case_02.py"
    path.write_text("mine", encoding="utf-8")
    status, said = clinic("start", "2")
    assert status == 2 and "--again" in said.err and path.read_text(encoding="utf-8") == "mine"
    assert clinic("start", "2", "--again")[0] == 0 and path.read_text(encoding="utf-8") == get_bug(2).broken()


def test_check_says_in_one_sentence_what_is_wrong(clinic, tmp_path):
    assert clinic("check", "1")[0] == 2
    clinic("start", "1")
    path = tmp_path / "mine" / "case_01.py"
    for text, status, sentence in [
        (get_bug(1).broken(), 1, "nothing has changed"),
        (get_bug(1).broken() + "# a comment\n", 1, "when the last token changes, so do the logits"),
        ("def f(:\n", 1, "Python cannot read line 1"),
        ("import torch\nclass Config: pass\n", 1, "has no attribute 'Model'"),
        (get_bug(1).broken().replace("self.key(x)", "self.keys(x)"), 1, "'Head' object has no attribute 'keys'"),
        (get_bug(1).healthy(), 0, "fixed. It was: no mask"),
    ]:
        path.write_text(text, encoding="utf-8")
        code, said = clinic("check", "1")
        assert code == status and sentence in said.out and "Traceback" not in said.out + said.err


@every_bug
def test_hints_and_the_answer_can_be_had(bug, clinic):
    assert bug.hints[0] in clinic("hint", str(bug.number))[1].out
    assert bug.hints[1] in clinic("hint", str(bug.number), "--second")[1].out
    said = clinic("reveal", str(bug.number))[1].out
    assert bug.name in said
    for _, fixed in ((new, old) for old, new in bug.bug if old):
        assert fixed.strip().splitlines()[0] in said


def test_a_case_that_does_not_exist_and_a_folder_that_cannot_be_written_get_one_sentence(clinic, tmp_path):
    assert clinic("start", "13")[1].err == "babygpt: there is no case 13: choose one from 1 to 12\n"
    (tmp_path / "mine").write_text("a file", encoding="utf-8")
    status, said = clinic("start", "1")
    assert status == 2 and "give another folder" in said.err


def test_a_case_can_be_run_as_a_program(tmp_path):
    path = tmp_path / "case.py"
    path.write_text(get_bug(1).healthy().replace("run(Model, Config())", "run(Model, Config(), 2)"), encoding="utf-8")
    out = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True).stdout
    assert "step     0: train 4." in out and "step     2: train 4." in out


def test_the_list_names_all_cases_and_no_cause(capsys):
    with pytest.raises(SystemExit):
        commands.main([])
    out = capsys.readouterr().out
    assert all(bug.complaint in out and bug.name not in out for bug in BUGS)


def test_a_patch_must_find_its_place_exactly_once():
    for text in ("", "aa"):
        with pytest.raises(UserError, match="must be there once"):
            replace_all(text, (("a", "b"),))
