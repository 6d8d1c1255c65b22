# SPDX-License-Identifier: Apache-2.0
"""The bare job's operator is frozen: its source and its bytes. All ratios of the benches are taken against it."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from typing import Any

from bench import bare
from bench.bare import Bare
from tests.udfs.keyed import Keyed
from tests.wire.golden import golden
from wire.frames import Record, pack_in

OUTPUT, THREAD = "ns.bare-out", "t-1"
GOLDEN: dict[str, Any] = golden("bare")


def frame(number: int, offset: int, text: str = "hello") -> bytes:
    """The frame of one event; its number is its id."""
    body = {"id": f"e-{number}", "thread": THREAD, "t0": 1_700_000_000.123456, "text": text}
    value = json.dumps(body).encode()
    return pack_in(Record("ns.bare-in", 3, offset, 1_700_000_000_123, THREAD.encode(), value, []))


class Operator:
    """The operator over a fake ValueState, one thread current."""

    def __init__(self) -> None:
        self.flink = Keyed(Bare(OUTPUT), 0, THREAD)
        self.flink.open()

    def give(self, given: bytes) -> list[bytes]:
        """The packs that it writes for a frame."""
        return list(self.flink.function.process_element(given, self.flink))

    @property
    def state(self) -> str | None:
        """The bytes of its keyed state."""
        return self.flink.stored["bare"][THREAD].get("")


def code(one: Any) -> str:
    """A digest of what a class or function does, whatever its layout and comments."""
    return hashlib.sha256(ast.dump(ast.parse(inspect.getsource(one))).encode()).hexdigest()


def steps() -> list[dict[str, Any]]:
    """What the operator makes of the golden frames, one after the other."""
    operator = Operator()
    return [
        {
            "frame": one["frame"],
            "out": [pack.hex() for pack in operator.give(bytes.fromhex(one["frame"]))],
            "state": operator.state,
        }
        for one in GOLDEN["steps"]
    ]


def long_run() -> str:
    """A digest of 80 events' outputs and states: both windows are full, ids leave one, every fifth comes again."""
    operator, all_ = Operator(), hashlib.sha256()
    for offset in range(80):
        number = offset - offset // 5
        for pack in operator.give(frame(number, offset, f"text {number} " * (offset % 9))):
            all_.update(pack)
        all_.update((operator.state or "").encode())
    return all_.hexdigest()


def test_bare_writes_the_golden_bytes() -> None:
    """A first event, a second with letters beyond ASCII and a long text, the first once more."""
    assert steps() == GOLDEN["steps"]


def test_bare_golden_frames_are_what_the_source_gives() -> None:
    """The operator cuts frames itself; they are those of today's connector, or it would be measured on others."""
    given = [frame(1, 14), frame(2, 15, "grüß dich, " * 8), frame(1, 16)]
    assert [one.hex() for one in given] == [one["frame"] for one in GOLDEN["steps"]]


def test_bare_writes_the_golden_bytes_of_a_long_run() -> None:
    """Texts and ids leave their windows."""
    assert long_run() == GOLDEN["long_run"]


def test_bare_takes_an_id_again_that_has_left_its_window() -> None:
    """32 ids are kept, as many as the frozen operator pays for."""
    operator = Operator()
    written = [len(operator.give(frame(number, offset))) for offset, number in enumerate([*range(32), 0, 32, 0])]
    assert written == [1] * 32 + [0, 1, 1]


def test_bare_code_is_frozen() -> None:
    """The same bytes made faster would move the yardstick as well."""
    assert {one.__name__: code(one) for one in (Bare, bare._cut, bare._pack)} == GOLDEN["code"]
