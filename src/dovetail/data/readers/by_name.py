"""The readers by the names that they have on the command line."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from typing import Any

from dovetail.data.readers.reader import Reader
from dovetail.data.schema import Schema
from dovetail.errors import DataError, nearest

# name -> module and class; a module is imported when its reader is asked for.
READERS = {
    "arrow": ("dovetail.data.readers.arrow", "Arrow"),
    "cifar10": ("dovetail.data.readers.cifar", "Cifar10"),
    "cifar100": ("dovetail.data.readers.cifar", "Cifar100"),
    "csv": ("dovetail.data.readers.csv", "Csv"),
    "image_folder": ("dovetail.data.readers.image_folder", "ImageFolder"),
    "image_table": ("dovetail.data.readers.image_table", "ImageTable"),
    "mnist": ("dovetail.data.readers.mnist", "Mnist"),
    "npz": ("dovetail.data.readers.npz", "Npz"),
    "parquet": ("dovetail.data.readers.parquet", "Parquet"),
    "text_folder": ("dovetail.data.readers.text_folder", "TextFolder"),
    "text_lines": ("dovetail.data.readers.text_lines", "TextLines"),
    "tfrecord": ("dovetail.data.readers.tfrecord", "TFRecord"),
}


def takes_classes(name: str, options: Iterable[str]) -> bool:
    """Say whether a reader, with these options, numbers classes that it may be given.

    Args:
      name: one of `READERS`.
      options: the names of those that it is going to get.

    >>> takes_classes("image_folder", []), takes_classes("csv", []), takes_classes("csv", ["label"])
    (True, False, True)
    """
    module, kind = READERS.get(name.lower().replace("-", "_"), ("", ""))
    if not module or "classes" in options:
        return False
    known = inspect.signature(getattr(importlib.import_module(module), kind)).parameters
    # A table's reader numbers the values of the column that is its label.
    column = known.get("label")
    return "classes" in known and (not column or "label" in options or column.default is not None)


def by_name(name: str, *, schema: Schema | None = None, **options: Any) -> Reader:
    """Make the reader of that name.

    Args:
      name: one of `READERS`; case does not matter, and dashes are underscores.
      schema: what the rows are to be. Readers that shape their rows after it (`image_folder`,
        `image_table`, `tfrecord`, ...) are given it; the rows of the others are only converted.
      options: the reader's own, such as `labels="fine"` for `cifar100`; see its class.

    Raises:
      DataError: no reader is called that, or it has no such option; with the nearest name.

    >>> by_name("mnist")
    Mnist(labels=True)
    >>> by_name("cifar100", labels="coarse").labels
    'coarse'
    """
    key = name.lower().replace("-", "_")
    if key not in READERS:
        raise DataError(
            f"There is no reader '{name}'; there are {', '.join(READERS)}.{nearest(key, READERS)} "
            "A reader of your own is the model file's custom_data_reader()."
        )
    module, kind = READERS[key]
    make = getattr(importlib.import_module(module), kind)
    known = list(inspect.signature(make).parameters)
    for option in options:
        if option not in known:
            mine = ", ".join(one for one in known if one != "schema") or "none"
            raise DataError(
                f"The reader '{key}' has no option '{option}'; its options: {mine}."
                f"{nearest(option, known)}"
            )
        usual = inspect.signature(make).parameters[option].default
        if isinstance(usual, bool) and not isinstance(options[option], bool):
            raise DataError(
                f"The reader '{key}': {option} is true or false; got {options[option]!r}."
            )
    if schema is not None and "schema" in known:
        options["schema"] = schema
    try:
        return make(**options)
    except (TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"The reader '{key}' can't be made with {options}: {error}.") from error
