# SPDX-License-Identifier: Apache-2.0
"""Text that anybody wrote, on its way to a terminal: what would move its cursor, or change its title or its keys, is
written as it would be in a string of Python. Programs (`--json`) are given it as it is; JSON escapes what it must."""

from __future__ import annotations

# The controls of C0, DEL, and those of C1, which some terminals take for an escape and a letter.
_CONTROLS = {code: ascii(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0))}


def printable(text: str) -> str:
    """The text on one line, without control characters."""
    return text.translate(_CONTROLS)
