# SPDX-License-Identifier: Apache-2.0
"""The state of the current thread in Flink's keyed state.

Two states. `thread` is one JSON string, read and written once on every turn: the small sections, what of the map
sections lies *near*, and the time of the thread's Flink timer. `maps` is a map of JSON strings under "section:key" for
what lies *far*: each access to it crosses into Java and RocksDB, which costs more than to carry a kilobyte along. So
the pairs of a map section stay near until they are too many; then a section goes far in one go, and what is written to
it later gathers near again. A section that never went far is never looked for there. Of the pairs that go far those
that are numbered in a row lie in pages (`pages.py`), the others by themselves.

The threads of late stay decoded in memory. The operator's instance is the only writer of its keyed state, and a restart
makes a new instance, so what was written is what would be read; a thread whose turn did not end is read again.

Strings, because in thread mode bytes in state come back as tuples of numbers. Flink decides which thread is current.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from threadlog.following import Head
from threadlog.state import MAPS, Patch, Small, State, new_small
from udfs.pages import (
    KEPT_CHARS_MAX,
    NEVER_LARGE,
    PAGE_NUMBERS,
    PAIR_CHARS_MAX,
    MapState,
    Paged,
    Pages,
    Pairs,
    number_of,
    opened,
    page_of,
)

# Of the map sections, as JSON: a few turns of a conversation. Below it a turn touches no map; RocksDB writes it anew on
# every turn.
NEAR_CHARS_MAX = 4_096
THREADS_KEPT_MAX = 10_000  # some 10 kB each
SELDOM_READ = frozenset({"history", "seen"})
NO_TIMER = 0
NO_HEAD = Head()


class ValueState(Protocol):
    """What we use of Flink's ValueState."""

    def value(self) -> str | None: ...
    def update(self, value: str) -> None: ...


class _Thread(msgspec.Struct, omit_defaults=True):
    """What the state `thread` holds; a near value is decoded when it is asked for. `far`: sections that lie in the map.

    `read` and `generation`: while a catch-up of that generation follows the journal, how far it has read the thread's.
    """

    small: Small
    near: dict[str, dict[str, msgspec.Raw]]
    far: list[str | Paged]
    timer_ms: int = NO_TIMER
    read: Head = NO_HEAD
    generation: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_decode_thread = msgspec.json.Decoder(_Thread).decode


@dataclass(slots=True)
class Kept:
    """One thread as it was loaded: its small sections, and the `Maps` that the engine reads map sections through."""

    thread: _Thread
    value: ValueState
    maps: MapState
    pages: Pages
    stored: Callable[[_Thread], None]
    far: dict[str, dict[str, Any]] | None = None

    @property
    def small(self) -> Small:
        """The small sections as of the last decision."""
        return self.thread.small

    @property
    def timer_ms(self) -> int:
        """When the thread's Flink timer fires, Unix epoch; NO_TIMER if none is registered."""
        return self.thread.timer_ms

    def read(self, generation: str) -> Head:
        """How far a catch-up has read the thread's journal; nothing of it where it has not begun to."""
        return self.thread.read if self.thread.generation == generation else NO_HEAD

    @property
    def is_cut(self) -> bool:
        """Whether a catch-up has read on where the state could not follow: what lies between is gone from the journal.

        It ends with the next `store` outside of a catch-up, so who decides must ask before."""
        return bool(self.thread.read.seq > self.thread.small["core"]["seq"])

    def get(self, section: str, key: str) -> Any:
        return self.several(section, (key,))[0]

    def several(self, section: str, keys: Iterable[str]) -> list[Any]:
        near, is_far, paged = self.thread.near.get(section, {}), section in self.thread.far, self._paged(section)
        at, page, found = -1, {}, []
        for key in keys:
            raw: Any = near.get(key)
            if raw is None and paged is not None and (number := paged.number(key)) is not None:
                if at != number // PAGE_NUMBERS:
                    at = number // PAGE_NUMBERS
                    page = self.pages.read(self._name, section, at)
                raw = page.get(key)
            if raw is None and is_far:
                raw = self.maps.get(f"{section}:{key}")
            found.append(None if raw is None else _decode(raw))
        return found

    def items(self, section: str) -> Iterator[tuple[str, Any]]:
        """Every pair of a section in the order of keys. Of one that lies far the whole map is read, once."""
        is_far = section in self.thread.far or self._paged(section) is not None
        if is_far and self.far is None:
            self.far = {(one.section if isinstance(one, Paged) else one): {} for one in self.thread.far}
            for key, value in self.maps.items():
                if name := page_of(key):
                    paged = self._paged(name)
                    self.far[name] |= {k: v for k, v in opened(value).items() if paged and paged.number(k) is not None}
                else:
                    name, _, rest = key.partition(":")
                    self.far[name][rest] = value
        far = self.far[section] if is_far and self.far is not None else {}
        found: dict[str, Any] = far | self.thread.near.get(section, {})
        return iter([(key, _decode(value)) for key, value in sorted(found.items())])

    def begin(self, state: State) -> None:
        """Take over a whole state in place of what is there."""
        self.far = None
        if self.thread.far:
            for key in [key for key, _ in self.maps.items()]:
                self.maps.remove(key)
                self.pages.forget(self._name, key)
        self.thread.small, self.thread.far = state.small, []
        sections = {name: {k: msgspec.Raw(_encode(v)) for k, v in state.maps.items(name)} for name in MAPS}
        self.thread.near = {name: pairs for name, pairs in sections.items() if pairs}

    def follow(self, small: Small, writes: Patch) -> None:
        """Take over what a decision made of the thread; `store` writes it down."""
        self.far = None
        self.thread.small = small
        for section, pairs in writes["put"].items():
            near = self.thread.near.setdefault(section, {})
            for key, value in pairs.items():
                near[key] = msgspec.Raw(_encode(value))
        for section, keys in writes["del"].items():
            self._remove(section, keys)

    def store(self, timer_ms: int, read: Head = NO_HEAD, generation: str = "") -> None:
        """Write the thread down, when its Flink timer fires, and in a catch-up how far its journal is read."""
        self.far = None
        self.thread.timer_ms = timer_ms
        self.thread.read, self.thread.generation = read, generation
        stored = _encode(self.thread)
        while len(stored) > NEAR_CHARS_MAX and len(_encode(self.thread.near)) > NEAR_CHARS_MAX:
            self._send_far()
            stored = _encode(self.thread)
        self.value.update(stored.decode())
        self.stored(self.thread)

    def _remove(self, section: str, keys: list[str]) -> None:
        near, is_far, paged = self.thread.near.get(section, {}), section in self.thread.far, self._paged(section)
        # By number: a patch has them as strings, 10 before 9, and only what goes in a row moves the front.
        for key in sorted(keys, key=lambda key: (len(key), key)):
            near.pop(key, None)
            number = None if paged is None else paged.number(key)
            in_page = paged is not None and number is not None and self._remove_numbered(paged, key, number)
            if is_far and not in_page:
                self.maps.remove(f"{section}:{key}")
        if not near:
            self.thread.near.pop(section, None)

    def _send_far(self) -> None:
        """Move a section into the map: the largest, but one that is seldom read before one that every step reads."""
        sizes = {section: sum(map(len, pairs.values())) for section, pairs in self.thread.near.items()}
        section = max(sizes, key=lambda name: (name in SELDOM_READ and sizes[name] > NEAR_CHARS_MAX // 8, sizes[name]))
        alone = self._send_pages(section, self.thread.near.pop(section))
        for key, value in alone.items():
            self.maps.put(f"{section}:{key}", bytes(value).decode())
        if alone and section not in self.thread.far:
            self.thread.far.append(section)

    def _send_pages(self, section: str, pairs: Pairs) -> Pairs:
        """Write what is numbered to its pages; what is left, a number below all of its pages included."""
        numbers = {key: number for key in pairs if (number := number_of(section, key)) is not None}
        paged = self._paged(section)
        is_first = paged is None
        if paged is None:
            if not numbers:
                return pairs
            paged = Paged(section, min(numbers.values()))
            self.thread.far.append(paged)
        by_page: dict[int, Pairs] = {}
        for key, number in numbers.items():
            if number >= paged.low:
                by_page.setdefault(number // PAGE_NUMBERS, {})[key] = pairs[key]
        alone = {key: value for key, value in pairs.items() if paged.number(key) is None}
        for page, found in by_page.items():
            before = self.pages.read(self._name, section, page)
            large = {k: v for k, v in found.items() if len(v) > PAIR_CHARS_MAX and section not in NEVER_LARGE}
            held = {k: v for k, v in before.items() if paged.number(k) is not None and k not in large}
            if large.keys() != found.keys() or held.keys() != before.keys():
                self.pages.write(self._name, section, page, held | {k: v for k, v in found.items() if k not in large})
            alone |= large
        if section in self.thread.far and (is_first or section not in NEVER_LARGE):
            self._unwrite(section, numbers.keys() - alone.keys())
        return alone

    def _unwrite(self, section: str, keys: Set[str]) -> None:
        """What was written to a page now may lie by its key from before: large, or as code without pages wrote it."""
        for key in keys:
            self.maps.remove(f"{section}:{key}")

    def _remove_numbered(self, paged: Paged, key: str, number: int) -> bool:
        """Drop a pair that may lie in a page; whether it did, or nothing by its key can have. From the front on, as it
        goes in a row, a page is left alone until it is empty."""
        page, section = number // PAGE_NUMBERS, paged.section
        held = self.pages.read(self._name, section, page)
        if number == paged.low:
            paged.low += 1
            if paged.low % PAGE_NUMBERS == 0:
                self.pages.remove(self._name, section, page)
        elif key in held:
            self.pages.write(self._name, section, page, {k: v for k, v in held.items() if k != key})
        return key in held

    def _paged(self, section: str) -> Paged | None:
        for one in self.thread.far:
            if isinstance(one, Paged) and one.section == section:
                return one
        return None

    @property
    def _name(self) -> str:
        return str(self.thread.small["core"]["thread"])


class ThreadState:
    """Flink's two states of the current thread."""

    def __init__(self, value: ValueState, maps: MapState, kept_max: int = THREADS_KEPT_MAX) -> None:
        self._value, self._maps, self._kept_max = value, maps, kept_max
        self._pages = Pages(maps, KEPT_CHARS_MAX if kept_max else 0)
        self._kept: OrderedDict[str, _Thread] = OrderedDict()

    def load(self, thread: str) -> Kept:
        """The thread as it is stored, or a new one."""
        found = self._kept.pop(thread, None) or self._read(thread)
        return Kept(found, self._value, self._maps, self._pages, self._keep)

    def _read(self, thread: str) -> _Thread:
        stored = self._value.value()
        return _Thread(new_small(thread), {}, []) if stored is None else _decode_thread(stored)

    def _keep(self, stored: _Thread) -> None:
        self._kept[stored.small["core"]["thread"]] = stored
        if len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
