"""The bundle for a memory stick says what it will be, and its installer refuses what cannot work."""

import ast
import platform
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from babygpt.errors import UserError
from babygpt.workshop.bundle import commands
from babygpt.workshop.bundle.commands import SYSTEMS, BundleConfig, Wheel, bundle, tags, write_checksums

INSTALL = Path(commands.__file__).with_name("install.py")
HERE = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}[platform.system()]
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def resolved(monkeypatch):
    """Two systems, with two packages each; one is the same file."""
    wheels = {
        system: [
            Wheel("torch", "2.13.0", f"https://x/torch-2.13.0-cp312-cp312-{system}.whl", ""),
            Wheel("tqdm", "4.70.1", "https://x/tqdm-4.70.1-py3-none-any.whl#sha256=0", ""),
        ]
        for system in SYSTEMS
    }
    monkeypatch.setattr(commands, "resolve", lambda system, python: wheels[system])
    monkeypatch.setattr(commands, "size_of", lambda wheel: 200_000_000 if wheel.name == "torch" else None)


@pytest.fixture
def stick(tmp_path):
    """A stick that the installer accepts until it copies."""
    folder = tmp_path / "stick"
    (folder / "babygpt").mkdir(parents=True)
    (folder / "wheels").mkdir()
    (folder / "babygpt" / "README.md").write_text("hello")
    (folder / "targets.txt").write_text(f"{HERE} {PYTHON}\n")
    shutil.copy(INSTALL, folder)
    write_checksums(folder)
    return folder


def install(stick, *arguments):
    command = [sys.executable, str(stick / "install.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_it_says_how_large_it_will_be_before_it_downloads(resolved, tmp_path, capsys):
    bundle(BundleConfig(("windows", "macos"), ("3.12",), tmp_path / "out", dry_run=True))
    said = capsys.readouterr().out
    assert "3 files, 0.40 GB, without 1 whose size is unknown" in said
    assert "torch is torch-2.13.0-cp312-cp312-macos.whl" in said and "tqdm-4.70.1-py3-none-any.whl" in said
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_too_small_is_named_before_anything_is_downloaded(resolved, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 0, 100_000_000))
    monkeypatch.setattr(commands, "download", None)
    with pytest.raises(UserError, match="0.1 GB left, and the bundle needs 0.5"):
        bundle(BundleConfig(("windows", "macos"), out=tmp_path / "out"))


def test_the_bundle_holds_the_repository_the_installer_and_checksums(resolved, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "download", lambda wheels, system, python, folder: folder.mkdir(exist_ok=True))
    monkeypatch.setattr(commands, "copy_built", lambda target: None)
    out = tmp_path / "out"
    bundle(BundleConfig(("linux",), ("3.12",), out))
    assert (out / "targets.txt").read_text() == "linux 3.12\n"
    assert (out / "install.py").read_bytes() == INSTALL.read_bytes()
    assert (out / "babygpt" / "babygpt" / "v6.py").exists() and (out / "babygpt" / "input.txt").exists()
    assert not (out / "babygpt" / ".venv").exists() and not (out / "babygpt" / ".git").exists()
    listed = {line.split("  ", 1)[1] for line in (out / "SHA256SUMS").read_text().splitlines()}
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert listed == files - {"SHA256SUMS"}


def test_a_folder_that_is_not_empty_and_a_python_without_packages_are_refused(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        bundle(BundleConfig(out=tmp_path))
    with pytest.raises(UserError, match="3.11 to 3.13, not 3.14"):
        bundle(BundleConfig(pythons=("3.14",), out=tmp_path / "new"))


def test_what_pip_cannot_find_is_said_in_one_sentence(tmp_path):
    nothing = ["--no-index", "--no-deps", *tags("windows", "3.12"), "no-such-package-of-babygpt"]
    with pytest.raises(UserError, match="pip: ERROR: No matching distribution"):
        commands.look_up(nothing, tmp_path / "report.json")


def test_a_damaged_download_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "a.whl").write_bytes(b"not what it should be")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: namedtuple("done", "returncode stderr")(0, ""))
    with pytest.raises(UserError, match="a.whl is damaged"):
        commands.download([Wheel("a", "1", "https://x/a.whl", "0" * 64)], "linux", "3.12", tmp_path)


def test_the_packages_for_linux_are_those_without_cuda_where_they_can_be_had(monkeypatch):
    asked = []
    monkeypatch.setattr(commands, "lock", lambda system, python, target, *extra: asked.append(extra) or True)
    monkeypatch.setattr(commands, "look_up", lambda what, report: what)
    for system in SYSTEMS:
        commands.resolve(system, "3.12")
    assert asked == [(), (), ("--torch-backend=cpu",)]


def test_the_installer_stops_before_copying_if_a_file_differs_from_what_was_written(stick, tmp_path):
    (stick / "babygpt" / "README.md").write_text("hallo")
    status, said = install(stick, tmp_path / "target")
    assert status == 1 and "the stick is damaged" in said and not (tmp_path / "target").exists()


def test_the_installer_names_what_the_stick_has_packages_for(stick, tmp_path):
    (stick / "targets.txt").write_text("windows 3.9\nmacos 3.9\n")
    status, said = install(stick, tmp_path / "target")
    assert status == 1 and "It has them for: windows 3.9, macos 3.9" in said and not (tmp_path / "target").exists()


def test_the_installer_never_writes_into_a_folder_that_is_there(stick, tmp_path):
    (tmp_path / "target").mkdir()
    status, said = install(stick, tmp_path / "target")
    assert status == 1 and "is there already" in said and not any((tmp_path / "target").iterdir())


def test_the_installer_can_be_read_by_an_old_python_which_says_that_it_is_too_old(stick, tmp_path):
    source = INSTALL.read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    (stick / "install.py").write_text(source.replace("sys.version_info[:2] <= (3, 13)", "(3, 10) <= (3, 13)"))
    status, said = install(stick, tmp_path / "target")
    assert status == 1 and "install Python 3.12 first" in said
