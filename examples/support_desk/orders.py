# SPDX-License-Identifier: Apache-2.0
"""The shop's orders and each order's temper, both computed from a hash: no database, and every run sees the same.

A temper says what the payment service does with a refund of that order, so that failures are seeded, not random."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

TEMPERS = ("drops", "fails", "busy", "slow", "prompt")  # 8, 10, 10, 52 and 20 percent of the orders


@dataclass(frozen=True)
class Temper:
    """`kind` is one of TEMPERS; `delay_s` is how long the service thinks before it pays."""

    kind: str
    delay_s: float


def number(*parts: object) -> int:
    """A number that depends on the parts and nothing else."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big")


def order(order_id: str) -> dict[str, Any]:
    """An order as the service's clients see it; amounts in cents."""
    drawn = number("order", order_id)
    return {
        "order_id": order_id,
        "total": 2_000 + drawn % 28_000,
        "sku": f"sku-{drawn % 40:02d}",
        "status": "delivered",
    }


def stock(sku: str) -> int:
    """How many pieces of an article are left."""
    return number("stock", sku) % 25


def temper(seed: int, order_id: str) -> Temper:
    """What a refund of this order meets."""
    share, thinking = number(seed, "temper", order_id) % 100, number(seed, "delay", order_id)
    if share < 8:
        return Temper("drops", 0.02)
    if share < 18:
        return Temper("fails", 0.02)
    if share < 28:
        return Temper("busy", 0.02)
    if share < 80:
        return Temper("slow", 0.1 + thinking % 1401 / 1000)
    return Temper("prompt", 0.005)
