"""The losses of reinforcement learning: against exact sums over all answers of a bigram policy, and their formulas."""

import math

import pytest
import torch
import torch.nn.functional as F

from babygpt.beyond.assistant import objectives
from babygpt.beyond.assistant.bandit import (
    all_answers,
    answer_log_probs,
    draw,
    exact_kl,
    expected_reward,
    new_policy,
)

ANSWERS = all_answers(4, 3)
REWARDS = torch.randn(64, generator=torch.Generator().manual_seed(7))
ONES = torch.ones(64, 3)


def gradient(loss, policy):
    return torch.autograd.grad(loss, policy.token_embedding_table.weight)[0]


def exact_gradient(policy):
    return gradient(expected_reward(policy, ANSWERS, REWARDS), policy)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# The bandit


def test_the_probabilities_of_all_answers_add_up_to_1():
    assert len(ANSWERS) == 64 and len(set(map(tuple, ANSWERS.tolist()))) == 64
    total = answer_log_probs(new_policy(), ANSWERS).sum(dim=1).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-6)


def test_answers_are_drawn_as_often_as_their_probability_says():
    policy, n = new_policy(), 20_000
    found = draw(policy, n, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount((found * torch.tensor([16, 4, 1])).sum(dim=1), minlength=64) / n
    p = answer_log_probs(policy, ANSWERS).sum(dim=1).exp()
    assert ((counts - p).abs() < 4.5 * (p * (1 - p) / n).sqrt() + 1e-4).all()


def test_the_gradient_of_the_expected_reward_is_the_one_of_finite_differences():
    policy = new_policy().double()
    found, weight = exact_gradient(policy), policy.token_embedding_table.weight
    for i, j in ((0, 1), (2, 3), (3, 0)):
        values = []
        for change in (1e-5, -1e-5):
            with torch.no_grad():
                weight[i, j] += change
                values.append(expected_reward(policy, ANSWERS, REWARDS.double()).item())
                weight[i, j] -= change
        assert found[i, j].item() == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-7)


# Policy gradients


def weighted_by_probability(values, policy):
    """Advantages that turn the mean over all answers into the expectation over the policy."""
    p = answer_log_probs(policy, ANSWERS).sum(dim=1).exp().detach()
    return (values * p * 64 * 3)[:, None].expand(64, 3)


@pytest.mark.parametrize("baseline", [0.0, 5.0])
def test_reinforce_averaged_over_all_answers_is_the_exact_gradient_whatever_the_baseline(baseline):
    policy = new_policy()
    advantages = weighted_by_probability(REWARDS - baseline, policy)
    loss = objectives.reinforce(answer_log_probs(policy, ANSWERS), advantages, ONES)
    assert torch.allclose(-gradient(loss, policy), exact_gradient(policy), atol=1e-6)


def test_reinforce_on_drawn_answers_is_within_its_standard_error_of_the_exact_gradient():
    policy, expected = new_policy(), exact_gradient(new_policy())
    generator, estimates = torch.Generator().manual_seed(1), []
    for _ in range(200):
        answers = draw(policy, 64, generator=generator)
        rewards = REWARDS[(answers * torch.tensor([16, 4, 1])).sum(dim=1)]
        loss = objectives.reinforce(answer_log_probs(policy, answers), 3 * rewards[:, None].expand(64, 3), ONES)
        estimates.append(-gradient(loss, policy))
    estimates = torch.stack(estimates)
    error = estimates.std(dim=0) / math.sqrt(200)
    assert ((estimates.mean(dim=0) - expected).abs() < 4 * error).all() and error.max() < 0.05


def test_a_token_that_comes_before_a_reward_is_the_only_one_that_needs_it():
    """The rewards to go: leaving out what was earned before a token changes the noise, and not the expectation."""
    policy, rewards = new_policy(), numbers(4, seed=3)[ANSWERS]  # each token has its own reward
    p = answer_log_probs(policy, ANSWERS).sum(dim=1).exp().detach()
    to_go = rewards.flip(1).cumsum(dim=1).flip(1)
    found = objectives.reinforce(answer_log_probs(policy, ANSWERS), 192 * p[:, None] * to_go, ONES)
    expected = gradient(expected_reward(policy, ANSWERS, rewards.sum(dim=1)), policy)
    assert torch.allclose(-gradient(found, policy), expected, atol=1e-6)


def test_the_first_step_of_ppo_is_the_policy_gradient():
    policy = new_policy()
    advantages = weighted_by_probability(REWARDS, policy)
    new = answer_log_probs(policy, ANSWERS)
    loss = objectives.ppo(new, new.detach(), advantages, ONES)
    assert torch.allclose(-gradient(loss, policy), exact_gradient(policy), atol=1e-6)


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "moves"),
    [(0.0, 1, True), (0.3, 1, False), (-0.3, 1, True), (0.3, -1, True), (-0.3, -1, False), (0.1, 1, True)],
)
def test_ppo_stops_where_the_ratio_has_gone_far_enough_and_only_there(log_ratio, advantage, moves):
    new = torch.tensor([[log_ratio]], requires_grad=True)
    objectives.ppo(new, torch.zeros(1, 1), torch.tensor([[float(advantage)]]), torch.ones(1, 1), clip=0.2).backward()
    assert (new.grad.abs().item() > 0.1) == moves


def test_what_is_behind_the_end_of_an_answer_changes_no_loss():
    real = torch.tensor([[1.0, 1, 0], [1, 1, 1]])
    new, old, advantages = numbers(2, 3), numbers(2, 3, seed=1), numbers(2, 3, seed=2)
    before = objectives.ppo(new, old, advantages, real), objectives.reinforce(new, advantages, real)
    new[0, 2], old[0, 2], advantages[0, 2] = 2.0, -1.0, 9.0
    after = objectives.ppo(new, old, advantages, real), objectives.reinforce(new, advantages, real)
    assert torch.allclose(torch.stack(before), torch.stack(after))


# Advantages


def test_gae_with_lambda_1_is_the_rewards_to_go_minus_the_value():
    rewards, values = numbers(2, 5), numbers(2, 5, seed=1)
    to_go = rewards.flip(1).cumsum(dim=1).flip(1)
    assert torch.allclose(objectives.gae(rewards, values, lam=1.0), to_go - values, atol=1e-6)


def test_gae_with_lambda_0_is_one_step_of_surprise():
    rewards, values = numbers(2, 5), numbers(2, 5, seed=1)
    following = F.pad(values[:, 1:], (0, 1))
    assert torch.allclose(objectives.gae(rewards, values, lam=0.0), rewards + following - values, atol=1e-6)


def test_gae_is_the_sum_of_later_surprises_each_counting_less():
    rewards, values = numbers(2, 5), numbers(2, 5, seed=1)
    surprises = rewards + F.pad(values[:, 1:], (0, 1)) - values
    expected = torch.stack([sum(0.9 ** (u - t) * surprises[:, u] for u in range(t, 5)) for t in range(5)], dim=1)
    assert torch.allclose(objectives.gae(rewards, values, lam=0.9), expected, atol=1e-6)


def test_the_advantages_of_each_group_have_mean_0_and_standard_deviation_1():
    found = objectives.group_advantages(numbers(5, 8) * 3 + 7)
    assert found.mean(dim=1).abs().max() < 1e-5 and (found.std(dim=1) - 1).abs().max() < 1e-3


def test_a_group_of_equally_good_answers_teaches_nothing():
    assert objectives.group_advantages(torch.full((1, 4), 2.5)).abs().max() == 0


# KL


def test_the_kl_estimate_is_never_negative_and_0_for_equal_policies():
    a, b = numbers(100, 10), numbers(100, 10, seed=1)
    assert objectives.kl_estimate(a, b).min() >= 0 and objectives.kl_estimate(a, a).abs().max() == 0


def test_the_kl_estimate_is_right_on_average():
    policy, reference = new_policy(seed=0), new_policy(seed=1)
    new, old = (answer_log_probs(model, ANSWERS).sum(dim=1) for model in (policy, reference))
    expectation = (new.exp() * objectives.kl_estimate(new, old)).sum()
    assert expectation.item() == pytest.approx(exact_kl(policy, reference, ANSWERS).item(), abs=1e-5)


def test_the_kl_estimate_varies_less_than_the_plain_log_ratio_between_policies_that_are_near():
    policy, reference = new_policy(seed=0), new_policy(seed=0)
    with torch.no_grad():
        reference.token_embedding_table.weight += 0.1 * numbers(4, 4)
    new, old = (answer_log_probs(model, ANSWERS).sum(dim=1) for model in (policy, reference))
    p = new.exp()
    spreads = [(p * (k - (p * k).sum()) ** 2).sum() for k in (objectives.kl_estimate(new, old), new - old)]
    assert spreads[0] < 0.1 * spreads[1]


# Pairs


def test_the_loss_of_bradley_and_terry_is_that_of_logistic_regression_on_the_difference():
    better, worse = numbers(9), numbers(9, seed=1)
    expected = F.binary_cross_entropy_with_logits(better - worse, torch.ones(9))
    assert objectives.bradley_terry(better, worse).item() == pytest.approx(expected.item(), abs=1e-6)
    assert objectives.bradley_terry(better, better).item() == pytest.approx(math.log(2), abs=1e-6)


def test_only_the_difference_of_two_scores_counts():
    better, worse = numbers(9), numbers(9, seed=1)
    shifted = objectives.bradley_terry(better + 3, worse + 3)
    assert torch.allclose(shifted, objectives.bradley_terry(better, worse), atol=1e-6)


def test_the_loss_of_dpo_is_its_formula():
    better, worse, better_ref, worse_ref = (numbers(6, seed=seed) for seed in range(4))
    margin = 0.3 * ((better - better_ref) - (worse - worse_ref))
    expected = -(1 / (1 + (-margin).exp())).log().mean()
    assert objectives.dpo(better, worse, better_ref, worse_ref, beta=0.3).item() == pytest.approx(
        expected.item(), abs=1e-6
    )


def test_dpo_starts_at_log_2_and_falls_on_a_bigram_policy_that_ends_up_with_the_better_answers():
    policy, reference = new_policy(), new_policy()
    order = REWARDS.argsort()
    better, worse, before = ANSWERS[order[32:]], ANSWERS[order[:32]], expected_reward(policy, ANSWERS, REWARDS).item()
    optimizer, losses = torch.optim.SGD(policy.parameters(), lr=5.0), []
    with torch.no_grad():
        refs = [answer_log_probs(reference, answers).sum(dim=1) for answers in (better, worse)]
    for _ in range(30):
        loss = objectives.dpo(*(answer_log_probs(policy, a).sum(dim=1) for a in (better, worse)), *refs, beta=0.3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6) and losses == sorted(losses, reverse=True)
    assert expected_reward(policy, ANSWERS, REWARDS).item() > before + 0.2


def test_the_policy_that_dpo_and_ppo_with_kl_both_look_for_has_no_better_one_around_it():
    """The maximum of reward - beta * KL is the reference times exp(reward / beta): Rafailov et al., equation 4."""
    reference, beta = new_policy(seed=1), 0.5
    with torch.no_grad():
        ref = answer_log_probs(reference, ANSWERS).sum(dim=1)
        best = F.log_softmax(ref + REWARDS / beta, dim=0)

        def objective(log_p):
            return (log_p.exp() * (REWARDS - beta * (log_p - ref))).sum().item()

        for seed in range(20):
            assert objective(F.log_softmax(best + 0.1 * numbers(64, seed=seed), dim=0)) < objective(best)
        better, worse = best[ANSWERS[:, 0] == 1], best[ANSWERS[:, 0] == 2]
        implied = beta * ((better - ref[ANSWERS[:, 0] == 1]) - (worse - ref[ANSWERS[:, 0] == 2]))
    assert torch.allclose(implied, REWARDS[ANSWERS[:, 0] == 1] - REWARDS[ANSWERS[:, 0] == 2], atol=1e-5)


def test_the_policy_that_ppo_with_kl_looks_for_is_a_minimum_of_dpos_loss():
    """If raters prefer a to b with the probability sigmoid(reward(a) - reward(b)), nothing is left to gain."""
    reference, beta = new_policy(seed=1), 0.5
    with torch.no_grad():
        ref = answer_log_probs(reference, ANSWERS).sum(dim=1)  # (64,)
    log_p = F.log_softmax(ref + REWARDS / beta, dim=0).requires_grad_()
    i, j = torch.triu_indices(64, 64, offset=1)
    chance = torch.sigmoid(REWARDS[i] - REWARDS[j])
    loss = sum(
        p * objectives.dpo(log_p[a, None], log_p[b, None], ref[a, None], ref[b, None], beta)
        for p, a, b in [*zip(chance, i, j, strict=True), *zip(1 - chance, j, i, strict=True)]
    )
    assert torch.autograd.grad(loss, log_p)[0].abs().max() < 1e-4
