"""The reader of NumPy's archives and arrays."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dovetail.data.prepare import prepare
from dovetail.data.readers.npz import Npz
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def npy(descr: str, shape: tuple[int, ...], data: bytes, *, order: bool = False) -> bytes:
    """Write an array as NEP 1 describes version 1.0 of the format."""
    head = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + data


def archive(path: Path, members: dict[str, bytes], *, deflate: bool = False) -> str:
    kind = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path.as_posix()


def rows(reader: Npz, name: str) -> list[dict[str, Any]]:
    bound = reader.for_files([name])
    assert bound.schema is not None
    return [bound.schema.convert(row, name) for row in bound(name)]


@pytest.mark.parametrize("deflate", [False, True])
def test_arrays_become_fields_by_their_names(tmp_path: Path, deflate: bool) -> None:
    x = npy("'<f4'", (2, 2), struct.pack("<4f", 1, 2, 3, 4))
    label = npy("'>i2'", (2,), struct.pack(">2h", -5, 300))
    word = npy("'<U2'", (2,), "ab".encode("utf-32-le") + "c\0".encode("utf-32-le"))
    members = {"x.npy": x, "label.npy": label, "word.npy": word}
    name = archive(tmp_path / "a.npz", members, deflate=deflate)
    reader = Npz().for_files([name])
    fields = [Field("x", (2,), "float32"), Field("label", (), "int16"), Field("word", (), "string")]
    assert reader.schema == Schema(fields)
    found = rows(Npz(), name)
    assert [row["x"].tolist() for row in found] == [[1, 2], [3, 4]]
    assert [row["label"] for row in found] == [-5, 300]
    assert [row["word"] for row in found] == ["ab", "c"]


def test_columns_first_order_is_read_by_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(npy("'|u1'", (2, 3), bytes([1, 4, 2, 5, 3, 6]), order=True))
    assert [row["arr_0"].tolist() for row in rows(Npz(), path.as_posix())] == [[1, 2, 3], [4, 5, 6]]


def test_arrays_are_chosen_and_named(tmp_path: Path) -> None:
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=X, y_train=np.arange(4), x_test=X[:2], y_test=np.arange(2))
    reader = Npz({"x_train": "image", "y_train": "label"})
    schema = Schema([Field("image", (3,), "float64"), Field("label", (1,), "uint8")])
    records = prepare(path, tmp_path / "out", schema, reader, workers=1)
    assert np.array_equal(records.gather(np.arange(4))["image"], X)
    assert records.gather(np.arange(4))["label"].tolist() == [[0], [1], [2], [3]]
    assert [row.keys() for row in rows(Npz(["x_test"]), path.as_posix())] == [{"x_test"}] * 2
    with pytest.raises(DataError, match=r"differ: \{'x_train': 4, .*'x_test': 2.*Name those"):
        rows(Npz(), path.as_posix())
    with pytest.raises(DataError, match=r"no array 'y_tran' in it; .*Did you mean 'y_train'"):
        rows(Npz(["y_tran"]), path.as_posix())


def test_one_array_of_a_file_is_arr_0_as_in_an_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    np.savez(tmp_path / "a.npz", X)
    reader = Npz({"arr_0": "x"})
    one, many = (rows(reader, (tmp_path / name).as_posix()) for name in ("a.npy", "a.npz"))
    assert np.array_equal([row["x"] for row in one], X)
    assert np.array_equal([row["x"] for row in many], X)


def test_an_array_without_rows_gives_none(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X[:0])
    assert rows(Npz(), (tmp_path / "a.npy").as_posix()) == []


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("a pickle was opened",))

    traps = np.array([Trap()], object)
    np.save(tmp_path / "a.npy", traps)
    np.savez(tmp_path / "a.npz", x=traps)
    (tmp_path / "a.pkl").write_bytes(traps.dumps())
    for name, match in (("a.npy", "Python objects"), ("a.npz", "Python objects"), ("a.pkl", "80")):
        with pytest.raises(DataError, match=rf"{name}: .*{match}"):
            rows(Npz(), (tmp_path / name).as_posix())


def test_an_npy_file_cut_anywhere_or_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    whole = npy("'<f4'", (4, 3), X.tobytes())
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.npy: "):
            rows(Npz(), path.as_posix())
    path.write_bytes(whole + whole)
    with pytest.raises(DataError, match="bytes follow the array"):
        rows(Npz(), path.as_posix())


@pytest.mark.parametrize("deflate", [False, True])
def test_an_archive_cut_or_flipped_is_refused_or_read_right(tmp_path: Path, deflate: bool) -> None:
    path = tmp_path / "a.npz"
    archive(path, {"x.npy": npy("'<f4'", (4, 3), X.tobytes())}, deflate=deflate)
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(0, len(whole), 3)]
    damaged += [whole[:i] + bytes([whole[i] ^ 255]) + whole[i + 1 :] for i in range(len(whole))]
    refused = 0
    for data in damaged:
        path.write_bytes(data)
        try:
            found = rows(Npz(), path.as_posix())
        except DataError:
            refused += 1
            continue
        # Some bytes of a zip file, such as a time, say nothing of the array.
        assert np.array_equal([next(iter(row.values())) for row in found], X)
    assert refused > len(damaged) // 2


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.float32(3), r"'x' is float32 \[\]"),
        (np.zeros(3, complex), "complex128"),
        (np.zeros(3, "M8[s]"), "datetime64"),
        (np.zeros(3, [("a", "i4")]), "rows need numbers or text"),
        (np.zeros((3, 0)), "1 or more"),
    ],
)
def test_what_can_not_be_rows_is_refused_by_name(tmp_path: Path, array: Any, match: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=array)
    with pytest.raises(DataError, match=rf"a\.npz: .*{match}"):
        rows(Npz(), path.as_posix())


def test_files_that_hold_no_array_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for data, match in (
        (b"", "it is empty"),
        (b"hello, world", "neither an .npz nor"),
    ):
        path.write_bytes(data)
        with pytest.raises(DataError, match=match):
            rows(Npz(), path.as_posix())
    archive(path, {})
    with pytest.raises(DataError, match="no array in it"):
        rows(Npz(), path.as_posix())
    archive(path, {"readme.txt": b"hello"})
    with pytest.raises(DataError, match="'readme.txt' is not an array"):
        rows(Npz(), path.as_posix())
    with pytest.raises(DataError, match="No such file"):
        rows(Npz(), "nothing.npz")


def test_a_damaged_file_does_not_keep_the_schema_of_the_others_from_being_told(
    tmp_path: Path,
) -> None:
    (tmp_path / "0.npy").write_bytes(b"hello")
    np.save(tmp_path / "1.npy", X)
    names = [(tmp_path / name).as_posix() for name in ("0.npy", "1.npy")]
    assert Npz().for_files(names).schema == Schema([Field("arr_0", (3,), "float32")])
    with pytest.raises(DataError, match=r"0\.npy"):
        Npz().for_files(names[:1])
    records = prepare(names, tmp_path / "out", None, Npz(), workers=1, on_error="skip")
    assert np.array_equal(records.gather(np.arange(4))["arr_0"], X)


def test_wishes_that_make_no_sense_are_refused() -> None:
    for arrays in ([], {"a": "x", "b": "x"}):
        with pytest.raises(DataError, match="each field once"):
            Npz(arrays)


def test_a_buffer_numpy_reads_is_what_these_tests_write() -> None:
    data = npy("'<f4'", (4, 3), X.tobytes())
    assert np.array_equal(np.load(io.BytesIO(data)), X)
