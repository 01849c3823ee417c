"""The list of what a record set holds: schema, shards, checksums. Written last, read first."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dovetail.data.schema import Schema
from dovetail.errors import DataError

NAME = "manifest.json"
FORMAT = "dovetail-records"
VERSION = 2  # the newest that is read; sets without compression are written as version 1
BLOCK_BYTES = 1 << 16  # what one checksum covers; a multiple of every machine's page size
CURE = "Copy the files again from a good source, or write the records anew with `dovetail prepare`."


class RowBlock(NamedTuple):
    """Rows of a shard that are compressed together.

    Attributes:
      rows: how many.
      begin, end: where the Arrow message that holds them lies in the file, in bytes.
    """

    rows: int
    begin: int
    end: int


@dataclass(frozen=True)
class Shard:
    """One file of rows, as the manifest records it.

    Attributes:
      file: name within the directory.
      rows: how many rows it holds, at least one.
      bytes: size of the file.
      buffers: for each field, where its Arrow buffers begin in the file, in bytes; see layout.py.
        Empty where the rows are compressed.
      blocks: CRC-32 of each `BLOCK_BYTES` of the file in turn, the last one maybe short.
      row_blocks: of compressed rows, in order; empty where they are not.
    """

    file: str
    rows: int
    bytes: int
    buffers: Mapping[str, tuple[int, ...]]
    blocks: tuple[int, ...]
    row_blocks: tuple[RowBlock, ...] = ()


class Added(NamedTuple):
    """Rows that were added to a set which was there.

    Attributes:
      identity: the addition's name, as "name:..."; or a hash of its shards, as "sha256:...".
      shard: number of the first of them.
      rows: how many there are in them.
    """

    identity: str
    shard: int
    rows: int


@dataclass(frozen=True)
class Manifest:
    """What a record set holds.

    Attributes:
      schema: the fields of every row.
      shards: the files, in the order of their rows.
      metadata: what the writer was given besides rows, such as {"classes": [...]}.
      fingerprint: SHA-256 of the manifest's bytes, hexadecimal; it covers every shard's checksums.
      compression: of all shards: "lz4", "zstd" or None.
      additions: what was added since the set was made, in order.
    """

    schema: Schema
    shards: tuple[Shard, ...]
    metadata: Mapping[str, Any]
    fingerprint: str = ""
    compression: str | None = None
    additions: tuple[Added, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows in all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Size of all shards, in bytes."""
        return sum(shard.bytes for shard in self.shards)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest aside, make it durable, and rename it into place.

    Args:
      directory: where the shards, already durable, are.
      manifest: what to write; its fingerprint is not used.

    Raises:
      DataError: if the metadata can't be kept as JSON.
    """
    content = {
        "format": FORMAT,
        "version": 1 if manifest.compression is None else 2,
        "rows": manifest.rows,
        "schema": manifest.schema.to_list(),
        "metadata": dict(manifest.metadata),
        "block_bytes": BLOCK_BYTES,
        "shards": [shard_to_dict(shard) for shard in manifest.shards],
    }
    if manifest.compression is not None:
        content["compression"] = manifest.compression
    if manifest.additions:
        content["additions"] = [added._asdict() for added in manifest.additions]
    try:
        text = _text(content)
        same = json.loads(text)["metadata"] == content["metadata"]
    except (TypeError, ValueError) as error:
        raise DataError(f"metadata must be what JSON can hold: {error}.") from error
    if not same:
        raise DataError(
            "metadata must come back from JSON as it was: use lists, not tuples, and text as keys; "
            f"got {manifest.metadata!r}."
        )
    content["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    aside = directory / f"{NAME}.partial"
    with aside.open("wb") as file:
        file.write(_text(content).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, directory / NAME)
    sync_directory(directory)


def read_manifest(directory: Path) -> Manifest:
    """Read and check the manifest of a record set.

    Args:
      directory: the folder that `dovetail prepare` wrote.

    Returns:
      the manifest, its bytes found to be those that were written.

    Raises:
      DataError: if there is none, or it is damaged, edited, or of a newer format.
    """
    path = directory / NAME
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(_absent(directory)) from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.") from error
    damaged = DataError(f"{path} was damaged or edited after it was written. {CURE}")
    try:
        content = json.loads(raw)
        checksum = content.pop("checksum", None)
        kind, version = content["format"], content["version"]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise damaged from None
    if kind == FORMAT and isinstance(version, int) and version > VERSION:
        raise DataError(
            f"{path} is of format version {version}; this Dovetail reads versions up to {VERSION}. "
            "Use the Dovetail that wrote it, or a newer one."
        )
    try:
        text = _text(content)
    except ValueError:  # a digit that became an 'e' made a number infinite
        raise damaged from None
    if checksum != hashlib.sha256(text.encode()).hexdigest():
        raise damaged
    if raw != _text({**content, "checksum": checksum}).encode():
        raise damaged  # the same values, but other bytes
    assert content["block_bytes"] == BLOCK_BYTES
    shards = tuple(shard_from_dict(item) for item in content["shards"])
    schema = Schema.from_list(content["schema"])
    return Manifest(
        schema,
        shards,
        content["metadata"],
        hashlib.sha256(raw).hexdigest(),
        content.get("compression"),
        tuple(Added(**item) for item in content.get("additions", ())),
    )


def shard_to_dict(shard: Shard) -> dict[str, Any]:
    """Give a shard as plain values, as JSON can hold and `shard_from_dict` reads."""
    item = {
        "file": shard.file,
        "rows": shard.rows,
        "bytes": shard.bytes,
        "buffers": {name: list(starts) for name, starts in shard.buffers.items()},
        "blocks": "".join(f"{value:08x}" for value in shard.blocks),
    }
    if shard.row_blocks:
        item["row_blocks"] = " ".join(f"{b.rows}:{b.begin}:{b.end}" for b in shard.row_blocks)
    return item


def shard_from_dict(item: Mapping[str, Any]) -> Shard:
    """Read what `shard_to_dict` gave."""
    row_blocks = [map(int, one.split(":")) for one in item.get("row_blocks", "").split()]
    return Shard(
        file=item["file"],
        rows=item["rows"],
        bytes=item["bytes"],
        buffers={name: tuple(starts) for name, starts in item["buffers"].items()},
        blocks=tuple(np.frombuffer(bytes.fromhex(item["blocks"]), ">u4").tolist()),
        row_blocks=tuple(RowBlock(*one) for one in row_blocks),
    )


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n"


def _absent(directory: Path) -> str:
    if not directory.exists():
        return (
            f"There are no records at {directory}: no such folder. Write them with "
            "`dovetail prepare`."
        )
    if not directory.is_dir():
        return f"{directory} is a file; records are a folder, as `dovetail prepare` writes it."
    return (
        f"{directory} has no {NAME}, so it is not a whole set of records (a `prepare` that was "
        "interrupted, or another folder). Write the records anew with `dovetail prepare`."
    )
