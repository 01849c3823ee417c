"""One event file that is being written: whole records, whatever the disk does."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from dovetail.run.event_files import PREFIX, event_files, record


class EventFile:
    """A new event file in a folder, whose name sorts after those that are there.

    TensorBoard reads a folder's files in the order of their names, which hold the second in which
    they were begun: two in one second would be read in the order of their process ids.

    Args:
      folder: it must be there.

    Raises:
      OSError: it can't be made.
    """

    def __init__(self, folder: Path) -> None:
        second = int(time.time())
        for path in event_files(folder):
            begun = path.name.removeprefix(PREFIX).split(".")[0]
            if begun.isdigit():
                second = max(second, int(begun) + 1)
        while True:
            name = f"{PREFIX}{second:010d}.{socket.gethostname()}.{os.getpid()}.0"
            try:
                # Not buffered: what could not be written must not be tried again behind our back.
                self._file = (folder / name).open("xb", buffering=0)
            except FileExistsError:
                second += 1
            else:
                break
        self.path = folder / name
        self._length = 0

    def write(self, event: Any) -> None:
        """Hand a whole record to the operating system.

        Raises:
          OSError: it can't be written. The file ends then with the record before: a reader would
            take nothing that follows one cut short.
        """
        left = memoryview(record(event.SerializeToString()))
        length = self._length + len(left)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            self._file.truncate(self._length)
            self._file.seek(self._length)
            raise
        self._length = length

    def close(self) -> None:
        """Close it; a second time does nothing."""
        self._file.close()
