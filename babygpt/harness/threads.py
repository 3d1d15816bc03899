"""How many threads a training run uses on the CPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# B * T * C * C, the multiplications of a batch with a square matrix, from which a second thread pays off. Measured on
# two cores: 2**18 (version 9 at the lecture's sizes) to 2**21 gain nothing, 2**22 (with C = 128) gains a third.
ENOUGH_WORK = 2**22
USERS_CHOICE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def worthwhile_threads(batch_size: int, block_size: int, n_embd: int) -> Iterator[int]:
    """Keep PyTorch to one thread while a model trains that is too small to gain from a second one.

    That holds for versions 1 to 9 at the lecture's sizes, and not for version 10. Afterwards PyTorch has as many
    threads as before. If the user has set OMP_NUM_THREADS, nothing changes.

    Args:
        batch_size: the B of the activations (B, T, C).
        block_size: their T.
        n_embd: their C; 0 for version 1, which has no matrix product.

    Yields:
        the number of threads.
    """
    before = torch.get_num_threads()
    small = batch_size * block_size * n_embd**2 < ENOUGH_WORK
    if small and not any(os.environ.get(name) for name in USERS_CHOICE):
        torch.set_num_threads(1)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
