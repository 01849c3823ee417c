"""A model file's own reader of data files, made by its `custom_data_reader`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dovetail.definition.signature import Matched, where
from dovetail.errors import DefinitionError, a_kind


@dataclass(frozen=True)
class CustomReader:
    """Makes the reader that a model file's `custom_data_reader` describes.

    Args:
      match: the file's function, which needs no argument.

    >>> class Squares:
    ...     def __call__(self, filename):
    ...         return {"square": int(filename) ** 2}
    >>> make = CustomReader(Matched(Squares, (), what="custom_data_reader"))
    >>> make()("3")
    {'square': 9}
    """

    match: Matched

    def __call__(self, params: Mapping[str, Any] | None = None) -> Callable[[str], Any]:
        """Make the reader.

        Args:
          params: the definition's params; what they hold under `custom_data_reader` are values for
            the function's own parameters. None leaves these at their defaults.

        Returns:
          what the function returned: it is called with one file's name and gives a row, or an
          iterator of rows.

        Raises:
          DefinitionError: naming the function with its line: it raises, or what it returns can't
            be called with one file's name.
        """
        settings = (params or {}).get("custom_data_reader")
        what = f"custom_data_reader: {where(self.match.function)}"
        try:
            reader = self.match({}, settings if isinstance(settings, Mapping) else None)
        except Exception as error:  # the user's own code may raise anything
            raise DefinitionError(f"{what} failed: {type(error).__name__}: {error}") from error
        expected = "It must return a reader: an object that is called with one file's name."
        if isinstance(reader, type):
            cure = f" Return an object of it, as {reader.__name__}(...) makes."
            raise DefinitionError(f"{what} returned the class {reader.__name__}. {expected}{cure}")
        if not callable(reader):
            cure = ""
            if reader is None:
                cure = " Is a `return` missing?"
            elif inspect.isgenerator(reader):
                cure = " To give rows by `yield`, write prepare_data_for_a_single_file(filename)."
            raise DefinitionError(f"{what} returned {a_kind(reader)}. {expected}{cure}")
        try:
            inspect.signature(reader).bind("name")
        except TypeError as error:
            raise DefinitionError(
                f"{what} returned {where(reader)}, which does not take one file's name ({error})."
            ) from None
        except ValueError:  # builtins without a signature
            pass
        return reader
