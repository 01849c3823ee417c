"""A file of JSON lines, each durable before the next is begun; what a kill tore off is noticed."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Entry = Mapping[str, Any]


class Journal:
    """Entries appended to one file, in order.

    Args:
      path: the file; entries that it holds already are read, and an end that was torn off or
        damaged is cut away.

    Attributes:
      entries: what the file holds.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "journal"
    >>> Journal(path).append({"done": 3})
    >>> Journal(path).entries
    [{'done': 3}]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[Entry] = []
        content = path.read_bytes() if path.exists() else b""
        whole = 0
        for line in content.splitlines(keepends=True):
            entry = _entry(line)
            if entry is None:
                break
            self.entries.append(entry)
            whole += len(line)
        if whole < len(content):
            os.truncate(path, whole)

    def append(self, entry: Entry) -> None:
        """Add an entry; it is durable on return.

        Args:
          entry: a dict that JSON can hold.
        """
        text = json.dumps(entry, sort_keys=True).encode()
        with self.path.open("ab") as file:
            file.write(b"%08x %s\n" % (zlib.crc32(text), text))
            file.flush()
            os.fsync(file.fileno())
        self.entries.append(entry)

    def clear(self) -> None:
        """Forget every entry."""
        self.path.unlink(missing_ok=True)
        self.entries = []


def _entry(line: bytes) -> Entry | None:
    checksum, _, text = line.partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text[:-1]):
        return None
    return json.loads(text)
