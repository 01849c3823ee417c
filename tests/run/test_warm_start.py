"""What a warm start says: names here, names there."""

import pytest

from dovetail.errors import ParamsError
from dovetail.run.warm_start import WarmStart


def test_a_rename_with_a_star_stands_for_the_same_on_both_sides():
    warm = WarmStart("old", renames={"encoder.*.weight": "backbone.*.kernel", "head.bias": "b"})
    assert warm.source("encoder.conv.1.weight") == "backbone.conv.1.kernel"
    assert warm.source("encoder.conv.bias") == "encoder.conv.bias"
    assert warm.source("head.bias") == "b"


def test_the_first_rename_that_fits_is_used():
    warm = WarmStart("old", renames={"a.b": "x", "a.*": "y.*"})
    assert [warm.source(name) for name in ("a.b", "a.c", "a")] == ["x", "y.c", "a"]


def test_a_pattern_alone_is_taken_as_one():
    assert WarmStart("old", "encoder.*").variables == ("encoder.*",)


def test_a_name_to_skip_alone_is_taken_as_one():
    assert WarmStart("old", skip="logits").skip == ("logits",)


@pytest.mark.parametrize("rename", [{"a.*": "b"}, {"a": "b.*"}, {"*.a.*": "*.b.*"}])
def test_a_rename_that_can_not_be_read_is_refused(rename):
    with pytest.raises(ParamsError, match="one on each side"):
        WarmStart("old", renames=rename)
