"""Loading data into a batch and dumping it: from arrays, from one file, or a file for each item."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.data.batches.inbatch import assembled, each
from dovetail.data.batches.item_files import ENDINGS, file_of, read_item, write_item
from dovetail.data.batches.tables import FORMATS, read_table, write_table
from dovetail.data.datasets.files_index import FilesIndex
from dovetail.data.datasets.preloaded import as_source
from dovetail.data.decode import decode_files
from dovetail.errors import DataError, nearest

if TYPE_CHECKING:
    from dovetail.data.batches.batch import Batch

Components = str | Sequence[str] | None
_ITEM_FORMATS = ("npy", "npz", *ENDINGS["image"], "image")


def load(
    batch: Batch,
    src: Any,
    fmt: str | None,
    components: Components,
    *,
    id_column: str | None,
    channels: int,
    size: tuple[int, int] | None,
) -> None:
    """Fill components of a batch; see `Batch.load`."""
    names = _names(batch, components)
    if not len(batch):
        return
    if src is None and batch.dataset is not None and isinstance(batch.dataset.index, FilesIndex):
        src = batch.dataset.index.get_fullpath
    if src is None:
        _load_preloaded(batch, names)
    elif callable(src):
        _load_items(batch, src, fmt, names, channels, size)
    elif isinstance(src, str | os.PathLike):
        path = os.path.expanduser(os.fspath(src))
        if os.path.isdir(path):
            _load_items(batch, lambda id: file_of(path, id, fmt), fmt, names, channels, size)
        else:
            _load_table(batch, path, _format(fmt, path, FORMATS), names, id_column)
    else:
        length = len(batch) if batch.dataset is None else len(batch.dataset)
        named = names if components is not None else batch.components
        source = as_source(src, length, named, type(batch).__name__)
        assert source is not None
        for name in source.names or (None,):
            _put(batch, name, source.take(name, batch.selection.numbers))


def dump(
    batch: Batch,
    dst: str | Path | Callable[[Batch], str | Path],
    fmt: str | None,
    components: Components,
    *,
    id_column: str | None,
    overwrite: bool,
) -> None:
    """Write components of a batch; see `Batch.dump`."""
    path = os.path.expanduser(os.fspath(dst(batch) if callable(dst) else dst))
    names = _names(batch, components)
    if not names and batch.components:
        names = tuple(batch.data)
    columns: dict[str | None, Any] = {name: batch.column(name) for name in names or (None,)}
    ending = Path(path).suffix[1:].lower()
    if ending not in FORMATS or os.path.isdir(path):
        kind = _format(fmt or "npz", "", _ITEM_FORMATS)
        rows = [
            ((path, id, kind, {name: column[at] for name, column in columns.items()}), {})
            for at, id in enumerate(batch.indices.tolist())
        ]
        each(write_item, rows, batch.indices, "threads", f"dump to '{path}'")
        return
    kind = _format(fmt, path, FORMATS)
    if os.path.exists(path) and not overwrite:
        raise DataError(
            f"'{path}' is there already, of another batch perhaps. Give dst a function of the "
            "batch that names a file for each, or say overwrite=True."
        )
    if kind == "npy":
        if len(columns) > 1:
            raise DataError(
                f"A .npy file holds one array; the components are {', '.join(map(str, columns))}. "
                "Name one (components=...), or write npz."
            )
    elif id_column is not None:
        if id_column in columns:
            raise DataError(
                f"A component is called '{id_column}', as is the column of the ids: give another "
                "id_column, or None for no ids."
            )
        columns = {id_column: batch.indices, **columns}
    if None in columns and kind != "npy":
        columns = {("data" if name is None else name): one for name, one in columns.items()}
    write_table(path, kind, columns)


def _load_preloaded(batch: Batch, names: Sequence[str]) -> None:
    if not batch.components:
        batch.column()
        return
    there = [name for name in names or batch.components if names or batch.has(name)]
    if not there:
        raise DataError(
            f"load() of {type(batch).__name__} has nothing to load from: say src=..., or give the "
            "data set preloaded data or a FilesIndex."
        )
    for name in there:
        batch.column(name)


def _load_items(
    batch: Batch,
    path_of: Callable[[Any], Any],
    fmt: str | None,
    names: Sequence[str],
    channels: int,
    size: tuple[int, int] | None,
) -> None:
    kind = None if fmt is None else _format(fmt, "", _ITEM_FORMATS)

    if len(names) == 1 or (not names and len(batch.components or ()) < 2):
        pixels = _images(batch, path_of, kind, channels, size)
        if pixels is not None:
            _put(batch, (names or batch.components or (None,))[0], pixels)
            return

    def one(id: Any) -> Any:
        return read_item(os.fspath(path_of(id)), kind, channels, size)

    calls = [((id,), {}) for id in batch.indices.tolist()]
    found = each(one, calls, batch.indices, "threads", f"load of {type(batch).__name__}")
    if not isinstance(found[0], dict):
        known = names or batch.components or (None,)
        if len(known) > 1 and len(names) != 1:
            raise DataError(
                f"Each file holds one value, and {type(batch).__name__} has the components "
                f"{', '.join(map(str, known))}: say which it is (components=...)."
            )
        _put(batch, known[0], assembled(found))
        return
    for name in names or found[0]:
        lacking = [id for id, (item) in zip(batch.indices.tolist(), found, strict=True)
                   if name not in item]  # fmt: skip
        if lacking:
            raise DataError(f"The file of the item {lacking[0]!r} holds no array '{name}'.")
        _put(batch, name, assembled([item[name] for item in found]))


def _images(
    batch: Batch,
    path_of: Callable[[Any], Any],
    kind: str | None,
    channels: int,
    size: tuple[int, int] | None,
) -> np.ndarray | None:
    """Decode the items' images right into one array; None where that can't be done."""
    try:
        paths = [os.fspath(path_of(id)) for id in batch.indices.tolist()]
    except DataError:
        return None  # said of all items at once, by who tries each of them
    image = kind == "image" or kind in ENDINGS["image"]
    if not image and (kind or not all(path.lower().endswith(ENDINGS["image"]) for path in paths)):
        return None
    return decode_files(paths, size, channels=channels)


def _load_table(
    batch: Batch, path: str, fmt: str, names: Sequence[str], id_column: str | None
) -> None:
    table = read_table(path, fmt)
    by_id = id_column in table.columns and id_column not in (batch.components or ())
    if by_id and id_column is not None:
        rows = table.rows_of(batch.indices.tolist(), id_column)
    else:
        rows = batch.selection.numbers
        items = len(table) if batch.dataset is None else len(batch.dataset)
        if len(table) != items or (len(rows) and rows.max() >= len(table)):
            raise DataError(
                f"'{path}' has {len(table)} rows, and the data set {max(items, len(batch))} items. "
                "Without a column of ids its rows are those of the data set, in its order."
            )
    wanted: Sequence[str | None] = names or [
        name
        for name in table.columns
        if not (by_id and name == id_column)
        and (batch.components is None or name is None or name in batch.components)
    ]
    if list(table.columns) == [None]:
        known = names or batch.components or (None,)
        if len(known) > 1:
            raise DataError(f"'{path}' holds one array: say of which component (components=...).")
        _put(batch, known[0], table.take(None, rows))
        return
    if not batch.components and "data" in wanted:
        _put(batch, None, table.take("data", rows))
        return
    if not wanted:
        raise DataError(
            f"'{path}' has none of the components of {type(batch).__name__}: it has "
            f"{', '.join(map(str, table.columns))}."
        )
    for name in wanted:
        _put(batch, name, table.take(name, rows))


def _put(batch: Batch, name: str | None, values: Any) -> None:
    if name is None:
        batch.data = values
    elif name in (batch.components or ()):
        setattr(batch, name, values)
    elif type(batch).components is None:
        batch.add_components(name, values)
    else:
        known = batch.components or ()
        raise DataError(
            f"{type(batch).__name__} has no component '{name}'; it has {', '.join(known)}."
            f"{nearest(name, known)}"
        )


def _names(batch: Batch, components: Components) -> tuple[str, ...]:
    if components is None:
        return ()
    names = (components,) if isinstance(components, str) else tuple(components)
    known = batch.components or ()
    for name in names:
        if name not in known and type(batch).components is not None:
            raise DataError(
                f"{type(batch).__name__} has no component '{name}'; it has {', '.join(known)}."
                f"{nearest(name, known)}"
            )
    return names


def _format(fmt: str | None, path: str, known: Sequence[str]) -> str:
    found = (Path(path).suffix[1:] if fmt is None else fmt).lower()
    if found in known:
        return found
    if fmt is None and path and not os.path.exists(path):
        raise DataError(f"There is no file or folder '{path}' (looked from {os.getcwd()}).")
    what = f"fmt is '{fmt}'" if fmt is not None else f"'{path}' ends in '{found}'"
    raise DataError(f"{what}; known are {', '.join(known)}.{nearest(found, known)}")
