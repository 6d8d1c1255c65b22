# SPDX-License-Identifier: Apache-2.0
"""Points of curves as they are in the raw data, made up."""

from __future__ import annotations

from typing import Any

MACHINE = {
    "cores": 2, "cpu": "AMD EPYC", "kernel": "6.1", "commit": "abc123", "flink": "2.3.0", "kafka": "4.2.0",
    "java": "openjdk 17", "python": "3.11.9", "jobs": ["conversation", "tools"], "parallelism": 1, "partitions": 8,
    "state": "rocksdb", "seed": 1, "checkpoint_interval_ms": 200, "full_speed_s": 30.0,
}  # fmt: skip


def point(axis: str, x: int | str, **fields: Any) -> dict[str, Any]:
    """One that went well, but for what is told otherwise."""
    return {
        "axis": axis, "x": x, "unit": axis, "finished": True, "note": "", "busy": False, "turns_per_s": 1500.4,
        "cpu_ms_per_turn": 0.5, "broker_ms_per_turn": 0.1, "latency_p50_ms": 130.0, "latency_p99_ms": 260.0,
        "turns": 30_000, "turns_per_thread": 30.0, "state_bytes": 12_300_000, "wire_bytes_per_turn": 2_900,
        "conditions": dict(MACHINE), **fields,
    }  # fmt: skip
