# SPDX-License-Identifier: Apache-2.0
"""The findings of replays, as Kafka holds them."""

from __future__ import annotations

TOPIC, TYPE, SOURCE = "replay-findings", "threadlog.ReplayFinding", "/threadlog/replay"
DIVERGENCE, VOID, SUMMARY = "divergence", "void", "summary"


def group(namespace: str, run: str) -> str:
    """The consumer group by which a run shows how far it has come, a slice at a time."""
    return f"{namespace}.replay.{run}"
