# SPDX-License-Identifier: Apache-2.0
"""Amounts are what was written, or the record is unreadable."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.codec import Codec, FixedSchemas, Schema
from schemas.errors import Unreadable


def read(raw: bytes, precision: int, scale: int, fixed: bool = False) -> Any:
    """The one field of a record."""
    of: Any = {"type": "fixed", "name": "F", "size": len(raw)} if fixed else {"type": "bytes"}
    amount = {**of, "logicalType": "decimal", "precision": precision, "scale": scale}
    schema = {"type": "record", "name": "Paid", "namespace": "t", "fields": [{"name": "amount", "type": amount}]}
    schemas = FixedSchemas()
    id = schemas.register("t.Paid", Schema("AVRO", json.dumps(schema)))
    size = b"" if fixed else bytes([2 * len(raw)])
    return Codec(schemas).decode(b"\0" + id.to_bytes(4, "big") + size + raw)[2]["amount"]


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(
    ("raw", "precision", "scale", "said"),
    [
        ("04d2", 4, 2, "12.34"), ("fb2e", 4, 2, "-12.34"), ("0000", 4, 2, "0.00"), ("270f", 4, 0, "9999"),
("4b3b4ca85a86c47a098a223fffffffff", 38, 9, "99999999999999999999999999999.999999999"),
    ],
)  # fmt: skip
def test_decimal_is_what_was_written(raw: str, precision: int, scale: int, said: str, fixed: bool) -> None:
    """To the last digit, however many there are, and with its scale."""
    assert read(bytes.fromhex(raw), precision, scale, fixed) == said


@pytest.mark.parametrize("raw", ["7fffffff", "2710", "80" + "00" * 40])
def test_decimal_beyond_its_precision_is_unreadable(raw: str) -> None:
    """A rounded amount would look right."""
    with pytest.raises(Unreadable, match="payload"):
        read(bytes.fromhex(raw), 4, 2)
