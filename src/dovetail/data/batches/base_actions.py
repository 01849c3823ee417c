"""The actions that every batch has: load, dump, apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dovetail.data.batches import load_dump
from dovetail.data.batches.actions import action
from dovetail.data.batches.inbatch import assembled, each
from dovetail.data.batches.inbatch_targets import Call

if TYPE_CHECKING:
    from dovetail.data.batches.batch import Batch


class BaseActions:
    """What every batch can do in a pipeline; a base of `Batch`."""

    @action
    def load(
        self,
        src: Any = None,
        fmt: str | None = None,
        components: str | Sequence[str] | None = None,
        *,
        id_column: str | None = "id",
        channels: int = 3,
        size: tuple[int, int] | None = None,
    ) -> Self:
        """Fill components of the batch.

        Args:
          src: what from. None: what the data set has preloaded, or, of a `FilesIndex`, the files.
            Data of the whole data set, as for `Dataset(preloaded=...)`. The path of one file
            (npy, npz, csv, parquet, arrow) with a row for each item of the data set. A folder
            with a file for each item (an image, npy or npz), called by its id, with an ending or
            without. A function from an id to the path of its file.
          fmt: of the files; "image" for any image. None: by their endings.
          components: which to fill; None: all that are there. Where a file holds one value, the
            one component that it is.
          id_column: the column by which a file's rows are found; if it has none of that name, or
            for None, its rows are in the order of the data set.
          channels, size: of images; see `decode_images`. Images of several sizes become a list.

        Raises:
          DataError: if something does not fit or can't be read; nothing is taken by pickle.
          ItemsError: naming the items whose own files failed.
        """
        load_dump.load(
            _batch(self), src, fmt, components, id_column=id_column, channels=channels, size=size
        )
        return self

    @action
    def dump(
        self,
        dst: str | Path | Callable[[Any], str | Path],
        fmt: str | None = None,
        components: str | Sequence[str] | None = None,
        *,
        id_column: str | None = "id",
        overwrite: bool = False,
    ) -> Self:
        """Write components to files, each of which appears whole or not at all.

        Args:
          dst: a folder, for a file for each item, of its id (such a file is written anew); or a
            path that ends in npy, npz, csv, parquet or arrow, for one file of the batch; or a
            function of the batch that gives either.
          fmt: npz (unless said), npy, image or an ending of images; of one file, by its ending.
          components: which; None: all that there are.
          id_column: the column, of one file, that gets the ids; None: none.
          overwrite: whether one file of the batch may take the place of another.

        Raises:
          DataError: if the format can't hold the values, or the file is there.
          ItemsError: naming the items that could not be written.
        """
        load_dump.dump(_batch(self), dst, fmt, components, id_column=id_column, overwrite=overwrite)
        return self

    @action
    def apply(
        self,
        fn: Callable[..., Any],
        *args: Any,
        component: str | None = None,
        to: str | None = None,
        whole: bool = False,
        target: str = "for",
        **kwargs: Any,
    ) -> Self:
        """Replace each item's value by what a function makes of it.

        Args:
          fn: called as `fn(value, *args, **kwargs)` for each item; or once, see `whole`.
          component: what is given to it; None: the nameless whole.
          to: the component that gets the results; None: the same.
          whole: give it the whole component, [n, ...], at once.
          target: how the items are gone through; see `inbatch_parallel`.

        Raises:
          ItemsError: naming the items for which it failed.
        """
        batch = _batch(self)
        values = batch.column(component)
        if whole:
            made = fn(values, *args, **kwargs)
        else:
            calls: list[Call] = [((value, *args), kwargs) for value in values]
            made = assembled(each(fn, calls, batch.indices, target))
        name = to or component
        if name is None:
            batch.data = made
        else:
            batch.set_component(name, made)
        return self


def _batch(actions: Any) -> Batch:
    """What has the actions, under the type that they work on."""
    return actions
