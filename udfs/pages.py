# SPDX-License-Identifier: Apache-2.0
"""Pairs of a thread that are numbered in a row, as pages of the map: appended at one end, dropped at the other.

Each access to the map crosses into Java and RocksDB. By themselves such pairs would be written, looked for and removed
one by one, on every turn of a long conversation. A page, `section/number of the page`, holds PAGE_NUMBERS of them, and
the pages of late stay decoded. Which pairs of a page were dropped from the front the thread knows (`Paged.low`), so a
page is touched again only when it is removed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Protocol

import msgspec

# What stands before the number in the keys of these sections; the rest of their keys have none.
NUMBERED = {"history": "", "seen": "#"}
PAGE_NUMBERS = 32
# A page is written anew whenever a part of it comes, so what is large lies by its key.
PAIR_CHARS_MAX = 512
NEVER_LARGE = frozenset({"seen"})
# Of all pages that stay decoded; in Python's memory they take some three times as much. A thread that is at work needs
# three pages, of 4 kB where people write to it.
KEPT_CHARS_MAX = 32_000_000

Pairs = dict[str, msgspec.Raw]


class MapState(Protocol):
    """What we use of Flink's MapState, of the current thread."""

    def get(self, key: str) -> str | None: ...
    def put(self, key: str, value: str) -> None: ...
    def remove(self, key: str) -> None: ...
    def items(self) -> Any: ...


class Paged(msgspec.Struct, array_like=True):
    """A section that lies in pages: numbers from `low` on, but for large values; what had lower ones was dropped, or
    lies by its key.

    As an array beside the names of sections that lie by their keys: code that knows no pages stops at it."""

    section: str
    low: int

    def number(self, key: str) -> int | None:
        """The number in a key, where it may lie in a page."""
        found = number_of(self.section, key)
        return found if found is not None and found >= self.low else None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Pairs).decode


def number_of(section: str, key: str) -> int | None:
    """The number in a key of a section; None in one that has none."""
    prefix = NUMBERED.get(section)
    if prefix is None or not key.startswith(prefix):
        return None
    digits = key[len(prefix) :]
    is_number = digits.isdigit() and digits.isascii() and (digits[0] != "0" or digits == "0")
    return int(digits) if is_number else None


def page_of(key: str) -> str:
    """The section that a key of the map is a page of; "" for a key of a single pair."""
    return "" if ":" in key else key.partition("/")[0]


def chars(pairs: Pairs) -> int:
    """About how many a page has, an empty one included."""
    return 64 + sum(len(key) + len(value) for key, value in pairs.items())


def opened(value: str) -> Pairs:
    """The pairs of a page."""
    return _decode(value)


class Pages:
    """The pages of all threads, through the map of the current one."""

    def __init__(self, maps: MapState, kept_max: int = KEPT_CHARS_MAX) -> None:
        """kept_max: characters."""
        self._maps, self._kept_max, self._chars = maps, kept_max, 0
        self._kept: OrderedDict[tuple[str, str], tuple[Pairs, int]] = OrderedDict()

    def read(self, thread: str, section: str, page: int) -> Pairs:
        """The pairs of a page, dropped ones included; not to be changed."""
        key = f"{section}/{page}"
        if kept := self._kept.get((thread, key)):
            self._kept.move_to_end((thread, key))
            return kept[0]
        stored = self._maps.get(key)
        found = {} if stored is None else opened(stored)
        self._keep(thread, key, found)
        return found

    def write(self, thread: str, section: str, page: int, pairs: Pairs) -> None:
        """Put a page in place of what was there; one without pairs is removed."""
        key = f"{section}/{page}"
        self._drop(thread, key)
        if pairs:
            self._maps.put(key, _encode(pairs).decode())
            self._keep(thread, key, pairs)
        else:
            self._maps.remove(key)

    def remove(self, thread: str, section: str, page: int) -> None:
        """Remove a page, be it there or not."""
        key = f"{section}/{page}"
        self._maps.remove(key)
        self._drop(thread, key)

    def forget(self, thread: str, key: str) -> None:
        """Read what lies under a key of the map anew."""
        self._drop(thread, key)

    def _keep(self, thread: str, key: str, pairs: Pairs) -> None:
        size = chars(pairs)
        self._kept[thread, key] = pairs, size
        self._chars += size
        while self._chars > self._kept_max:
            self._chars -= self._kept.popitem(last=False)[1][1]

    def _drop(self, thread: str, key: str) -> None:
        _, size = self._kept.pop((thread, key), (None, 0))
        self._chars -= size
