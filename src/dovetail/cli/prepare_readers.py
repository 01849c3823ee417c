"""Which reader and schema `dovetail prepare` uses: those named on the command line come first."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dovetail.errors import DefinitionError, ParamsError

if TYPE_CHECKING:
    from dovetail.data.records import Records
    from dovetail.data.schema import Schema
    from dovetail.definition.definition import Definition


def chosen(
    model: str | None,
    reader: str | None,
    options: Sequence[str],
    schema_file: str | None,
    classes_from: str | None,
    joins: str | None = None,
) -> tuple[Any, Schema | None]:
    """Return the reader and the schema to give `prepare`; without a schema the reader has one.

    Args:
      model: a model file, if there is one.
      reader: the name of a reader, if one is named.
      options: its options, each as "name=value".
      schema_file: a file with a schema, which comes before the model's.
      classes_from: records whose classes number those of the files.
      joins: records that the files' rows are to join. Where no schema is named theirs is taken,
        and their classes where none are.

    Raises:
      DovetailError: these do not go together, or one of them is wrong.
    """
    definition = None
    if model is not None:
        from dovetail.definition.definition import load  # it brings torch

        definition = load(model)
    schema = None if definition is None else definition.schema
    if schema_file is not None:
        schema = read_schema(Path(schema_file))
    if reader is not None:
        from dovetail.data.readers.by_name import by_name, takes_classes

        given = dict(_option(text) for text in options)
        if classes_from is not None:
            given.setdefault("classes", _classes(classes_from))
        elif joins is not None and takes_classes(reader, given):
            given["classes"] = _opened(joins).metadata.get("classes")
        if joins is not None and schema is None:
            schema = _opened(joins).schema
        return by_name(reader, schema=schema, **given), schema
    if options:
        raise ParamsError("--reader-option is for a reader that --reader names.")
    assert model is not None
    assert definition is not None
    if joins is not None and classes_from is None:
        known = _opened(joins).metadata.get("classes")
        return _of_model(model, definition, schema, None, known), schema
    return _of_model(model, definition, schema, classes_from), schema


def read_schema(path: Path) -> Schema:
    """Read a schema from a YAML or JSON file: a list as --show-schema prints it.

    Raises:
      DataError: there is no such file, or it does not hold a schema.
    """
    from dovetail.data.schema_file import from_yaml
    from dovetail.errors import DataError

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"--schema {path} can't be read: {why}.") from error
    return from_yaml(text, f"--schema {path}")


@dataclass(frozen=True)
class ModelFileReader:
    """Reads a file by a model file's function. What travels to a process is the file's path.

    Args:
      path: of a Python file with prepare_data_for_a_single_file.
    """

    path: str

    @property
    def __name__(self) -> str:
        return "prepare_data_for_a_single_file"

    @property
    def identity(self) -> str:
        """A hash of the model file and of the files beside it that it imports."""
        return _hash_of(self.path)

    def __call__(self, filename: str) -> Any:
        """Return the row or rows of one file."""
        return _prepare_function(self.path)(filename)


@dataclass(frozen=True)
class ModelsOwnReader:
    """Reads files by what a model file's custom_data_reader makes, anew in each process.

    Args:
      path: of a Python file with custom_data_reader.
      files: all names that are going to be read, once they are known.
    """

    path: str
    files: tuple[str, ...] | None = field(default=None, repr=False)

    @property
    def __name__(self) -> str:
        return "custom_data_reader"

    @property
    def identity(self) -> str:
        """A hash of the model file, of what it imports from beside it, and of all files to read.

        These may have gone into the reader, in ways that only the model file knows.
        """
        from dovetail.data.identity import file_chain

        return f"{_hash_of(self.path)} {file_chain(self.files or ())[-1]}"

    @property
    def schema(self) -> Any:
        """What the reader says its rows are."""
        return getattr(self._reader, "schema", None)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the reader wants kept beside the rows."""
        return dict(getattr(self._reader, "metadata", {}))

    def for_files(self, files: Iterable[str]) -> ModelsOwnReader:
        """Return the reader for these files."""
        return ModelsOwnReader(self.path, tuple(files))

    def __call__(self, filename: str) -> Any:
        """Return the row or rows of one file."""
        return self._reader(filename)

    @property
    def _reader(self) -> Any:
        return _custom_reader(self.path, self.files)


def _of_model(
    model: str,
    definition: Definition,
    schema: Schema | None,
    classes_from: str | None,
    known: Sequence[str] | None = None,
) -> Any:
    own = None
    if definition.custom_data_reader is not None:
        own = ModelsOwnReader(model)
    elif definition.prepare_data_for_a_single_file is not None:
        own = ModelFileReader(model)
    if schema is None and not isinstance(own, ModelsOwnReader):
        raise DefinitionError(
            f"{model} has no data_schema(), so Dovetail can't know what to store. Add one: it "
            'returns a list such as [{"name": "image", "shape": [8, 8], "dtype": "uint8"}].'
        )
    if own is None:
        from dovetail.data.readers.image_folder import ImageFolder

        assert schema is not None
        return ImageFolder(schema, known if classes_from is None else _classes(classes_from))
    if classes_from is not None:
        raise ParamsError(
            f"--classes-from numbers the classes of image folders, but {model} reads its files "
            f"itself, by {own.__name__}. Leave one of them out."
        )
    return own


def _classes(records: str) -> list[str]:
    classes = _opened(records).metadata.get("classes")
    if classes is None:
        raise ParamsError(
            f"--classes-from {records}: these records hold no names of classes, because "
            "their folders are named by numbers, or because a model file read them."
        )
    return classes


def _opened(records: str) -> Records:
    from dovetail.data.records import Records

    return Records(records)


def _option(text: str) -> tuple[str, Any]:
    """Read "name=value"; the value is JSON where it can be, else text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ParamsError(f"--reader-option takes NAME=VALUE, such as label=kind; got '{text}'.")
    if name.strip() == "schema":
        raise ParamsError("A reader's schema is given by --schema FILE, not by --reader-option.")
    words = {"True": True, "False": False, "None": None}
    try:
        read = words[value] if value in words else json.loads(value)
    except ValueError:
        read = value
    return name.strip().replace("-", "_"), read


@cache
def _prepare_function(path: str) -> Callable[[str], Any]:
    """Load a model file once in each process."""
    function = _loaded(path).prepare_data_for_a_single_file
    assert function is not None
    return function


@cache
def _custom_reader(path: str, files: tuple[str, ...] | None) -> Any:
    from dovetail.data.readers.reader import bound

    definition = _loaded(path)
    assert definition.custom_data_reader is not None
    reader = definition.custom_data_reader(definition.params)
    return reader if files is None else bound(reader, files)


def _loaded(path: str) -> Definition:
    from dovetail.definition.definition import load

    folder = os.path.dirname(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.insert(0, folder)  # its functions may import what lies beside it
    return load(path)


def _hash_of(path: str) -> str:
    from dovetail.definition.source import local_files

    return hashlib.sha256(
        b"".join(hashlib.sha256(p.read_bytes()).digest() for p in local_files(Path(path)))
    ).hexdigest()
