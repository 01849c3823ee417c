"""`dovetail prepare`: files become records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dovetail.cli.flags import MODEL
from dovetail.cli.verb import verb
from dovetail.errors import DefinitionError, ParamsError

if TYPE_CHECKING:
    from dovetail.definition.definition import Definition
    from dovetail.run.progress import Progress


@verb()
def prepare(
    model: MODEL,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="GLOB...",
            help="Files, or patterns of them in quotes: 'images/train/*/*.png', 'data/**/*.csv'.",
        ),
    ],
    output: Annotated[str, typer.Option("--output", metavar="DIR", help="Where the records go.")],
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", min=1, help="Processes that read; as many as pay off."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the records that are there.")
    ] = False,
    classes_from: Annotated[
        str | None,
        typer.Option(
            "--classes-from",
            metavar="RECORDS",
            help="Number the classes of image folders as in these records.",
        ),
    ] = None,
) -> None:
    """Read files into records, in several processes.

    Each file is read by the model file's prepare_data_for_a_single_file. Without that, files are
    images in one folder per class, and what is kept of them is what data_schema says.

    Example:
        dovetail prepare digits.py 'demo/digits/train/*/*.png' --output demo/new
    """
    from dovetail.cli.show import plural, say, shape, size
    from dovetail.data import prepare as data_prepare
    from dovetail.definition.definition import load

    definition = load(model)
    if definition.schema is None:
        raise DefinitionError(
            f"{model} has no data_schema(), so Dovetail can't know what to store. Add one: it "
            'returns a list such as [{"name": "image", "shape": [8, 8], "dtype": "uint8"}].'
        )
    read = _reader(model, definition, classes_from)
    with _Shown() as progress:
        records = data_prepare.prepare(
            files,
            output,
            definition.schema,
            read,
            workers=workers,
            overwrite=overwrite,
            progress=progress,
        )
    shards = records.manifest.shards
    say(
        f"{plural(len(records), 'record')} in {output} ({plural(len(shards), 'shard')}, "
        f"{size(records.manifest.bytes)}):"
    )
    for field in records.schema.fields:
        say(f"  {field.name}: {field.dtype} {shape(field.shape)}")
    classes = records.metadata.get("classes")
    if classes:
        say(f"  classes: {', '.join(f'{i} {name}' for i, name in enumerate(classes))}")


@dataclass(frozen=True)
class ModelFileReader:
    """Reads a file as a model file says. What travels to another process is the file's path.

    Args:
      path: of a Python file with prepare_data_for_a_single_file.
    """

    path: str

    @property
    def __name__(self) -> str:
        return "prepare_data_for_a_single_file"

    def __call__(self, filename: str) -> Any:
        """Return the row or rows of one file."""
        return _prepare_function(self.path)(filename)


@cache
def _prepare_function(path: str) -> Callable[[str], Any]:
    """Load a model file once in each process."""
    import os
    import sys

    from dovetail.definition.definition import load

    folder = os.path.dirname(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.insert(0, folder)  # its functions may import what lies beside it
    function = load(path).prepare_data_for_a_single_file
    assert function is not None
    return function


def _reader(model: str, definition: Definition, classes_from: str | None) -> Any:
    if definition.prepare_data_for_a_single_file is not None:
        if classes_from is not None:
            raise ParamsError(
                f"--classes-from numbers the classes of image folders, but {model} reads its files "
                "itself, by prepare_data_for_a_single_file. Leave one of them out."
            )
        return ModelFileReader(model)
    from dovetail.data.readers.image_folder import ImageFolder
    from dovetail.data.records import Records

    assert definition.schema is not None
    if classes_from is None:
        return ImageFolder(definition.schema)
    classes = Records(classes_from).metadata.get("classes")
    if classes is None:
        raise ParamsError(
            f"--classes-from {classes_from}: these records hold no names of classes, because "
            "their folders are named by numbers, or because a model file read them."
        )
    return ImageFolder(definition.schema, classes)


class _Shown:
    """Shows how many files are read, once it is known how many there are."""

    def __init__(self) -> None:
        self.progress: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        from dovetail.run.progress import Progress

        if self.progress is None:
            every = max(total // 5, 1)  # five lines, where there is no bar
            self.progress = Progress(every=every, label="prepare", step_name="file")
            self.progress.start(done, total)
        else:
            self.progress.step(done)

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *error: object) -> None:
        if self.progress is not None:
            self.progress.close()
