"""Generated files: which of them are out of date, and writing those."""

from collections.abc import Callable, Mapping
from pathlib import Path

from babygpt.harness.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]


def holds(path: Path, content: bytes) -> bool:
    """Whether a file has exactly this content."""
    return path.exists() and path.read_bytes() == content


def refresh(
    files: Mapping[Path, bytes],
    check: bool,
    remedy: str,
    root: Path = ROOT,
    is_current: Callable[[Path, bytes], bool] = holds,
) -> int:
    """Write the files that are out of date, or only name them; return the exit status.

    Args:
        files: what each file must hold.
        check: write nothing; the status is 1 if a file is out of date.
        remedy: the command that writes them.
    """
    stale = [path for path, content in files.items() if not is_current(path, content)]
    if check:
        for path in stale:
            print(f"{path.relative_to(root)} is out of date: run `{remedy}`")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, files[path])
    print(f"{len(files)} files; {len(stale)} of them were out of date and have been written")
    return 0
