"""What is said of a damaged block leads to its rows."""

import numpy as np
import pytest

from dovetail.data.damage import damaged_place
from dovetail.data.manifest import Shard
from dovetail.data.shards import DamagedBlockError


class Lies:
    """A column whose rows of ten bytes each begin at a place of the file."""

    def __init__(self, start):
        self.start = start

    def rows_at(self, shard, begin, end, rows):
        low = max(0, (begin - self.start) // 10)
        high = min(rows, -(-(end - self.start) // 10))
        return (low, high - 1) if low < high else None


ENTRIES = [Shard("a.arrow", 20, 500, {}, ()), Shard("b.arrow", 20, 500, {}, ())]
FIRST = np.array([0, 20])


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [
        (100, 150, "they hold rows 0 to 4 of field 'x' "),
        (290, 310, "rows 19 to 19 of field 'x', rows 0 to 0 of field 'y' "),
        (0, 90, "they hold the description of the file "),
    ],
)
def test_fields_and_rows_of_the_bytes_are_named(begin, end, said):
    columns = {"x": Lies(100), "y": Lies(300)}
    found = damaged_place(DamagedBlockError(1, begin, end), ENTRIES, FIRST, columns)
    assert found.startswith(f"b.arrow is damaged: its bytes {begin} to {end - 1} are not those")
    assert said in found
    assert "its first is row 20 of the set" in found
