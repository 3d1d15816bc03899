"""Checks of lesson 8, residual connections."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from babygpt import v8
from babygpt.course.checks.core import exercise, expect, expect_same


@exercise("8.1")
def slopes(answer: Callable[[float, int], tuple[float, float]]) -> None:
    """The answer returns the slopes of n steps x = w * x and of n steps x = x + w * x."""
    for w, n in ((0.1, 3), (0.5, 4), (-0.5, 2)):
        found = answer(w, n)
        expect(
            isinstance(found, tuple | list) and len(found) == 2,
            "return two numbers, the slope without and the slope with residual connections",
        )
        plain, residual = found
        at = f"for w = {w}, n = {n} the slope"
        expect_same(plain, w**n, f"{at} without residual connections", "n factors of w are multiplied", atol=1e-6)
        expect(
            abs(residual - (1 + w**n)) > 1e-6,
            f"{at} with residual connections is {residual:.4g}: that is one connection around the whole stack, "
            f"but there is one around each part",
        )
        look_at = "what is the slope of a single step x + w * x, and how many of them are multiplied?"
        expect_same(residual, (1 + w) ** n, f"{at} with residual connections", look_at, atol=1e-6)


@exercise("8.2")
def init_like_gpt2(answer: Callable[[v8.Model], None]) -> None:
    """The answer draws the weights of a version 8 model as GPT-2 does, in place."""
    for n_layer in (2, 8):
        model = v8.Model(v8.Config(block_size=64, n_embd=64, n_layer=n_layer))
        answer(model)
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                expect((p == 0).all(), f"{name} is not zero: every bias starts at 0")
        usual, small = 0.02, 0.02 / (2 * n_layer) ** 0.5
        groups = {
            "token_embedding_table": [model.token_embedding_table.weight],
            "position_embedding_table": [model.position_embedding_table.weight],
            "lm_head": [model.lm_head.weight],
            "the keys": [head.key.weight for block in model.blocks for head in block.sa.heads],
            "the queries": [head.query.weight for block in model.blocks for head in block.sa.heads],
            "the values": [head.value.weight for block in model.blocks for head in block.sa.heads],
            "ffwd.net[0]": [block.ffwd.net[0].weight for block in model.blocks],
            "sa.proj": [block.sa.proj.weight for block in model.blocks],
            "ffwd.net[2]": [block.ffwd.net[2].weight for block in model.blocks],
        }
        for name, weights in groups.items():
            expected = small if name in ("sa.proj", "ffwd.net[2]") else usual
            found = torch.cat([w.detach().flatten() for w in weights]).std().item()
            seen = f"with {n_layer} blocks the standard deviation of {name} is {found:.5f}, expected {expected:.5f}"
            if expected == small:
                expect(abs(found / usual - 1) > 0.1, f"{seen}: it is not divided by the square root of 2L")
                expect(
                    abs(found / (usual / n_layer**0.5) - 1) > 0.1,
                    f"{seen}: a block has two branches, so divide by the square root of 2L, not of L",
                )
                expect(abs(found / expected - 1) < 0.1, f"{seen}: divide 0.02 by the square root of 2L, once")
            else:
                expect(found < 1.1 * expected, f"{seen}: was it drawn anew, with standard deviation 0.02?")
                expect(found > 0.9 * expected, f"{seen}: only the two projections of a block get less than 0.02")


@exercise("8.3")
def switch_block(answer: Callable[..., nn.Module]) -> None:
    """The answer is a block with the switches residual, proj and wide."""
    config = v8.Config()
    x = torch.randn(2, 6, config.n_embd)
    attention, proj, narrow, wide = 3 * 32 * 32, 32 * 32 + 32, 32 * 32 + 32, 2 * 32 * 128 + 128 + 32
    for switches in itertools.product((True, False), repeat=3):
        on = dict(zip(("residual", "proj", "wide"), switches, strict=True))
        at = "with " + ", ".join(f"{name}={value}" for name, value in on.items())
        block = answer(config, **on)
        for part in ("sa", "ffwd"):
            expect(isinstance(getattr(block, part, None), nn.Module), f"the block has no part named {part}")
        sizes = {
            "sa": (attention + proj * on["proj"], "does the switch proj choose between v6's and v8's attention?"),
            "ffwd": (wide if on["wide"] else narrow, "does the switch wide choose between v7's and v8's layer?"),
        }
        for part, (expected, look_at) in sizes.items():
            size = sum(p.numel() for p in getattr(block, part).parameters())
            expect(size == expected, f"{at} the part {part} has {size:,} parameters, expected {expected:,}: {look_at}")
        _compare(block, x, on["residual"], at)


def _compare(block: nn.Module, x: Tensor, residual: bool, at: str) -> None:
    """The block's output is that of its two parts, with or without the additions."""
    with torch.no_grad():
        found, gathered = block(x), block.sa(x)
        middle = x + gathered
        plain, expected = block.ffwd(gathered), middle + block.ffwd(middle)
    if not residual:
        expect(not _equal(found, expected), f"{at} the block still adds its input: ask for self.residual in forward")
        expect_same(found, plain, f"{at} the output", "without residual it is ffwd(sa(x))")
        return
    expect(not _equal(found, plain), f"{at} nothing is added: where are the two plus signs?")
    expect(
        not _equal(found, x + plain),
        f"{at} there is one addition around both parts: each part needs its own, x = x + sa(x), then x = x + ffwd(x)",
    )
    expect(
        not _equal(found, x + block.ffwd(middle)),
        f"{at} the second addition starts from the block's input: it must start from x + sa(x)",
    )
    expect_same(found, expected, f"{at} the output", "it must be x = x + sa(x), then x = x + ffwd(x)")


def _equal(found: Tensor, expected: Tensor) -> bool:
    return isinstance(found, Tensor) and found.shape == expected.shape and torch.allclose(found, expected, atol=1e-5)
