"""Right answers to the exercises of lesson 5, and wrong ones that people really give."""

import inspect

import numpy as np
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


def in_float64(*arguments):
    return attend(*(tensor.double() for tensor in arguments))


def cut_off(*arguments):
    return attend(*(tensor.detach() for tensor in arguments))


def written_into_x(x, *matrices):
    out, wei = attend(x, *matrices)
    x *= 2
    return out, wei


def for_five_tokens(x, w_query, w_key, w_value):
    q, k, v = x @ w_query, x @ w_key, x @ w_value
    past = torch.tril(torch.ones(5, 5))
    wei = F.softmax((q @ k.mT * k.shape[-1] ** -0.5).masked_fill(past == 0, float("-inf")), dim=-1)
    return wei @ v, wei


def head_class(**options):
    """A head as a module, right or, by the options of `attend`, wrong."""

    class Answer(v5.Head):
        def forward(self, x):
            return attend(x, self.query.weight.T, self.key.weight.T, self.value.weight.T, **options)[0]

    return Answer


class DoubleHead(v5.Head):
    def forward(self, x):
        return super().forward(x).double()


class NotCropped(v5.Head):
    def forward(self, x):
        wei = (self.query(x) @ self.key(x).mT * self.key.out_features**-0.5).masked_fill(self.tril == 0, float("-inf"))
        return F.softmax(wei, dim=-1) @ self.value(x)


class WithoutBuffer(v5.Head):
    def __init__(self, config, head_size):
        super().__init__(config, head_size)
        del self.tril

    def forward(self, x):
        return attend(x, self.query.weight.T, self.key.weight.T, self.value.weight.T)[0]


class WithBias(v5.Head):
    def __init__(self, config, head_size):
        super().__init__(config, head_size)
        self.key = torch.nn.Linear(config.n_embd, head_size)


class DetachedHead(v5.Head):
    def forward(self, x):
        return super().forward(x.detach())


class Forgetful(v5.Head):
    def forward(self, x):
        attend(x, self.query.weight.T, self.key.weight.T, self.value.weight.T)


def query_zeroed(head, x):
    with torch.no_grad():
        head.query.weight.zero_()
    return head(x)


def only_the_output(*arguments):
    return attend(*arguments)[0]


def with_dot_T(x, w_query, w_key, w_value):
    return (x @ w_query) @ (x @ w_key).T, None


def is_right(head):
    x = torch.randn(2, 8, head.key.in_features, generator=torch.Generator().manual_seed(0))
    expected = F.scaled_dot_product_attention(head.query(x), head.key(x), head.value(x), is_causal=True)
    return torch.allclose(head(x), expected, atol=1e-5)


def is_right_by_formula(head):
    x = torch.randn(1, 6, head.key.in_features)
    return np.bool_(np.allclose(formula(head, x).detach().numpy(), head(x).detach().numpy(), atol=1e-5))


def formula(head, x):
    return attend(x, head.query.weight.T, head.key.weight.T, head.value.weight.T)[0]


def no_tolerance(head):
    x = torch.randn(2, 8, head.key.in_features)
    return torch.equal(formula(head, x), head(x)) and torch.equal(head(x), sdpa(head, x))


def plain_allclose(head):
    x = torch.randn(2, 8, head.key.in_features)
    return torch.allclose(head(x), sdpa(head, x))


def sdpa(head, x):
    return F.scaled_dot_product_attention(head.query(x), head.key(x), head.value(x), is_causal=True)


def by_class(head):
    return type(head) is v5.Head


def by_source(head):
    return "key.out_features" in inspect.getsource(type(head).forward)


def by_the_width_of_C(head):
    return torch.allclose(
        head(x := torch.randn(2, 8, head.key.in_features)),
        attend(x, head.query.weight.T, head.key.weight.T, head.value.weight.T, scale=head.key.in_features**-0.5)[0],
        atol=1e-5,
    )


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


class UnmaskedColumns(v5.Head):
    def forward(self, x):
        return F.softmax(self.query(x) @ self.key(x).mT * self.key.out_features**-0.5, dim=-2) @ self.value(x)


class UnmaskedDouble(UnmaskedHead):
    def forward(self, x):
        return super().forward(x).double()


class MaskedByBlocks(v5.Head):
    def forward(self, x):
        wei = self.query(x) @ self.key(x).mT * self.key.out_features**-0.5
        return F.softmax(wei + self.tril - 1, dim=-1) @ self.value(x)


# check: (a right answer or {name: right answer}, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.head: (
        {"the package's": v5.Head, "another way": head_class(), "in float64": DoubleHead},
        {
            "no mask": (head_class(mask="none"), "the mask is missing"),
            "zeros instead of minus infinity": (head_class(mask="zeros"), "an ordinary score"),
            "masked after the softmax": (head_class(mask="after"), "comes after the softmax"),
            "softmax over the wrong dim": (head_class(dim=-2), "down the columns"),
            "not scaled": (head_class(scale=1), "not scaled"),
            "scaled for one size only": (head_class(scale=0.5), "not scaled|scores, scale"),
            "scaled by the width": (head_class(scale=12**-0.5), "root of C = 12"),
            "keys ask": (head_class(swap=True), "query and key are swapped"),
            "tokens instead of values": (head_class(send="x"), "not the tokens"),
            "keys instead of values": (head_class(send="k"), "keys are averaged"),
            "mask not cropped": (NotCropped, "stopped"),
            "no buffer": (WithoutBuffer, "no buffer tril"),
            "a bias": (WithBias, "leave __init__ as it is given"),
            "cut off from the gradient": (DetachedHead, "no gradient flows"),
            "nothing returned": (Forgetful, "return wei @ v"),
        },
    ),
    checks.attend: (
        {"five steps": attend, "in float64": in_float64, "a list": lambda *arguments: list(attend(*arguments))},
        {
            "no mask": (mistaken(mask="none"), "token 0 takes in .* of token 1"),
            "zeros instead of minus infinity": (mistaken(mask="zeros"), "with -inf"),
            "masked after the softmax": (mistaken(mask="after"), "before the softmax"),
            "not even itself": (mistaken(mask="no diagonal"), "masked entirely"),
            "softmax over the wrong dim": (mistaken(dim=-2), "dim=-1"),
            "softmax over the batch": (mistaken(dim=0), "not finite"),
            "not scaled": (mistaken(scale=1), "not scaled"),
            "scaled by the width": (mistaken(scale=12**-0.5), "root of C = 12"),
            "scaled by the length": (mistaken(scale=5**-0.5), "root of T = 5"),
            "divided by the head size": (mistaken(scale=1 / 4), "by its root"),
            "a constant that fits one size": (mistaken(scale=0.5), "wei is .* softmax of the masked, scaled"),
            "keys ask": (mistaken(swap=True), "query and key are swapped"),
            "tokens instead of values": (mistaken(send="x"), "values"),
            "keys instead of values": (mistaken(send="k"), "values"),
            "only the output": (only_the_output, "two tensors"),
            "the transpose of everything": (with_dot_T, "stopped"),
            "for five tokens only": (for_five_tokens, "stopped"),
            "written into x": (written_into_x, "its input x in place"),
            "cut off from the gradient": (cut_off, "no gradient flows"),
        },
    ),
    checks.without_questions: (
        {
            "version 4's average": lambda head, x: v4.average(head.value(x)),
            "the average first": lambda head, x: head.value(v4.average(x)),
            "in float64": lambda head, x: v4.average(head.value(x)).double(),
        },
        {
            "averages the tokens": (lambda head, x: v4.average(x), "not tokens"),
            "averages the future too": (
                lambda head, x: head.value(x).mean(dim=1, keepdim=True).expand(-1, x.shape[1], -1),
                "masked row of zeros",
            ),
            "nothing at all": (lambda head, x: torch.zeros(2, 6, 4), "masked row of zeros"),
            "each its own value": (lambda head, x: head.value(x), "masked row of zeros"),
            "the head as it was": (lambda head, x: v5.Head.forward(head, x), "from head.value\\(x\\) alone"),
            "the query zeroed": (query_zeroed, "from head.value\\(x\\) alone"),
        },
    ),
    checks.divides_by_root_of_head_size: (
        {
            "PyTorch's function": is_right,
            "the formula, in NumPy": is_right_by_formula,
            "a tensor": lambda head: torch.tensor(is_right(head)),
        },
        {
            "always content": (lambda head: True, "True of a head .* root of C = 32"),
            "an input that hides it": (blind, "does its input make the weights differ"),
            "shapes only": (only_shapes, "not only shapes"),
            "never content": (lambda head: False, "False of 100 of 100 right heads"),
            "no room for rounding": (no_tolerance, "False of .* right heads"),
            "the default tolerance": (plain_allclose, "False of .* with a tolerance"),
            "by the class": (by_class, "False of 100 of 100 right heads"),
            "by the source": (by_source, "False of 100 of 100 right heads"),
            "against the wrong width": (by_the_width_of_C, "False of .* right heads"),
            "returns a tensor": (lambda head: torch.tensor(1.0), "True or False"),
            "returns nothing": (lambda head: None, "True or False"),
        },
    ),
    checks.unmasked_head: (
        {"no mask": UnmaskedHead, "in float64": UnmaskedDouble},
        {
            "still masked": (v5.Head, "still has its mask"),
            "lost the scale, too": (Unscaled, "the scale is gone, too"),
            "down the columns": (UnmaskedColumns, "keep dim=-1"),
            "a softer mask": (MaskedByBlocks, "drop the line"),
            "cut off from the gradient": (DetachedHead, "still has its mask"),
        },
    ),
}
