"""Checks of lesson 8, residual connections."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from babygpt import v8
from babygpt.course.checks.core import as_tensor, exercise, expect, expect_gradient, expect_same, unchanged

TWO_LINES = "x = x + self.sa(x), then x = x + self.ffwd(x)"


@exercise("8.A")
def block(answer: Callable[[v8.Config], nn.Module]) -> None:
    """The answer is version 8's block."""
    for config, shape in ((v8.Config(), (2, 6, 32)), (v8.Config(block_size=5, n_embd=24, n_head=3), (3, 5, 24))):
        built = answer(config)
        require_parts(built, ("sa", "ffwd"))
        for part, package in (("sa", v8.MultiHeadAttention(config)), ("ffwd", v8.FeedForward(config))):
            found, expected = parameters(getattr(built, part)), parameters(package)
            expect(
                found == expected,
                f"with n_embd = {config.n_embd} the part {part} has {found:,} parameters, expected {expected:,}: "
                "give the classes MultiHeadAttention and FeedForward from above the whole config",
            )
        require_nothing_else(built)
        compare(built, torch.randn(*shape), residual=True)


@exercise("8.1")
def slopes(answer: Callable[[float, int], tuple[float, float]]) -> None:
    """The answer returns the slopes of n steps x = w * x and of n steps x = x + w * x."""
    for w, n in ((0.1, 3), (0.5, 4), (-0.5, 2)):
        two = "return two numbers, the slope without and the slope with residual connections"
        found = answer(w, n)
        expect(not isinstance(found, float | int), two)
        pair = as_tensor(found, "your answer", two).double()
        expect(pair.shape == (2,), two)
        plain, residual = pair.tolist()
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
        for name, matrices in groups.items():
            check_spread(name, torch.cat([w.detach().flatten() for w in matrices]), n_layer)
        # A seed set before each matrix gives them all the same numbers.
        first = torch.stack([w.detach().flatten()[:512] for matrices in groups.values() for w in matrices])
        alike = torch.corrcoef(first).fill_diagonal_(0).abs().max()  # 120 matrices drawn independently: below 0.3
        expect(
            alike < 0.5,
            "two weight matrices contain the same numbers: draw each one separately, and don't set the seed in between",
        )


def check_spread(name: str, weights: Tensor, n_layer: int) -> None:
    """Fail unless the weights are a draw from the right normal distribution."""
    usual, small = 0.02, 0.02 / (2 * n_layer) ** 0.5
    expected = small if name in ("sa.proj", "ffwd.net[2]") else usual
    found = weights.std().item()
    seen = f"with {n_layer} blocks the standard deviation of {name} is {found:.5f}, expected {expected:.5f}"
    if expected == small:
        expect(abs(found / usual - 1) > 0.1, f"{seen}: it is not divided by the square root of 2L")
        expect(
            abs(found / (usual / n_layer**0.5) - 1) > 0.1,
            f"{seen}: a block has two branches, so divide by the square root of 2L, not of L",
        )
        expect(abs(found / expected - 1) < 0.1, f"{seen}: divide 0.02 by the square root of 2L, once")
    else:
        expect(found < 1.1 * expected, f"{seen}: did you draw it again, with standard deviation 0.02?")
        expect(found > 0.9 * expected, f"{seen}: only the two projections of a block get less than 0.02")
    # Of n normal numbers the mean is off by about 1 / sqrt(n) standard deviations; six times that never happens.
    off = weights.mean().item() / found
    expect(
        abs(off) < 6 / len(weights) ** 0.5,
        f"the mean of {name} is {weights.mean():.5f}, expected about 0: draw around 0",
    )
    within = (weights.abs() < found).double().mean().item()  # 0.683 of a normal distribution, 0.577 of a uniform one
    expect(
        abs(within - 0.683) < 0.04,
        f"{within:.0%} of {name} is within one standard deviation of 0, and in a normal distribution 68% is: "
        "draw with nn.init.normal_",
    )


@exercise("8.3")
def switch_block(answer: Callable[..., nn.Module]) -> None:
    """The answer is a block with the switches residual, proj and wide."""
    for config in (v8.Config(), v8.Config(block_size=5, n_embd=24, n_head=3)):
        C = config.n_embd
        x = torch.randn(2, config.block_size - 1, C)
        attention, proj, narrow, wide = 3 * C * C, C * C + C, C * C + C, 8 * C * C + 5 * C
        for switches in itertools.product((True, False), repeat=3):
            on = dict(zip(("residual", "proj", "wide"), switches, strict=True))
            at = "with " + ", ".join(f"{name}={value}" for name, value in on.items()) + " "
            built = answer(config, **on)
            require_parts(built, ("sa", "ffwd"))
            sizes = {
                "sa": (attention + proj * on["proj"], "does the switch proj choose between v6's and v8's attention?"),
                "ffwd": (wide if on["wide"] else narrow, "does the switch wide choose between v7's and v8's layer?"),
            }
            for part, (expected, look_at) in sizes.items():
                size = parameters(getattr(built, part))
                expect(
                    size == expected, f"{at}the part {part} has {size:,} parameters, expected {expected:,}: {look_at}"
                )
            require_nothing_else(built, at)
            compare(built, x, on["residual"], at)


def parameters(module: nn.Module) -> int:
    """The number of parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def require_parts(built: object, parts: tuple[str, ...]) -> None:
    """Fail unless the block is a module with a forward method of its own, and with these parts."""
    expect(
        isinstance(built, nn.Module), f"the answer must be a class derived from nn.Module, not {type(built).__name__}"
    )
    expect(
        type(built).forward is not nn.Module.forward,
        f"the class {type(built).__name__} has no method named forward: look at its spelling (a small f) and at its "
        "indentation (the same as that of __init__)",
    )
    for part in parts:
        expect(isinstance(getattr(built, part, None), nn.Module), f"the block has no part named {part}")


def require_nothing_else(built: nn.Module, at: str = "") -> None:
    """Fail if there are parameters outside of sa and ffwd."""
    allowed = {id(p) for part in (built.sa, built.ffwd) for p in part.parameters()}
    extra = [name for name, p in built.named_parameters() if id(p) not in allowed]
    expect(
        not extra,
        f"{at}the block has parameters outside of sa and ffwd: {', '.join(extra[:3])}: it needs these two parts only",
    )


def compare(built: nn.Module, x: Tensor, residual: bool, at: str = "") -> None:
    """Fail unless the block's output is that of its two parts, with or without the additions."""
    source = x.clone().requires_grad_()
    given = source.clone()  # PyTorch itself forbids writing into the source
    with unchanged(x=given):
        output = built(given)
    with torch.no_grad():
        gathered = built.sa(x)
        middle = x + gathered
        plain, expected = built.ffwd(gathered), middle + built.ffwd(middle)
    found = as_tensor(output, f"{at}the output", "return x at the end of forward")
    if not residual:
        expect(not equal(found, expected), f"{at}the block still adds its input: ask for self.residual in forward")
        expect_same(found, plain, f"{at}the output", "without residual it is ffwd(sa(x))")
    else:
        expect(not equal(found, plain), f"{at}nothing is added: where are the two plus signs?")
        expect(
            not equal(found, x + plain),
            f"{at}there is one addition around both parts, and each part needs its own: {TWO_LINES}",
        )
        expect(
            not equal(found, x + built.ffwd(middle).detach()),
            f"{at}the second addition starts from the block's input: it must start from x + sa(x)",
        )
        expect(
            not equal(found, middle + built.ffwd(x).detach()),
            f"{at}ffwd reads the block's input: it must read x + sa(x), what the first line returns",
        )
        expect_same(found, expected, f"{at}the output", f"it must be {TWO_LINES}")
    expect_gradient(output, source, f"{at}the output", "use x itself, without detach, .data or no_grad")


def equal(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors have the same shape and, to rounding, the same values."""
    return found.shape == expected.shape and torch.allclose(found.double(), expected.double(), atol=1e-5)
