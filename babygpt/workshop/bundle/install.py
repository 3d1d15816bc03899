"""Install babygpt from this memory stick: `python install.py`, or `python install.py FOLDER`.

It needs Python 3.11 to 3.13 and no network. It copies babygpt into FOLDER (babygpt in your home folder if you name
none), creates an environment .venv in it, and installs the packages from the stick.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
WHEELS = os.path.join(HERE, "wheels")


def main() -> int:
    """Install, and return the exit status."""
    os.environ.update(PIP_NO_INDEX="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_CONFIG_FILE=os.devnull)
    folder = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.expanduser("~"), "babygpt"))
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return fail("this is Python %d.%d: install Python 3.12 first, and run this with it" % sys.version_info[:2])
    if not packages_fit():
        return fail(
            "the stick has no packages for Python %d.%d on %s %s. It has them for: %s"
            % (sys.version_info[0], sys.version_info[1], platform.system(), platform.machine(), ", ".join(targets()))
        )
    if os.path.exists(folder):
        return fail("%s is there already: name another folder, python install.py FOLDER" % folder)
    print("Checking the files on the stick ...")
    damaged = [name for name, right in checksums() if digest(os.path.join(HERE, name)) != right]
    if damaged:
        return fail("the stick is damaged: %s differs from what was written; copy the bundle again" % damaged[0])
    print("Copying babygpt to %s ..." % folder)
    shutil.copytree(os.path.join(HERE, "babygpt"), folder)
    print("Creating the environment, and installing the packages; this takes a few minutes ...")
    venv = os.path.join(folder, ".venv")
    python = os.path.join(venv, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
    pip = [python, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", WHEELS]
    for command in (
        [sys.executable, "-m", "venv", venv],
        pip + ["--upgrade", "setuptools", "wheel"],
        pip + ["--no-build-isolation", "-r", "requirements.txt", "-c", "constraints.txt"],
    ):
        if subprocess.call(command, cwd=folder) != 0:
            return fail("the installation stopped; the reason is above")
    print("\nDone. Is it all there?\n")
    status = subprocess.call([python, "-m", "babygpt.doctor"], cwd=folder)
    print("\nTo start: go to %s, and run\n    %s -m jupyter lab notebooks" % (folder, python))
    return status


def targets() -> list:
    """What the stick has packages for, for example "windows 3.12"."""
    with open(os.path.join(HERE, "targets.txt"), encoding="utf-8") as file:
        return file.read().split("\n")[:-1]


def packages_fit() -> bool:
    """Whether there are packages for this computer and this Python."""
    system = {"Windows": "windows", "Darwin": "macos", "Linux": "linux"}.get(platform.system(), platform.system())
    machine = {"windows": ("AMD64", "x86_64"), "macos": ("arm64",), "linux": ("x86_64",)}.get(system, ())
    return platform.machine() in machine and "%s %d.%d" % ((system,) + sys.version_info[:2]) in targets()


def checksums() -> object:
    """The files of the stick and their SHA-256, as they were written."""
    with open(os.path.join(HERE, "SHA256SUMS"), encoding="utf-8") as file:
        for line in file:
            right, name = line.rstrip("\n").split("  ", 1)
            yield name.replace("/", os.sep), right


def digest(path: str) -> str:
    """The SHA-256 of a file; empty if it is missing."""
    if not os.path.isfile(path):
        return ""
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            hashed.update(piece)
    return hashed.hexdigest()


def fail(why: str) -> int:
    """Say why it stopped."""
    print("install.py: " + why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
