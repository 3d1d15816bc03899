"""A busy machine: waiting threads sleep, and a small model keeps to one thread."""

import os
import subprocess
import sys

import pytest
import torch

from babygpt.harness.threads import worthwhile_threads
from babygpt.versions import VERSIONS

# Which modules of torch are there when babygpt sets the variable, and what PyTorch's thread library will then read.
LOOK = """
import sys
import babygpt
print("torch" in sys.modules)
import os
print(os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize("chosen", [None, "ACTIVE"])
def test_waiting_threads_sleep_unless_the_user_wants_them_to_spin_and_that_is_said_before_torch_is_loaded(chosen):
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": chosen} if chosen else {}
    out = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", chosen or "PASSIVE"]


@pytest.fixture
def two_threads(monkeypatch):
    """As on a machine with two cores whose user has chosen nothing."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def sizes(version, preset="lecture"):
    recipe = version.preset(preset)
    config = version.module().Config()
    return recipe["batch_size"], recipe.get("block_size", config.block_size), recipe.get(
        "n_embd", getattr(config, "n_embd", 0)
    )  # fmt: skip


def test_versions_1_to_9_train_with_one_thread_and_version_10_with_all(two_threads):
    used = {}
    for version in VERSIONS:
        for preset in version.presets:
            with worthwhile_threads(*sizes(version, preset)) as threads:
                used[version.name, preset] = threads
                assert torch.get_num_threads() == threads
            assert torch.get_num_threads() == 2
    assert used == {(f"v{n}", "lecture"): 1 for n in range(1, 10)} | {("v10", "lecture"): 2, ("v10", "laptop"): 2}


def test_a_small_version_made_large_trains_with_all_threads(two_threads):
    batch_size, block_size, n_embd = sizes(VERSIONS[8])
    with worthwhile_threads(batch_size, block_size, 8 * n_embd) as threads:
        assert threads == 2


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_number_of_threads_that_the_user_has_chosen_stays(two_threads, monkeypatch, name):
    monkeypatch.setenv(name, "2")
    with worthwhile_threads(*sizes(VERSIONS[0])) as threads:
        assert threads == 2


def test_the_threads_are_back_after_an_error_too(two_threads):
    with pytest.raises(KeyError), worthwhile_threads(1, 1, 1):
        raise KeyError
    assert torch.get_num_threads() == 2
