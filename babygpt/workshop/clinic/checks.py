"""Is a file of the clinic right? Judged by what it computes, never by its text.

A file is right if it computes what the healthy one computes, from the same weights and the same random numbers. Before
that comes a test of what its own bug breaks, which can say more than "it differs".
"""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from babygpt.course.tracebacks import what_stopped
from babygpt.data import Corpus
from babygpt.errors import require
from babygpt.expect import sees_the_future
from babygpt.model import LanguageModel
from babygpt.workshop.clinic.bugs import Bug
from babygpt.workshop.clinic.symptoms import as_module

TOLERANCE = 1e-4

Finding = str | None  # what is wrong, or None


def check(bug: Bug, path: Path) -> Finding:
    """What is still wrong in a learner's file, in a sentence; None if it is right.

    Raises:
        UserError: there is no such file.
    """
    require(path.is_file(), f"there is no {path}: get it with python -m babygpt.clinic start {bug.number}")
    text = path.read_text(encoding="utf-8")
    if text == bug.broken():
        return "nothing has changed in this file yet."
    try:
        code = compile(text, str(path), "exec")
        theirs = ModuleType("clinic_case")
        exec(code, theirs.__dict__)
        return judge(bug, theirs)
    except SyntaxError as error:
        return f"Python cannot read line {error.lineno}: {error.msg}."
    except Exception as error:  # whatever a learner's code may raise
        return f"{what_stopped(error)}."


@torch.random.fork_rng(devices=())
def judge(bug: Bug, theirs: ModuleType) -> Finding:
    """What is wrong in a module: first by the test of its own bug, then by all that the healthy one computes."""
    ours = as_module(bug.healthy())
    same = same_loop if bug.file == "loop" else same_model
    return PROBES[bug.number](theirs) or same(theirs, ours)


def small(module: ModuleType, **sizes: int) -> LanguageModel:
    """A small model of a module, in eval mode."""
    torch.manual_seed(0)
    return module.Model(module.Config(vocab_size=11, **sizes)).eval()


def tokens(B: int, T: int) -> Tensor:
    """Random tokens: (B, T)."""
    return torch.randint(11, (B, T), generator=torch.Generator().manual_seed(B + T))


def text(length: int = 400) -> Corpus:
    """A short corpus of eleven different characters."""
    ids = torch.randint(11, (length,), generator=torch.Generator().manual_seed(2))
    return Corpus.from_text("abcdefghijk" + "".join("abcdefghijk"[i] for i in ids))


@torch.no_grad()
def same_model(theirs: ModuleType, ours: ModuleType) -> Finding:
    """Whether two modules compute the same logits from the same weights, at two sizes and several shapes."""
    for sizes in ({}, {"n_embd": 12, "block_size": 5}):
        a, b = small(ours, **sizes), small(theirs, **sizes)
        try:
            b.load_state_dict(a.state_dict())
        except RuntimeError:
            return (
                "its layers are not those of the original: keep their names and sizes, so that the two can be compared."
            )
        for B, T in ((2, a.config.block_size), (1, 1), (3, a.config.block_size - 2)):
            difference = (a(tokens(B, T))[0] - b(tokens(B, T))[0]).abs().max().item()
            if not difference < TOLERANCE:  # NaN counts as different
                return f"from the same weights, its logits differ from the original's by up to {difference:.2g}."
    return None


def trained(module: ModuleType, steps: int) -> LanguageModel:
    """A small model after a few steps of a module's loop."""
    torch.manual_seed(0)
    model = module.Model(module.Config(vocab_size=11, **sizes_of(module)))
    module.eval_iters = 2
    module.train(model, text(), steps)
    return model


def sizes_of(module: ModuleType) -> dict[str, float]:
    """The sizes that a loop's file gives its model, without the vocabulary."""
    return {name: value for name, value in vars(module.config).items() if name != "vocab_size"}


def same_loop(theirs: ModuleType, ours: ModuleType) -> Finding:
    """Whether two loops draw the same batches, estimate the same losses and train the same weights."""
    theirs.learning_rate = ours.learning_rate  # how close it must be, the probe of its case has said
    data = text().train
    batches = [m.get_batch(data, 5, 8, torch.Generator().manual_seed(3)) for m in (theirs, ours)]
    if not all(torch.equal(a, b) for a, b in zip(*batches, strict=True)):
        return "get_batch draws other chunks, or other targets, than the original."
    for steps in (1, 2, 4):
        a, b = (parameters(trained(module, steps)) for module in (theirs, ours))
        if len(a) != len(b) or not torch.allclose(a, b, atol=TOLERANCE):
            return (
                f"after {steps} step{'s' if steps > 1 else ''} of training, the weights are not those of the original."
            )
    estimates = [module.estimate_loss(trained(ours, 1), text())["val"] for module in (theirs, ours)]
    if abs(estimates[0] - estimates[1]) > TOLERANCE:
        return f"estimate_loss returns {estimates[0]:.4f} where the original returns {estimates[1]:.4f}."
    return None


def parameters(model: nn.Module) -> Tensor:
    """All parameters in one vector."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# What each bug breaks


def future_stays_hidden(theirs: ModuleType) -> Finding:
    """Changing the last token must leave the logits before it alone."""
    if sees_the_future(small(theirs), 11):
        return "when the last token changes, so do the logits at earlier positions."
    return None


@torch.no_grad()
def weights_add_up(theirs: ModuleType) -> Finding:
    """An average of equal vectors is that vector."""
    head = theirs.Head(theirs.Config(), 8)
    x = torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(0)).expand(1, 8, 32)  # eight equal tokens
    ratio = (head(x) / head.value(x))[0, :, 0]
    wrong = [(t, r) for t, r in enumerate(ratio.tolist()) if not abs(r - 1) < 1e-3]
    if wrong:
        return (
            f"the average of equal values is that value. Eight equal tokens have equal values, and token {wrong[0][0]} "
            f"gets {wrong[0][1]:.2f} times as much."
        )
    return future_stays_hidden(theirs)


@torch.no_grad()
def scale_fits_the_head(theirs: ModuleType) -> Finding:
    """With two tokens, the logarithm of the ratio of the weights is the difference of the scaled scores."""
    head = theirs.Head(theirs.Config(), 8)
    x = torch.randn(1, 2, 32, generator=torch.Generator().manual_seed(0))
    v = head.value(x)[0]
    weight = ((head(x)[0, 1] - v[0]) / (v[1] - v[0])).median()  # of token 1 for itself
    scores = (head.query(x) @ head.key(x).transpose(1, 2))[0, 1]
    scale = (torch.log(weight / (1 - weight)) / (scores[1] - scores[0])).item()
    if not abs(scale - 8**-0.5) < 1e-3:
        return f"in a head of size 8 the scores get multiplied by {scale:.3f}."
    return None


def gradients_are_cleared(theirs: ModuleType) -> Finding:
    """The first step needs no zero_grad; the later ones do."""
    ours = as_module(get_healthy_loop())
    first, second = (
        torch.allclose(*(parameters(trained(m, n)) for m in (theirs, ours)), atol=TOLERANCE) for n in (1, 3)
    )
    if first and not second:
        return "the first step of training is right, and later ones are not."
    return None


def get_healthy_loop() -> str:
    """The loop as it is in the package."""
    return Path(__file__).with_name("loop.py").read_text(encoding="utf-8")


def targets_come_next(theirs: ModuleType) -> Finding:
    """In a text of counted tokens, each target is one more than its input."""
    x, y = theirs.get_batch(torch.arange(100), 4, 8, torch.Generator().manual_seed(0))
    if x.shape == y.shape and not torch.equal(y, x + 1):
        return f"in a text of the tokens 0, 1, 2, ... the inputs {x[0].tolist()} get the targets {y[0].tolist()}."
    return None


def estimates_agree(theirs: ModuleType) -> Finding:
    """Two estimates of the same weights are equal, need no gradients, and leave dropout on."""
    torch.manual_seed(0)
    # Large weights, so that dropout makes a difference before any training.
    model = theirs.Model(theirs.Config(vocab_size=11, **sizes_of(theirs) | {"init_std": 0.2})).train()
    theirs.eval_iters = 2
    gradients = []
    model.register_forward_hook(lambda *_: gradients.append(torch.is_grad_enabled()))
    a, b = (theirs.estimate_loss(model, text())["val"] for _ in range(2))
    if a != b:
        return f"two estimates of the same weights differ: {a:.4f} and {b:.4f}."
    if not all(module.training for module in model.modules()):
        return "after an estimate, dropout stays off: training would go on without it."
    if any(gradients):
        return "the estimates agree, but the forward passes still store what only a backward pass would need."
    return None


@torch.no_grad()
def block_passes_on(theirs: ModuleType) -> Finding:
    """If attention and feed-forward return 0, a block is the identity."""
    block = theirs.Block(theirs.Config())
    for p in (*block.sa.parameters(), *block.ffwd.parameters()):
        p.zero_()
    x = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(0))
    if not torch.allclose(block(x), x):
        return (
            "a block whose attention and feed-forward layer return 0 must pass its input on, and this one changes it."
        )
    return None


def heads_side_by_side(theirs: ModuleType) -> Finding:
    """Four heads of 8 have as many parameters as one of 32."""
    count = sum(map(torch.numel, theirs.MultiHeadAttention(theirs.Config()).parameters()))
    if count != 3 * 32 * 32:
        return f"attention has {count:,} parameters, and one wide head has {3 * 32 * 32:,}."
    return None


@torch.no_grad()
def positions_matter(theirs: ModuleType) -> Finding:
    """The same letter at another position gets other logits."""
    logits, _ = small(theirs)(torch.zeros((1, 8), dtype=torch.long))
    if torch.allclose(logits[0, 0], logits[0, 7], atol=1e-5):
        return "the same letter eight times gets the same logits at all eight positions."
    return None


def steps_have_the_right_size(theirs: ModuleType) -> Finding:
    """The first step of AdamW moves weights by the learning rate."""
    torch.manual_seed(0)
    before = parameters(theirs.Model(theirs.Config(vocab_size=11, **sizes_of(theirs))))
    step = (parameters(trained(theirs, 1)) - before).abs().max().item()
    if not 1e-3 <= step <= 6e-3:
        much = "more" if step > 3e-3 else "less"
        return f"the first step moves a weight by up to {step:.1g}: {much} than suits this model."
    return None


@torch.no_grad()
def texts_stay_apart(theirs: ModuleType) -> Finding:
    """The logits of a text don't depend on the rest of its batch."""
    model, idx = small(theirs), tokens(3, 8)
    for p in model.parameters():
        p.add_(0.1)
    if not torch.allclose(model(idx)[0][:1], model(idx[:1])[0], atol=TOLERANCE):
        return "the logits of a text depend on which other texts are in its batch."
    return future_stays_hidden(theirs)


PROBES: dict[int, Callable[[ModuleType], Finding]] = {
    1: future_stays_hidden,
    2: weights_add_up,
    3: weights_add_up,
    4: scale_fits_the_head,
    5: gradients_are_cleared,
    6: targets_come_next,
    7: estimates_agree,
    8: block_passes_on,
    9: heads_side_by_side,
    10: positions_matter,
    11: steps_have_the_right_size,
    12: texts_stay_apart,
}
