"""Checks of lesson 17, from pretraining to reinforcement."""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt.beyond.assistant import objectives
from babygpt.beyond.assistant.instructions import SPECIAL
from babygpt.beyond.sums import IGNORE
from babygpt.course.checks.core import as_tensor, exercise, expect, expect_gradient, expect_same, unchanged

USER, ASSISTANT, END = range(65, 65 + len(SPECIAL))


def package_document(prompt: list[int], answer: list[int]) -> tuple[list[int], list[int]]:
    """Inputs and targets of a document, for those who leave exercise 17.A open; as `Instructions.encode_document`."""
    before = [USER, *prompt, ASSISTANT]
    ids = [*before, *answer, END]
    return ids[:-1], [IGNORE] * (len(before) - 1) + ids[len(before) :]


package_document.__qualname__ = "Instructions.encode_document"  # as `choose` prints it


@exercise("17.A")
def document(answer: Callable[[list[int], list[int]], tuple[list[int], list[int]]]) -> None:
    """The answer makes inputs and targets of a document, with the prompt masked."""
    for prompt, reply in (([10, 11, 12], [20, 21]), ([10], [20]), ([1, 2, 3, 4], [5, 6, 7, 8, 9])):
        found = answer(list(prompt), list(reply))
        pair = isinstance(found, tuple | list) and len(found) == 2
        expect(pair, "return two things: the inputs and the targets")
        what = f"for the prompt {prompt} and the answer {reply}"
        x, y = (as_tensor(part, f"what document returns {what}", "return two lists").tolist() for part in found)
        inputs, targets = package_document(prompt, reply)
        whole = [USER, *prompt, ASSISTANT, *reply, END]
        expect(y != whole[1:], f"{what} the prompt is not masked: its targets must be {IGNORE}")
        expect(y != targets[:-1] + [IGNORE], f"{what} END is masked, so the model would never learn to stop")
        shifted = [IGNORE] * (len(prompt) + 2) + whole[len(prompt) + 2 :]
        expect(
            y != shifted and y != shifted[:-1],
            f"{what} the targets are the inputs themselves: a target is the token that comes next",
        )
        late = [IGNORE] * (len(prompt) + 2) + targets[len(prompt) + 2 :]
        expect(
            y != late, f"{what} the first token of the answer is masked: it is the target at the position of ASSISTANT"
        )
        expect_same(torch.tensor(x), torch.tensor(inputs), f"the inputs {what}", "all tokens but the last")
        look_at = f"{IGNORE} for what is still in the prompt, then the answer and END"
        expect_same(torch.tensor(y), torch.tensor(targets), f"the targets {what}", look_at)


def compare(found: Tensor, right: Tensor, mistakes: Mapping[str, Tensor], case: str, look_at: str) -> None:
    """Fail with the message of a mistake whose result is the one that was found, or because it is not the right one."""
    value = as_tensor(found, f"what you return {case}", look_at)
    for message, wrong in mistakes.items():
        same = value.shape == wrong.shape and torch.allclose(value.double(), wrong.double(), atol=1e-5)
        expect(not same or torch.allclose(wrong, right, atol=1e-4), f"{case}: {message}")
    expect_same(value, right.detach(), f"what you return {case}", look_at)


@exercise("17.1")
def bradley_terry(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The answer is the loss of a reward model on pairs."""
    for n in (1, 4, 7):
        better, worse = torch.randn(n, requires_grad=True), torch.randn(n)
        with unchanged(better=better, worse=worse):
            found = answer(better, worse)
        mistakes = {
            "the better and the worse are exchanged": objectives.bradley_terry(worse, better),
            "the logarithm is missing: minus the log of the probability": -torch.sigmoid(better - worse).mean(),
            "the sign is wrong: a loss gets smaller when the better answer gets more": F.logsigmoid(
                better - worse
            ).mean(),
            "the sigmoid is missing": (worse - better).mean(),
            "it is the sum over the pairs, and not the mean": -F.logsigmoid(better - worse).sum(),
        }
        look_at = "the mean of -log sigmoid(better - worse)"
        compare(found, objectives.bradley_terry(better, worse), mistakes, f"for {n} pairs", look_at)
        expect_gradient(found, better, "the loss", "use PyTorch functions")
    far = answer(torch.tensor([0.0]), torch.tensor([500.0]))
    expect(math.isfinite(float(far)), "for scores of 0 and 500 the loss is not a number: F.logsigmoid copes")


@exercise("17.2")
def ppo(answer: Callable[..., Tensor]) -> None:
    """The answer is PPO's loss."""
    for shape, clip in (((2, 3), 0.2), ((4, 5), 0.1), ((1, 6), 0.3)):
        old, advantages = torch.randn(shape) - 2, torch.randn(shape)
        new = (old + 0.5 * torch.randn(shape)).requires_grad_()
        with unchanged(new=new, old=old, advantages=advantages):
            found = answer(new, old, advantages, clip)
        ratio = (new - old).exp()
        clamped = ratio.clamp(1 - clip, 1 + clip)
        mistakes = {
            "nothing is clipped": -(ratio * advantages).mean(),
            "you always take the clipped ratio: the minimum of both products keeps a gradient on the way back": -(
                clamped * advantages
            ).mean(),
            "it is the maximum of both products: PPO takes the worse case": -torch.maximum(
                ratio * advantages, clamped * advantages
            ).mean(),
            "the sign is wrong: a loss is what gets smaller": torch.minimum(
                ratio * advantages, clamped * advantages
            ).mean(),
            "the ratio is upside down: new over old": -torch.minimum(
                advantages / ratio, (1 / ratio).clamp(1 - clip, 1 + clip) * advantages
            ).mean(),
        }
        right = objectives.ppo(new, old, advantages, torch.ones(shape), clip)
        compare(found, right, mistakes, f"for {shape} tokens", "minus the mean of the smaller product")
        expect_gradient(found, new, "the loss", "use PyTorch functions")


@exercise("17.3")
def group_advantages(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer is GRPO's advantages."""
    for shape in ((3, 4), (2, 8), (5, 2)):
        rewards = 3 * torch.randn(shape) + 2
        with unchanged(rewards=rewards):
            found = answer(rewards)
        centered = rewards - rewards.mean(dim=1, keepdim=True)
        whole = rewards - rewards.mean()
        mistakes = {
            "they are not divided by the standard deviation": centered,
            "mean and standard deviation are those of all answers: each prompt's answers are a group": whole
            / (rewards.std() + 1e-4),
            "they are divided by the variance": centered / (rewards.var(dim=1, keepdim=True) + 1e-4),
            "the groups are the rows: use dim=1": (rewards - rewards.mean(dim=0)) / (rewards.std(dim=0) + 1e-4),
        }
        look_at = "subtract each row's mean, divide by its standard deviation plus 1e-4"
        compare(found, objectives.group_advantages(rewards), mistakes, f"for rewards {shape}", look_at)
    same = as_tensor(answer(torch.full((2, 4), 1.5)), "what you return", "return a tensor")
    expect(
        bool(same.isfinite().all()) and bool((same == 0).all()),
        "for a group of equally good answers the advantages must be 0: add 1e-4 to the standard deviation",
    )


@exercise("17.4")
def dpo(answer: Callable[..., Tensor]) -> None:
    """The answer is DPO's loss."""
    for n, beta in ((1, 0.1), (4, 0.3), (6, 0.5)):
        better, worse = (torch.randn(n) * 3 - 20).requires_grad_(), torch.randn(n) * 3 - 20
        better_ref, worse_ref = (torch.randn(n) * 3 - 20 for _ in range(2))
        with unchanged(better=better, worse=worse, better_ref=better_ref, worse_ref=worse_ref):
            found = answer(better, worse, better_ref, worse_ref, beta)
        mistakes = {
            "the reference is missing": objectives.bradley_terry(beta * better, beta * worse),
            "beta is missing": objectives.bradley_terry(better - better_ref, worse - worse_ref),
            "the better and the worse are exchanged": objectives.dpo(worse, better, worse_ref, better_ref, beta),
            "the reference has the wrong sign: it is subtracted": objectives.bradley_terry(
                beta * (better + better_ref), beta * (worse + worse_ref)
            ),
        }
        right = objectives.dpo(better, worse, better_ref, worse_ref, beta)
        look_at = "Bradley and Terry's loss of beta * (policy - reference)"
        compare(found, right, mistakes, f"for {n} pairs", look_at)
        expect_gradient(found, better, "the loss", "use PyTorch functions")


@exercise("17.5")
def kl_estimate(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The answer is the estimate of the KL from tokens that the policy drew."""
    for shape in ((2, 3), (1, 5)):
        policy, reference = torch.randn(shape) - 2, torch.randn(shape) - 2
        with unchanged(policy=policy, reference=reference):
            found = answer(policy, reference)
        log_r = reference - policy
        mistakes = {
            "this is the plain log ratio: right on average, but often negative": -log_r,
            "policy and reference are exchanged: r is reference over policy": (-log_r).exp() - 1 + log_r,
            "the 1 is missing": log_r.exp() - log_r,
        }
        compare(found, objectives.kl_estimate(policy, reference), mistakes, f"for {shape} tokens", "r - 1 - log r")
