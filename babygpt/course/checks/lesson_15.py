"""Checks of lesson 15, encoder and decoder."""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt.beyond import encoder_decoder
from babygpt.beyond.beam import greedy as package_greedy
from babygpt.beyond.encoder_decoder import END, PAD, START
from babygpt.course.checks.core import as_tensor, exercise, expect, expect_gradient, expect_same, unchanged


def package_cross_attention(
    x: Tensor, memory: Tensor, visible: Tensor, query: nn.Module, key: nn.Module, value: nn.Module
) -> Tensor:
    """One head of the package's attention, for those who leave exercise 15.A open: (B, T, C) -> (B, T, hs)."""
    return F.scaled_dot_product_attention(query(x), key(memory), value(memory), attn_mask=visible[:, None])


package_cross_attention.__qualname__ = "Attention with one head"  # as `choose` prints it


@exercise("15.A")
def cross_attention(answer: Callable[..., Tensor]) -> None:
    """The answer is one head of cross-attention, which leaves out the padding of the source."""
    for B, T, S, C, hs in ((2, 3, 5, 8, 4), (3, 6, 4, 6, 6), (1, 1, 7, 4, 2), (2, 4, 4, 6, 3)):
        query, key, value = (nn.Linear(C, hs) for _ in range(3))
        for layer in (query, key, value):
            nn.init.normal_(layer.weight)
        source = torch.randn(B, T, C, requires_grad=True)
        memory, visible = torch.randn(B, S, C), torch.ones(B, S, dtype=torch.bool)
        visible[0, S - 2 :] = False
        x = source.clone()
        with unchanged(x=x, memory=memory, visible=visible):
            output = answer(x, memory, visible, query, key, value)
        case = f"for (B, T, S, C, hs) = {(B, T, S, C, hs)}"
        found = as_tensor(output, f"what cross_attention returns {case}", "return wei @ v")
        q, k, v = query(source.detach()), key(memory), value(memory)
        scores = q @ k.transpose(-2, -1)
        hidden = ~visible[:, None]

        def finish(scores: Tensor, hidden: Tensor | None = hidden, v: Tensor = v, value: nn.Module = value) -> Tensor:
            scores = scores if hidden is None else scores.masked_fill(hidden, float("-inf"))
            return scores.softmax(dim=-1) @ v

        right = finish(scores * hs**-0.5)
        mistakes = {
            "the padding is looked at, too: where visible is False, the score must be minus infinity": finish(
                scores * hs**-0.5, None
            ),
            "True in visible means that the token may be looked at, and you hide those": finish(
                scores * hs**-0.5, ~hidden
            ),
            "the scores are not divided by the square root of the head size": finish(scores),
            "the scores are divided by the root of C, and not by that of the head size": finish(scores * C**-0.5),
        }
        if T == S:
            past = torch.ones(T, T, dtype=torch.bool).tril()
            mistakes["there is a causal mask; the whole source is known, so each token may look at all of it"] = finish(
                scores * hs**-0.5, hidden | ~past
            )
            mistakes["keys and values come from x, which is self-attention: they come from the memory"] = finish(
                q @ key(source.detach()).transpose(-2, -1) * hs**-0.5, hidden, value(source.detach())
            )
        if found.shape == right.shape:
            for message, wrong in mistakes.items():
                same = torch.allclose(found.double(), wrong.double(), atol=1e-5, equal_nan=True)
                expect(not same or torch.allclose(wrong, right, atol=1e-4), f"{case}: {message}")
        look_at = "queries from x; keys and values from memory; scores, mask, softmax over the source, weighted sum"
        expect_same(found, right.detach(), f"the output {case}", look_at)
        expect_gradient(output, source, "the output", "use PyTorch functions, on x itself")


@exercise("15.1")
def teacher_forcing(answer: Callable[[list[list[int]]], tuple[Tensor, Tensor]]) -> None:
    """The answer makes the decoder's inputs and the tokens that they should lead to."""
    for rows in ([[7, 8, 9]], [[7, 8, 9], [4, 5]], [[3], [4, 5, 6, 7], [8, 9]]):
        found = answer([list(row) for row in rows])
        pair = isinstance(found, tuple | list) and len(found) == 2
        expect(pair, "return two things: the inputs of the decoder, and the expected tokens")
        longest = 1 + max(map(len, rows))
        inputs = torch.tensor([([START, *row] + [PAD] * longest)[:longest] for row in rows])
        expected = torch.tensor([([*row, END] + [PAD] * longest)[:longest] for row in rows])
        what = f"for the answers {rows}"
        mine = [as_tensor(part, f"what teacher_forcing returns {what}", "return two tensors") for part in found]
        if mine[0].shape == inputs.shape == mine[1].shape:
            expect(
                not torch.equal(mine[0], mine[1]),
                f"{what}, inputs and expected tokens are the same: the decoder would only have to copy its input",
            )
            expect(
                not (torch.equal(mine[0], expected) and torch.equal(mine[1], inputs)),
                f"{what}, the two are in the wrong order: the inputs begin with START",
            )
        look_at = f"inputs are START ({START}) and the tokens, then PAD ({PAD}) up to the longest row"
        expect_same(mine[0], inputs, f"the inputs {what}", look_at)
        look_at = f"expected are the tokens and END ({END}), then PAD ({PAD}): each one follows the input above it"
        expect_same(mine[1], expected, f"the expected tokens {what}", look_at)


@exercise("15.2")
@torch.no_grad()
def greedy(answer: Callable[[nn.Module, Tensor], list[int]]) -> None:
    """The answer writes what the package's greedy search writes, for one source."""
    counts = []
    for seed in (1, 2, 3, 7, 8, 10):
        torch.manual_seed(seed)
        config = encoder_decoder.Config(vocab_size=7, block_size=12, n_embd=12, n_head=3, n_layer=1)
        model = encoder_decoder.Model(config).eval()
        model.lm_head.weight = nn.Parameter(torch.randn(7, 12))  # tied, it would repeat its input
        encode, calls = model.encode, []
        model.encode = lambda source, encode=encode, calls=calls: (calls.append(1), encode(source))[1]
        source = torch.randint(3, 7, (1, 5))
        with unchanged(source=source):
            found = answer(model, source)
        counts.append(len(calls))
        model.encode = encode
        row = package_greedy(model, source, 10)[0][0].tolist()
        ended = END in row
        expected = row[: row.index(END)] if ended else row
        found = as_tensor(found, "what greedy returns", "return a list of tokens").flatten().tolist()
        case = f"for the source {source[0].tolist()}"
        expect(found != [START, *expected], f"{case} you return START as well: it is not part of the answer")
        expect(found != [*expected, END], f"{case} you return END as well: it only says where the answer ends")
        if not ended:
            expect(len(found) == 10, f"{case} END never comes: stop after 10 tokens, and you return {len(found)}")
        look_at = "take the argmax of the last position"
        expect(found == expected, f"{case} you return {found}, expected {expected}: {look_at}")
    expect(max(counts) == 1, f"the source is encoded {max(counts)} times: once, before the loop, is enough")


@exercise("15.3")
def smoothed_loss(answer: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """The answer is the cross-entropy with label smoothing, averaged over the targets that are not padding."""
    for B, T, V, smoothing in ((2, 3, 5, 0.1), (3, 4, 7, 0.3), (1, 2, 4, 0.0)):
        logits, targets = torch.randn(B, T, V, requires_grad=True), torch.randint(1, V, (B, T))
        targets[0, -1] = PAD
        with unchanged(logits=logits, targets=targets):
            output = answer(logits, targets, smoothing)
        found = as_tensor(output, "what smoothed_loss returns", "return a number")
        case = f"with {V} tokens and smoothing {smoothing}"
        log_probs, real = logits.log_softmax(dim=-1), targets != PAD
        hit = -log_probs.gather(-1, targets[:, :, None])[:, :, 0]
        each = (1 - smoothing) * hit + smoothing * -log_probs.mean(dim=-1)
        mistakes = {
            "padding counts as well: leave out the positions whose target is PAD": each.mean(),
            "padding adds nothing, but you divide by all positions": (each * real).mean(),
            "the even part is a sum over the vocabulary, and not a mean": (
                (1 - smoothing) * hit + smoothing * -log_probs.sum(dim=-1)
            )[real].mean(),
            "there is no smoothing": hit[real].mean(),
            "the right token keeps all of its probability: it should get 1 - smoothing, and its share of the rest": (
                hit + smoothing * -log_probs.mean(dim=-1)
            )[real].mean(),
        }
        expected = each[real].mean()
        for message, wrong in mistakes.items():
            same = found.numel() == 1 and math.isclose(found.item(), wrong.item(), abs_tol=1e-5)
            expect(not same or math.isclose(wrong.item(), expected.item(), abs_tol=1e-4), f"{case}: {message}")
        look_at = "(1 - smoothing) times the usual loss, plus smoothing times minus the mean of all log probabilities"
        expect_same(found, expected.detach(), f"the loss {case}", look_at)
        expect_gradient(output, logits, "the loss", "use PyTorch functions")


@exercise("15.4")
def beam_search(answer: Callable[[Callable, int, int], Sequence[int]]) -> None:
    """The answer finds the likeliest target that a beam search of a width finds."""
    tokens = (END, 3, 4, 5)
    trap = {(): [0.0, 0.6, 0.4, 0.0], (3,): [0.2, 0.4, 0.2, 0.2], (4,): [1.0, 0.0, 0.0, 0.0]}
    generator = torch.Generator().manual_seed(0)
    beginnings = [p for n in range(4) for p in itertools.product(tokens[1:], repeat=n)]
    tables = [trap] + [{p: torch.rand(4, generator=generator).pow(3).tolist() for p in beginnings} for _ in range(8)]
    for table in tables:

        def log_probs(target: Sequence[int], table: dict = table) -> dict[int, float]:
            target = tuple(int(token) for token in target)
            expect(END not in target, f"{list(target)} is complete: don't ask for what follows END")
            numbers = table.get(target, [1.0, 0.0, 0.0, 0.0] if len(target) == 3 else [0.4, 0.3, 0.2, 0.1])
            return {
                token: math.log(p / sum(numbers)) if p else -math.inf for token, p in zip(tokens, numbers, strict=True)
            }

        for width in (1, 2, 3, 100):
            found = answer(log_probs, width, 4)
            found = [int(token) for token in as_tensor(found, "what beam_search returns", "return a list of tokens")]
            expected = reference(log_probs, width, 4)
            case = f"with a width of {width}"
            if width > 1:
                first = reference(log_probs, 1, 4)
                expect(
                    found != first or found == expected,
                    f"{case} you return {found}, which greedy search finds, too; {expected} is likelier: keep {width} "
                    "beginnings at each step",
                )
            expect(
                found == expected,
                f"{case} you return {found}, expected {expected}: complete targets stay among the beams, and compete "
                "with the sum of their log probabilities",
            )


def reference(log_probs: Callable[[Sequence[int]], dict[int, float]], width: int, longest: int) -> list[int]:
    """A beam search over lists."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(longest):
        grown = []
        for score, target in beams:
            if target and target[-1] == END:
                grown.append((score, target))
            else:
                grown += [(score + p, [*target, token]) for token, p in log_probs(target).items()]
        beams = sorted(grown, key=lambda beam: -beam[0])[:width]
    return beams[0][1]
