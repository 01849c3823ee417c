"""What a run was trained on, with checksums, as plain JSON for its record."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from dovetail.data.mixing import Mixed
from dovetail.data.records import Records


def manifest(records: Records | Mixed) -> dict[str, Any]:
    """Describe records by their checksums, down to each shard.

    Args:
      records: a set of them, or a mixture of sets.

    Returns:
      path, fingerprint (SHA-256 of the set's own manifest), rows, and the shards with the SHA-256
      of their blocks' checksums; for a mixture the same of each source, with its weight.

    >>> import tempfile
    >>> from dovetail.data.record_writer import RecordWriter
    >>> from dovetail.data.schema import Field, Schema
    >>> place = tempfile.mkdtemp() + "/records"
    >>> with RecordWriter(place, Schema([Field("x", (), "int64")])) as writer:
    ...     writer.append((1,))
    >>> made = manifest(Records(place))
    >>> made["rows"], [sorted(shard) for shard in made["shards"]]
    (1, [['bytes', 'file', 'rows', 'sha256_of_checksums']])
    """
    common = {
        "path": str(records.path),
        "fingerprint": records.fingerprint,
        "rows": len(records),
    }
    if isinstance(records, Mixed):
        sources = {name: manifest(source) for name, source in records.sources.items()}
        return {**common, "weights": dict(records.weights), "sources": sources}
    shards = [
        {
            "file": shard.file,
            "rows": shard.rows,
            "bytes": shard.bytes,
            "sha256_of_checksums": hashlib.sha256(
                np.array(shard.blocks, ">u4").tobytes()
            ).hexdigest(),
        }
        for shard in records.manifest.shards
    ]
    return {**common, "bytes": records.manifest.bytes, "shards": shards}
