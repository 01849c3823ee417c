"""The manifest is what was written, to the byte, or it is refused."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.data.manifest import Manifest, Shard, read_manifest, write_manifest
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

MANIFEST = Manifest(
    Schema([Field("x", (None,), "int8")]),
    (Shard("shard-00000.arrow", 3, 70_000, {"x": (64, 128)}, (1, 2**32 - 1)),),
    {"classes": ["a", "b"]},
)


def test_a_manifest_goes_there_and_back(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    found = read_manifest(tmp_path)
    assert (found.schema, found.shards, found.metadata) == (
        MANIFEST.schema,
        MANIFEST.shards,
        MANIFEST.metadata,
    )
    assert (found.rows, found.bytes, len(found.fingerprint)) == (3, 70_000, 64)
    assert os.listdir(tmp_path) == ["manifest.json"]


@given(st.data())
def test_any_flipped_or_missing_byte_is_refused(data):
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(Path(folder), MANIFEST)
        path = Path(folder) / "manifest.json"
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] ^= data.draw(st.integers(1, 255))
        else:
            del content[at:]
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"damaged or edited|newer one"):
            read_manifest(Path(folder))


def test_an_edit_that_keeps_every_value_is_refused_too(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    with pytest.raises(DataError, match="damaged or edited"):
        read_manifest(tmp_path)


def test_a_newer_format_says_so(tmp_path):
    (tmp_path / "manifest.json").write_text('{"format": "dovetail-records", "version": 99}')
    with pytest.raises(DataError, match="version 99; this Dovetail reads versions up to 2"):
        read_manifest(tmp_path)


def test_a_folder_without_manifest_is_not_whole(tmp_path):
    with pytest.raises(DataError, match="not a whole set of records.*dovetail prepare"):
        read_manifest(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        read_manifest(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file"):
        read_manifest(tmp_path / "file")


@pytest.mark.parametrize("metadata", [{"x": {1, 2}}, {"x": (1, 2)}, {"x": float("nan")}, {1: 2}])
def test_metadata_that_json_would_change_is_refused(tmp_path, metadata):
    with pytest.raises(DataError, match="metadata must"):
        write_manifest(tmp_path, Manifest(MANIFEST.schema, (), metadata))
