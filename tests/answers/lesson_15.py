"""Right answers to the exercises of lesson 15, and wrong ones that people really give."""

import heapq

import torch
import torch.nn.functional as F

from babygpt.beyond.encoder_decoder import END, PAD, START
from babygpt.course.checks import lesson_15 as checks


def cross_attention(x, memory, visible, query, key, value):
    q, k, v = query(x), key(memory), value(memory)
    wei = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    wei = wei.masked_fill(~visible[:, None], float("-inf"))
    return F.softmax(wei, dim=-1) @ v


def row_by_row(x, memory, visible, query, key, value):
    rows = []
    for b in range(len(x)):
        k, v = key(memory[b][visible[b]]), value(memory[b][visible[b]])
        rows.append(torch.softmax(query(x[b]) @ k.T / k.shape[-1] ** 0.5, dim=-1) @ v)
    return torch.stack(rows)


def no_mask(x, memory, visible, *layers):
    return cross_attention(x, memory, torch.ones_like(visible), *layers)


def mask_the_wrong_way(x, memory, visible, query, key, value):
    wei = query(x) @ key(memory).transpose(-2, -1) * query.out_features**-0.5
    return F.softmax(wei.masked_fill(visible[:, None], float("-inf")), dim=-1) @ value(memory)


def scaled(power):
    def cross_attention(x, memory, visible, query, key, value):
        wei = query(x) @ key(memory).transpose(-2, -1) * power(x.shape[-1])
        return F.softmax(wei.masked_fill(~visible[:, None], float("-inf")), dim=-1) @ value(memory)

    return cross_attention


def self_attention(x, memory, visible, *layers):
    return cross_attention(x, x, visible, *layers)


def queries_from_the_memory(x, memory, visible, query, key, value):
    return cross_attention(memory, x, visible, query, key, value)


def causal(x, memory, visible, query, key, value):
    T, S = x.shape[1], memory.shape[1]
    wei = query(x) @ key(memory).transpose(-2, -1) * query.out_features**-0.5
    wei = wei.masked_fill(~visible[:, None] | (torch.ones(T, S).tril() == 0), float("-inf"))
    return F.softmax(wei, dim=-1) @ value(memory)


def mask_after_softmax(x, memory, visible, query, key, value):
    wei = F.softmax(query(x) @ key(memory).transpose(-2, -1) * query.out_features**-0.5, dim=-1)
    return (wei * visible[:, None]) @ value(memory)


def teacher_forcing(rows):
    longest = 1 + max(map(len, rows))
    inputs = torch.full((len(rows), longest), PAD)
    expected = torch.full((len(rows), longest), PAD)
    for i, row in enumerate(rows):
        inputs[i, : 1 + len(row)] = torch.tensor([START, *row])
        expected[i, : 1 + len(row)] = torch.tensor([*row, END])
    return inputs, expected


def from_one_tensor(rows):
    """As the package does: one tensor, and two views of it. The last input may be END, so it is hidden."""
    longest = 2 + max(map(len, rows))
    whole = torch.tensor([([START, *row, END] + [PAD] * longest)[:longest] for row in rows])
    inputs = whole[:, :-1]
    return inputs.masked_fill(inputs == END, PAD), whole[:, 1:]


def as_lists(rows):
    inputs, expected = teacher_forcing(rows)
    return inputs.tolist(), expected.tolist()


def not_shifted(rows):
    inputs, _ = teacher_forcing(rows)
    return inputs, inputs


def without_end(rows):
    inputs, expected = teacher_forcing(rows)
    return inputs, expected.masked_fill(expected == END, PAD)


def padded_in_front(rows):
    longest = 1 + max(map(len, rows))
    return (
        torch.tensor([[PAD] * (longest - 1 - len(row)) + [START, *row] for row in rows]),
        torch.tensor([[PAD] * (longest - 1 - len(row)) + [*row, END] for row in rows]),
    )


@torch.no_grad()
def greedy(model, source):
    encoded, target = model.encode(source), [START]
    while len(target) < 11:
        token = model.decode(torch.tensor([target]), *encoded)[0, -1].argmax().item()
        if token == END:
            break
        target.append(token)
    return target[1:]


def with_tensors(model, source):
    memory, visible = model.encode(source)
    target = torch.full((1, 1), START)
    for _ in range(10):
        best = model.decode(target, memory, visible)[:, -1:].argmax(dim=-1)
        target = torch.cat((target, best), dim=1)
    row = target[0, 1:].tolist()
    return row[: row.index(END)] if END in row else row


def encoding_each_time(model, source):
    target = [START]
    while len(target) < 11:
        token = model.decode(torch.tensor([target]), *model.encode(source))[0, -1].argmax().item()
        if token == END:
            break
        target.append(token)
    return target[1:]


def never_ending(model, source):
    encoded, target = model.encode(source), [START]
    for _ in range(10):
        target.append(model.decode(torch.tensor([target]), *encoded)[0, -1].argmax().item())
    return target[1:]


def with_end(model, source):
    row = greedy(model, source)
    return row if len(row) == 10 else [*row, END]


def first_position(model, source):
    encoded, target = model.encode(source), [START]
    while len(target) < 11:
        token = model.decode(torch.tensor([target]), *encoded)[0, 0].argmax().item()
        if token == END:
            break
        target.append(token)
    return target[1:]


def smoothed_loss(logits, targets, smoothing):
    log_probs = F.log_softmax(logits, dim=-1)
    hit = -log_probs.gather(-1, targets[:, :, None])[:, :, 0]
    each = (1 - smoothing) * hit + smoothing * -log_probs.mean(dim=-1)
    return each[targets != PAD].mean()


def by_pytorch(logits, targets, smoothing):
    return F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=PAD, label_smoothing=smoothing)


def with_probabilities(logits, targets, smoothing):
    V = logits.shape[-1]
    wanted = (1 - smoothing) * F.one_hot(targets, V) + smoothing / V
    real = targets != PAD
    return -(wanted * logits.log_softmax(dim=-1)).sum(dim=-1)[real].sum() / real.sum()


def padding_too(logits, targets, smoothing):
    return F.cross_entropy(logits.transpose(1, 2), targets, label_smoothing=smoothing)


def divided_by_all(logits, targets, smoothing):
    return smoothed_loss(logits, targets, smoothing) * (targets != PAD).sum() / targets.numel()


def not_smoothed(logits, targets, smoothing):
    return smoothed_loss(logits, targets, 0.0)


def sum_of_all(logits, targets, smoothing):
    log_probs, real = F.log_softmax(logits, dim=-1), targets != PAD
    return ((1 - smoothing) * smoothed_loss(logits, targets, 0.0)) - smoothing * log_probs.sum(dim=-1)[real].mean()


def all_of_the_probability(logits, targets, smoothing):
    log_probs, real = F.log_softmax(logits, dim=-1), targets != PAD
    return smoothed_loss(logits, targets, 0.0) - smoothing * log_probs.mean(dim=-1)[real].mean()


def beam_search(log_probs, width, longest):
    beams = [(0.0, [])]
    for _ in range(longest):
        grown = [beam for beam in beams if beam[1][-1:] == [END]]
        for score, target in beams:
            if target[-1:] != [END]:
                grown += [(score + p, [*target, token]) for token, p in log_probs(target).items()]
        beams = sorted(grown, reverse=True)[:width]
    return beams[0][1]


def with_a_heap(log_probs, width, longest):
    beams = {(): 0.0}
    for _ in range(longest):
        grown = {}
        for target, score in beams.items():
            if target and target[-1] == END:
                grown[target] = score
            else:
                grown |= {(*target, token): score + p for token, p in log_probs(target).items()}
        beams = dict(heapq.nlargest(width, grown.items(), key=lambda item: item[1]))
    return list(max(beams, key=beams.get))


def always_greedy(log_probs, width, longest):
    return beam_search(log_probs, 1, longest)


def past_the_end(log_probs, width, longest):
    beams = [(0.0, [])]
    for _ in range(longest):
        grown = [(score + p, [*target, token]) for score, target in beams for token, p in log_probs(target).items()]
        beams = sorted(grown, reverse=True)[:width]
    return beams[0][1]


def the_last_score_only(log_probs, width, longest):
    beams = [(0.0, [])]
    for _ in range(longest):
        grown = [beam for beam in beams if beam[1][-1:] == [END]]
        for _, target in beams:
            if target[-1:] != [END]:
                grown += [(p, [*target, token]) for token, p in log_probs(target).items()]
        beams = sorted(grown, reverse=True)[:width]
    return beams[0][1]


ANSWERS = {
    checks.cross_attention: (
        {"as in lesson 5": cross_attention, "row by row": row_by_row, "the package's": checks.package_cross_attention},
        {
            "no mask": (no_mask, "the padding is looked at"),
            "the mask upside down": (mask_the_wrong_way, "you hide those"),
            "no scale": (scaled(lambda C: 1.0), "not divided by the square root"),
            "scaled by C": (scaled(lambda C: C**-0.5), "by the root of C"),
            "self-attention": (self_attention, "from memory|stopped|self-attention"),
            "the wrong way around": (queries_from_the_memory, "queries from x|stopped"),
            "causal": (causal, "a causal mask|queries from x"),
            "mask after softmax": (mask_after_softmax, "queries from x; keys and values from memory"),
            "detached": (lambda x, *rest: cross_attention(x.detach(), *rest), "no gradient flows"),
        },
    ),
    checks.teacher_forcing: (
        {"two tensors": teacher_forcing, "two views of one": from_one_tensor, "lists": as_lists},
        {
            "not shifted": (not_shifted, "only have to copy"),
            "exchanged": (lambda rows: teacher_forcing(rows)[::-1], "in the wrong order"),
            "no end": (without_end, "the tokens and END"),
            "padded in front": (padded_in_front, "then PAD"),
            "one tensor": (lambda rows: teacher_forcing(rows)[0], "return two things"),
        },
    ),
    checks.greedy: (
        {"with a list": greedy, "with tensors": with_tensors},
        {
            "encoding each time": (encoding_each_time, "once, before the loop"),
            "without an end": (never_ending, "expected"),
            "with START": (lambda model, source: [START, *greedy(model, source)], "you return START"),
            "with END": (with_end, "you return END"),
            "the first position": (first_position, "argmax of the last position"),
        },
    ),
    checks.smoothed_loss: (
        {"the formula": smoothed_loss, "PyTorch's": by_pytorch, "with probabilities": with_probabilities},
        {
            "padding counts": (padding_too, "padding counts as well"),
            "divided by all": (divided_by_all, "divide by all positions"),
            "not smoothed": (not_smoothed, "no smoothing"),
            "a sum": (sum_of_all, "a sum over the vocabulary"),
            "all of it": (all_of_the_probability, "keeps all of its probability"),
            "detached": (lambda logits, *rest: smoothed_loss(logits.detach(), *rest), "no gradient flows"),
        },
    ),
    checks.beam_search: (
        {"sorted": beam_search, "with a heap": with_a_heap},
        {
            "greedy": (always_greedy, "which greedy search finds, too"),
            "past the end": (past_the_end, "don't ask for what follows END"),
            "the last score only": (the_last_score_only, "expected"),
        },
    ),
}
