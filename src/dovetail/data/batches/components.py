"""The names by which a batch has its data."""

from __future__ import annotations

import keyword
from collections.abc import Sequence

from dovetail.errors import DataError, DefinitionError


class NotLoadedError(DataError, AttributeError):
    """A component was asked for before any data was loaded or assigned for it."""


def check_components(batch_class: type, names: Sequence[str]) -> None:
    """Refuse names that can't be components of a batch class.

    Raises:
      DefinitionError: if a name is no identifier, comes twice, or means something else already.
    """
    what = batch_class.__name__
    for at, name in enumerate(names):
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise DefinitionError(
                f"Components of {what} are attributes of a batch, so each is a Python name; got "
                f"{name!r}."
            )
        if name in names[:at]:
            raise DefinitionError(f"{what} names its component '{name}' twice.")
        if name.startswith("_") or name == "selection" or hasattr(batch_class, name):
            raise DefinitionError(
                f"'{name}' can't be a component of {what}: a batch has an attribute of that name "
                "already. Call it otherwise; of records, name the components that you need "
                "in a batch class of your own."
            )
