"""Which folder may import which, and what may not be imported at all where quickness counts."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dovetail

SOURCE = Path(dovetail.__file__).parent

# folder -> the folders of Dovetail that nothing in it may import. Imports run one way:
# definition, layers, nets, tasks -> program -> run -> hooks, pipelines, export, serve, cluster
# -> cli.
_ABOVE_RUN = ("hooks", "pipelines", "export", "serve", "cluster", "cli")
_ABOVE_PROGRAM = ("run", *_ABOVE_RUN)
_ABOVE_DEFINITION = ("program", *_ABOVE_PROGRAM)
FORBIDDEN = {
    "definition": _ABOVE_DEFINITION,
    "layers": _ABOVE_DEFINITION,
    "nets": _ABOVE_DEFINITION,
    "tasks": _ABOVE_DEFINITION,
    "data": ("definition", "layers", "nets", "tasks", *_ABOVE_DEFINITION),
    "program": _ABOVE_PROGRAM,
    "run": _ABOVE_RUN,
    "hooks": ("pipelines", "export", "serve", "cluster", "cli"),
    "pipelines": ("cli",),
    "export": ("cli",),
    "serve": ("cli",),
    "cluster": ("cli",),
}

# The lazy names at the top (`dovetail.Estimator`) come from any folder, so inside the package they
# would lead around the order: what is there must be imported from where it lives.
TOP = "dovetail"


def _imported(file: Path, package: str) -> Iterator[tuple[int, str]]:
    """The line and full name of each module or name that `file` imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            home = importlib.util.resolve_name(module, package) if node.level else module
            for alias in node.names:
                yield node.lineno, f"{home}.{alias.name}"


def _breaches(folder: Path, forbidden: tuple[str, ...]) -> list[str]:
    found = []
    for file in sorted(folder.rglob("*.py")):
        parents = file.relative_to(SOURCE).parent.parts
        for line, name in _imported(file, ".".join([TOP, *parents])):
            parts = name.split(".")
            if parts[0] == TOP and len(parts) > 1 and parts[1] in forbidden:
                found.append(f"{file.relative_to(SOURCE)}:{line} imports {name}")
    return found


def _through_the_top(folder: Path) -> list[str]:
    found = []
    for file in sorted(folder.rglob("*.py")):
        parents = file.relative_to(SOURCE).parent.parts
        for line, name in _imported(file, ".".join([TOP, *parents])):
            top, _, rest = name.partition(".")
            first = rest.split(".")[0]
            is_module = (SOURCE / first).is_dir() or (SOURCE / f"{first}.py").is_file()
            if top == TOP and not (first and is_module):
                found.append(f"{file.relative_to(SOURCE)}:{line} imports {name}")
    return found


@pytest.mark.parametrize("folder", [f for f in FORBIDDEN if (SOURCE / f).is_dir()])
def test_imports_run_one_way(folder: str) -> None:
    assert _breaches(SOURCE / folder, FORBIDDEN[folder]) == []


@pytest.mark.parametrize("folder", [f for f in FORBIDDEN if (SOURCE / f).is_dir()])
def test_no_file_of_the_package_uses_its_lazy_names(folder: str) -> None:
    assert _through_the_top(SOURCE / folder) == []


def test_every_folder_has_its_place_in_the_order() -> None:
    folders = {p.name for p in SOURCE.iterdir() if (p / "__init__.py").exists()}
    assert folders <= {*FORBIDDEN, "cli"}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("import dovetail.run.config", "dovetail.run.config"),
        ("from dovetail.run import config", "dovetail.run.config"),
        ("from dovetail import run", "dovetail.run"),
        ("from ..run import config", "dovetail.run.config"),
        ("def late():\n    from ..run.config import RunConfig", "dovetail.run.config.RunConfig"),
    ],
)
def test_every_form_of_import_is_seen(tmp_path: Path, line: str, name: str) -> None:
    file = tmp_path / "module.py"
    file.write_text(line)
    assert [found for _, found in _imported(file, "dovetail.data")] == [name]


@pytest.mark.parametrize("module", ["dovetail", "dovetail.errors", "dovetail.cli.main"])
def test_importing_the_module_imports_no_torch(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.fail(f"{module} is gone: name what took its place here")
    code = f"import sys, {module}; print([m for m in ('torch', 'pyarrow') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_showing_the_help_imports_no_torch() -> None:
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('torch' in sys.modules))\n"
        "sys.argv = ['dovetail', '--help']\n"
        "from dovetail.cli.main import main\n"
        "sys.exit(main())\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "train" in run.stdout
    assert run.stdout.splitlines()[-1] == "False"


def test_importing_dovetail_changes_nothing() -> None:
    code = (
        "import logging, os, signal, sys, threading\n"
        "def state():\n"
        "    handlers = list(logging.getLogger().handlers)\n"
        "    return dict(os.environ), handlers, signal.getsignal(signal.SIGINT),"
        " threading.active_count(), list(sys.path)\n"
        "before = state()\n"
        "import dovetail\n"
        "print(state() == before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True"


def test_every_public_name_is_there() -> None:
    missing = [name for name in dovetail.__all__ if not hasattr(dovetail, name)]
    assert missing == []


def test_every_public_name_is_spelled_out_for_type_checkers() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    spelled = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname is not None
    }
    assert spelled == set(dovetail.__all__)


@pytest.mark.parametrize("name", ["metrics", "optimizers"])
def test_what_is_a_module_at_the_top_can_be_imported_from(name: str) -> None:
    module = importlib.import_module(f"dovetail.{name}")
    assert getattr(dovetail, name) is module
    home = importlib.import_module(f"dovetail.definition.{name}")
    assert all(getattr(module, one) is getattr(home, one) for one in home.__all__)
