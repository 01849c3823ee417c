"""What a reader may have beside being called."""

from dovetail.data.readers.cifar import Cifar100
from dovetail.data.readers.reader import Reader, bound, metadata_of, schema_of


def test_a_plain_function_is_a_reader_without_more() -> None:
    def read(filename: str) -> tuple[int]:
        return (len(filename),)

    assert isinstance(read, Reader)
    assert bound(read, iter(["a"])) is read
    assert schema_of(read) is None
    assert metadata_of(read) == {}


def test_what_a_reader_says_of_itself_is_asked_after_it_is_bound() -> None:
    reader = bound(Cifar100("fine"), ["a.bin"])
    schema = schema_of(reader)
    assert schema is not None
    assert list(schema) == ["image", "label"]
    assert metadata_of(reader) == {}
