"""Right answers to the exercises of lesson 19, and wrong ones that people really give."""

import torch

from babygpt.course.checks import lesson_19 as checks


def accumulate(model, x, y, parts):
    model.zero_grad()
    for xb, yb in zip(x.chunk(parts), y.chunk(parts), strict=True):
        loss = model(xb, yb)[1] * len(xb) / len(x)
        loss.backward()


def scaling_the_gradients_at_the_end(model, x, y, parts):
    model.zero_grad()
    for xb, yb in zip(x.chunk(parts), y.chunk(parts), strict=True):
        (model(xb, yb)[1] * len(xb)).backward()
    for p in model.parameters():
        p.grad /= len(x)


def dividing_by(weight, before=True, inside=False):
    def accumulate(model, x, y, parts):
        if before:
            model.zero_grad()
        for xb, yb in zip(x.chunk(parts), y.chunk(parts), strict=True):
            if inside:
                model.zero_grad()
            (model(xb, yb)[1] * weight(xb, x, parts)).backward()

    return accumulate


def share_of(xb, x, parts):
    return len(xb) / len(x)


def one_backward_at_the_end(model, x, y, parts):
    model.zero_grad()
    pairs = zip(x.chunk(parts), y.chunk(parts), strict=True)
    sum(model(xb, yb)[1] * len(xb) / len(x) for xb, yb in pairs).backward()


def all_at_once(model, x, y, parts):
    model.zero_grad()
    model(x, y)[1].backward()


def with_a_step(model, x, y, parts):
    accumulate(model, x, y, parts)
    torch.optim.SGD(model.parameters(), lr=0.1).step()


def only_forward(model, x, y, parts):
    model.zero_grad()
    for xb, yb in zip(x.chunk(parts), y.chunk(parts), strict=True):
        model(xb, yb)


def average_gradients(model, share, all_reduce):
    for p in model.parameters():
        p.grad *= share
        all_reduce(p.grad)


def with_one_vector(model, share, all_reduce):
    """As DDP does with its buckets: fewer and longer messages."""
    flat = torch.cat([p.grad.flatten() for p in model.parameters()]) * share
    all_reduce(flat)
    for p, part in zip(model.parameters(), flat.split([p.numel() for p in model.parameters()]), strict=True):
        p.grad = part.view_as(p)


def a_sum(model, share, all_reduce):
    for p in model.parameters():
        all_reduce(p.grad)


def not_in_place(model, share, all_reduce):
    for p in model.parameters():
        all_reduce(p.grad * share)


def not_reduced(model, share, all_reduce):
    for p in model.parameters():
        p.grad *= share


def share_afterward(model, share, all_reduce):
    for p in model.parameters():
        all_reduce(p.grad)
        p.grad *= share


def equal_weights(model, share, all_reduce):
    processes = torch.ones(1)
    all_reduce(processes)
    for p in model.parameters():
        all_reduce(p.grad)
        p.grad /= processes


def the_weights(model, share, all_reduce):
    for p in model.parameters():
        p.data *= share * 2
        all_reduce(p.data)


def some_processes_only(model, share, all_reduce):
    if share > 0.5:
        average_gradients(model, share, all_reduce)


def count_bytes(model, optimizer):
    total = sum(p.nbytes for p in model.parameters())
    total += sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    states = (t for state in optimizer.state.values() for t in state.values())
    return total + sum(t.nbytes for t in states if isinstance(t, torch.Tensor))


def without_the_counters(model, optimizer):
    total = 0
    for p in model.parameters():
        total += p.numel() * p.element_size()
        total += 0 if p.grad is None else p.grad.numel() * 4
        state = optimizer.state[p] if p in optimizer.state else {}
        total += sum(4 * t.numel() for name, t in state.items() if name in ("exp_avg", "exp_avg_sq"))
    return total


def numbers(model, optimizer):
    return count_bytes(model, optimizer) // 4


def tied_twice(model, optimizer):
    extra = sum(t.nbytes for t in model.state_dict().values()) - sum(p.nbytes for p in model.parameters())
    return count_bytes(model, optimizer) + extra


def no_gradients(model, optimizer):
    return count_bytes(model, optimizer) - sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)


def no_optimizer(model, optimizer):
    return sum(p.nbytes + (0 if p.grad is None else p.grad.nbytes) for p in model.parameters())


def one_average(model, optimizer):
    kept = sum(state["exp_avg"].nbytes for state in optimizer.state.values() if "exp_avg" in state)
    return count_bytes(model, optimizer) - kept


def sixteen_each(model, optimizer):
    return 16 * sum(p.numel() for p in model.parameters())


def utilization(N, L, H, Q, T, B, seconds, peak):
    return (6 * N + 12 * L * H * Q * T) * B * T / seconds / peak


def as_nanogpt(N, L, H, Q, T, B, seconds, peak):
    flops_per_token = 6 * N + 12 * L * H * Q * T
    flops_per_row = flops_per_token * T
    return flops_per_row * B * (1.0 / seconds) / peak


def forward_only(*args):
    return utilization(*args) / 3


def no_attention(N, L, H, Q, T, B, seconds, peak):
    return 6 * N * B * T / seconds / peak


def rows_instead_of_tokens(N, L, H, Q, T, B, seconds, peak):
    return utilization(N, L, H, Q, T, B, seconds, peak) / T


def percent(*args):
    return 100 * utilization(*args)


def no_peak(*args):
    return utilization(*args) * args[-1]


def scaled_step(loss, params, optimizer, scale):
    (loss * scale).backward()
    for p in params:
        p.grad /= scale
    if not all(p.grad.isfinite().all() for p in params):
        return scale / 2
    optimizer.step()
    return scale


def looking_first(loss, params, optimizer, scale):
    (loss * scale).backward()
    if any(not torch.isfinite(p.grad).all() for p in params):
        return scale * 0.5
    for p in params:
        p.grad = p.grad / scale
    optimizer.step()
    return scale


def not_unscaled(loss, params, optimizer, scale):
    (loss * scale).backward()
    if not all(p.grad.isfinite().all() for p in params):
        return scale / 2
    optimizer.step()
    return scale


def not_scaled(loss, params, optimizer, scale):
    return scaled_step(loss / scale, params, optimizer, scale)


def never_skipping(loss, params, optimizer, scale):
    (loss * scale).backward()
    finite = all(p.grad.isfinite().all() for p in params)
    for p in params:
        p.grad /= scale
    optimizer.step()
    return scale if finite else scale / 2


def looking_at_the_first_only(loss, params, optimizer, scale):
    (loss * scale).backward()
    for p in params:
        p.grad /= scale
    if not params[0].grad.isfinite().all():
        return scale / 2
    optimizer.step()
    return scale


def never_halving(loss, params, optimizer, scale):
    scaled_step(loss, params, optimizer, scale)
    return scale


def always_halving(loss, params, optimizer, scale):
    scaled_step(loss, params, optimizer, scale)
    return scale / 2


def no_step(loss, params, optimizer, scale):
    (loss * scale).backward()
    return scale


ANSWERS = {
    checks.accumulate: (
        {"loop": accumulate, "at the end": scaling_the_gradients_at_the_end, "package": checks.package_accumulate},
        {
            "no division": (dividing_by(lambda xb, x, parts: 1), "weight each part by its share of the rows"),
            "by the parts": (dividing_by(lambda xb, x, parts: 1 / parts), "not all parts have the same number"),
            "zero_grad inside": (dividing_by(share_of, inside=True), "call zero_grad once, before the loop"),
            "both": (dividing_by(lambda xb, x, parts: 1, inside=True), "zero_grad belongs before the loop"),
            "no zero_grad": (dividing_by(share_of, before=False), "begin with model.zero_grad"),
            "one backward": (one_backward_at_the_end, "so both are in memory: call backward.. in the loop"),
            "all at once": (all_at_once, "a forward pass has 4 rows at once"),
            "a step": (with_a_step, "the weights have changed"),
            "no backward": (only_forward, "there is no backward pass"),
        },
    ),
    checks.average_gradients: (
        {"one by one": average_gradients, "one vector": with_one_vector, "package": checks.package_average},
        {
            "a sum": (a_sum, "not weighted: multiply each by the process's share first"),
            "equal weights": (equal_weights, "a process with more rows counts more"),
            "not in place": (not_in_place, "still those of its own rows: call all_reduce"),
            "nothing": (lambda model, share, all_reduce: None, "still those of its own rows"),
            "not reduced": (not_reduced, "weighted, but not added up over the processes"),
            "share afterward": (share_afterward, "the share comes after all_reduce"),
            "the weights": (the_weights, "has other weights now; change the gradients, p.grad"),
            "some only": (some_processes_only, "a process waits in all_reduce for the others"),
        },
    ),
    checks.count_bytes: (
        {"nbytes": count_bytes, "element size": without_the_counters},
        {
            "numbers": (numbers, "a float32 has 4 bytes"),
            "tied twice": (tied_twice, "is counted twice: go through model.parameters"),
            "no gradients": (no_gradients, "4 bytes a parameter are missing: the gradients, or one"),
            "no optimizer": (no_optimizer, "what the optimizer keeps is missing"),
            "one average": (one_average, "or one of AdamW's two averages"),
            "the formula": (sixteen_each, "holds for AdamW after its first step"),
        },
    ),
    checks.utilization: (
        {"the formula": utilization, "nanoGPT": as_nanogpt},
        {
            "forward only": (forward_only, "the backward pass takes twice as many"),
            "no attention": (no_attention, "attention is missing: add 12 L H Q T"),
            "rows": (rows_instead_of_tokens, "a step has B . T tokens"),
            "percent": (percent, "in percent: return the share"),
            "no peak": (no_peak, "divide by the peak"),
        },
    ),
    checks.scaled_step: (
        {"unscale first": scaled_step, "look first": looking_first},
        {
            "not unscaled": (not_unscaled, "1024 times too large: divide the gradients by the scale"),
            "not scaled": (not_scaled, "1024 times too small: multiply the loss"),
            "never skipping": (never_skipping, "skip the step if a gradient of any parameter is not finite"),
            "only the first": (looking_at_the_first_only, "skip the step if a gradient of any parameter"),
            "never halving": (never_halving, "return half of it, 512"),
            "always halving": (always_halving, "nothing overflowed, so it stays 1024"),
            "no step": (no_step, "the weights don't change: call optimizer.step"),
        },
    ),
}  # fmt: skip
