"""Which room may import which: the sources are checked against these rules."""

from __future__ import annotations

import ast
import graphlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY = {  # For each room, what it may import of ours beside itself.
    "recipes": (),
    "edge": (),
    "infra": ("recipes", "edge.inference"),
    "fleet": ("infra", "recipes", "edge.inference"),
    "greenhouse": ("infra", "fleet", "recipes", "edge"),
    "__main__": ("infra",),
}
ROOMS = (*MAY, "tests")
MOST_MODULES, MOST_LINES = 15, 450
MOST_IN_INFRA = 9


def modules() -> dict[str, Path]:
    """Our modules by name, without tests."""
    found = {"__main__": ROOT / "__main__.py"}
    for room in MAY.keys() - {"__main__"}:
        for path in (ROOT / room).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imported(module: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of ours that this module imports at import, without imports for types alone."""
    for node in _statements(ast.parse(path.read_text()).body):
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level < 2, f"{module}: a relative import goes no further than its folder"
            beside = module.rpartition(".")[0] if path.name != "__init__.py" else module
            source = f"{beside}.{node.module}" if node.level else str(node.module)
            names = [
                inner if (inner := f"{source}.{one.name}") in known else source
                for one in node.names
            ]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in ROOMS)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements that run at import, without the blocks for types."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from _statements(node.body)


def everywhere(path: Path) -> Iterator[str]:
    """Every import of ours, at any time."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        yield from (name for name in names if name.partition(".")[0] in ROOMS)


@pytest.mark.parametrize("room", MAY)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    for module, path in modules().items():
        if module.partition(".")[0] == room:
            for name in everywhere(path):
                allowed = (room, *MAY[room])
                assert any(name == one or name.startswith(f"{one}.") for one in allowed), (
                    f"{module} imports {name}: {room} may import {', '.join(allowed)}"
                )


@pytest.mark.parametrize("room", sorted(MAY.keys() - {"__main__"}))
def test_no_module_needs_itself_on_the_way(room: str) -> None:
    known = modules()
    needs = {
        module: set(imported(module, path, known)) - {module}
        for module, path in known.items()
        if module.partition(".")[0] == room
    }
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


FLOORS = (
    "account",
    "model",
    "provenance",
    "publish",
    "rollout",
    "teardown",
    "dynamic",  # Its providers call the functions of the rooms below.
    "resources",  # These register it.
    "preflight",
)


def test_the_rooms_of_infra_are_floors() -> None:
    """Reading is below publishing, publishing below the rollout, and so on. No import goes up."""

    def floor(module: str) -> int:
        room = module.split(".")[1]
        return FLOORS.index(room) if room in FLOORS else -1  # Settings and names are the ground.

    known = modules()
    for module, path in known.items():
        if module.startswith("infra."):
            for name in imported(module, path, known):
                if name.startswith("infra."):
                    assert floor(name) <= floor(module), f"{module} imports {name}"


def sources() -> list[Path]:
    """Everything in a programming language, without what tools have put there."""
    rooms = (ROOT / room for room in ROOMS if room != "__main__")
    found = [
        path for room in rooms for path in room.rglob("*") if path.suffix in (".py", ".c", ".h")
    ]
    return [*found, ROOT / "__main__.py"]


def test_a_folder_is_small_enough_to_be_seen_at_once() -> None:
    folders = Counter(path.parent for path in sources() if path.name != "__init__.py")
    for folder, modules_ in folders.items():
        most = MOST_IN_INFRA if folder.is_relative_to(ROOT / "infra") else MOST_MODULES
        assert modules_ <= most, f"{folder.relative_to(ROOT)} has {modules_} modules: make rooms"


def test_the_bill_of_materials_is_one_screen() -> None:
    assert (ROOT / "__main__.py").read_text().count("\n") < 45


def test_a_file_is_short_or_says_why_it_is_not() -> None:
    for path in sources():
        text = path.read_text()
        if text.count("\n") > MOST_LINES:
            reason = "The file is long because " in (ast.get_docstring(ast.parse(text)) or "")
            assert path.is_relative_to(ROOT / "tests"), f"{path} is too long"
            assert reason, f"{path} is long, and its docstring has no 'The file is long because …'"
