"""Filters of parameters' names."""

from __future__ import annotations

import pytest

from dovetail.definition.name_filters import chosen, fits
from dovetail.errors import DefinitionError

NAMES = ["conv2d.weight", "conv2d.bias", "block.conv2d.weight", "block.logits.bias"]


@pytest.mark.parametrize(
    ("name_filter", "expected"),
    [
        ("conv2d", [0, 1, 2]),
        ("bias", [1, 3]),
        ("block.conv2d", [2]),
        ("block.conv2d.weight", [2]),
        ("conv", []),
        ("conv*", [0, 1]),
        ("*.bias", [1, 3]),
        ("*", [0, 1, 2, 3]),
        ("conv2?.weight", [0]),
    ],
)
def test_a_filter_means_whole_parts_of_a_name_or_is_a_pattern(name_filter, expected):
    assert [i for i, name in enumerate(NAMES) if fits(name_filter, name)] == expected


def test_what_is_skipped_is_left_out_of_what_is_asked_for():
    assert chosen(NAMES, only=["block", "conv2d"], skip=["bias"]) == (NAMES[0], NAMES[2])
    assert chosen(NAMES) == tuple(NAMES)


@pytest.mark.parametrize("filters", [{"only": ["logit"]}, {"skip": ["bias", "logit"]}])
def test_a_filter_that_fits_nothing_is_refused_with_the_nearest(filters):
    with pytest.raises(DefinitionError, match=r"vars: 'logit' fits no .*Did you mean 'logits'"):
        chosen(NAMES, **filters, what="vars")
