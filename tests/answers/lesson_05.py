"""Right answers to the exercises of lesson 5, and wrong ones that people really give."""

import torch
import torch.nn.functional as F

from babygpt import v4, v5
from babygpt.course.checks import lesson_05 as checks


def attend(x, w_query, w_key, w_value, scale=None, dim=-1, mask="before", swap=False, send="v"):
    """A right head, and by its options the usual wrong ones."""
    q, k, v = x @ w_query, x @ w_key, x @ w_value
    if swap:
        q, k = k, q
    wei = q @ k.transpose(-2, -1) * (k.shape[-1] ** -0.5 if scale is None else scale)
    past = torch.tril(torch.ones(x.shape[1], x.shape[1]))
    if mask == "before":
        wei = wei.masked_fill(past == 0, float("-inf"))
    elif mask == "zeros":
        wei = wei * past
    elif mask == "no diagonal":
        wei = wei.masked_fill(torch.tril(past, diagonal=-1) == 0, float("-inf"))
    wei = F.softmax(wei, dim=dim)
    if mask == "after":
        wei = wei * past
    return wei @ {"v": v, "x": x, "k": k}[send], wei


def mistaken(**options):
    return lambda *arguments: attend(*arguments, **options)


def only_the_output(*arguments):
    return attend(*arguments)[0]


def with_dot_T(x, w_query, w_key, w_value):
    return (x @ w_query) @ (x @ w_key).T, None


def is_right(head):
    x = torch.randn(2, 8, head.key.in_features, generator=torch.Generator().manual_seed(0))
    expected = F.scaled_dot_product_attention(head.query(x), head.key(x), head.value(x), is_causal=True)
    return torch.allclose(head(x), expected, atol=1e-5)


def blind(head):
    """All tokens are equal: every weight is an equal share, whatever the scale."""
    x = torch.ones(2, 8, head.key.in_features)
    expected = F.scaled_dot_product_attention(head.query(x), head.key(x), head.value(x), is_causal=True)
    return torch.allclose(head(x), expected, atol=1e-5)


def only_shapes(head):
    x = torch.randn(2, 8, head.key.in_features)
    return head(x).shape == (2, 8, head.key.out_features)


class UnmaskedHead(v5.Head):
    def forward(self, x):
        k, q, v = self.key(x), self.query(x), self.value(x)
        return F.softmax(q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5, dim=-1) @ v


class Unscaled(v5.Head):
    def forward(self, x):
        return F.softmax(self.query(x) @ self.key(x).mT, dim=-1) @ self.value(x)


class MaskedByBlocks(v5.Head):
    def forward(self, x):
        wei = self.query(x) @ self.key(x).mT * self.key.out_features**-0.5
        return F.softmax(wei + self.tril - 1, dim=-1) @ self.value(x)


# check: (a right answer, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.attend: (
        attend,
        {
            "no mask": (mistaken(mask="none"), "token 0 takes in .* of token 1"),
            "zeros instead of minus infinity": (mistaken(mask="zeros"), "with -inf"),
            "masked after the softmax": (mistaken(mask="after"), "before the softmax"),
            "not even itself": (mistaken(mask="no diagonal"), "masked entirely"),
            "softmax over the wrong dim": (mistaken(dim=-2), "dim=-1"),
            "softmax over the batch": (mistaken(dim=0), "not finite"),
            "not scaled": (mistaken(scale=1), "not scaled"),
            "scaled by the width": (mistaken(scale=12**-0.5), "root of C = 12"),
            "divided by the head size": (mistaken(scale=1 / 4), "by its root"),
            "keys ask": (mistaken(swap=True), "changed places"),
            "tokens instead of values": (mistaken(send="x"), "values"),
            "keys instead of values": (mistaken(send="k"), "values"),
            "only the output": (only_the_output, "two tensors"),
            "the transpose of everything": (with_dot_T, "stopped"),
        },
    ),
    checks.without_questions: (
        lambda head, x: v4.average(head.value(x)),
        {
            "averages the tokens": (lambda head, x: v4.average(x), "not tokens"),
            "averages the future too": (
                lambda head, x: head.value(x).mean(dim=1, keepdim=True).expand(-1, x.shape[1], -1),
                "masked row of zeros",
            ),
            "nothing at all": (lambda head, x: torch.zeros(2, 6, 4), "masked row of zeros"),
            "each its own value": (lambda head, x: head.value(x), "masked row of zeros"),
            "the head as it was": (lambda head, x: v5.Head.forward(head, x), "not needed"),
        },
    ),
    checks.divides_by_root_of_head_size: (
        is_right,
        {
            "always content": (lambda head: True, "True of a head .* root of C = 32"),
            "an input that hides it": (blind, "does its input make the weights differ"),
            "shapes only": (only_shapes, "not only shapes"),
            "never content": (lambda head: False, "False of a right head"),
            "returns a tensor": (lambda head: torch.tensor(1.0), "True or False"),
        },
    ),
    checks.unmasked_head: (
        UnmaskedHead,
        {
            "still masked": (v5.Head, "still has its mask"),
            "lost the scale, too": (Unscaled, "keep the scale"),
            "a softer mask": (MaskedByBlocks, "drop the line"),
        },
    ),
}
