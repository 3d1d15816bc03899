"""Files that appear whole or not at all."""

import os
import time
from contextlib import suppress
from pathlib import Path


def temporary_of(path: Path) -> Path:
    """Where a file is written before it gets its name: in the same folder, so that a rename is enough."""
    return path.with_name(path.name + ".tmp")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all, even if the process is killed or the power fails."""
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


def rename(old: Path, new: Path) -> None:
    """Rename a file. If Windows refuses because a program such as a virus scanner is reading `new`, wait a little."""
    for wait in (0.1, 0.4):
        try:
            old.replace(new)
            return
        except PermissionError:
            time.sleep(wait)
    old.replace(new)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written to disk, where the system can: Windows and some network drives cannot."""
    if os.name == "nt":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
