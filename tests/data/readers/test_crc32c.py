"""CRC-32C against published values and a bit by bit division."""

import random

import pytest
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c as tensorboards

from dovetail.data.readers.crc32c import crc32c, masked_crc32c

# RFC 3720, B.4: 32 bytes of zeros, of ones, counting up, counting down; and an iSCSI read command.
COMMAND = (
    "01c0000000000000000000000000000014000000000004000000001400000018"
    "28000000000000000200000000000000"
)
PUBLISHED = [
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (bytes.fromhex(COMMAND), 0xD9963A56),
    (b"123456789", 0xE3069283),
    (b"", 0),
]


def by_bits(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            carry = crc ^ byte >> bit
            crc = crc >> 1 ^ (0x82F63B78 if carry & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(("data", "expected"), PUBLISHED)
def test_published_values_are_met(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected == by_bits(data)


@pytest.mark.parametrize("length", [1, 3, 4, 63, 64, 65, 1023, 1024, 1025, 4096, 66_000])
def test_any_length_agrees_with_a_division_bit_by_bit(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert crc32c(data) == crc32c(memoryview(data)) == by_bits(data)


@pytest.mark.parametrize("length", [0, 8, 100, 3000])
def test_the_mask_is_the_one_of_event_files(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert masked_crc32c(data) == tensorboards(data)
