"""`python -m babygpt.bundle`: everything for a room without a network, on a memory stick.

The bundle holds the packages for the systems asked for, this repository as it is committed, the slides, sheets and
pages that have been built, a script that installs from all that without a network, and checksums.

Which package goes where is decided by uv, which can resolve for a system other than its own; pip downloads.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from babygpt.course.generated import ROOT
from babygpt.errors import require
from babygpt.harness.terminal import run_command

Platform = Literal["windows", "macos", "linux"]

# What uv calls a system, and which wheels pip may take for it, best first.
SYSTEMS: dict[str, tuple[str, list[str]]] = {
    "windows": ("x86_64-pc-windows-msvc", ["win_amd64"]),
    "macos": ("aarch64-apple-darwin", ["macosx_14_0_arm64"]),
    "linux": ("x86_64-manylinux_2_28", ["manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux_2_17_x86_64",
                                        "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]),
}  # fmt: skip

BUILD_TOOLS = ["setuptools>=77", "pip", "wheel"]


@dataclass(frozen=True)
class BundleConfig:
    """Collect all that a room without a network needs, for a memory stick."""

    platforms: tuple[Platform, ...] = ("windows", "macos", "linux")
    """Systems: windows (x64), macos (Apple silicon), linux (x64)."""

    pythons: tuple[str, ...] = ("3.12",)
    """Versions of Python, 3.11 to 3.13. Each needs a PyTorch of its own for each system."""

    out: Path = Path("babygpt-bundle")
    """The folder to write to."""

    dry_run: bool = False
    """Only list the packages and their sizes."""


@dataclass(frozen=True)
class Wheel:
    """A package to download."""

    name: str
    version: str
    url: str
    sha256: str

    @property
    def file(self) -> str:
        """The name of its file."""
        return urllib.request.unquote(self.url.split("#")[0].rsplit("/", 1)[-1])


def bundle(config: BundleConfig) -> None:
    """Build the bundle, or list what would be in it.

    Raises:
        UserError: a package cannot be had for a system, the folder is not empty, or there is no space.
    """
    for python in config.pythons:
        require(python in ("3.11", "3.12", "3.13"), f"babygpt's packages are for Python 3.11 to 3.13, not {python}")
    require(
        config.dry_run or not config.out.exists() or not any(config.out.iterdir()),
        f"{config.out} is not empty: name another folder with --out, or delete it",
    )
    found: dict[str, Wheel] = {}
    resolved: dict[tuple[str, str], list[Wheel]] = {}
    for system in config.platforms:
        for python in config.pythons:
            wheels = resolve(system, python)
            resolved[system, python] = wheels
            found |= {wheel.file: wheel for wheel in wheels}
            torch = next(wheel for wheel in wheels if wheel.name == "torch")
            print(f"{system}, Python {python}: {len(wheels)} packages, torch is {torch.file}", flush=True)
    sizes = {name: size_of(wheel) for name, wheel in found.items()}
    total = sum(size for size in sizes.values() if size)
    unknown = sum(size is None for size in sizes.values())
    print(
        f"{len(found)} files, {total / 1e9:.2f} GB" + (f", without {unknown} whose size is unknown" if unknown else "")
    )
    if config.dry_run:
        for name in sorted(found):
            print(f"  {(sizes[name] or 0) / 1e6:>8.1f} MB  {name}")
        return
    config.out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(config.out).free
    require(
        free > 1.2 * total, f"{config.out} has {free / 1e9:.1f} GB left, and the bundle needs {1.2 * total / 1e9:.1f}"
    )
    for (system, python), wheels in resolved.items():
        download(wheels, system, python, config.out / "wheels")
    copy_repository(config.out / "babygpt")
    copy_built(config.out)
    shutil.copy(Path(__file__).with_name("install.py"), config.out)
    lines = [f"{system} {python}\n" for system, python in resolved]
    (config.out / "targets.txt").write_text("".join(lines), encoding="utf-8", newline="\n")
    count = write_checksums(config.out)
    print(f"{config.out}: {count} files. On each laptop: python install.py, in the folder of the stick.")


def resolve(system: str, python: str) -> list[Wheel]:
    """The exact packages for a system and a Python: those of `constraints.txt`, with PyTorch's build for CPUs on Linux.

    Raises:
        UserError: uv or pip find no set of packages.
    """
    with tempfile.TemporaryDirectory() as folder:
        pinned, report = Path(folder) / "pinned.txt", Path(folder) / "report.json"
        if system == "linux" and not lock(system, python, pinned, "--torch-backend=cpu"):
            print("PyTorch's build for CPUs cannot be reached, so the usual one is taken, which is larger.")
            if is_native(system, python):
                here = look_up(["--ignore-installed", *requirements()], report)
                pinned.write_text("\n".join(f"{wheel.name}=={wheel.version}" for wheel in here), encoding="utf-8")
                python = platform.python_version()
            else:
                require(lock(system, python, pinned), f"no set of packages for {system} and Python {python}")
        elif system != "linux":
            require(lock(system, python, pinned), f"no set of packages for {system} and Python {python}")
        return look_up(["--no-deps", *tags(system, python), "-r", str(pinned), *BUILD_TOOLS], report)


def requirements() -> list[str]:
    """What a learner needs, for pip, without babygpt itself."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["notebooks"]
    return ["--constraint", str(ROOT / "constraints.txt"), *wanted, *BUILD_TOOLS]


def is_native(system: str, python: str) -> bool:
    """Whether this computer and this Python are the ones asked for."""
    here = {"win32": "windows", "darwin": "macos", "linux": "linux"}.get(sys.platform)
    return here == system and python == f"{sys.version_info[0]}.{sys.version_info[1]}"


def tags(system: str, python: str) -> list[str]:
    """pip's flags that choose the wheels of a system and a Python."""
    flags = ["--python-version", python, "--implementation", "cp"]
    return flags + [flag for tag in SYSTEMS[system][1] for flag in ("--platform", tag)]


def lock(system: str, python: str, target: Path, *extra: str) -> bool:
    """Let uv write the exact versions for a system into a file; False if it can't."""
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    require(uv is not None, "the packages are chosen with uv: python -m pip install uv")
    command = [
        uv,
        "pip",
        "compile",
        "--quiet",
        "--no-header",
        "--no-annotate",
        "--emit-index-url",
        "--extra",
        "notebooks",
    ]
    command += ["--constraint", "constraints.txt", "--python-platform", SYSTEMS[system][0], "--python-version", python]
    command += [*extra, "pyproject.toml", "--output-file", str(target)]
    environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0", "UV_HTTP_RETRIES": "0"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, env=environment).returncode == 0


def look_up(what: list[str], report: Path) -> list[Wheel]:
    """The files that pip would install.

    Raises:
        UserError: pip finds no file for one of them.
    """
    with tempfile.TemporaryDirectory() as nowhere:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--only-binary=:all:"]
        command += ["--target", nowhere, "--report", str(report), *what]
        done = subprocess.run(command, capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    require(done.returncode == 0, f"pip: {errors[-1] if errors else done.stderr[-300:]}")
    wheels = []
    for item in json.loads(report.read_text(encoding="utf-8"))["install"]:
        info = item["download_info"]
        digest = info.get("archive_info", {}).get("hashes", {}).get("sha256", "")
        wheels.append(Wheel(item["metadata"]["name"].lower(), item["metadata"]["version"], info["url"], digest))
    return wheels


def size_of(wheel: Wheel) -> int | None:
    """The bytes of a file, without downloading it; None if nobody says."""
    try:
        request = urllib.request.Request(wheel.url, method="HEAD" if wheel.url.startswith("http") else "GET")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, TypeError, ValueError):
        return None


def download(wheels: list[Wheel], system: str, python: str, folder: Path) -> None:
    """Download packages with pip, which checks what arrives.

    Raises:
        UserError: pip can't.
    """
    with tempfile.TemporaryDirectory() as temporary:
        wanted = Path(temporary) / "wanted.txt"
        lines = [f"{wheel.name} @ {wheel.url.split('#')[0]}" for wheel in wheels]
        wanted.write_text("\n".join(lines), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--ignore-requires-python"]
        command += ["--only-binary=:all:", *tags(system, python), "-r", str(wanted), "--dest", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
    require(done.returncode == 0, f"pip could not download everything: {done.stderr.strip()[-300:]}")
    for wheel in wheels:
        content = (folder / wheel.file).read_bytes()
        right = not wheel.sha256 or hashlib.sha256(content).hexdigest() == wheel.sha256
        require(right, f"{wheel.file} is damaged: run this again")


def copy_repository(target: Path) -> None:
    """The repository as it is committed.

    Raises:
        UserError: git cannot say what that is.
    """
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    require(done.returncode == 0, f"{ROOT} is not a clone of the repository: git does not know its files")
    for name in done.stdout.decode("utf-8").split("\0")[:-1]:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def copy_built(target: Path) -> None:
    """The slides, sheets and pages that have been built."""
    if (ROOT / "site").is_dir():
        shutil.copytree(ROOT / "site", target / "site")
    else:
        print("There are no slides, sheets and pages yet: make workshop builds them.")


def write_checksums(folder: Path) -> int:
    """Write SHA256SUMS, of all files; return how many there are."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files
    ]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8", newline="\n")
    return len(files)


def main(argv: list[str] | None = None) -> None:
    """Build as the command line says, and exit."""
    run_command(BundleConfig, bundle, "python -m babygpt.bundle", argv)
