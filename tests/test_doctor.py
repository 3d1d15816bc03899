"""`python -m babygpt.doctor`: each fault of a laptop gets its sentence, and a good laptop gets none."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from babygpt.workshop import doctor
from babygpt.workshop.probe import probe

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path(doctor.__file__).read_text(encoding="utf-8")
GOOD = doctor.Facts(
    python=(3, 12, 10),
    bits=64,
    system="Linux",
    machine="x86_64",
    release="",
    apple_silicon=False,
    glibc=(2, 35),
    cores=2,
    memory=8.0,
    disk=20.0,
    prefix="/home/ada/babygpt/.venv",
    base_prefix="/usr",
    folder=str(ROOT),
)
MAC = GOOD._replace(system="Darwin", machine="arm64", release="15.1", apple_silicon=True, glibc=())
INTEL_MAC = MAC._replace(machine="x86_64", apple_silicon=False)
WINDOWS = GOOD._replace(system="Windows", machine="AMD64", glibc=())


@pytest.mark.parametrize("facts", [GOOD, MAC, WINDOWS, GOOD._replace(machine="aarch64")])
def test_a_good_machine_gets_no_advice(facts):
    assert [finding for finding in doctor.examine(facts._replace(folder=None)) if finding.status != "ok"] == []


FAULTS = {
    "Python is too old": (GOOD._replace(python=(3, 10, 13)), "Python", "install Python 3.12"),
    "Python is too new": (GOOD._replace(python=(3, 15, 0)), "Python", "install Python 3.12"),
    "32 bits": (WINDOWS._replace(bits=32), "64 bits", "install the 64-bit Python"),
    "Intel Mac, Python 3.13": (INTEL_MAC._replace(python=(3, 13, 0)), "Platform", "install Python 3.12"),
    "Python for Intel on Apple silicon": (MAC._replace(machine="x86_64"), "Platform", "the one for Apple silicon"),
    "macOS 13": (MAC._replace(release="13.6.1"), "Platform", "macOS 14 or newer"),
    "Windows on ARM": (WINDOWS._replace(machine="ARM64"), "Platform", "install the x64 Python"),
    "an old Linux": (GOOD._replace(glibc=(2, 17)), "Platform", "glibc 2.28"),
    "a Linux without glibc": (GOOD._replace(glibc=()), "Platform", "glibc 2.28"),
    "a system without PyTorch": (GOOD._replace(system="FreeBSD"), "Platform", "use Windows, macOS or Linux"),
    "no disk space": (GOOD._replace(disk=1.2), "Disk", "free some space"),
}


@pytest.mark.parametrize("facts, name, advice", FAULTS.values(), ids=FAULTS)
def test_a_machine_that_cannot_run_babygpt_is_told_what_to_do(facts, name, advice):
    broken = [finding for finding in doctor.examine(facts._replace(folder=None)) if finding.status == "FIX"]
    assert [finding.name for finding in broken] == [name]
    assert advice in broken[0].fix


NOTES = {
    "an Intel Mac": (INTEL_MAC, "Platform", "PyTorch 2.2.2"),
    "little memory": (GOOD._replace(memory=2.0), "Memory", "close other programs"),
    "unknown memory": (GOOD._replace(memory=0), "Memory", "4 GB"),
    "one core": (GOOD._replace(cores=1), "Cores", "slow"),
}


@pytest.mark.parametrize("facts, name, advice", NOTES.values(), ids=NOTES)
def test_a_weak_machine_is_told_so_and_may_take_part(facts, name, advice):
    others = [finding for finding in doctor.examine(facts._replace(folder=None)) if finding.status != "ok"]
    assert [(finding.name, finding.status) for finding in others] == [(name, "note")]
    assert advice in others[0].fix


def test_outside_a_virtual_environment_the_way_in_is_named(tmp_path):
    outside = GOOD._replace(prefix="/usr", folder=str(tmp_path))
    assert "-m venv .venv" in doctor.check_environment(outside).fix
    python = tmp_path / doctor.VENV_PYTHON
    python.parent.mkdir(parents=True)
    python.touch()
    assert (
        doctor.check_environment(outside).fix == f"in the babygpt folder, run: {doctor.VENV_PYTHON} -m babygpt.doctor"
    )
    assert doctor.check_environment(GOOD).status == "ok"


def test_without_a_virtual_environment_nothing_is_installed_into_the_system():
    names = [finding.name for finding in doctor.examine(GOOD._replace(prefix="/usr"))]
    assert "Environment" in names and "Packages" not in names


def test_a_missing_package_is_named_and_the_install_command_is_for_this_python(monkeypatch):
    have = {name: "1.0" for name in doctor.PACKAGES if name != "jupyterlab"}
    monkeypatch.setattr(doctor, "installed", lambda: have)
    finding = doctor.check_packages(GOOD)
    assert finding.status == "FIX" and finding.found == "jupyterlab missing" and sys.executable in finding.fix
    names = [finding.name for finding in doctor.examine(GOOD)]
    assert not {"PyTorch", "Kernel", "Training"} & set(names), "these can't be checked without packages"


def test_a_package_of_another_version_is_named(tmp_path, monkeypatch):
    text = (
        '# comment\nnumpy==2.0.0\nfoo_bar==1.0; sys_platform != "beos"\nabsent==3\nother==1; sys_platform == "beos"\n'
    )
    (tmp_path / "constraints.txt").write_text(text)
    monkeypatch.setattr(doctor, "installed", lambda: {"numpy": "1.26.4", "foo-bar": "1.0", "other": "2"})
    finding = doctor.check_versions(GOOD._replace(folder=str(tmp_path)))
    assert (finding.status, finding.found) == ("note", "numpy 1.26.4, not 2.0.0")


def fake_torch(tmp_path, monkeypatch, source):
    """Put a package named torch, with this source, in front of the real one."""
    (tmp_path / "torch.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return GOOD._replace(folder=str(tmp_path))


def test_a_torch_that_misses_a_dll_is_told_about_the_redistributable_on_windows(tmp_path, monkeypatch):
    facts = fake_torch(tmp_path, monkeypatch, "raise OSError('[WinError 126] Error loading \"c10.dll\"')")
    on_windows, elsewhere = doctor.check_torch(facts._replace(system="Windows")), doctor.check_torch(facts)
    assert "c10.dll" in on_windows.found and "Visual C++ Redistributable" in on_windows.fix
    assert elsewhere.status == "FIX" and elsewhere.fix.startswith("install it again")


def test_a_torch_that_crashes_does_not_take_the_doctor_along(tmp_path, monkeypatch):
    finding = doctor.check_torch(fake_torch(tmp_path, monkeypatch, "import os; os._exit(3)"))
    assert finding.status == "FIX" and "it crashed (status 3)" in finding.found


def test_a_changed_text_is_found_and_windows_line_ends_are_not_a_fault(tmp_path):
    facts = GOOD._replace(folder=str(tmp_path))
    assert "cannot be read" in doctor.check_text(facts).found
    good = (ROOT / "input.txt").read_bytes()
    for content, status in (
        (good, "ok"),
        (good.replace(b"\n", b"\r\n"), "ok"),
        (good.replace(b"First", b"Worst", 1), "FIX"),
        (good[:-1], "FIX"),
    ):
        (tmp_path / "input.txt").write_bytes(content)
        assert doctor.check_text(facts).status == status


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    finding = doctor.check_folder(GOOD._replace(folder=str(tmp_path / "absent")))
    assert finding.status == "FIX" and "move the babygpt folder" in finding.fix
    assert doctor.check_folder(GOOD._replace(folder=str(tmp_path))).status == "ok"
    assert list(tmp_path.iterdir()) == [], "the check leaves something behind"


@pytest.mark.parametrize(
    "listed, status",
    [
        ("", "FIX"),
        ('{"kernelspecs": {}}', "FIX"),
        ('{"kernelspecs": {"python3": {"spec": {"argv": ["/opt/other/bin/python", "-m"]}}}}', "FIX"),
        ('{"kernelspecs": {"python3": {"spec": {"argv": ["python", "-m"]}}}}', "ok"),
        (json.dumps({"kernelspecs": {"python3": {"spec": {"argv": [sys.executable, "-m"]}}}}), "ok"),
    ],
)
def test_notebooks_must_run_in_this_python(monkeypatch, listed, status):
    monkeypatch.setattr(doctor, "output_of", lambda *_: listed)
    finding = doctor.check_kernel(GOOD)
    assert finding.status == status and ("ipykernel install --sys-prefix" in finding.fix) == (status == "FIX")


def test_a_wrong_loss_and_a_slow_machine_are_told_apart():
    right, wrong, slow = (doctor.judge_training(*pair) for pair in ((4.0985, 20.0), (4.2, 20.0), (4.0985, 400.0)))
    assert [finding.status for finding in right] == ["ok", "ok"]
    assert [finding.status for finding in wrong] == ["FIX", "ok"]
    assert [finding.status for finding in slow] == ["ok", "note"]
    assert "BABYGPT_RECORDED=1" in slow[1].fix


def test_a_broken_babygpt_is_reported_with_its_last_line(tmp_path):
    shutil.copytree(ROOT / "babygpt", tmp_path / "babygpt", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "input.txt", tmp_path)
    (tmp_path / "babygpt" / "v6.py").write_text("def forward(self:\n")
    (finding,) = doctor.check_training(GOOD._replace(folder=str(tmp_path)))
    assert finding.status == "FIX" and "SyntaxError" in finding.found


def test_the_recorded_loss_is_that_of_ten_steps():
    assert abs(probe()["loss"] - doctor.LOSS) < doctor.TOLERANCE / 2


def test_the_doctor_knows_the_text_and_the_packages():
    assert hashlib.sha256((ROOT / "input.txt").read_bytes()).hexdigest() == doctor.TEXT_HASH
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["notebooks"]
    assert set(doctor.PACKAGES) == {Requirement(line).name for line in lines}
    assert project["requires-python"] == ">=" + ".".join(str(part) for part in doctor.OLDEST)


def test_python_3_6_can_read_it_and_it_starts_with_the_standard_library_alone():
    for path in (doctor.__file__, ROOT / "babygpt" / "doctor.py", ROOT / "babygpt" / "__init__.py"):
        ast.parse(Path(path).read_text(encoding="utf-8"), feature_version=(3, 6))
    top = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top for alias in node.names if isinstance(node, ast.Import)}
    names |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names)


def test_mailed_alone_it_checks_the_machine_and_says_what_comes_next(tmp_path):
    shutil.copy(doctor.__file__, tmp_path / "doctor.py")
    done = subprocess.run(
        [sys.executable, "-I", "doctor.py"], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0 and "This machine can run babygpt. Install it" in done.stdout
    assert done.stdout.rstrip().endswith("machine-fits") and "input.txt" not in done.stdout


def test_a_ready_laptop_gets_status_0_and_a_code_to_mail_back():
    done = subprocess.run(
        [sys.executable, "-m", "babygpt.doctor", "--json"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    report = json.loads(done.stdout)
    assert [check["name"] for check in report["checks"] if check["status"] == "FIX"] == []
    assert done.returncode == 0 and report["ready"] and report["code"].endswith("/ready")
    assert {"Training", "Speed", "Kernel"} <= {check["name"] for check in report["checks"]}


def test_the_code_names_what_is_broken():
    findings = doctor.examine(GOOD._replace(folder=None, bits=32, disk=0.5))
    assert doctor.code(GOOD, findings) == "3.12/Linux/x86_64/64-bits+Disk"
