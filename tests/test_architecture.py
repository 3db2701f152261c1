"""The rooms and what they may import, the links between them, and what no file may do."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fqi
from fqi import iteration

PACKAGE = Path(fqi.__file__).parent
ROOMS = ("datasets", "cli", "reports")
# what each room may import of the other rooms; itself and the core always
ALLOWED = {"core": set(), "datasets": set(), "reports": set(), "cli": {"datasets", "reports"}}
HEAVY = ("torch", "sklearn", "scipy", "matplotlib", "h5py", "gymnasium", "minari", "numpy", "pandas", "jinja2")


def files_of(room):
    if room != "core":
        return sorted((PACKAGE / room).resolve().rglob("*.py"))
    return sorted(f for f in PACKAGE.rglob("*.py") if f.relative_to(PACKAGE).parts[0] not in ROOMS)


EVERY_FILE = [(room, file) for room in ALLOWED for file in files_of(room)]


@functools.cache
def nodes(file):
    """What is looked at in a file, wherever it stands: imports and calls."""
    whole = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return [node for node in whole if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)]


def imports(file):
    """(line, dotted name) of every import; `from a import b` counts as a and as a.b."""
    for node in nodes(file):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import hides which room it reaches"
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def test_every_room_was_found():
    assert {room for room, _ in EVERY_FILE} == set(ALLOWED)
    assert PACKAGE / "iteration.py" in files_of("core")
    assert len(EVERY_FILE) > 40


@pytest.mark.parametrize("room", ALLOWED)
def test_no_room_imports_in_a_wrong_direction(room):
    wrong = []
    for file in files_of(room):
        for line, name in imports(file):
            parts = name.split(".")
            reached = parts[1] if parts[0] == "fqi" and len(parts) > 1 and parts[1] in ROOMS else "core"
            if reached not in {"core", room} | ALLOWED[room]:
                wrong.append(f"{file}:{line} imports {name}")
    assert not wrong


def test_no_room_is_imported_by_its_bare_name():
    # In site-packages these would be other people's.
    bare = [
        f"{file}:{line} imports {name}"
        for _, file in EVERY_FILE
        for line, name in imports(file)
        if name.split(".")[0] in {*ROOMS, "tests"}
    ]
    assert not bare


@pytest.mark.skipif("FQI_WHEEL" in os.environ, reason="the wheel carries real folders")
@pytest.mark.parametrize("room", ROOMS)
def test_the_links_are_relative_and_point_to_the_rooms(room):
    link = PACKAGE / room
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{room}"
    assert (PACKAGE.parent / room / "__init__.py").is_file()


def test_nothing_that_is_loaded_can_execute():
    modules = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    bad = []
    for _, file in EVERY_FILE:
        bad += [f"{file}:{n} imports {name}" for n, name in imports(file) if name.split(".")[0] in modules]
        for node in nodes(file):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called in {"torch.load", "torch.save", "eval", "exec", "joblib.load", "pickle.load", "pickle.loads"}:
                bad.append(f"{file}:{node.lineno} calls {called}")
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                    bad.append(f"{file}:{node.lineno} allows pickles")
    assert not bad


def test_the_heart_fits_one_screen():
    tree = ast.parse(Path(iteration.__file__).read_text(encoding="utf-8"))
    heart = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "fitted_q_iteration")
    assert any(isinstance(node, ast.Yield) for node in ast.walk(heart))
    assert heart.end_lineno - heart.lineno + 1 < 60


def test_the_command_line_starts_light():
    # `fqi --help` must answer at once: nothing heavy may be imported before a command needs it.
    code = f"import sys, fqi.cli.main; print(sorted(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
