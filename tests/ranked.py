"""Several processes that meet, as `torchrun` starts them, but forked: they start at once."""

import forked
import pytest
import torch.distributed as dist

WAIT = 300  # seconds: far more than is needed, for busy machines


def start(function, *args, processes=2):
    """Start a function in some processes. Their store is in this process, at a port that the system has chosen."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "WORLD_SIZE": processes,
        "LOCAL_WORLD_SIZE": processes,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": store.port,
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    started = []
    for rank in range(processes):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items():
                patch.setenv(name, str(value))
            started.append(forked.Process(function, *args))
    return store, started


def finish(store, started):
    """Wait for the processes; return the status, the output and the complaints of each."""
    texts = [process.communicate(WAIT) for process in started]
    return [(process.returncode, *text) for process, text in zip(started, texts, strict=True)]


def run(function, *args, processes=2):
    """Start them and wait for them."""
    return finish(*start(function, *args, processes=processes))


def assert_same_weights(ours, theirs):
    # The sums are in another order, so the last of float32's 7 digits differ; Adam divides small numbers by small ones.
    assert ours.keys() == theirs.keys()
    assert max((ours[name] - theirs[name]).abs().max() for name in ours) < 1e-5
