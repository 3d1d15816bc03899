"""Right answers to the exercises of lesson 18, and wrong ones that people really give."""

import torch

from babygpt.course.checks import lesson_18 as checks


def previous_score(wei):
    return wei.diagonal(offset=-1, dim1=1, dim2=2).mean()


def previous_in_a_loop(wei):
    B, T, _ = wei.shape
    return sum(wei[b, t, t - 1].item() for b in range(B) for t in range(1, T)) / (B * (T - 1))


def previous_of_t_positions(wei):
    T = wei.shape[1]
    return sum(wei[:, t, t - 1].mean() for t in range(1, T)) / T


def without_head(model, layer, head, idx):
    module = model.blocks[layer].sa.heads[head]
    handle = module.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    logits = model.logits(idx)
    handle.remove()
    return logits


def by_its_forward(model, layer, head, idx):
    """Without hooks: a method of its own for a moment."""
    module = model.blocks[layer].sa.heads[head]
    module.forward = lambda x: torch.zeros(*x.shape[:2], module.value.out_features)
    try:
        return model.logits(idx)
    finally:
        del module.forward


def never_removed(model, layer, head, idx):
    model.blocks[layer].sa.heads[head].register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    return model.logits(idx)


def zero_weights(model, layer, head, idx):
    model.blocks[layer].sa.heads[head].value.weight.data.zero_()
    return model.logits(idx)


def hook_without_return(model, layer, head, idx):
    def off(module, inputs, output):
        output = torch.zeros_like(output)

    handle = model.blocks[layer].sa.heads[head].register_forward_hook(off)
    logits = model.logits(idx)
    handle.remove()
    return logits


def whole_block(model, layer, head, idx):
    handles = [
        module.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
        for module in model.blocks[layer].sa.heads
    ]
    logits = model.logits(idx)
    for handle in handles:
        handle.remove()
    return logits


def logit_lens(model, idx):
    x = model.token_embedding_table(idx) + model.position_embedding_table(torch.arange(idx.shape[1]))
    layers = [model.lm_head(model.ln_f(x))]
    for block in model.blocks:
        x = block(x)
        layers.append(model.lm_head(model.ln_f(x)))
    return torch.stack(layers)


def lens_by_hooks(model, idx):
    streams = []
    handles = [model.blocks[0].register_forward_pre_hook(lambda block, inputs: streams.append(inputs[0]))]
    handles += [
        block.register_forward_hook(lambda block, inputs, output: streams.append(output)) for block in model.blocks
    ]
    model.logits(idx)
    for handle in handles:
        handle.remove()
    return model.lm_head(model.ln_f(torch.stack(streams)))


def no_norm(model, idx):
    x = model.token_embedding_table(idx) + model.position_embedding_table(torch.arange(idx.shape[1]))
    layers = [model.lm_head(x)]
    for block in model.blocks:
        x = block(x)
        layers.append(model.lm_head(x))
    return torch.stack(layers)


def norm_in_the_stream(model, idx):
    x = model.token_embedding_table(idx) + model.position_embedding_table(torch.arange(idx.shape[1]))
    layers = []
    for block in model.blocks:
        x = model.ln_f(x)
        layers.append(model.lm_head(x))
        x = block(x)
    return torch.stack([*layers, model.lm_head(model.ln_f(x))])


def no_positions(model, idx):
    first = model.lm_head(model.ln_f(model.token_embedding_table(idx)))
    return torch.cat((first[None], logit_lens(model, idx)[1:]))


def induction_score(wei, L):
    t = torch.arange(L, 2 * L)
    return wei[:, t, t - L + 1].mean()


def induction_by_diagonal(wei, L):
    return wei[:, L:, 1:].diagonal(dim1=1, dim2=2)[..., :L].mean()


def patch(model, clean, corrupted, layer, position):
    seen = []
    handle = model.blocks[layer].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
    model.logits(clean)
    handle.remove()

    def put_in(block, inputs):
        x = inputs[0].clone()
        x[:, position] = seen[0][:, position]
        return (x,)

    handle = model.blocks[layer].register_forward_pre_hook(put_in)
    logits = model.logits(corrupted)
    handle.remove()
    return logits


def patch_by_hand(model, clean, corrupted, layer, position):
    def stream(idx):
        x = model.token_embedding_table(idx) + model.position_embedding_table(torch.arange(idx.shape[1]))
        for block in model.blocks[:layer]:
            x = block(x)
        return x

    x = stream(corrupted)
    x[:, position] = stream(clean)[:, position]
    for block in model.blocks[layer:]:
        x = block(x)
    return model.lm_head(model.ln_f(x))


def patch_output(model, clean, corrupted, layer, position):
    """The output of the block in the clean run goes into its input."""
    seen = []
    handle = model.blocks[layer].register_forward_hook(lambda block, inputs, output: seen.append(output))
    model.logits(clean)
    handle.remove()

    def put_in(block, inputs):
        x = inputs[0].clone()
        x[:, position] = seen[0][:, position]
        return (x,)

    handle = model.blocks[layer].register_forward_pre_hook(put_in)
    logits = model.logits(corrupted)
    handle.remove()
    return logits


def patch_for_good(model, clean, corrupted, layer, position):
    seen = []
    handle = model.blocks[layer].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
    model.logits(clean)
    handle.remove()

    def put_in(block, inputs):
        x = inputs[0].clone()
        x[:, position] = seen[0][:, position]
        return (x,)

    model.blocks[layer].register_forward_pre_hook(put_in)
    return model.logits(corrupted)


ANSWERS = {
    checks.previous_score: (
        {"the diagonal": previous_score, "a loop": previous_in_a_loop},
        {
            "itself": (lambda wei: wei.diagonal(dim1=1, dim2=2).mean(), "the position itself"),
            "T positions": (previous_of_t_positions, "position 0 has no previous position"),
            "the future": (lambda wei: wei.diagonal(offset=1, dim1=1, dim2=2).mean(), "exchanged t and s"),
            "a sum": (lambda wei: wei.diagonal(offset=-1, dim1=1, dim2=2).sum(), "a sum, and not a mean"),
            "all": (lambda wei: wei.mean(), "the mean of all weights"),
            "two back": (lambda wei: wei.diagonal(offset=-2, dim1=1, dim2=2).mean(), "the score for weights"),
        },
    ),
    checks.without_head: (
        {"a hook": without_head, "another forward": by_its_forward},
        {
            "never removed": (never_removed, "still off afterwards"),
            "the weights": (zero_weights, "changed for good"),
            "no return": (hook_without_return, "the hook has to return the new output"),
            "the whole block": (whole_block, "all heads of the block are off"),
            "the next head": (
                lambda model, layer, head, idx: without_head(model, layer, (head + 1) % 3, idx),
                "another head",
            ),
        },
    ),
    checks.logit_lens: (
        {"step by step": logit_lens, "hooks": lens_by_hooks},
        {
            "no ln_f": (no_norm, "the final norm is missing"),
            "ln_f in the stream": (norm_in_the_stream, "it goes to lm_head only"),
            "no embedding": (lambda model, idx: logit_lens(model, idx)[1:], "the embedding is missing"),
            "no last block": (lambda model, idx: logit_lens(model, idx)[:-1], "the last block is missing"),
            "no positions": (no_positions, "sum of token and position vectors"),
        },
    ),
    checks.induction_score: (
        {"indices": induction_score, "a diagonal": induction_by_diagonal},
        {
            "the copy itself": (
                lambda wei, L: wei[:, torch.arange(L, 2 * L), torch.arange(L)].mean(),
                "the earlier copy of the token itself",
            ),
            "from L - 1": (
                lambda wei, L: wei.diagonal(offset=1 - L, dim1=1, dim2=2).mean(),
                "begin at position L",
            ),
            "from L + 1": (
                lambda wei, L: wei[:, torch.arange(L + 1, 2 * L), torch.arange(2, L + 1)].mean(),
                "has an earlier copy, too",
            ),
            "a sum": (lambda wei, L: induction_score(wei, L) * wei.shape[0] * L, "a sum, and not a mean"),
        },
    ),
    checks.patch: (
        {"hooks": patch, "by hand": patch_by_hand},
        {
            "exchanged": (
                lambda model, clean, corrupted, layer, position: patch(model, corrupted, clean, layer, position),
                "clean and corrupted are exchanged",
            ),
            "all positions": (lambda model, clean, corrupted, layer, position: model.logits(clean), "all positions"),
            "nothing": (lambda model, clean, corrupted, layer, position: model.logits(corrupted), "nothing is patched"),
            "the output": (patch_output, "comes from after the block"),
            "for good": (patch_for_good, "still patched afterwards"),
        },
    ),
}
