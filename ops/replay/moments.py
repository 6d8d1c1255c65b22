# SPDX-License-Identifier: Apache-2.0
"""A moment as people write it."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import click

from ops.context import Trouble

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment_ms(text: str) -> int:
    """Unix epoch in milliseconds of an ISO 8601 time (UTC unless it says otherwise) or of `36h`, `15m`, `2d` ago."""
    if found := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return int((time.time() - int(found[1]) * _UNITS_S[found[2]]) * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Trouble(f"{text!r} is no moment.", "Write 2026-01-31T09:00Z, or 36h for that long ago.") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def moment_option(_: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """`moment_ms` as the callback of an option that may be left out."""
    return None if text is None else moment_ms(text)
