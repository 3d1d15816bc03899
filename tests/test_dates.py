"""The dates: unlimited, exact, and without a leak between training and validation."""

import random
import re
from datetime import date, timedelta
from types import SimpleNamespace

import pytest
import torch

from babygpt import checkpoint, cli, sample
from babygpt.beyond import translate as translate_command
from babygpt.beyond.dates import FIRST, FORMATS, LANGUAGES, LAST, Dates, in_words, longest, plain, split_of
from babygpt.beyond.encoder_decoder import END, PAD, START
from babygpt.beyond.models import ENCODER_DECODER
from babygpt.beyond.pairs import PairCommand, PairTrainer, exact_match, mean_loss
from babygpt.errors import UserError
from babygpt.harness.runs import Run
from babygpt.training import new_trainer

SMALL = "--device cpu --n-embd 16 --n-head 2 --n-layer 1 --eval-iters 1 --batch-size 8 --max-iters 8 "
SMALL += "--eval-interval 4 --warmup-iters 2 --lr-schedule constant"


@pytest.fixture(scope="module")
def dates():
    return Dates.new()


def days(dates, split):
    return set(getattr(dates, split).tolist())


def test_no_day_of_validation_is_in_training_and_every_day_is_in_one_of_them(dates):
    train, val = days(dates, "train"), days(dates, "val")
    assert not train & val
    assert train | val == set(range(FIRST.toordinal(), LAST.toordinal() + 1))
    assert 0.08 < len(val) / (len(train) + len(val)) < 0.12


@pytest.mark.parametrize("split", ["train", "val"])
def test_no_batch_has_a_day_of_the_other_split_in_any_language(dates, split):
    pairs = dates.draw(split, 3000, torch.Generator().manual_seed(5))
    assert {split_of(date.fromisoformat(answer)) for _, answer in pairs} == {split}


def test_validation_has_days_of_every_month_every_weekday_and_every_year(dates):
    found = [date.fromordinal(n) for n in days(dates, "val")]
    assert len({day.month for day in found}) == 12 and len({day.weekday() for day in found}) == 7
    assert {day.year for day in found} == set(range(1900, 2100)) and len({day.day for day in found}) == 31


def test_a_text_never_means_two_days():
    """All days of a year in all languages and formats: so every answer is right or wrong."""
    meaning = {}
    for n in range(366):
        day = date(2028, 1, 1) + timedelta(n)
        for language in LANGUAGES:
            for style in FORMATS:
                assert meaning.setdefault(in_words(day, language, style), day) == day


def test_every_text_has_the_whole_year_and_only_known_characters(dates):
    rng = random.Random(0)
    for _ in range(3000):
        day = date.fromordinal(rng.randint(FIRST.toordinal(), LAST.toordinal()))
        text = in_words(day, rng.choice(list(LANGUAGES)), rng.choice(FORMATS))
        assert re.search(rf"\b{day.year}\b", text) and len(text) <= longest() and text == plain(text)
        assert dates.tokenizer.decode(dates.tokenizer.encode(text)) == text


def test_the_same_word_is_november_in_polish_and_october_in_croatian():
    assert in_words(date(2026, 11, 28), "pl", "long") == "28 listopada 2026"
    assert in_words(date(2026, 10, 28), "hr", "long") == "28. listopada 2026."


def test_there_are_more_than_20_languages_with_names_of_their_own():
    november = {re.sub(r"[\d ,.]", "", in_words(date(2026, 11, 1), language)) for language in LANGUAGES}
    assert len(LANGUAGES) == 27 and len(november) >= 25


def test_a_batch_is_padded_and_its_targets_go_from_start_to_end(dates):
    source, target = dates.get_batch("train", 20, 48, torch.Generator().manual_seed(0))
    assert (target[:, 0] == START).all() and target.shape == (20, 12) and (target[:, -1] == END).all()
    lengths = (source != PAD).sum(dim=1)
    assert source.shape[1] == lengths.max() and len(set(lengths.tolist())) > 5
    for row, n in zip(source, lengths, strict=True):
        assert (row[:n] > END).all() and (row[n:] == PAD).all()
    pairs = dates.draw("train", 20, torch.Generator().manual_seed(0))
    texts = [dates.tokenizer.decode(row[row != PAD].tolist()) for row in source]
    assert texts == [text for text, _ in pairs]


def test_the_same_generator_draws_the_same_pairs_and_another_one_others(dates):
    a, b, c = (dates.draw("train", 50, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert a == b and not set(a) & set(c)


def test_a_block_size_that_is_too_small_is_refused(dates):
    dates.check(longest())
    with pytest.raises(UserError, match="block_size cannot be 20"):
        dates.check(20)


# Training


class Oracle(torch.nn.Module):
    """A model that knows the answers, except for a few."""

    def __init__(self, dates, pairs, wrong=0):
        super().__init__()
        self.p = torch.nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(block_size=48)
        _, self.target = dates.encode_pairs(pairs)
        self.target[:wrong, 5] = 3

    def encode(self, source):
        return (self.target[: len(source)],)

    def decode(self, target, answers):
        t = target.shape[1]
        return torch.nn.functional.one_hot(answers[:, 1 : t + 1], 160).float()


def test_exact_match_counts_the_answers_that_are_right_to_the_last_character(dates):
    pairs = dates.draw("val", 40, torch.Generator().manual_seed(0))
    assert exact_match(Oracle(dates, pairs), dates, pairs) == 1
    assert exact_match(Oracle(dates, pairs, wrong=10), dates, pairs) == 0.75
    assert exact_match(Oracle(dates, pairs, wrong=10), dates, pairs, width=3) == 0.75


def test_training_learns_and_its_history_counts_right_answers(dates):
    settings = dict(n_embd=32, n_head=2, n_layer=1, batch_size=32, max_iters=60, learning_rate=5e-3, warmup_iters=10)
    settings |= dict(eval_interval=60, eval_iters=2, device="cpu")
    trainer = new_trainer(ENCODER_DECODER.module(), dates, settings, PairTrainer)
    trainer.train(progress=False)
    first, last = trainer.history
    assert 5 < first["val"] < 7 and 0.5 < last["val"] < 2
    assert first["exact"] == 0 and 0 <= last["exact"] <= 1 and trainer.remark().endswith("% of the answers right")


def test_the_mean_loss_counts_tokens_and_not_batches(dates, monkeypatch):
    settings = dict(n_embd=16, n_head=2, n_layer=1, device="cpu")
    model = new_trainer(ENCODER_DECODER.module(), dates, settings, PairTrainer).model.eval()
    pairs = dates.draw("val", 30, torch.Generator().manual_seed(0))
    whole = mean_loss(model, dates, pairs)
    monkeypatch.setattr("babygpt.beyond.pairs.ROWS", 7)
    assert mean_loss(model, dates, pairs) == pytest.approx(whole, abs=1e-5)
    assert whole == pytest.approx(model(*dates.encode_pairs(pairs))[1].item(), abs=1e-5)


# The command line


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def train(flags=""):
        with pytest.raises(SystemExit) as exit:
            cli.main(PairCommand(ENCODER_DECODER), f"{SMALL} {flags}".split())
        return exit.value.code, *capsys.readouterr()

    return train


def test_a_run_trains_resumes_translates_and_shows_its_checkpoint(train, run, capsys):
    status, out, _ = train("--max-iters 4")
    assert status == 0 and "learning dates (73,049 days, 160 different)" in out and "of the answers right" in out
    assert 'python -m babygpt.beyond.translate runs/encoder_decoder "28 November 2026"' in out
    status, out, _ = train("--resume")
    assert status == 0 and "Continuing runs/encoder_decoder from step 4." in out
    assert [record["step"] for record in Run("runs/encoder_decoder").read_metrics()] == [0, 4, 8]
    assert train("--out-dir whole")[0] == 0
    whole, half = (Run(folder).read("last")["state"]["model"] for folder in ("whole", "runs/encoder_decoder"))
    assert all(torch.equal(half[name], tensor) for name, tensor in whole.items())
    for beam in ("0", "3"):
        with pytest.raises(SystemExit) as exit:
            translate_command.main(["runs/encoder_decoder", "28  November 2026", "1. Mai 1999", "--beam", beam])
        out = capsys.readouterr().out
        assert not exit.value.code and out.startswith("28 November 2026 ") and len(out.splitlines()) == 2
    status, out, _ = run(None, "runs/encoder_decoder", checkpoint.main)
    assert status == 0 and "babygpt.beyond.encoder_decoder, at step 8" in out


def test_wrong_input_is_refused_in_a_sentence(train, run, capsys):
    assert train()[0] == 0
    for arguments, message in (
        (["runs/encoder_decoder", "28 ноября 2026 ☃"], "the character '☃' is not in the vocabulary"),
        (["runs/encoder_decoder", ""], "reads 1 to 48 characters, and '' has 0"),
        (["runs/encoder_decoder", "1" * 49], "has 49"),
        (["runs/encoder_decoder", "1", "--beam", "-1"], "beam must be"),
        (["runs/nothing", "1"], "there is no run in runs/nothing"),
    ):
        with pytest.raises(SystemExit) as exit:
            translate_command.main(arguments)
        assert exit.value.code == 2 and message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    status, _, err = run(None, "runs/encoder_decoder", sample.main)
    assert status == 2 and "doesn't continue it: use babygpt.beyond.translate" in err
    status, _, err = train("--block-size 20 --out-dir other")
    assert status == 2 and "block_size cannot be 20" in err


def test_a_model_that_continues_texts_is_not_a_translator(tmp_path, monkeypatch, run, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "SAMPLE_TOKENS", 5)
    assert run(1, "--max-iters 2 --eval-interval 2 --eval-iters 1 --device cpu")[0] == 0
    with pytest.raises(SystemExit) as exit:
        translate_command.main(["runs/v1", "1"])
    assert exit.value.code == 2 and "is babygpt.v1, which continues texts" in " ".join(
        capsys.readouterr().err.replace("│", " ").split()
    )


def test_shapes_are_printed(train):
    status, out, _ = train("--shapes")
    assert status == 0 and "encoder_decoder.py, Attention.forward" in out and "DecoderBlock.forward" in out
