"""Errors that come from another process: the same ones, with where they happened."""

import pickle

import pytest

from dovetail.data.batches.inbatch import ItemsError
from dovetail.data.travelling import Travelling, travelling
from dovetail.errors import DataError


class TwoArguments(Exception):
    """One that pickle can't make again."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


def raised(error, cause=None):
    try:
        raise error from cause
    except Exception as caught:
        caught.add_note("In the step.")
        return pickle.loads(pickle.dumps(travelling(caught)))


def test_an_error_arrives_with_notes_cause_and_traceback():
    with pytest.raises(LookupError, match="gone") as caught:
        raised(LookupError("gone"), OSError("disk")).arrive()
    assert caught.value.__notes__ == ["In the step."]
    assert isinstance(caught.value.__cause__, OSError)
    (where,) = caught.value.__cause__.__notes__
    assert where.startswith("In the worker process:\n")
    assert "in raised" in where


def test_what_pickle_can_not_make_again_is_said_in_words():
    told = raised(TwoArguments("a", "b"))
    assert isinstance(told, Travelling)
    with pytest.raises(DataError, match="TwoArguments: a and b") as caught:
        told.arrive()
    assert caught.value.__notes__[0] == "In the step."


def test_errors_of_items_keep_their_items():
    with pytest.raises(ItemsError) as caught:
        raised(ItemsError("two failed", [(3, ValueError("x"))])).arrive()
    assert [(item, str(error)) for item, error in caught.value.failures] == [(3, "x")]
