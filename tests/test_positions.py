"""Positions: what sinusoids, RoPE and ALiBi promise."""

import math

import pytest
import torch

from babygpt.beyond.positions import alibi, angles, frequencies, rotate, sinusoids

SIZES = [8, 32]


def exact_angles(T, size):
    """The angles in float64, computed from the formula alone."""
    rows = [[t * 10_000.0 ** (-i / size) for i in range(0, size, 2)] for t in range(T)]
    return torch.tensor(rows, dtype=torch.float64)


def vectors(T, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 1, T, size, generator=generator, dtype=torch.float64)


def test_the_frequencies_of_eight_numbers_are_powers_of_a_tenth():
    assert torch.allclose(frequencies(8), torch.tensor([1.0, 0.1, 0.01, 0.001]), rtol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_angles_are_position_times_frequency(size):
    expected = exact_angles(50, size).float()
    assert torch.allclose(angles(50, size), expected, rtol=1e-5, atol=1e-6)


# Sinusoids


@pytest.mark.parametrize("C", SIZES)
def test_sines_are_in_the_even_columns_and_cosines_in_the_odd_ones(C):
    table = sinusoids(20, C)
    assert table.shape == (20, C)
    for t in (0, 3, 19):
        for i in range(0, C, 2):
            angle = t * 10_000 ** (-i / C)
            assert table[t, i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[t, i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_a_thousand_positions_have_different_sinusoids():
    table = sinusoids(1000, 32)
    distances = torch.cdist(table, table).fill_diagonal_(math.inf)
    assert distances.min() > 0.1


@pytest.mark.parametrize("k", [1, 7])
def test_moving_by_k_positions_is_one_fixed_linear_map_of_the_sinusoids(k):
    C, T = 16, 40
    a = exact_angles(T + k, C)
    table = torch.stack((a.sin(), a.cos()), dim=-1).flatten(1)
    turn = torch.zeros(C, C, dtype=torch.float64)
    for i, angle in enumerate(a[k].tolist()):  # sin(x + k) and cos(x + k) from sin(x) and cos(x)
        rows = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        turn[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor(rows)
    assert torch.allclose(table[:T] @ turn.T, table[k : T + k], atol=1e-12)
    assert torch.allclose(sinusoids(T, C).double() @ turn.T, sinusoids(T + k, C)[k:].double(), atol=1e-5)


def test_the_product_of_two_sinusoids_depends_on_their_distance_only():
    table = sinusoids(31, 64)
    assert (table[10] @ table[7]).item() == pytest.approx((table[30] @ table[27]).item(), abs=1e-4)


# RoPE


@pytest.mark.parametrize("hs", SIZES)
def test_rope_keeps_the_length_of_every_vector(hs):
    x = vectors(30, hs)
    turned = rotate(x, exact_angles(30, hs))
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-12)
    assert not torch.allclose(turned[..., 1:, :], x[..., 1:, :], atol=0.1)


@pytest.mark.parametrize("hs", SIZES)
def test_the_scores_of_rope_depend_on_the_distance_only(hs):
    q, k = vectors(1, hs).expand(1, 1, 120, hs), vectors(1, hs, seed=1).expand(1, 1, 120, hs)
    a = exact_angles(120, hs)
    scores = (rotate(q, a) @ rotate(k, a).mT)[0, 0]
    for distance in (-5, 0, 2, 17):
        same = scores.diagonal(-distance)
        assert torch.allclose(same, same[0].expand_as(same), atol=1e-12)
    assert not torch.isclose(scores[2, 0], scores[0, 0], atol=1e-3)


def test_rope_does_not_change_the_score_of_a_token_with_itself():
    q, k, a = vectors(20, 8), vectors(20, 8, seed=1), exact_angles(20, 8)
    turned = (rotate(q, a) * rotate(k, a)).sum(-1)
    assert torch.allclose(turned, (q * k).sum(-1), atol=1e-12)


def test_rope_is_a_block_diagonal_matrix_of_rotations():
    hs, T = 8, 9
    x, a = vectors(T, hs), exact_angles(T, hs)
    turned = rotate(x, a)
    for t in range(T):
        for i in range(hs // 2):
            pair = [i, i + hs // 2]
            c, s = math.cos(a[t, i]), math.sin(a[t, i])
            expected = torch.tensor([[c, -s], [s, c]]).double() @ x[0, 0, t, pair]
            assert torch.allclose(turned[0, 0, t, pair], expected, atol=1e-12)


def test_pairs_of_neighbors_as_in_the_paper_give_the_same_scores():
    hs, T = 8, 12
    q, k, a = vectors(T, hs), vectors(T, hs, seed=1), exact_angles(T, hs)

    def of_the_paper(x):
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * a.cos() - odd * a.sin(), odd * a.cos() + even * a.sin()), dim=-1).flatten(-2)

    order = [i // 2 + (i % 2) * hs // 2 for i in range(hs)]  # neighbors of the paper are hs / 2 apart here
    paper = of_the_paper(q[..., order]) @ of_the_paper(k[..., order]).mT
    assert torch.allclose(paper, rotate(q, a) @ rotate(k, a).mT, atol=1e-12)


# ALiBi


def test_alibi_subtracts_slope_times_distance_and_masks_the_future():
    bias = alibi(n_head=4, T=5)
    assert bias.shape == (4, 5, 5)
    for head, slope in enumerate([1 / 4, 1 / 16, 1 / 64, 1 / 256]):
        for t in range(5):
            for i in range(5):
                assert bias[head, t, i] == (-slope * (t - i) if i <= t else -math.inf)


def test_the_slopes_of_eight_heads_are_those_of_the_paper():
    slopes = -alibi(n_head=8, T=2)[:, 1, 0]
    assert slopes.tolist() == [2.0**-i for i in range(1, 9)]
