"""Right answers to the exercises of lesson 8, and wrong ones that people really give."""

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


class WidthSwapped(SwitchBlock):
    def __init__(self, config, residual, proj, wide):
        super().__init__(config, residual, proj, not wide)


# check: (a right answer, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.slopes: (
        lambda w, n: (w**n, (1 + w) ** n),
        {
            "one connection around all parts": (lambda w, n: (w**n, 1 + w**n), "around each part"),
            "added instead of multiplied": (lambda w, n: (w * n, 1 + w * n), "multiplied"),
            "the residual slopes added": (lambda w, n: (w**n, n * (1 + w)), "single step"),
            "one number": (lambda w, n: (1 + w) ** n, "two numbers"),
        },
    ),
    checks.init_like_gpt2: (
        init_like_gpt2,
        {
            "L instead of 2L": (lambda model: init_like_gpt2(model, factor=1), "two branches"),
            "nothing divided": (lambda model: init_like_gpt2(model, projections=("none",)), "not divided"),
            "the second projection forgotten": (
                lambda model: init_like_gpt2(model, projections=("sa.proj",)),
                r"ffwd.net\[2\].*not divided",
            ),
            "everything divided": (lambda model: init_like_gpt2(model, projections=("",)), "only the two projections"),
            "the embeddings forgotten": (only_linear_layers, "token_embedding_table is .*drawn anew"),
            "the positions forgotten": (no_positions, "position_embedding_table is .*drawn anew"),
            "the biases forgotten": (lambda model: init_like_gpt2(model, biases=False), "bias starts at 0"),
        },
    ),
    checks.switch_block: (
        SwitchBlock,
        {
            "residual cannot be switched off": (AlwaysResidual, "still adds its input"),
            "residual cannot be switched on": (NeverResidual, "plus signs"),
            "one addition around both parts": (OneAddition, "one addition around both"),
            "the second addition from the input": (FromTheInput, "starts from the block's input"),
            "proj cannot be switched off": (AlwaysProj, "proj choose"),
            "wide the wrong way round": (WidthSwapped, "wide choose"),
        },
    ),
}
