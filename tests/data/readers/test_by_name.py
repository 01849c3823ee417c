"""Readers by the names of the command line."""

import importlib

import pytest

from dovetail.data.readers.by_name import READERS, by_name
from dovetail.data.readers.image_folder import ImageFolder
from dovetail.data.readers.reader import Reader
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

SCHEMA = Schema([Field("image", (4, 4), "uint8"), Field("label", (), "int64")])


@pytest.mark.parametrize("name", READERS)
def test_each_name_leads_to_a_reader_that_says_what_it_takes(name: str) -> None:
    module, kind = READERS[name]
    assert getattr(importlib.import_module(module), kind).__doc__
    reader = by_name(name)
    assert isinstance(reader, Reader)
    assert hasattr(reader, "for_files")


def test_spelling_with_dashes_or_capitals_is_the_same() -> None:
    assert by_name("Image-Folder") == by_name("image_folder")


def test_a_schema_goes_to_the_readers_that_shape_their_rows_after_it() -> None:
    reader = by_name("image_folder", schema=SCHEMA)
    assert isinstance(reader, ImageFolder)
    assert reader.schema == SCHEMA
    assert by_name("mnist", schema=SCHEMA) == by_name("mnist")


def test_an_unknown_name_or_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"no reader 'tf_record'.*Did you mean 'tfrecord'.*custom"):
        by_name("tf_record")
    with pytest.raises(DataError, match=r"'mnist' has no option 'label'.*Did you mean 'labels'"):
        by_name("mnist", label=False)
    with pytest.raises(DataError, match="'mnist': labels is true or false; got 'no'"):
        by_name("mnist", labels="no")
    with pytest.raises(DataError, match="must be 'fine', 'coarse' or 'both'"):
        by_name("cifar100", labels="rough")
    with pytest.raises(DataError, match=r"'image_folder' can't be made with \{'classes': 3\}"):
        by_name("image_folder", classes=3)
