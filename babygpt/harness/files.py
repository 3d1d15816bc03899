"""Files that appear whole or not at all, and checkpoints that are noticed when they are damaged."""

import hashlib
import io
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from babygpt.errors import UserError, require
from babygpt.versions import get_version

FORMAT = 3  # of the checkpoints; raise it when their content changes
FIRST_SEALED = 3  # the format that brought the checksum

SEAL = 64  # bytes: the hexadecimal digits of SHA-256


def temporary_of(path: Path) -> Path:
    """Where a file is written before it takes its name: in the same folder, so that a rename is enough."""
    return path.with_name(path.name + ".tmp")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all: a reader never sees half of it, nor does one after a power cut."""
    temporary = temporary_of(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def png(figure: Any, dpi: int = 120) -> bytes:
    """A figure of matplotlib as the content of a PNG file."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=dpi)
    return picture.getvalue()


def with_block(page: str, name: str, content: str) -> str:
    """A page in Markdown with what stands between `<!-- name -->` and `<!-- end of name -->` replaced.

    Raises:
        UserError: the page has no such place.
    """
    before, begin, rest = page.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    require(bool(end), f"a page lacks the comments around its {name}: it begins with {page[:40]!r}")
    return f"{before}{begin}\n{content}\n\n{end}{after}"


def rename(old: Path, new: Path) -> None:
    """Rename a file. Where Windows refuses because somebody reads `new`, a virus scanner say, wait a little."""
    for wait in (0.1, 0.4):
        try:
            old.replace(new)
            return
        except PermissionError:
            time.sleep(wait)
    old.replace(new)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk, where the system can: not on Windows, nor on every network."""
    if os.name == "nt":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def save_atomically(path: Path, content: dict[str, Any]) -> None:
    """As `write_atomically`, for a checkpoint of tensors and builtins."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, seal(buffer.getvalue()))


def seal(content: bytes) -> bytes:
    """A checkpoint with its checksum at its end: torch by itself loads other weights when a byte has changed.

    A checkpoint is a zip file. The checksum becomes its comment, so that `torch.load` still reads it.
    """
    body = content[:-2] + SEAL.to_bytes(2, "little")  # a zip file ends with the length of its comment
    return body + hashlib.sha256(body).hexdigest().encode()


def has_seal(content: bytes) -> bool:
    """Whether the bytes are those that were sealed."""
    return hashlib.sha256(content[:-SEAL]).hexdigest().encode() == content[-SEAL:]


def is_intact(path: Path) -> bool:
    """Whether the file can be read and has its seal."""
    try:
        return path.is_file() and has_seal(path.read_bytes())
    except OSError:
        return False


def read_checkpoint(path: Path, remedy: str = "train again", full: bool = False) -> dict[str, Any]:
    """The content of a checkpoint: tensors and builtins, for nothing else is read.

    Args:
        path: checkpoint.pt or best.pt.
        remedy: what a user can do about a damaged one.
        full: it must hold all that is needed to go on training.

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
        # The formats before had no seal, and ended like any zip file. Damaged bytes do not get as far as torch.load.
        if not sealed and content[-22:-18] != b"PK\x05\x06":
            raise ValueError("its checksum does not fit")
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        found = saved["format"]
        if not sealed and found >= FIRST_SEALED:
            raise ValueError("it has no checksum")
        if found == FORMAT:
            get_version(saved["version"]), saved["model_config"], saved["chars"], saved["state"]["model"]
            if full:
                saved["train_config"], saved["corpus"]["path"], saved["state"]["optimizers"]
    except Exception as error:  # a file of unknown origin can make torch.load raise almost anything
        why = error if type(error) is ValueError else f"{type(error).__name__} while reading it"
        raise UserError(f"{path} is no checkpoint of babygpt, or is damaged ({why}): {remedy}") from error
    remedy = "update babygpt" if found > FORMAT else "train again, or use the babygpt that wrote it"
    require(found == FORMAT, f"{path} has the format {found}, and this babygpt reads {FORMAT}: {remedy}")
    return saved
