"""The plan of the package: who may import whom."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import babygpt

PACKAGE = Path(babygpt.__file__).parent

# From the ground up. A module may import its own floor and the ones below it.
FLOORS = [
    {"errors"},
    {"tokenizer", "data", "model", "device", "fused", "byte_dropout", "muon", "train_config"},
    {"kv_cache", "versions", "training"},
    {f"v{n}" for n in range(1, 11)},
    {"harness"},
    {"shapes", "sample", "checkpoint", "parallel", "cli"},
    {"beyond"},
    {"compare", "expect", "__main__"},
    {"course"},
    {"playground"},
    {"workshop", "doctor", "clinic", "catchup", "board", "bundle"},
]


def imports(path):
    """The modules of babygpt that a file imports, anywhere but below `if __name__ == "__main__"`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "__name__" in ast.unparse(node.test))]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "babygpt":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if is_module(name) else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "babygpt")


def is_module(name):
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


@cache
def graph():
    """Each module of the package with the modules that it imports."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = set(imports(path)) - {name, "babygpt"}
    return found


def floor(name):
    """The number of the floor that a module is on."""
    part = name.split(".")[1]
    return next(number for number, modules in enumerate(FLOORS) if part in modules)


def test_every_module_has_its_floor():
    assert all(isinstance(floor(name), int) for name in graph() if name != "babygpt")


def test_imports_point_down_only():
    arrows = [(name, other) for name, others in graph().items() if name != "babygpt" for other in others]
    assert len(arrows) > 80
    assert [f"{name} imports {other}" for name, other in arrows if floor(other) > floor(name)] == []


def test_the_core_never_imports_part_two():
    core = [name for name in graph() if name != "babygpt" and floor(name) < floor("babygpt.beyond")]
    assert {f"babygpt.v{n}" for n in range(1, 11)} < set(core) and "babygpt.cli" in core
    assert [name for name in core if any(other.startswith("babygpt.beyond") for other in graph()[name])] == []


def test_no_module_imports_itself_by_way_of_others():
    list(TopologicalSorter(graph()).static_order())  # raises CycleError


def test_a_version_imports_versions_before_it_only():
    for name, others in graph().items():
        number = name.removeprefix("babygpt.v")
        if number.isdigit():
            before = {f"babygpt.v{n}" for n in range(1, int(number))}
            assert {other for other in others if other.startswith("babygpt.v") and other[9:].isdigit()} <= before


def test_modules_are_short_enough_to_read_in_one_sitting():
    long = {path.name: n for path in PACKAGE.rglob("*.py") if (n := len(path.read_text("utf-8").splitlines())) > 300}
    assert set(long) == {"doctor.py"}, "the doctor is mailed alone, so it has to be one file"
