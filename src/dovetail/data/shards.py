"""All shards of a record set in one range of addresses, each block checked before it is used.

One range, so that a batch is one gather however many shards its rows lie in. Shards begin at
multiples of the checksums' block size, so that a block's number is an address divided. As with
every mapping, a file that is cut short while it is in use ends the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import weakref
import zlib
from pathlib import Path

import numpy as np

from dovetail.data.manifest import BLOCK_BYTES, CURE, Shard
from dovetail.errors import DataError

_BLOCK_SHIFT = BLOCK_BYTES.bit_length() - 1
_PAGE = mmap.PAGESIZE
_MAP_FIXED = 0x10  # the same on Linux and macOS; Python's mmap module does not have it
_BLOCKS_AHEAD = 128  # of 64 KiB, when all are read in turn
_RANDOM, _WILL_NEED = 1, 3  # of madvise, the same on both


class DamagedBlockError(Exception):
    """A block's bytes are not those that were written.

    Attributes:
      shard: position of the shard in the manifest.
      begin, end: which bytes of its file.
    """

    def __init__(self, shard: int, begin: int, end: int) -> None:
        super().__init__(shard, begin, end)
        self.shard, self.begin, self.end = shard, begin, end


class Shards:
    """The bytes of a record set's shards, mapped and checked at first touch in this process.

    Args:
      directory: where the files are.
      shards: what the manifest says of them.

    Raises:
      DataError: if a file is missing or of another size than the manifest records.

    Attributes:
      memory: every byte, uint8; not to be written to, nor given to a user.
      starts: int64, where in `memory` each shard begins.
      unchecked: how many blocks were not touched yet; at 0, `touch` costs nothing.
      larger_than_memory: whether they may not stay in memory, once they were read.
    """

    def __init__(self, directory: Path, shards: tuple[Shard, ...]) -> None:
        blocks = np.array([-(-shard.bytes // BLOCK_BYTES) for shard in shards], np.int64)
        ends = np.cumsum(blocks)
        self._shards = shards
        self._first_blocks = ends - blocks
        self.starts = self._first_blocks * BLOCK_BYTES
        self.memory = _map(directory, shards, self.starts, int(blocks.sum()) * BLOCK_BYTES)
        self._checksums = np.array([crc for shard in shards for crc in shard.blocks], np.uint32)
        assert len(self._checksums) == blocks.sum()
        self._checked = np.zeros(len(self._checksums), bool)
        self.unchecked = len(self._checked)
        self.larger_than_memory = len(self.memory) > memory_bytes() // 2
        if self.larger_than_memory:
            # Else each row that is touched brings in what lies around it, up to megabytes, which
            # is gone again before it is needed. What is needed is asked for.
            _advise(self.memory.ctypes.data, len(self.memory), _RANDOM)

    def touch(self, begin: np.ndarray, end: np.ndarray) -> None:
        """Check the blocks of some ranges of `memory` that were not checked before.

        Args:
          begin, end: int64, the ranges' bounds; a range may be empty.

        Raises:
          DamagedBlockError: at the first block whose checksum is wrong.
        """
        if not self.unchecked:
            return
        if not (begin < end).all():
            begin, end = begin[begin < end], end[begin < end]
        if not len(begin):
            return
        first, last = begin >> _BLOCK_SHIFT, (end - 1) >> _BLOCK_SHIFT
        spans = int((last - first).max())
        if spans <= 1 and (self._checked[first] & self._checked[last]).all():
            return
        # Every block of every range: the first, the next, ... as far as each range goes.
        steps = [first[last >= first + step] + step for step in range(spans + 1)]
        wanted = np.unique(np.concatenate(steps))
        for block in wanted[~self._checked[wanted]].tolist():
            self._check(block)
        self.unchecked = int(np.count_nonzero(~self._checked))

    @property
    def reads_ahead(self) -> bool:
        """Whether asking for bytes ahead may help: not all were read, or not all stay in memory."""
        return self.unchecked > 0 or self.larger_than_memory

    def will_need(self, begin: np.ndarray, end: np.ndarray) -> None:
        """Have the operating system read some ranges of `memory`, without waiting for it.

        Args:
          begin, end: int64, the ranges' bounds; a range may be empty. Of a block that was not
            checked all is asked for, since checking it takes all; of others the pages, if the
            shards may not stay in memory.
        """
        full = begin < end
        begin, end = begin[full], end[full]
        if not len(begin):
            return
        first, last = begin >> _BLOCK_SHIFT, (end - 1) >> _BLOCK_SHIFT
        fresh = ~(self._checked[first] & self._checked[last])
        begin = np.where(fresh, first << _BLOCK_SHIFT, begin // _PAGE * _PAGE)
        end = np.where(fresh, (last + 1) << _BLOCK_SHIFT, end)
        wanted = np.ones(len(begin), bool) if self.larger_than_memory else fresh
        begin, end = begin[wanted], np.minimum(end[wanted], len(self.memory))
        order = np.argsort(begin)
        base = self.memory.ctypes.data
        reached = 0
        for low, high in zip(begin[order].tolist(), end[order].tolist(), strict=True):
            low = max(low, reached)
            if low < high:
                _advise(base + low, high - low, _WILL_NEED)
                reached = -(-high // _PAGE) * _PAGE

    def touch_bounds(self) -> None:
        """Check each shard's first and last block, where Arrow keeps what describes the file."""
        for shard, start in zip(self._shards, self.starts.tolist(), strict=True):
            edges = np.array([start, start + shard.bytes - 1], np.int64)
            self.touch(edges, edges + 1)

    def damaged(self) -> list[DamagedBlockError]:
        """Read every block again and give those that are damaged, in order."""
        found: list[DamagedBlockError] = []
        for block in range(len(self._checked)):
            if block % _BLOCKS_AHEAD == 0:
                begin = block << _BLOCK_SHIFT
                size = min(2 * _BLOCKS_AHEAD << _BLOCK_SHIFT, len(self.memory) - begin)
                _advise(self.memory.ctypes.data + begin, size, _WILL_NEED)
            try:
                self._check(block)
            except DamagedBlockError as error:
                found.append(error)
        self.unchecked = int(np.count_nonzero(~self._checked))
        return found

    def _check(self, block: int) -> None:
        shard = int(np.searchsorted(self._first_blocks, block, "right")) - 1
        begin = (block - int(self._first_blocks[shard])) * BLOCK_BYTES
        end = min(begin + BLOCK_BYTES, self._shards[shard].bytes)
        start = int(self.starts[shard])
        if self.larger_than_memory:
            _advise(self.memory.ctypes.data + start + begin, end - begin, _WILL_NEED)
        if zlib.crc32(self.memory.data[start + begin : start + end]) != self._checksums[block]:
            self._checked[block] = False
            raise DamagedBlockError(shard, begin, end)
        self._checked[block] = True


def _map(directory: Path, shards: tuple[Shard, ...], starts: np.ndarray, size: int) -> np.ndarray:
    """Reserve one range of addresses and map each file at its place in it, for reading."""
    if not shards:
        return np.empty(0, np.uint8)
    base = _mmap(None, size, 0, mmap.MAP_PRIVATE | mmap.MAP_ANON, -1)
    holder = (ctypes.c_uint8 * size).from_address(base)
    # The range goes with the last array over it. Not at exit, when threads may still be reading.
    weakref.finalize(holder, _LIBC.munmap, base, size).atexit = False
    for shard, start in zip(shards, starts.tolist(), strict=True):
        path = directory / shard.file
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise DataError(f"{path} is missing; the manifest lists it. {CURE}") from None
        except OSError as error:
            raise DataError(f"{path} can't be read: {error.strerror}.") from error
        try:
            found = os.fstat(handle).st_size
            if found != shard.bytes:
                how = "cut short" if found < shard.bytes else "longer than it was written"
                raise DataError(
                    f"{path} is {how}: it has {found} bytes, the manifest records {shard.bytes} "
                    f"(rows 0 to {shard.rows - 1} of the shard). {CURE}"
                )
            _mmap(base + start, found, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, handle)
        finally:
            os.close(handle)
    memory = np.ctypeslib.as_array(holder)
    memory.flags.writeable = False
    return memory


def memory_bytes() -> int:
    """How much memory this process may use, in bytes: the machine's, or its container's."""
    found = [os.sysconf("SC_PHYS_PAGES") * _PAGE]
    for limit in (
        Path("/sys/fs/cgroup/memory.max"),
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # none, or "max"
            found.append(int(limit.read_text()))
    return min(found)


def _advise(address: int, size: int, advice: int) -> None:
    _LIBC.madvise(address, size, advice)  # if it is not taken, nothing is lost


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    address, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.mmap.restype = address
    libc.mmap.argtypes = (address, size, number, number, number, ctypes.c_int64)
    libc.munmap.argtypes = (address, size)
    libc.madvise.argtypes = (address, size, number)
    return libc


_LIBC = _libc()


def _mmap(address: int | None, size: int, protection: int, flags: int, handle: int) -> int:
    found = _LIBC.mmap(address, size, protection, flags, handle, 0)
    if found is None or found == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        raise OSError(code, f"mapping {size} bytes: {os.strerror(code)}")
    return found
