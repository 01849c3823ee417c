"""An index whose items are files, or folders, called by their base names."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

from dovetail.data.datasets.index import DatasetIndex
from dovetail.data.files import find_files, natural
from dovetail.errors import DataError

Path = str | os.PathLike[str]
Index = TypeVar("Index", bound="FilesIndex")


class FilesIndex(DatasetIndex):
    """The files that patterns match; a file's id is its base name, so no two may share one.

    Args:
      path: a pattern such as "scans/*.png", or several. `**` stands for any number of folders;
        see `find_files`.
      recursive: look for each pattern's last part in all folders below, too.
      no_ext: ids leave out the ending: "a" for "a.png".
      dirs: the items are the folders that the patterns match, not the files.
      sort: put all items in natural order of their paths ("img2" before "img10"); else those of
        each pattern come in the order in which the patterns are given.

    Raises:
      DataError: if a pattern matches nothing, or two files have one base name, which are named.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ["img10.png", "img2.png"]:
    ...     _ = (folder / name).write_bytes(b"")
    >>> index = FilesIndex(folder / "*.png", no_ext=True)
    >>> index.indices.tolist(), pathlib.Path(index.get_fullpath("img2")).name
    (['img2', 'img10'], 'img2.png')
    """

    def __init__(
        self,
        path: Path | Iterable[Path],
        *,
        recursive: bool = False,
        no_ext: bool = False,
        dirs: bool = False,
        sort: bool = True,
    ) -> None:
        given = [path] if isinstance(path, str | os.PathLike) else list(path)
        if not given:
            raise DataError("FilesIndex takes a pattern, or several; got an empty list.")
        patterns = [os.fspath(one) for one in given]
        if recursive:
            patterns = [_anywhere_below(pattern) for pattern in patterns]
        find = _find_folders if dirs else find_files
        groups = [patterns] if sort else [[pattern] for pattern in patterns]
        paths = list(dict.fromkeys(name for group in groups for name in find(group)))
        first: dict[str, str] = {}
        for name in paths:
            id = _id(name, no_ext and not dirs)
            other = first.setdefault(id, name)
            if other != name:
                if os.path.realpath(other) == os.path.realpath(name):
                    continue
                raise DataError(
                    f"Two files have one id, '{id}': '{other}' and '{name}'. Ids are base names"
                    f"{' without endings' if no_ext else ''}: rename one, or give patterns that "
                    "match one of them."
                )
        super().__init__(list(first))
        self._paths = np.array(list(first.values()), object)

    @property
    def paths(self) -> list[str]:
        """The path of each item, in the order of the index."""
        return self._paths.tolist()

    def get_fullpath(self, id: Any) -> str:
        """Give the path of an item, as its pattern found it.

        Raises:
          DataError: if there is no such item.
        """
        return str(self._paths[self.get_pos(id)])

    def _sub(self: Index, numbers: np.ndarray) -> Index:
        made = super()._sub(numbers)
        made._paths = self._paths[numbers]
        return made


def _id(path: str, no_ext: bool) -> str:
    name = os.path.basename(path.rstrip("/"))
    return os.path.splitext(name)[0] if no_ext else name


def _anywhere_below(pattern: str) -> str:
    folder, last = os.path.split(pattern)
    return pattern if os.path.basename(folder) == "**" else os.path.join(folder, "**", last)


def _find_folders(patterns: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for pattern in patterns:
        names = glob.glob(os.path.expanduser(pattern), recursive=True)
        folders = [name.rstrip(os.sep) for name in names if os.path.isdir(name)]
        if not folders:
            raise DataError(f"The pattern '{pattern}' matches no folder (from {os.getcwd()}).")
        found.update(dict.fromkeys(name.replace(os.sep, "/") for name in folders))
    return sorted(found, key=natural)
