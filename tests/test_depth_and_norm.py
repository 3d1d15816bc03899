"""What lessons 8 to 10 say about deep stacks, batch norm and overfitting."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from babygpt import v8, v10
from babygpt.training import TrainConfig, Trainer


class Plain(v8.Block):
    """Version 8's block without the additions."""

    def forward(self, x):
        return self.ffwd(self.sa(x))


def stack(Block, n_layer, seed=0):
    torch.manual_seed(seed)
    model = v8.Model(v8.Config(n_layer=n_layer))
    model.blocks = nn.Sequential(*[Block(model.config) for _ in range(n_layer)])
    return model


def gradient_norm(model, shakespeare):
    """The norm of the gradient at the embedding table."""
    xb, yb = shakespeare.get_batch("train", 32, 8, torch.Generator().manual_seed(0))
    model(xb, yb)[1].backward()
    return model.token_embedding_table.weight.grad.norm().item()


@pytest.mark.parametrize("seed", range(3))
def test_twelve_plain_blocks_lose_the_gradient_and_residual_ones_do_not(seed, shakespeare):
    plain = gradient_norm(stack(Plain, 12, seed), shakespeare)
    residual = gradient_norm(stack(v8.Block, 12, seed), shakespeare)
    assert plain < 1e-12  # 5e-15, 7e-16, ...
    assert 0.05 < residual < 1
    assert residual > gradient_norm(stack(v8.Block, 3, seed), shakespeare)


def test_each_plain_block_divides_the_gradient_by_more_than_four(shakespeare):
    norms = [gradient_norm(stack(Plain, n), shakespeare) for n in (1, 3, 6)]
    assert norms[0] > 4**2 * norms[1] > 4**5 * norms[2]


def growth(n_layer, scaled, shakespeare):
    """The variance of the stream after the last block over that before the first."""
    model = stack(v8.Block, n_layer)
    xb, _ = shakespeare.get_batch("train", 32, 8, torch.Generator().manual_seed(0))
    with torch.no_grad():
        if scaled:
            for block in model.blocks:
                for projection in (block.sa.proj, block.ffwd.net[2]):
                    projection.weight /= (2 * n_layer) ** 0.5
                    projection.bias /= (2 * n_layer) ** 0.5
        x = model.token_embedding_table(xb) + model.position_embedding_table(torch.arange(8))
        return (model.body(x).var() / x.var()).item()


def test_the_variance_of_the_stream_grows_with_depth_unless_the_projections_are_divided(shakespeare):
    depths = (1, 3, 6, 12, 24)
    default = [growth(n, False, shakespeare) for n in depths]
    scaled = [growth(n, True, shakespeare) for n in depths]
    assert default == sorted(default) and default[-1] > 10
    assert all(1 < value < 1.2 for value in scaled)


def normalize(x, dim):
    """The formula of lesson 9 along a dimension."""
    variance = x.var(dim, keepdim=True, correction=0)
    return (x - x.mean(dim, keepdim=True)) / torch.sqrt(variance + 1e-5)


def is_even(x, dim):
    """Mean 0 and standard deviation 1 all along `dim`."""
    means, spreads = x.mean(dim), x.std(dim, correction=0)
    return means.abs().max() < 1e-5 and (spreads - 1).abs().max() < 1e-3


def test_the_same_formula_is_batch_norm_along_dim_0_and_layer_norm_along_dim_1():
    torch.manual_seed(1337)
    x = torch.randn(32, 100)
    by_column, by_row = normalize(x, 0), normalize(x, 1)
    assert torch.allclose(by_column, F.batch_norm(x, None, None, training=True), atol=1e-5)
    assert torch.allclose(by_row, F.layer_norm(x, (100,)), atol=1e-5)
    assert is_even(by_column, 0) and not is_even(by_column, 1)
    assert is_even(by_row, 1) and not is_even(by_row, 0)


def test_batch_norm_lets_a_token_hear_the_others_and_keeps_buffers():
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    changed = torch.cat([x[:1], 3 * x[1:]])
    norm = nn.BatchNorm1d(4)
    assert not torch.allclose(norm(x)[0], norm(changed)[0], atol=0.1)
    assert not torch.allclose(norm.train()(x), norm.eval()(x), atol=0.1)
    assert {name for name, _ in norm.named_buffers()} == {"running_mean", "running_var", "num_batches_tracked"}


def test_a_model_that_is_large_for_its_text_overfits(shakespeare):
    """500 characters: the training loss falls below the validation loss, which turns and rises."""
    little = replace(shakespeare, train=shakespeare.train[:500])
    torch.manual_seed(0)
    model = v10.Model(v10.Config(block_size=8, n_embd=32, n_head=4, n_layer=1, dropout=0.0, init_std=0.05))
    settings = TrainConfig(max_iters=200, eval_interval=50, eval_iters=10, learning_rate=1e-2, device="cpu")
    trainer = Trainer(model, little, settings)
    trainer.train()
    losses = [record["val"] for record in trainer.history]
    assert trainer.history[-1]["train"] < min(losses) - 0.5
    assert losses[-1] > min(losses) + 0.3
