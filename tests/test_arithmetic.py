"""Arithmetic as text: the loader, the mask, the split, and what a model makes of it."""

import itertools
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from babygpt import checkpoint, cli, v10
from babygpt.beyond import arithmetic, calculate
from babygpt.beyond.arithmetic import SumCommand, SumTrainer, answers, exact_match
from babygpt.beyond.models import ARITHMETIC
from babygpt.beyond.sums import END, IGNORE, Sums, Task, is_held_out, pairs, parse
from babygpt.errors import UserError
from babygpt.harness.runs import Run
from babygpt.tokenizer import CharTokenizer
from babygpt.training import new_trainer

TASKS = [Task(), Task("-"), Task("*"), Task("*", steps=True), Task(reverse=False), Task("*", reverse=False, steps=True)]
ALL = list(itertools.product(range(100), repeat=2))
SMALL = "--device cpu --n-embd 16 --n-head 2 --n-layer 1 --eval-iters 1 --batch-size 8 --max-iters 8 "
SMALL += "--eval-interval 4 --warmup-iters 2 --lr-schedule constant"


@pytest.fixture(scope="module")
def sums():
    return Sums.new()


def seed(n):
    return torch.Generator().manual_seed(n)


# The text


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_every_answer_is_what_python_calculates(task):
    for a, b in ALL:
        assert task.is_right(a, b, task.answer(a, b)) and task.read(task.answer(a, b)) == str(
            eval(f"{a}{task.operation}{b}")
        )
        assert task.prompt(a, b) == f"{a}{task.operation}{b}="


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_an_answer_with_another_digit_is_wrong(task):
    for a, b in ALL[::7]:
        answer = task.answer(a, b)
        last = len(answer) - 1
        other = answer[:last] + str((int(answer[last]) + 1) % 10) if answer[last].isdigit() else answer[:last]
        assert not task.is_right(a, b, other) and not task.is_right(a, b, "") and not task.is_right(a, b, answer + "=")


def test_the_steps_of_a_product_are_its_parts_and_add_up():
    task = Task("*", steps=True)
    assert task.answer(12, 39) == "801+063=864"  # 108 + 360 = 468
    for a, b in ALL:
        working, _, result = task.answer(a, b).partition("=")
        parts = [int(part[::-1]) for part in working.split("+")]
        assert parts == [a * (b % 10), a * (b - b % 10)][: len(str(b))] and sum(parts) == int(result[::-1]) == a * b


def test_a_wrong_step_does_not_make_the_result_wrong():
    assert Task("*", steps=True).is_right(12, 39, "801+163=864")


def test_reversed_the_nth_digit_depends_on_the_last_n_digits_only_and_otherwise_on_all():
    """Why the answer is reversed: written from the left, the first digit already needs every carry."""
    reversed_, forward = Task(), Task(reverse=False)
    for n in (1, 2):
        for a, b in ALL:
            assert reversed_.answer(a, b)[:n].ljust(n, "0") == reversed_.answer(a % 10**n, b % 10**n)[:n].ljust(n, "0")
    # The last digits decide the first one of the answer.
    assert forward.answer(45, 54)[0] != forward.answer(45, 55)[0] and forward.answer(45, 55) == "100"


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_longest_is_the_length_of_the_longest_text(task):
    assert task.longest == max(len(task.prompt(a, b) + task.answer(a, b) + END) for a, b in ALL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [(dict(operation="/"), "must be one of"), (dict(digits=4), "it is 4"), (dict(steps=True), "are for products")],
)
def test_tasks_that_make_no_sense_are_refused(changes, message):
    for kind in (Task, arithmetic.Config):
        with pytest.raises(UserError, match=message):
            kind(**changes)


def test_a_sum_is_read_with_or_without_spaces_and_anything_else_is_refused():
    assert parse("12+39") == parse(" 12 + 39 = ") == (12, "+", 39) and parse("7-12") == (7, "-", 12)
    for text in ("", "12", "12+", "+12", "1.5+2", "12/4", "1+2+3", "-1+2", "²+1"):
        with pytest.raises(UserError, match="write two whole numbers"):
            parse(text)


# The split


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_no_held_out_pair_is_in_training_in_either_order_and_every_pair_is_in_one_split(digits):
    N = 10**digits
    train, val = (pairs(digits)[split].long() for split in ("train", "val"))
    codes = [set((ab[:, 0] * N + ab[:, 1]).tolist()) for ab in (train, val)]
    swapped = set((val[:, 1] * N + val[:, 0]).tolist())
    assert not codes[0] & codes[1] and not codes[0] & swapped and len(codes[0] | codes[1]) == N * N
    assert digits == 1 or 0.09 < len(val) / N**2 < 0.12


@pytest.mark.parametrize("split", ["train", "val"])
def test_no_batch_has_a_pair_of_the_other_split(sums, split):
    assert {is_held_out(a, b) for a, b in sums.draw(split, 3000, seed(5))} == {split == "val"}


def test_held_out_pairs_have_every_last_digit_and_every_kind_of_carry(sums):
    val = sums.val.long()
    assert len({(a % 10, b % 10) for a, b in val.tolist()}) == 100
    carries = {(a % 10 + b % 10 > 9, a + b > 99) for a, b in val.tolist()}
    assert len(carries) == 4


# The batch and its mask


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_the_targets_that_count_are_exactly_the_answer_and_its_end(task):
    sums = Sums.new(task)
    drawn = sums.draw("train", 200, seed(0))
    x, y = sums.encode(drawn)
    for (a, b), inputs, targets in zip(drawn, x, y, strict=True):
        prompt, answer = task.prompt(a, b), task.answer(a, b)
        whole = sums.tokenizer.encode(prompt + answer + END)
        n = len(whole) - 1
        assert inputs[:n].tolist() == whole[:-1] and (inputs[n:] == 0).all()
        counted = targets != IGNORE
        assert counted.nonzero().flatten().tolist() == list(range(len(prompt) - 1, n))
        assert sums.tokenizer.decode(targets[counted].tolist()) == answer + END


def test_without_the_mask_the_prompt_is_predicted_too_and_padding_still_is_not():
    masked, plain = Sums.new(), Sums.new(mask=False)
    drawn = masked.draw("train", 100, seed(0))
    (x, y), (x2, y2) = masked.encode(drawn), plain.encode(drawn)
    assert torch.equal(x, x2) and torch.equal(y2[y != IGNORE], y[y != IGNORE])
    for (a, b), targets in zip(drawn, y2, strict=True):
        n = len(plain.task.prompt(a, b) + plain.task.answer(a, b))
        assert (targets[:n] != IGNORE).all() and (targets[n:] == IGNORE).all()


def test_what_the_model_predicts_inside_the_prompt_changes_neither_the_loss_nor_a_gradient(sums):
    x, y = sums.get_batch("train", 20, 24, seed(0))
    logits = torch.randn(*x.shape, 15, requires_grad=True)
    loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
    loss.backward()
    assert (logits.grad[y == IGNORE] == 0).all() and (logits.grad[y != IGNORE] != 0).any()
    other = torch.where((y == IGNORE)[:, :, None], torch.randn(logits.shape), logits)
    assert F.cross_entropy(other.flatten(0, 1), y.flatten()) == loss


def test_the_loss_of_the_models_leaves_out_ignored_targets_without_being_told(sums):
    """The default of F.cross_entropy; nanoGPT uses -1 and says so in the call."""
    torch.manual_seed(0)
    model = arithmetic.Model(arithmetic.Config(vocab_size=15)).eval()
    x, y = sums.get_batch("train", 20, 24, seed(0))
    logits, loss = model(x, y)
    log_probs = logits.log_softmax(dim=-1)
    counted = [-log_probs[b, t, y[b, t]] for b, t in (y != IGNORE).nonzero().tolist()]
    assert loss.item() == pytest.approx(torch.stack(counted).mean().item(), abs=1e-6)


def test_the_same_generator_draws_the_same_batches_and_another_one_others(sums):
    a, b, c = (sums.get_batch("train", 50, 24, seed(n)) for n in (3, 3, 4))
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) and not torch.equal(a[0][:, :5], c[0][:, :5])


def test_a_block_size_that_is_too_small_is_refused(sums):
    sums.check(9)
    with pytest.raises(UserError, match="needs a block_size of at least 9, and it is 8"):
        sums.check(8)


# The model and its answers


def test_the_model_is_version_10():
    config = arithmetic.Config(vocab_size=15)
    torch.manual_seed(0)
    ours = arithmetic.Model(config).eval()
    torch.manual_seed(0)
    sizes = {name: getattr(config, name) for name in ("vocab_size", "block_size", "n_embd", "n_head", "n_layer")}
    theirs = v10.Model(v10.Config(**sizes, dropout=0.0, init_std=0.05)).eval()
    idx = torch.randint(15, (3, 9))
    assert torch.equal(ours(idx)[0], theirs(idx)[0])


class Oracle(torch.nn.Module):
    """A model that knows all sums, except those of some numbers."""

    def __init__(self, task, wrong=()):
        super().__init__()
        self.p = torch.nn.Parameter(torch.zeros(1))
        self.config, self.task, self.wrong, self.calls = SimpleNamespace(block_size=24), task, wrong, 0
        self.tokenizer = CharTokenizer(Sums.new().tokenizer.chars)

    def generate(self, idx, limit, temperature):
        assert temperature == 0
        self.calls += 1
        rows = []
        for row in idx.tolist():
            a, sign, b = parse(self.tokenizer.decode(row))
            text = self.task.answer(a, b) + ("1" if a in self.wrong else "") + END + "999999999999"
            rows.append(row + self.tokenizer.encode(text[:limit]))
        return torch.tensor(rows)


def test_exact_match_counts_the_results_that_are_right_to_the_last_digit(sums):
    drawn = [(a, 70) for a in range(40)]
    assert exact_match(Oracle(sums.task), sums, drawn) == 1
    assert exact_match(Oracle(sums.task, wrong=range(10)), sums, drawn) == 0.75


def test_answers_come_in_the_order_of_their_prompts_and_end_at_the_end(sums):
    model = Oracle(sums.task)
    prompts = ["5+5=", "12+39=", "1+2=", "5+5="]
    assert answers(model, sums.tokenizer, prompts, 4) == ["01", "15", "3", "01"] and model.calls == 2


def test_a_prompt_is_answered_in_a_group_as_it_is_alone(sums):
    torch.manual_seed(0)
    model = arithmetic.Model(arithmetic.Config(vocab_size=15, init_std=0.5)).eval()
    prompts = [f"{a}+{b}=" for a, b in sums.draw("val", 30, seed(0))]
    together = answers(model, sums.tokenizer, prompts, 5)
    assert together == [answers(model, sums.tokenizer, [prompt], 5)[0] for prompt in prompts] and len(set(together)) > 5


def test_training_learns_and_its_history_counts_right_answers():
    settings = ARITHMETIC.preset("add2") | dict(n_embd=32, n_head=2, n_layer=1, batch_size=32, max_iters=120)
    settings |= dict(eval_interval=120, eval_iters=4, warmup_iters=20, device="cpu")
    trainer = new_trainer(arithmetic, Sums.new(), settings, SumTrainer)
    trainer.train(progress=False)
    first, last = trainer.history
    assert 2.3 < first["val"] < 3.3 and 0.2 < last["val"] < 1.5 and first["exact"] == 0 <= last["exact"] < 1
    assert trainer.remark().endswith("% of the answers right")


# The command line


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def train(flags=""):
        with pytest.raises(SystemExit) as exit:
            cli.main(SumCommand(ARITHMETIC), f"{SMALL} {flags}".split())
        return exit.value.code, *capsys.readouterr()

    return train


@pytest.fixture
def ask(capsys):
    def ask(*arguments):
        with pytest.raises(SystemExit) as exit:
            calculate.main(["runs/arithmetic", *arguments])
        captured = capsys.readouterr()
        return exit.value.code or 0, captured.out, " ".join(captured.err.replace("│", " ").split())

    return ask


def test_a_run_trains_resumes_calculates_and_shows_its_checkpoint(train, ask, run):
    status, out, _ = train("--preset multiply --max-iters 4")
    assert status == 0 and "learning products of up to 2 digits (10,000 pairs of numbers, 15 different)" in out
    assert "of the answers right" in out and "python -m babygpt.beyond.calculate runs/arithmetic 12*39" in out
    status, out, _ = train("--resume")  # what it calculates is in the checkpoint
    assert status == 0 and "Continuing runs/arithmetic from step 4." in out
    assert [record["step"] for record in Run("runs/arithmetic").read_metrics()] == [0, 4, 8]
    assert train("--preset multiply --out-dir whole")[0] == 0
    whole, half = (Run(folder).read("last")["state"]["model"] for folder in ("whole", "runs/arithmetic"))
    assert all(torch.equal(half[name], tensor) for name, tensor in whole.items())
    status, out, _ = ask("12*39", "5 * 5", "--raw")
    assert status == 0 and out.startswith("12*39=") and len(out.splitlines()) == 2 and "(wrong: it is 468)" in out
    status, out, _ = run(None, "runs/arithmetic", checkpoint.main)
    assert status == 0 and "babygpt.beyond.arithmetic, at step 8" in out and "steps True" in out


def test_wrong_input_is_refused_in_a_sentence(train, ask):
    assert train("--max-iters 2 --eval-interval 1")[0] == 0
    for text, message in (
        ("12*39", "was trained on +, and 12*39 is something else"),
        ("1234567890+12345678901", "up to 24 characters, and 1234567890+12345678901 with its answer has 34"),
        ("twelve", "write two whole numbers with + - or * between them, for example 12+39, and not 'twelve'"),
    ):
        status, _, err = ask(text)
        assert status == 2 and message in err
    status, _, err = train("--resume --operation -")
    assert status == 2 and "operation was + and is now -" in err
    for flags, message in (("--digits 4", "it is 4"), ("--block-size 8", "needs a block_size of at least 9")):
        status, _, err = train(f"{flags} --out-dir other")
        assert status == 2 and message in " ".join(err.replace("│", " ").split())


def test_a_model_that_continues_texts_does_not_calculate(tmp_path, monkeypatch, run, ask):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "SAMPLE_TOKENS", 5)
    flags = "--max-iters 2 --eval-interval 2 --eval-iters 1 --device cpu --out-dir runs/arithmetic"
    status, _, err = ask("1+1")
    assert status == 2 and "there is no run in runs/arithmetic" in err
    assert run(1, flags)[0] == 0
    status, _, err = ask("1+1")
    assert status == 2 and "is babygpt.v1, which continues texts" in err


def test_shapes_are_printed(train):
    status, out, _ = train("--shapes")
    assert status == 0 and "Block.forward" in out
