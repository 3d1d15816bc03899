"""What many tests share: the real text, a small text, and small models of every version."""

import gc
import os
import signal
import sys

import pytest

# Loading all tests makes many objects and no garbage, and looking for it takes half of the time.
gc.disable()

# When Jupyter's checks of a notebook are loaded they read a grammar of web addresses, which takes seconds. They do
# without it where it is missing.
sys.modules["rfc3987_syntax"] = None

# Several tests run at a time, each with one thread, and so do the commands that they start. PyTorch reads this when it
# is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from babygpt import cli
from babygpt.data import Corpus
from babygpt.harness import runs
from babygpt.model import LanguageModel
from babygpt.versions import VERSIONS, Version, select

# Sizes that all differ, so that a wrong dimension cannot look right by accident.
TINY = dict(vocab_size=11, block_size=7, n_embd=12, n_head=3, n_layer=2, dropout=0.0)
B, T = 2, 5
SMALL_V10 = "--block-size 8 --n-embd 16 --n-head 2 --n-layer 1 --dropout 0.2"


def pytest_xdist_auto_num_workers():
    """One process more than there are cores: many tests wait for a process that they have started."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_finish():
    gc.freeze()  # these objects stay: from now on, garbage is sought among the others
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal():
    """Tests send Ctrl-C and close terminals. `nohup` and `&` start this process, and those it starts, deaf to both."""
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def tiny_model(version: Version, seed: int = 0, **changes: object) -> LanguageModel:
    """A small model of a version, the same for the same seed."""
    module = version.module()
    torch.manual_seed(seed)
    return module.Model(select(module.Config, TINY | changes))


def random_tokens(rows: int = B, length: int = T, seed: int = 1) -> torch.Tensor:
    """(rows, length) tokens of the small vocabulary."""
    return torch.randint(TINY["vocab_size"], (rows, length), generator=torch.Generator().manual_seed(seed))


def every_version(*without: int) -> pytest.MarkDecorator:
    """Run a test once for each version but those in `without`."""
    versions = [version for version in VERSIONS if version.number not in without]
    return pytest.mark.parametrize("version", versions, ids=lambda version: version.name)


@pytest.fixture(scope="session")
def shakespeare() -> Corpus:
    return Corpus.load()


@pytest.fixture
def rhyme() -> Corpus:
    """A text of 11 different characters that a small model can memorize."""
    return Corpus.from_text("the rat that ate the oats\n" * 40, name="rhyme")


@pytest.fixture
def x() -> torch.Tensor:
    """The lecture's toy example: B, T, C = 4, 8, 2, drawn after manual_seed(1337)."""
    return torch.randn(4, 8, 2, generator=torch.Generator().manual_seed(1337))


@pytest.fixture(autouse=True)
def no_picture_of_the_losses(monkeypatch):
    """It takes longer to draw than many of these runs take to train."""
    monkeypatch.setattr(runs, "losses_against_steps", lambda history, title: b"\x89PNG of " + title.encode())


@pytest.fixture
def in_an_empty_folder(tmp_path, monkeypatch):
    """Work where nothing is yet, and draw short samples."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "SAMPLE_TOKENS", 20)


@pytest.fixture
def run(capsys):
    """Run a command line; return its exit status, what it printed, and what it complained of."""

    def run(number, flags="", command=cli.main):
        with pytest.raises(SystemExit) as exit:
            command(number, flags.split()) if command is cli.main else command(flags.split())
        return exit.value.code, *capsys.readouterr()

    return run
