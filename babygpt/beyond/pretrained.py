"""GPT-2's weights in and out: the folders of Hugging Face, checkpoints of nanoGPT, and models of version 10.

A folder of Hugging Face holds `config.json`, with the sizes, and `model.safetensors`, with the weights by name.
The names are those of `babygpt/beyond/gpt2.py`, sometimes behind `transformer.`. One thing differs: OpenAI's code
stored the matrix of a linear layer as (in, out) and multiplied x @ weight. PyTorch stores (out, in) and multiplies
x @ weight.T. So four matrices of each block are transposed on the way in and out.

Source: Hugging Face's `transformers`, class GPT2LMHeadModel; the documentation of safetensors; nanoGPT's model.py.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from babygpt import v10
from babygpt.beyond.gpt2 import Config, Model
from babygpt.errors import UserError, require
from babygpt.harness.files import write_atomically

TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
MASKS = (".attn.bias", ".attn.masked_bias")  # older files hold the causal mask, which is not a weight

GELUS = {"tanh": "gelu_new", "exact": "gelu"}  # how our Config and config.json call the two ways to compute GELU

# The fields of our Config, and what config.json calls them.
SIZES = {"vocab_size": "vocab_size", "block_size": "n_positions", "n_embd": "n_embd", "n_head": "n_head",
         "n_layer": "n_layer"}  # fmt: skip


def load(path: Path) -> Model:
    """The model in a folder of Hugging Face, or in a checkpoint file of nanoGPT.

    Raises:
        UserError: there is no such folder or file, it is damaged, or it holds something else than a GPT-2.
    """
    if path.is_dir():
        return load_folder(path)
    require(path.is_file(), f"there are no weights in {path}: give a folder with config.json and model.safetensors")
    return load_nanogpt(path)


def load_folder(folder: Path) -> Model:
    """The model in a folder with config.json and model.safetensors.

    Raises:
        UserError: a file is missing or damaged, or the weights do not fit the sizes.
    """
    config = read_config(folder / "config.json")
    path = folder / "model.safetensors"
    pickles = [other.name for other in sorted(folder.glob("*.bin")) + sorted(folder.glob("*.pt"))]
    require(
        path.is_file(),
        f"{path} is missing"
        + (f"; {pickles[0]} is a pickle, which can run any code: convert it to safetensors first" if pickles else ""),
    )
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a safetensors file, or it is damaged ({error}): download it again") from None
    weights = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("transformer.")
        if not name.endswith(MASKS):
            weights[name] = tensor.T if name.endswith(TRANSPOSED) else tensor
    return build(config, weights, path)


def read_config(path: Path) -> Config:
    """The sizes in a config.json.

    Raises:
        UserError: it is missing, damaged, or not that of a GPT-2 as we have it.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        sizes = {ours: int(found[theirs]) for ours, theirs in SIZES.items()}
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): give a folder with a GPT-2 of Hugging Face") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not the config.json of a GPT-2 ({type(error).__name__}: {error})") from None
    expected = {"model_type": "gpt2", "n_inner": None, "layer_norm_epsilon": 1e-5,
                "scale_attn_by_inverse_layer_idx": False}  # fmt: skip
    for name, value in expected.items():
        read = found.get(name, value)
        allowed = (value, 4 * sizes["n_embd"]) if name == "n_inner" else (value,)
        require(read in allowed, f"{path} says {name} {read!r}, and this GPT-2 is made for {value!r}")
    activation = found.get("activation_function", "gelu_new")
    require(activation in GELUS.values(), f"{path} says activation_function {activation!r}, and GPT-2 has 'gelu_new'")
    gelu = next(ours for ours, theirs in GELUS.items() if theirs == activation)
    return Config(**sizes, tied=bool(found.get("tie_word_embeddings", True)), gelu=gelu)


def save_folder(model: Model, folder: Path) -> None:
    """Write a model as a folder that `GPT2LMHeadModel.from_pretrained` reads.

    Raises:
        UserError: the model has no biases, which Hugging Face's GPT-2 must have, or the folder cannot be written to.
    """
    config = model.config
    require(config.bias, "Hugging Face's GPT-2 has biases: only a model with bias True can be saved for it")
    content = {theirs: getattr(config, ours) for ours, theirs in SIZES.items()}
    content |= {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": GELUS[config.gelu],
                "layer_norm_epsilon": 1e-5, "tie_word_embeddings": config.tied, "n_ctx": config.block_size,
                "embd_pdrop": config.dropout, "attn_pdrop": config.dropout, "resid_pdrop": config.dropout}  # fmt: skip
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            if not config.tied:
                tensors[name] = tensor.contiguous()
            continue
        tensors[f"transformer.{name}"] = (tensor.T if name.endswith(TRANSPOSED) else tensor).contiguous()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "model.safetensors", save(tensors, metadata={"format": "pt"}))
        write_atomically(folder / "config.json", (json.dumps(content, indent=2) + "\n").encode("utf-8"))
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}): choose another folder") from None


def load_nanogpt(path: Path) -> Model:
    """The model in a checkpoint of nanoGPT, for example `out/ckpt.pt`.

    Raises:
        UserError: it is damaged, or not a checkpoint of nanoGPT. Only tensors and plain values are ever unpickled.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        args = saved["model_args"]
        sizes = {field.name: args[field.name] for field in fields(Config) if field.name not in ("tied", "gelu")}
        weights = {name.removeprefix("_orig_mod."): tensor for name, tensor in saved["model"].items()}
    except Exception as error:  # a file of unknown origin can make torch.load raise almost anything
        raise UserError(f"{path} is not a checkpoint of nanoGPT, or it is damaged ({type(error).__name__})") from None
    kept = {name.removeprefix("transformer."): t for name, t in weights.items() if not name.endswith(MASKS)}
    return build(Config(**sizes, gelu="exact"), kept, path)


def build(config: Config, weights: dict[str, Tensor], path: Path) -> Model:
    """A model with these weights.

    Raises:
        UserError: a tensor is missing, has another shape, or is not part of a GPT-2.
    """
    model = Model(config)
    expected = model.state_dict()
    if config.tied:
        weights.setdefault("lm_head.weight", weights.get("wte.weight", expected["wte.weight"]))
    for name, tensor in expected.items():
        require(name in weights, f"{path} has no tensor {name}, which a GPT-2 of {config.n_layer} blocks needs")
        require(
            weights[name].shape == tensor.shape,
            f"{path}: the tensor {name} has the shape {tuple(weights[name].shape)}, and config says "
            f"{tuple(tensor.shape)}",
        )
    unknown = sorted(set(weights) - set(expected))
    require(not unknown, f"{path} has a tensor {unknown[0] if unknown else ''}, which is not part of this GPT-2")
    if config.tied:
        require(
            torch.equal(weights["lm_head.weight"], weights["wte.weight"]),
            f"{path}: the output layer and the token embedding differ, and config says that they are the same",
        )
    model.load_state_dict(weights)
    return model


def from_version_10(old: v10.Model) -> Model:
    """The same network in this class: version 10's weights, zero biases, an output layer of its own.

    Version 10 has ReLU where GPT-2 has GELU, and a bias in its output layer. So the activation is replaced in the
    model that is returned, and the old output layer's bias must be zero.

    Raises:
        UserError: the bias of `lm_head` is not zero.
    """
    require(
        not old.lm_head.bias.any(),
        "GPT-2 has no bias in its output layer, and this lm_head has one that is not zero: "
        "zero it, and compare with the model without it",
    )
    sizes = {name: value for name, value in asdict(old.config).items() if name not in ("init_std", "attention")}
    model = Model(Config(**sizes, bias=True, tied=False))
    model.load_state_dict(translate(old))
    for block in model.h:
        block.mlp.activation = torch.nn.ReLU()
    return model


def sources(config: v10.Config) -> dict[str, list[str]]:
    """For each tensor of GPT-2 the tensors of version 10 that it holds, one below the other; none for new biases."""
    found = {"wte.weight": ["token_embedding_table.weight"], "wpe.weight": ["position_embedding_table.weight"]}
    for n in range(config.n_layer):
        heads = [f"sa.heads.{h}.{name}.weight" for name in ("query", "key", "value") for h in range(config.n_head)]
        block = {"attn.c_attn.weight": heads, "attn.c_attn.bias": []}
        for ours, theirs in (("ln_1", "ln1"), ("attn.c_proj", "sa.proj"), ("ln_2", "ln2"), ("mlp.c_fc", "ffwd.net.0"),
                             ("mlp.c_proj", "ffwd.net.2")):  # fmt: skip
            block |= {f"{ours}.{kind}": [f"{theirs}.{kind}"] for kind in ("weight", "bias")}
        found |= {f"h.{n}.{ours}": [f"blocks.{n}.{name}" for name in theirs] for ours, theirs in block.items()}
    return found | {name: [name] for name in ("ln_f.weight", "ln_f.bias", "lm_head.weight")}


def translate(old: v10.Model) -> dict[str, Tensor]:
    """The weights of a version 10 under the names of GPT-2, with zero for the biases that version 10 lacks."""
    weights = old.state_dict()
    return {
        ours: torch.cat([weights[name] for name in theirs]) if theirs else torch.zeros(3 * old.config.n_embd)
        for ours, theirs in sources(old.config).items()
    }
