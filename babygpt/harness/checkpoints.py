"""Checkpoint files: what they hold, and how damage to them is noticed.

A checkpoint names the module of its model (`babygpt.v6`) and holds the sizes of the model, the state of its
tokenizer and the weights, so that any module with a `Model` and a `Config` can be saved and loaded. One that
a run can resume from also holds the optimizers, the random streams, the settings and where the text came from.
"""

import hashlib
import importlib
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from babygpt.errors import UserError, require
from babygpt.harness.files import write_atomically
from babygpt.model import LanguageModel
from babygpt.tokenizer import Tokenizer

FORMAT = 4  # of the checkpoints; raise it when their content changes
FIRST_SEALED = 3  # the format that brought the checksum

SEAL = 64  # bytes: the hexadecimal digits of SHA-256

Checkpoint = dict[str, Any]


def describe(model: LanguageModel, tokenizer: Tokenizer) -> Checkpoint:
    """What a checkpoint needs besides the weights: enough to build the model and read its tokens."""
    return {
        "format": FORMAT,
        "module": type(model).__module__,
        "model_config": asdict(model.config),
        "tokenizer": describe_tokenizer(tokenizer),
    }


def describe_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """What `load_tokenizer` needs, as builtins."""
    kind = type(tokenizer)
    return {"module": kind.__module__, "class": kind.__name__, "state": tokenizer.state()}


def load_tokenizer(saved: dict[str, Any]) -> Tokenizer:
    """The tokenizer that `describe_tokenizer` described."""
    kind = getattr(import_ours(saved["module"]), saved["class"])
    return kind.from_state(saved["state"])


def load_model(saved: Checkpoint, device: torch.device | str = "cpu") -> tuple[LanguageModel, Tokenizer]:
    """The model in a checkpoint, in eval mode, and its tokenizer.

    Raises:
        UserError: the weights do not fit the sizes.
    """
    module = import_ours(saved["module"])
    try:
        model = module.Model(module.Config(**saved["model_config"]))
        model.load_state_dict(saved["state"]["model"])
    except (RuntimeError, TypeError) as error:
        raise UserError(f"the weights and sizes in the checkpoint do not fit {saved['module']}: train again") from error
    return model.to(device).eval(), load_tokenizer(saved["tokenizer"])


def import_ours(name: str) -> Any:
    """A module of this package, and of no other: the name comes from a file, which could say anything."""
    require(name.startswith("babygpt."), f"a checkpoint names the module {name!r}, which is not part of babygpt")
    return importlib.import_module(name)


def save_checkpoint(path: Path, content: Checkpoint) -> None:
    """Write a checkpoint of tensors and builtins, sealed, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, seal(buffer.getvalue()))


def read_checkpoint(path: Path, remedy: str = "train again", full: bool = False) -> Checkpoint:
    """The content of a checkpoint: tensors and builtins, since nothing else is unpickled.

    Args:
        path: checkpoint.pt or best.pt.
        remedy: what a user can do about a damaged one.
        full: it must hold everything that is needed to resume.

    Raises:
        UserError: there is no such file, it is damaged, or another version of babygpt wrote it.
    """
    require(
        path.is_file(),
        f"there is no run in {path.parent}: {path.name} is missing; train one with `python -m babygpt.v10`",
    )
    try:
        content = path.read_bytes()
        sealed = has_seal(content)
        # Formats 1 and 2 had no seal, and ended like any zip file. Damaged bytes never reach torch.load.
        if not sealed and content[-22:-18] != b"PK\x05\x06":
            raise ValueError("its checksum does not match")
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        found = saved["format"]
        if not sealed and found >= FIRST_SEALED:
            raise ValueError("it has no checksum")
        if found == FORMAT:
            import_ours(saved["module"]), saved["model_config"], saved["tokenizer"]["state"], saved["state"]["model"]
            if full:
                saved["train_config"], saved["corpus"]["path"], saved["state"]["optimizers"]
    except Exception as error:  # a file of unknown origin can make torch.load raise almost anything
        why = error if type(error) is ValueError else f"{type(error).__name__} while reading it"
        raise UserError(f"{path} is not a checkpoint of babygpt, or it is damaged ({why}): {remedy}") from error
    remedy = "update babygpt" if found > FORMAT else "train again, or use the version of babygpt that wrote it"
    require(found == FORMAT, f"{path} has format {found}, and this babygpt reads format {FORMAT}: {remedy}")
    return saved


def seal(content: bytes) -> bytes:
    """A checkpoint with a checksum at its end, since torch loads damaged weights without complaint.

    A checkpoint is a zip file. The checksum becomes the comment of the zip file, so `torch.load` still reads it.
    """
    body = content[:-2] + SEAL.to_bytes(2, "little")  # a zip file ends with the length of its comment
    return body + hashlib.sha256(body).hexdigest().encode()


def has_seal(content: bytes) -> bool:
    """Whether the bytes are the ones that were sealed."""
    return hashlib.sha256(content[:-SEAL]).hexdigest().encode() == content[-SEAL:]


def is_intact(path: Path) -> bool:
    """Whether the file can be read and its seal fits."""
    try:
        return path.is_file() and has_seal(path.read_bytes())
    except OSError:
        return False
