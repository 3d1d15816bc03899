"""What makes the recipe `laptop` fast: Muon on many small matrices at once."""

import pytest
import torch
from conftest import every_version, tiny_model
from torch import nn

from babygpt.muon import Muon, orthogonalize
from babygpt.training import TrainConfig, make_optimizers


def parameters(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)], ids=["square", "wide", "tall"])
def test_orthogonalizing_matrices_together_gives_what_each_gives_alone(shape):
    scales = torch.tensor([1e-3, 1.0, 100.0])[:, None, None]  # each matrix is divided by its own norm
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)) * scales
    alone = torch.cat([orthogonalize(matrix[None]) for matrix in matrices])
    assert torch.allclose(orthogonalize(matrices), alone, atol=1e-5)  # float32, summed in another order


def test_muon_steps_each_matrix_as_if_it_were_the_only_one():
    shapes = [(4, 9), (6, 6), (4, 9), (9, 4), (6, 6)]
    together, alone = parameters(shapes), parameters(shapes)
    optimizers = [Muon(together, lr=0.1, weight_decay=0.3)]
    optimizers += [Muon([p], lr=0.1, weight_decay=0.3) for p in alone]
    for step in range(3):
        gradients = parameters(shapes, seed=step + 1)
        for ours, theirs, gradient in zip(together, alone, gradients, strict=True):
            ours.grad, theirs.grad = gradient.data.clone(), gradient.data.clone()
        for optimizer in optimizers:
            optimizer.step()
    for ours, theirs, start in zip(together, alone, parameters(shapes), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert (ours - start).norm() > 0.1


def test_muon_skips_a_matrix_without_a_gradient():
    moved, still = parameters([(4, 9), (4, 9)])
    before = still.detach().clone()
    moved.grad = torch.ones_like(moved)
    Muon([moved, still], lr=0.1, weight_decay=0.3).step()
    assert torch.equal(still, before)


@every_version(1, 2, 3, 4)
def test_muon_trains_every_linear_layer_but_lm_head(version):
    model = tiny_model(version)
    muon, _ = make_optimizers(model, TrainConfig(optimizer="muon"))
    moved = {id(p) for group in muon.param_groups for p in group["params"]}
    linear = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    assert {name for name, m in linear.items() if id(m.weight) not in moved} == {"lm_head"}
    assert len(moved) == len(linear) - 1
