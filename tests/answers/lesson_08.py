"""Right answers to the exercises of lesson 8, and wrong ones that people really give."""

import torch
from torch import nn

from babygpt import v6, v7, v8
from babygpt.course.checks import lesson_08 as checks


def init_like_gpt2(model, std=0.02, factor=2, projections=("sa.proj", "ffwd.net.2"), biases=True):
    small = std / (factor * len(model.blocks)) ** 0.5
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=small if name.endswith(projections) else std)
        if biases and isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def only_linear_layers(model):
    embeddings = [model.token_embedding_table, model.position_embedding_table]
    before = [table.weight.detach().clone() for table in embeddings]
    init_like_gpt2(model)
    for table, weight in zip(embeddings, before, strict=True):
        table.weight.data = weight


def no_positions(model):
    before = model.position_embedding_table.weight.detach().clone()
    init_like_gpt2(model)
    model.position_embedding_table.weight.data = before


def drawn(model, draw):
    """As GPT-2's weights, but each matrix drawn by `draw(weight, std)`."""
    init_like_gpt2(model)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                draw(module.weight, module.weight.std().item())


def uniform(weight, std):
    weight.uniform_(-(3**0.5) * std, 3**0.5 * std)


def shifted(weight, std):
    weight += 0.3 * std


def two_values(weight, std):
    weight.copy_(torch.where(torch.rand_like(weight) < 0.5, std, -std))


def the_same_again(weight, std):
    torch.manual_seed(1)
    weight.normal_(0, std)


def by_hand(model):
    """Right: other functions, the projections scaled down after the first draw."""
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            p.data.zero_()
        else:
            p.data = 0.02 * torch.randn(p.shape)
            if "proj" in name or "net.2" in name:
                p.data /= (2 * len(model.blocks)) ** 0.5


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.sa = v8.MultiHeadAttention(config)
        self.ffwd = v8.FeedForward(config)

    def forward(self, x):
        x = x + self.sa(x)
        return x + self.ffwd(x)


class NothingAdded(Block):
    def forward(self, x):
        return self.ffwd(self.sa(x))


class AddedOnce(Block):
    def forward(self, x):
        return x + self.ffwd(self.sa(x))


class BothFromTheInput(Block):
    def forward(self, x):
        return x + self.sa(x) + self.ffwd(x)


class InPlace(Block):
    def forward(self, x):
        x += self.sa(x)
        x += self.ffwd(x)
        return x


class Cut(Block):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


class Returned(Block):
    def forward(self, x):
        x = x + self.sa(x)
        x = x + self.ffwd(x)


class OldParts(Block):
    def __init__(self, config):
        super().__init__(config)
        self.sa = v6.MultiHeadAttention(config)


class WithNorm(Block):
    def __init__(self, config):
        super().__init__(config)
        self.ln1 = nn.LayerNorm(config.n_embd)


class WidthOf32(Block):
    def __init__(self, config):
        super().__init__(v8.Config())


def misspelled(Right, name):
    """The class, with its method forward under another name."""

    class Misspelled(nn.Module):
        def __init__(self, *args, **switches):
            super().__init__()
            right = Right(*args, **switches)
            self.sa, self.ffwd, self.residual = right.sa, right.ffwd, True

    setattr(Misspelled, name, Right.forward)
    return Misspelled


class Indented(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.sa = v8.MultiHeadAttention(config)
        self.ffwd = v8.FeedForward(config)

        def forward(self, x):
            x = x + self.sa(x)
            return x + self.ffwd(x)


class SwitchBlock(nn.Module):
    def __init__(self, config, residual, proj, wide):
        super().__init__()
        self.residual = residual
        self.sa = v8.MultiHeadAttention(config) if proj else v6.MultiHeadAttention(config)
        self.ffwd = v8.FeedForward(config) if wide else v7.FeedForward(config)

    def forward(self, x):
        if self.residual:
            x = x + self.sa(x)
            return x + self.ffwd(x)
        return self.ffwd(self.sa(x))


class AlwaysResidual(SwitchBlock):
    def forward(self, x):
        x = x + self.sa(x)
        return x + self.ffwd(x)


class NeverResidual(SwitchBlock):
    def forward(self, x):
        return self.ffwd(self.sa(x))


class OneAddition(SwitchBlock):
    def forward(self, x):
        out = self.ffwd(self.sa(x))
        return x + out if self.residual else out


class FromTheInput(SwitchBlock):
    def forward(self, x):
        if self.residual:
            return x + self.ffwd(x + self.sa(x))
        return self.ffwd(self.sa(x))


class AlwaysProj(SwitchBlock):
    def __init__(self, config, residual, proj, wide):
        super().__init__(config, residual, True, wide)


class SwitchedInPlace(SwitchBlock):
    def forward(self, x):
        if self.residual:
            x += self.sa(x)
            x += self.ffwd(x)
            return x
        return self.ffwd(self.sa(x))


class UnusedPart(SwitchBlock):
    def __init__(self, config, residual, proj, wide):
        super().__init__(config, residual, proj, wide)
        self.proj = nn.Linear(config.n_embd, config.n_embd)


class SwitchIndented(nn.Module):
    def __init__(self, config, residual, proj, wide):
        super().__init__()
        self.residual = residual
        self.sa = v8.MultiHeadAttention(config) if proj else v6.MultiHeadAttention(config)
        self.ffwd = v8.FeedForward(config) if wide else v7.FeedForward(config)

        def forward(self, x):
            return x + self.sa(x)


class Tidy(nn.Module):
    """Right: without self.residual, by a factor of 0 or 1."""

    def __init__(self, config, residual, proj, wide):
        super().__init__()
        self.keep = 1.0 if residual else 0.0
        self.sa = (v8 if proj else v6).MultiHeadAttention(config)
        self.ffwd = (v8 if wide else v7).FeedForward(config)

    def forward(self, x):
        for part in (self.sa, self.ffwd):
            x = self.keep * x + part(x)
        return x


class WidthSwapped(SwitchBlock):
    def __init__(self, config, residual, proj, wide):
        super().__init__(config, residual, proj, not wide)


# check: (right answers, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.block: (
        {"two lines": Block, "the package's": v8.Block},
        {
            "nothing added": (NothingAdded, "two plus signs"),
            "one addition around both parts": (AddedOnce, "each part needs its own"),
            "both parts read the input": (BothFromTheInput, "ffwd reads the block's input"),
            "the input changed": (InPlace, "changes its input x in place"),
            "cut off from the gradient": (Cut, "no gradient flows"),
            "nothing returned": (Returned, "return x at the end"),
            "version 6's attention": (OldParts, "sa has .* parameters, expected"),
            "a part too many": (WithNorm, "outside of sa and ffwd: ln1.weight"),
            "sizes of its own": (WidthOf32, "the whole config"),
            "foward": (misspelled(Block, "foward"), "no method named forward"),
            "Forward": (misspelled(Block, "Forward"), "no method named forward"),
            "forward inside of __init__": (Indented, "indentation"),
        },
    ),
    checks.slopes: (
        {
            "a pair": lambda w, n: (w**n, (1 + w) ** n),
            "a tensor": lambda w, n: torch.tensor([w**n, (1 + w) ** n], dtype=torch.float64),
        },
        {
            "one connection around all parts": (lambda w, n: (w**n, 1 + w**n), "around each part"),
            "added instead of multiplied": (lambda w, n: (w * n, 1 + w * n), "multiplied"),
            "the residual slopes added": (lambda w, n: (w**n, n * (1 + w)), "single step"),
            "one number": (lambda w, n: (1 + w) ** n, "two numbers"),
        },
    ),
    checks.init_like_gpt2: (
        {"with nn.init": init_like_gpt2, "by hand": by_hand},
        {
            "L instead of 2L": (lambda model: init_like_gpt2(model, factor=1), "two branches"),
            "nothing divided": (lambda model: init_like_gpt2(model, projections=("none",)), "not divided"),
            "the second projection forgotten": (
                lambda model: init_like_gpt2(model, projections=("sa.proj",)),
                r"ffwd.net\[2\].*not divided",
            ),
            "everything divided": (lambda model: init_like_gpt2(model, projections=("",)), "only the two projections"),
            "the embeddings forgotten": (only_linear_layers, "token_embedding_table is .*draw it again"),
            "the positions forgotten": (no_positions, "position_embedding_table is .*draw it again"),
            "the biases forgotten": (lambda model: init_like_gpt2(model, biases=False), "bias starts at 0"),
            "uniform": (lambda model: drawn(model, uniform), "nn.init.normal_"),
            "two values only": (lambda model: drawn(model, two_values), "nn.init.normal_"),
            "not around 0": (lambda model: drawn(model, shifted), "draw around 0"),
            "the same numbers again and again": (lambda model: drawn(model, the_same_again), "the same numbers"),
        },
    ),
    checks.switch_block: (
        {"an if": SwitchBlock, "a factor": Tidy},
        {
            "residual cannot be switched off": (AlwaysResidual, "still adds its input"),
            "residual cannot be switched on": (NeverResidual, "plus signs"),
            "one addition around both parts": (OneAddition, "one addition around both"),
            "the second addition from the input": (FromTheInput, "starts from the block's input"),
            "proj cannot be switched off": (AlwaysProj, "proj choose"),
            "the wrong way around for wide": (WidthSwapped, "wide choose"),
            "the input changed": (SwitchedInPlace, "changes its input x in place"),
            "an unused part": (UnusedPart, "outside of sa and ffwd: proj.weight"),
            "foward": (misspelled(SwitchBlock, "foward"), "no method named forward"),
            "Forward": (misspelled(SwitchBlock, "Forward"), "no method named forward"),
            "forward inside of __init__": (SwitchIndented, "indentation"),
        },
    ),
}
