# SPDX-License-Identifier: Apache-2.0
"""Avro's decimals as they were written. The library rounds what has more digits than the schema says, without a word: a
producer that does not look at the precision would have its amounts changed. Here that is an error of the record."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from fastavro.read import LOGICAL_READERS


def _exact(data: Any, writer_schema: Any = None, reader_schema: Any = None) -> Decimal:
    """The decimal in its bytes, an integer of two's complement. Raises ValueError for too many digits."""
    unscaled = int.from_bytes(data, "big", signed=True)
    digits = str(abs(unscaled))  # of a number beyond all measure, an error too
    if len(digits) > writer_schema["precision"]:
        raise ValueError(f"a decimal of {len(digits)} digits, {writer_schema['precision']} are its precision")
    return Decimal((unscaled < 0, tuple(map(int, digits)), -writer_schema.get("scale", 0)))


def read_exactly() -> None:
    """Have the library read decimals so, in this process."""
    LOGICAL_READERS.update({"bytes-decimal": _exact, "fixed-decimal": _exact})
