"""What a model file's custom_data_reader may return."""

import pytest

from dovetail.definition.custom_reader import CustomReader
from dovetail.definition.signature import Matched
from dovetail.errors import DefinitionError


class Reader:
    def __call__(self, filename):
        return {"name": filename}


def of(function):
    return CustomReader(Matched(function, (), what="custom_data_reader"))


@pytest.mark.parametrize("function", [Reader, lambda: Reader(), lambda: Reader().__call__])
def test_an_object_that_takes_a_files_name_is_a_reader(function):
    assert of(function)()("a.txt") == {"name": "a.txt"}


def test_a_function_that_takes_more_than_settings_is_refused():
    with pytest.raises(DefinitionError, match="wants an argument 'filename'"):
        of(lambda filename: Reader())


def no_rows():
    yield 1


def two(filename, other):
    return filename, other


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (None, "returned None.*Is a `return` missing"),
        (3, "returned an int"),
        (Reader, r"returned the class Reader.*Reader\(...\) makes"),
        (no_rows(), "returned a generator.*write prepare_data_for_a_single_file"),
        (two, r"returned two \(.*\), which does not take one file's name"),
    ],
)
def test_anything_else_is_refused_with_the_functions_line(returned, expected):
    with pytest.raises(DefinitionError, match=expected) as caught:
        of(lambda: returned)()
    assert str(caught.value).startswith("custom_data_reader: ")
    assert f"{__file__}:" in str(caught.value)


def test_what_the_function_raises_is_the_cause():
    def custom_data_reader():
        return {}["no"]

    with pytest.raises(DefinitionError, match=r"custom_data_reader \(.*failed: KeyError") as caught:
        of(custom_data_reader)()
    assert isinstance(caught.value.__cause__, KeyError)
