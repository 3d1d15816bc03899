"""Right answers to the exercises of lesson 17, and wrong ones that people really give."""

import torch
import torch.nn.functional as F

from babygpt.beyond.sums import IGNORE
from babygpt.course.checks import lesson_17 as checks
from babygpt.course.checks.lesson_17 import ASSISTANT, END, USER


def document(prompt, answer):
    ids = [USER, *prompt, ASSISTANT, *answer, END]
    targets = ids[1:]
    for t in range(len(prompt) + 1):
        targets[t] = IGNORE
    return ids[:-1], targets


def with_tensors(prompt, answer):
    ids = torch.tensor([USER, *prompt, ASSISTANT, *answer, END])
    targets = ids[1:].clone()
    targets[: len(prompt) + 1] = IGNORE
    return ids[:-1], targets


def not_masked(prompt, answer):
    ids = [USER, *prompt, ASSISTANT, *answer, END]
    return ids[:-1], ids[1:]


def one_too_many(prompt, answer):
    x, y = document(prompt, answer)
    y[len(prompt) + 1] = IGNORE
    return x, y


def end_masked(prompt, answer):
    x, y = document(prompt, answer)
    return x, [*y[:-1], IGNORE]


def not_shifted(prompt, answer):
    x, _ = document(prompt, answer)
    return x, [IGNORE] * (len(prompt) + 2) + list(answer)


def bradley_terry(better, worse):
    return -F.logsigmoid(better - worse).mean()


def softplus(better, worse):
    return F.softplus(worse - better).mean()


def two_classes(better, worse):
    return F.cross_entropy(torch.stack((better, worse), dim=1), torch.zeros(len(better), dtype=torch.long))


def ppo(new, old, advantages, clip):
    ratio = (new - old).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()


def ppo_by_cases(new, old, advantages, clip):
    ratio = (new - old).exp()
    limit = torch.where(advantages > 0, ratio.clamp(max=1 + clip), ratio.clamp(min=1 - clip))
    return -(limit * advantages).mean()


def unclipped(new, old, advantages, clip):
    return -((new - old).exp() * advantages).mean()


def always_clipped(new, old, advantages, clip):
    return -((new - old).exp().clamp(1 - clip, 1 + clip) * advantages).mean()


def group_advantages(rewards):
    return (rewards - rewards.mean(dim=1, keepdim=True)) / (rewards.std(dim=1, keepdim=True) + 1e-4)


def row_by_row(rewards):
    return torch.stack([(row - row.mean()) / (row.std() + 1e-4) for row in rewards])


def dpo(better, worse, better_ref, worse_ref, beta):
    return -F.logsigmoid(beta * ((better - better_ref) - (worse - worse_ref))).mean()


def dpo_by_ratios(better, worse, better_ref, worse_ref, beta):
    return bradley_terry(beta * (better - better_ref), beta * (worse - worse_ref))


def kl_estimate(policy, reference):
    return (reference - policy).exp() - 1 - (reference - policy)


def kl_by_ratio(policy, reference):
    r = reference.exp() / policy.exp()
    return r - 1 - r.log()


ANSWERS = {
    checks.document: (
        {"a loop": document, "tensors": with_tensors, "the package's": checks.package_document},
        {
            "not masked": (not_masked, "the prompt is not masked"),
            "one too many": (one_too_many, "the first token of the answer is masked"),
            "the end masked": (end_masked, "would never learn to stop"),
            "not shifted": (not_shifted, "the token that comes next"),
            "one list": (lambda *rows: document(*rows)[0], "return two things"),
        },
    ),
    checks.bradley_terry: (
        {"the formula": bradley_terry, "softplus": softplus, "two classes": two_classes},
        {
            "exchanged": (lambda a, b: bradley_terry(b, a), "exchanged"),
            "no logarithm": (lambda a, b: -torch.sigmoid(a - b).mean(), "the logarithm is missing"),
            "overflowing": (lambda a, b: -torch.sigmoid(a - b).log().mean(), "is not a number"),
            "a sum": (lambda a, b: len(a) * bradley_terry(a, b), "it is the sum"),
            "detached": (lambda a, b: bradley_terry(a.detach(), b), "no gradient flows"),
        },
    ),
    checks.ppo: (
        {"the formula": ppo, "by cases": ppo_by_cases},
        {
            "not clipped": (unclipped, "nothing is clipped"),
            "always clipped": (always_clipped, "you always take the clipped ratio"),
            "the sign": (lambda *x: -ppo(*x), "the sign is wrong"),
            "upside down": (lambda new, old, *x: ppo(old, new, *x), "upside down"),
            "detached": (lambda new, *x: ppo(new.detach(), *x), "no gradient flows"),
        },
    ),
    checks.group_advantages: (
        {"the formula": group_advantages, "row by row": row_by_row},
        {
            "only centered": (lambda r: r - r.mean(dim=1, keepdim=True), "not divided by the standard deviation"),
            "all of them": (lambda r: (r - r.mean()) / (r.std() + 1e-4), "each prompt's answers are a group"),
            "columns": (lambda r: group_advantages(r.T).T, "the groups are the rows"),
            "without 1e-4": (
                lambda r: (r - r.mean(dim=1, keepdim=True)) / r.std(dim=1, keepdim=True),
                "standard deviation|must be 0",
            ),
        },
    ),
    checks.dpo: (
        {"the formula": dpo, "by ratios": dpo_by_ratios},
        {
            "no reference": (lambda a, b, c, d, beta: bradley_terry(beta * a, beta * b), "the reference is missing"),
            "no beta": (lambda a, b, c, d, beta: dpo(a, b, c, d, 1.0), "beta is missing"),
            "exchanged": (lambda a, b, c, d, beta: dpo(b, a, d, c, beta), "exchanged"),
            "detached": (lambda a, *x: dpo(a.detach(), *x), "no gradient flows"),
        },
    ),
    checks.kl_estimate: (
        {"the formula": kl_estimate, "with r": kl_by_ratio},
        {
            "log ratio": (lambda p, q: p - q, "often negative"),
            "exchanged": (lambda p, q: kl_estimate(q, p), "exchanged"),
            "no 1": (lambda p, q: (q - p).exp() - (q - p), "the 1 is missing"),
        },
    ),
}
