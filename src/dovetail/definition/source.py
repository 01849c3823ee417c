"""Executing a user's file, each time afresh, and knowing which files belong to it."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import itertools
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from dovetail.errors import DefinitionError

_counter = itertools.count(1)


@dataclass(frozen=True)
class Outline:
    """What a file's text says without running it.

    Attributes:
      lines: the line of each top-level name's last definition.
      doubled: names that are defined by more than one `def` or `class`, with their lines.
      imports: the names of the modules it imports, with the leading dots of relative ones.
    """

    lines: dict[str, int]
    doubled: dict[str, list[int]]
    imports: frozenset[str]


def outline(path: Path) -> Outline:
    """Parse a file.

    Raises:
      DefinitionError: there is no such file, it can't be read, or it does not parse.
    """
    tree = _parse(path)
    lines: dict[str, int] = {}
    defined: dict[str, list[int]] = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            lines[node.name] = node.lineno
            defined.setdefault(node.name, []).append(node.lineno)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    lines[target.id] = node.lineno
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                lines[(alias.asname or alias.name).split(".")[0]] = node.lineno
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = "." * node.level + (node.module or "")
            imports.add(home)
            dot = "" if home.endswith(".") else "."
            imports.update(f"{home}{dot}{alias.name}" for alias in node.names)
    doubled = {name: at for name, at in defined.items() if len(at) > 1}
    return Outline(lines, doubled, frozenset(imports))


def execute(path: Path) -> ModuleType:
    """Run a file as a module of its own and return it; modules beside it can be imported.

    Raises:
      DefinitionError: the file raises; the message names its line.
    """
    outline(path)  # a file that does not parse is refused as such
    if any(_imports_keras(file) for file in local_files(path)):
        _use_keras_on_torch(path)
    name = f"{path.stem.replace('.', '_')}__{next(_counter)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DefinitionError(f"{path} is not a Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    _forget_namesakes(Path(folder))
    sys.modules[name] = module  # dataclasses and torch.compile look their module up
    sys.path.insert(0, folder)
    try:
        with _fresh_keras():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, SystemExit):
            what = f"ended Python (sys.exit({error.code!r})); keep that under `if __name__ == ...`"
        elif isinstance(error, ModuleNotFoundError) and error.name == "keras":
            what = "needs Keras, which is not installed here: pip install 'dovetail[keras]'"
        elif isinstance(error, ModuleNotFoundError) and error.name == "tensorflow":
            what = (
                "needs TensorFlow, which is not installed here, and a model of which could not be "
                "trained. Write `import keras` for `tf.keras`, and torch for what else is of tf"
            )
        else:
            what = f"raised {type(error).__name__}: {error}"
            if "attempted relative import" in str(error):
                what += ". The file is no part of a package: write `import name`, without the dot"
        raise DefinitionError(f"{path}{_line_of(error, path)}: running the file {what}") from error
    finally:
        sys.path.remove(folder)
    return module


def local_files(path: Path) -> tuple[Path, ...]:
    """Return the file and the local modules it imports, directly or through one another."""
    path = path.resolve()
    found: dict[Path, None] = {}
    todo = [path]
    while todo:
        file = todo.pop()
        if file in found:
            continue
        found[file] = None
        try:
            imports = outline(file).imports
        except DefinitionError:
            continue  # a module that does not parse would have failed at its import
        for name in sorted(imports):
            todo.extend(c for c in _candidates(name, file, path.parent) if c.is_file())
    return tuple(found)


def _candidates(name: str, file: Path, root: Path) -> Iterator[Path]:
    """Yield the files that importing `name` in `file` may run, a package's own before its parts."""
    rest = name.lstrip(".")
    level = len(name) - len(rest)
    base = root
    if level:
        base = file.parents[min(level, len(file.parents)) - 1]
        yield base / "__init__.py"
    for part in rest.split(".") if rest else ():
        base = base / part
        yield base.with_name(f"{part}.py")
        yield base / "__init__.py"


def _parse(path: Path) -> ast.Module:
    if path.is_dir():
        raise DefinitionError(
            f"{path} is a folder; give the Python file in it that holds the model."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        there = f" {path.parent.resolve()} holds: {', '.join(near)}." if near else ""
        raise DefinitionError(f"There is no model file {path}.{there}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"The model file {path} can't be read: {error}") from error
    try:
        return ast.parse(text, filename=str(path))
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise DefinitionError(
            f"{path}:{error.lineno}: the file does not parse: {error.msg}"
            + (f": {line}" if line else "")
        ) from error
    except ValueError as error:  # a null byte
        raise DefinitionError(f"{path}: the file does not parse: {error}") from error


def _line_of(error: BaseException, path: Path) -> str:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == path.resolve()
    ]
    return f":{lines[-1]}" if lines else ""


def _forget_namesakes(folder: Path) -> None:
    """Forget modules that another definition's folder brought under a name used here too."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or "." in name or name == "__main__":
            continue
        here = folder / f"{name}.py"
        if here.is_file() and Path(file).name == here.name and Path(file).resolve() != here:
            del sys.modules[name]


def _fresh_keras() -> contextlib.AbstractContextManager[None]:
    if sys.modules.get("keras") is None:
        return contextlib.nullcontext()
    from dovetail.layers.keras.random import fresh_keras

    return fresh_keras()


def _imports_keras(path: Path) -> bool:
    try:
        return any(name.split(".")[0] == "keras" for name in outline(path).imports)
    except DefinitionError:
        return False  # a module that does not parse fails at its import


def _use_keras_on_torch(path: Path) -> None:
    keras = sys.modules.get("keras")
    if keras is None:
        os.environ["KERAS_BACKEND"] = "torch"
        return
    backend = keras.backend.backend()
    if backend != "torch":
        raise DefinitionError(
            f"{path} uses Keras, which is already imported here on its {backend} backend. Set "
            "KERAS_BACKEND=torch before Keras is imported, or import Dovetail's model first."
        )
