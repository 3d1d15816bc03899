"""Is this laptop ready for the workshop? `python -m babygpt.doctor` says so, one line for each check.

This file needs nothing but Python's standard library, and even Python 3.6 can run it, so it can be sent to participants
before they install anything: `python doctor.py`. It then checks the machine only. In the babygpt folder, it also
checks the installation.
"""

import argparse
import ctypes
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple

OLDEST, NEWEST = (3, 11), (3, 14)  # the versions of Python that PyTorch and babygpt run on
DISK, MEMORY = 2, 3.5  # GB
PACKAGES = ("torch", "numpy", "matplotlib", "tqdm", "tyro", "filelock", "jupyterlab", "jupytext")
TEXT_HASH = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"  # SHA-256 of input.txt
LOSS, TOLERANCE = 4.0985, 0.002  # of version 6 after ten steps, in nats per character
SLOW = 120  # seconds for version 6; a room can't wait longer than that
TRAINING_TIMEOUT = 300  # seconds
VENV_PYTHON = (
    os.path.join(".venv", "Scripts", "python.exe") if os.name == "nt" else os.path.join(".venv", "bin", "python")
)
PYTHON = '"{}"'.format(sys.executable) if " " in sys.executable else sys.executable
INSTALL = PYTHON + " -m pip install -r requirements.txt -c constraints.txt"

Finding = namedtuple("Finding", "name status found fix")
Finding.__doc__ = 'The result of a check: status is "ok", "note" (it works, but know this) or "FIX".'

Facts = namedtuple(
    "Facts", "python bits system machine release apple_silicon glibc cores memory disk prefix base_prefix folder"
)
Facts.__doc__ = """What the checks look at.

python is a tuple such as (3, 11, 7); system, machine and release are those of `platform` (release is the version of
macOS, and empty elsewhere); glibc is a tuple, empty where there is none; memory and disk are in GB, memory 0 if it is
unknown; prefix and base_prefix are those of `sys`; folder is babygpt's, or None.
"""


def look() -> Facts:
    """The facts about this machine."""
    folder = find_folder()
    kind, libc = platform.libc_ver()
    return Facts(
        python=tuple(sys.version_info[:3]),
        bits=64 if sys.maxsize > 2**32 else 32,
        system=platform.system(),
        machine=platform.machine(),
        release=platform.mac_ver()[0],
        apple_silicon=output_of(["sysctl", "-n", "hw.optional.arm64"]).strip() == "1",
        glibc=tuple(int(part) for part in libc.split(".")[:2]) if kind == "glibc" else (),
        cores=os.cpu_count() or 1,
        memory=memory(),
        disk=shutil.disk_usage(folder or os.getcwd()).free / 1e9,
        prefix=sys.prefix,
        base_prefix=sys.base_prefix,
        folder=folder,
    )


def find_folder() -> "str | None":
    """The babygpt folder: the one that this file is in, or the one where the command was started."""
    above = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for folder in (above, os.getcwd()):
        if os.path.isfile(os.path.join(folder, "constraints.txt")) and os.path.isdir(os.path.join(folder, "babygpt")):
            return folder
    return None


def memory() -> float:
    """The memory of this machine in GB; 0 if the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        pass
    try:
        buffer = (ctypes.c_ulonglong * 8)(64)  # MEMORYSTATUSEX: its own length, then a load, then the total
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(buffer))
        return buffer[1] / 1e9
    except AttributeError:
        return 0


def output_of(command: list, folder: "str | None" = None, timeout: float = 60) -> str:
    """What a command prints; nothing if it can't be started, fails, or takes too long."""
    status, out, _ = run(command, folder, timeout)
    return out if status == 0 else ""


def run(command: list, folder: "str | None", timeout: float) -> "tuple[int, str, str]":
    """Exit status, output and error output of a command; the status is -1 if it can't be started or takes too long."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            universal_newlines=True,
            timeout=timeout,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, "", str(error)
    return done.returncode, done.stdout, done.stderr


# The machine.


def check_python(facts: Facts) -> Finding:
    """Python is new enough for babygpt, and not too new for PyTorch."""
    found = ".".join(str(part) for part in facts.python)
    wanted = "install Python 3.12 from python.org, then create .venv again with it"
    if facts.python < OLDEST:
        return Finding("Python", "FIX", found + " is too old", wanted)
    if facts.python[:2] > NEWEST:
        return Finding("Python", "FIX", found + " is too new for PyTorch", wanted)
    return Finding("Python", "ok", found, "")


def check_bits(facts: Facts) -> Finding:
    """Python is a 64-bit program."""
    fix = "" if facts.bits == 64 else "install the 64-bit Python from python.org: PyTorch has no 32-bit version"
    return Finding("64 bits", "FIX" if fix else "ok", f"{facts.bits} bits", fix)


def check_platform(facts: Facts) -> Finding:
    """There is a build of PyTorch for this machine."""
    found = " ".join(part for part in (facts.system, facts.release, facts.machine) if part)
    release = tuple(int(part) for part in facts.release.split(".")[:2]) if facts.release else ()
    elsewhere = "or work in Google Colab or on another laptop"
    fix = note = ""
    if facts.system == "Darwin" and facts.machine == "x86_64" and facts.apple_silicon:
        fix = "this Python is made for Intel Macs: install the one for Apple silicon from python.org"
    elif facts.system == "Darwin" and facts.machine == "x86_64" and facts.python[:2] > (3, 12):
        fix = "the last PyTorch for Intel Macs needs Python 3.11 or 3.12: install Python 3.12, and create .venv with it"
    elif facts.system == "Darwin" and facts.machine == "x86_64":
        note = "Intel Macs get PyTorch 2.2.2, the last one made for them"
    elif facts.system == "Darwin" and release < (14,):
        fix = "PyTorch needs macOS 14 or newer: update macOS, " + elsewhere
    elif facts.system == "Windows" and facts.machine.upper() not in ("AMD64", "X86_64"):
        fix = "there is no PyTorch for Windows on ARM: install the x64 Python, which Windows 11 can run, " + elsewhere
    elif facts.system == "Linux" and facts.glibc < (2, 28):
        fix = "PyTorch needs glibc 2.28 or newer (Ubuntu 20.04, Debian 10): update Linux, " + elsewhere
    elif facts.system not in ("Darwin", "Windows", "Linux"):
        fix = "there is no PyTorch for this system: use Windows, macOS or Linux, " + elsewhere
    return Finding("Platform", "FIX" if fix else "note" if note else "ok", found, fix or note)


def check_disk(facts: Facts) -> Finding:
    """There is room for the packages."""
    fix = "" if facts.disk >= DISK else f"free some space: the packages and your runs need {DISK} GB"
    return Finding("Disk", "FIX" if fix else "ok", f"{facts.disk:.1f} GB free", fix)


def check_memory(facts: Facts) -> Finding:
    """There is enough memory for a browser and a training run."""
    if not facts.memory:
        return Finding("Memory", "note", "unknown", "4 GB are enough")
    note = "" if facts.memory >= MEMORY else "close other programs while you train"
    return Finding("Memory", "note" if note else "ok", f"{facts.memory:.1f} GB", note)


def check_cores(facts: Facts) -> Finding:
    """There are two cores, one for the browser."""
    note = "" if facts.cores >= 2 else "with one core, everything will be slow while a model trains"
    return Finding("Cores", "note" if note else "ok", str(facts.cores), note)


# The installation.


def check_environment(facts: Facts) -> Finding:
    """This Python is that of a virtual environment, so that nothing else on the machine is touched."""
    if facts.prefix != facts.base_prefix or os.path.isdir(os.path.join(facts.prefix, "conda-meta")):
        return Finding("Environment", "ok", facts.prefix, "")
    fix = f"in the babygpt folder, run: {VENV_PYTHON} -m babygpt.doctor"
    if not os.path.exists(os.path.join(facts.folder, VENV_PYTHON)):
        fix = f'in the babygpt folder, run "{sys.executable}" -m venv .venv, then {VENV_PYTHON} -m pip install '
        fix += "-r requirements.txt -c constraints.txt"
    return Finding("Environment", "FIX", f"{facts.prefix} is not a virtual environment", fix)


def installed() -> dict:
    """{package: version} of everything that is installed for this Python."""
    from importlib import metadata  # Python 3.8; older ones have been refused by now

    return {plain(dist.metadata["Name"] or ""): dist.version for dist in metadata.distributions()}


def plain(name: str) -> str:
    """The name of a package as the index compares it: jupyter_core and Jupyter-Core are the same."""
    return name.lower().replace("_", "-")


def check_packages(facts: Facts) -> Finding:
    """All packages that a learner needs are installed."""
    missing = [name for name in PACKAGES if name not in installed()]
    fix = "in the babygpt folder, run: " + INSTALL if missing else ""
    return Finding("Packages", "FIX" if fix else "ok", ", ".join(missing) + " missing" if missing else "all there", fix)


def check_versions(facts: Facts) -> Finding:
    """The packages have the versions that babygpt is tested with."""
    from packaging.requirements import Requirement  # matplotlib needs it, so it is there

    with open(os.path.join(facts.folder, "constraints.txt"), encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    have = installed()
    other = [
        f"{pin.name} {have[plain(pin.name)]}, not {str(pin.specifier)[2:]}"
        for pin in pins
        if (pin.marker is None or pin.marker.evaluate())
        and plain(pin.name) in have
        and not pin.specifier.contains(have[plain(pin.name)], prereleases=True)
    ]
    note = "it may work; if it doesn't, run: " + INSTALL if other else ""
    found = "; ".join(other[:3]) + (f" and {len(other) - 3} more" if len(other) > 3 else "")
    return Finding("Versions", "note" if other else "ok", found or "as tested", note)


def check_torch(facts: Facts) -> Finding:
    """PyTorch can be loaded. A child process tries, so that a crash there is no crash here."""
    code = "import torch; print(torch.__version__, torch.version.cuda, torch.cuda.is_available())"
    status, out, errors = run([sys.executable, "-c", code], facts.folder, 120)
    if status == 0:
        version, cuda, gpu = out.split()[-3:]
        build = f"for CUDA {cuda}, GPU {'found' if gpu == 'True' else 'not found'}" if cuda != "None" else "for CPU"
        return Finding("PyTorch", "ok", f"{version} {build}", "")
    reason = errors.strip().splitlines()[-1][:150] if errors.strip() else f"it crashed (status {status})"
    fix = f'install it again: "{sys.executable}" -m pip install --force-reinstall -c constraints.txt torch'
    if facts.system == "Windows" and ("DLL" in errors or "WinError" in errors):
        fix = "install Microsoft's Visual C++ Redistributable (x64) and restart; if that doesn't help, " + fix
    return Finding("PyTorch", "FIX", "does not load: " + reason, fix)


def check_text(facts: Facts) -> Finding:
    """input.txt has the right bytes."""
    fix = "restore it: git checkout -- input.txt, or copy it from another laptop"
    try:
        with open(os.path.join(facts.folder, "input.txt"), "rb") as file:
            content = file.read()
    except OSError as error:
        return Finding("input.txt", "FIX", f"cannot be read ({error.strerror})", fix)
    if hashlib.sha256(content).hexdigest() == TEXT_HASH:
        return Finding("input.txt", "ok", "unchanged", "")
    if hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest() == TEXT_HASH:
        return Finding("input.txt", "ok", "unchanged, with the line ends of Windows", "")
    return Finding("input.txt", "FIX", "has been changed", fix)


def check_folder(facts: Facts) -> Finding:
    """Runs can be saved in the babygpt folder."""
    try:
        with tempfile.TemporaryDirectory(dir=facts.folder):
            return Finding("Folder", "ok", facts.folder, "")
    except OSError as error:
        fix = "move the babygpt folder to where you may write, for example your home folder, and install it there"
        return Finding("Folder", "FIX", f"cannot write in {facts.folder} ({error.strerror})", fix)


def check_kernel(facts: Facts) -> Finding:
    """Jupyter's Python kernel is this Python."""
    listed = output_of([sys.executable, "-m", "jupyter", "kernelspec", "list", "--json"], facts.folder)
    fix = f'run: "{sys.executable}" -m ipykernel install --sys-prefix'
    try:
        started = json.loads(listed)["kernelspecs"]["python3"]["spec"]["argv"][0]
    except (ValueError, KeyError, IndexError):
        return Finding("Kernel", "FIX", "Jupyter has no Python kernel", fix)
    here = os.path.dirname(os.path.abspath(sys.executable))
    if os.path.basename(started) == started or os.path.dirname(os.path.abspath(started)) == here:
        return Finding("Kernel", "ok", "this Python", "")
    return Finding("Kernel", "FIX", "notebooks run in another Python, " + started, fix)


def check_training(facts: Facts) -> "list[Finding]":
    """Ten training steps give the recorded loss; and how long a run will take."""
    status, out, errors = run([sys.executable, "-m", "babygpt.workshop.probe"], facts.folder, TRAINING_TIMEOUT)
    if status != 0:
        reason = errors.strip().splitlines()[-1][:200] if errors.strip() else f"status {status}"
        fix = "restore babygpt's files from the repository, or show this line to the instructor"
        return [Finding("Training", "FIX", "stopped: " + reason, fix)]
    return judge_training(**json.loads(out.splitlines()[-1]))


def judge_training(loss: float, seconds: float) -> "list[Finding]":
    """What the loss after ten steps says, and the seconds that a whole run will take."""
    found = f"loss {loss:.4f} after ten steps, recorded {LOSS:.4f}"
    fix = (
        ""
        if abs(loss - LOSS) <= TOLERANCE
        else "restore babygpt's files from the repository (git status lists changes)"
    )
    slow = "set BABYGPT_RECORDED=1 before you start Jupyter: recorded weights replace the long runs"
    note = slow if seconds > SLOW else ""
    return [
        Finding("Training", "FIX" if fix else "ok", found, fix),
        Finding("Speed", "note" if note else "ok", f"{seconds:.0f} s for version 6", note),
    ]


MACHINE = (check_python, check_bits, check_platform, check_disk, check_memory, check_cores)
INSTALLATION = (check_environment, check_packages, check_versions, check_torch, check_text, check_folder, check_kernel)
NEED_PACKAGES = (check_packages, check_versions, check_torch, check_kernel)  # and an environment to have them in


def examine(facts: Facts) -> "list[Finding]":
    """All checks that make sense: without packages there is no training, and without babygpt no installation."""
    findings = [check(facts) for check in MACHINE]
    if facts.folder is None or broken(findings, "Python", "64 bits"):
        return findings
    for check in INSTALLATION:
        if check not in NEED_PACKAGES or not broken(findings, "Environment", "Packages"):
            findings.append(check(facts))
    if not broken(findings, "Environment", "Packages", "PyTorch", "input.txt"):
        findings.extend(check_training(facts))
    return findings


def broken(findings: "list[Finding]", *names: str) -> "list[str]":
    """The names of the checks that found something to fix, among `names` or among all."""
    return [
        finding.name for finding in findings if finding.status == "FIX" and finding.name in (names or [finding.name])
    ]


def code(facts: Facts, findings: "list[Finding]") -> str:
    """What to mail to the instructor: Python, system, and what is to be fixed."""
    to_fix = [name.replace(" ", "-") for name in broken(findings)]
    stage = "ready" if any(finding.name == "Speed" for finding in findings) else "machine-fits"
    version = ".".join(str(part) for part in facts.python[:2])
    return "/".join([version, facts.system, facts.machine, "+".join(to_fix) or stage])


def main(argv: "list | None" = None) -> int:
    """Print what was found; return the exit status, 1 if something must be fixed."""
    parser = argparse.ArgumentParser(prog="python -m babygpt.doctor", description="Is this laptop ready for babygpt?")
    parser.add_argument("--json", action="store_true", help="print one line of JSON, for the list of a room")
    as_json = parser.parse_args(argv).json
    facts = look()
    findings = examine(facts)
    to_fix = broken(findings)
    if as_json:
        checks = [dict(finding._asdict()) for finding in findings]
        print(json.dumps({"code": code(facts, findings), "ready": not to_fix, "checks": checks}))
        return 1 if to_fix else 0
    for finding in findings:
        print(f"{finding.status:<5}{finding.name:<12} {finding.found}")
        if finding.fix:
            print(" " * 18 + finding.fix)
    print()
    if to_fix:
        print("Not ready. Fix the first line marked FIX, then run this again.")
    elif facts.folder is None:
        print("This machine can run babygpt. Install it, and run this again in its folder: python -m babygpt.doctor")
    else:
        print("Ready.")
    print("Code for the instructor: " + code(facts, findings))
    return 1 if to_fix else 0


if __name__ == "__main__":
    sys.exit(main())
