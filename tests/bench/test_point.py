# SPDX-License-Identifier: Apache-2.0
"""What a point makes of what it sends, sees and reads; the stack is a stand-in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from bench import point as point_module
from bench import readings
from bench.axes import Point
from bench.feed import Committed
from bench.point import Taking, Unfinished, sizes, spread, taken, told, wrong
from bench.readings import Checkpoint, Checkpoints, Reading, completed, disk_bytes, file_bytes, record_bytes
from bench.rounds import Window, window, windows
from tests.bench.points import MACHINE

EVENTS = ("t-1", "threadlog.Message", {"text": "say", "data": "{}"})


@dataclass
class Stack:
    """A session and its follower at once: an event's entry is there when `answers` says so."""

    answers: Callable[[int], bool] = lambda number: True
    seen: list[Any] = field(default_factory=list)
    sent: int = 0
    out: int = 0

    settings = SimpleNamespace(checkpoint_interval_ms=200)

    def send(self, events: Iterable[Any]) -> list[str]:
        ids = []
        for _ in events:
            ids.append(f"e-{self.sent}")
            self.seen += [ids[-1]] if self.answers(self.sent) else []
            self.sent += 1
        self.out = max(self.out, self.sent - len(self.seen))
        return ids

    def reached(self, count: int, until: float) -> bool:
        return len(self.seen) >= count


def taking(stack: Any) -> Taking:
    return Taking(stack, SimpleNamespace(), Point("threads", 10, 1), stack)  # type: ignore[arg-type]


def feed(stack: Stack, seconds: float = 0, least: int = 0, most: int = 10**9, bound_s: float = 5) -> Taking:
    """What became of sending by these rules."""
    taken = taking(stack)
    taken.feed("full speed", (EVENTS for _ in count()), seconds, least, most, bound_s)
    return taken


def test_feed_sends_until_the_least_was_sent() -> None:
    """Also when the seconds are over: each of the threads has its turn."""
    stack = Stack()
    assert len(feed(stack, seconds=0, least=1_700).ids) == 2_000  # whole batches
    assert stack.sent == 2_000


def test_feed_sends_no_more_than_the_most() -> None:
    """Also when there is time: a history must not grow past what its point is about."""
    assert len(feed(Stack(), seconds=60, most=1_234).ids) == 1_234


def test_feed_does_not_let_more_be_out_than_allowed() -> None:
    """A stack that answers nothing gets as many as may be out, and then it is told how far it came."""
    stack = Stack(answers=lambda number: number < 700)
    with pytest.raises(Unfinished, match=r"full speed: 700 entries of 5,500 events within 0 s, 10,000 were to be sent"):
        feed(stack, seconds=0, least=10_000, bound_s=0.3)
    assert stack.out <= 5_000


def test_feed_ends_within_its_bound() -> None:
    """Whatever is still to be sent."""
    with pytest.raises(Unfinished, match="were to be sent"):
        feed(Stack(), seconds=0, least=10**9, bound_s=0.05)


def test_feed_needs_every_entry() -> None:
    """One that is missing is told of, not waited for without end."""
    with pytest.raises(Unfinished, match=r"499 entries of 500 events within 5 s$"):
        feed(Stack(answers=lambda number: number != 7), most=500, seconds=1)


def test_nothing_is_decoded_where_no_call_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be every entry of a point; where calls are out, those that came too early are found so."""
    decoded = []
    monkeypatch.setattr(point_module, "read_entries", lambda codec, seen: decoded.append(len(seen)) or entries(*seen))
    one = taking(Stack(seen=[("event", "began", "e")] * 100))
    one.run.codec = None  # type: ignore[assignment]
    one.back(100)
    assert decoded == []
    one.point = Point("waiting", 1, 1, calls=1)
    one.follower.seen[50] = ("result", "resumed", "r")  # type: ignore[call-overload]
    with pytest.raises(Unfinished, match="1 of 1 calls came back while it was measured"):
        one.back(100)


def entries(*told: tuple[str, str, str]) -> list[Any]:
    return [SimpleNamespace(kind=k, verdict=v, input=SimpleNamespace(id=id)) for k, v, id in told]


GOOD = [("event", "began", "e-1"), ("event", "began", "e-2")]


@pytest.mark.parametrize(
    ("journal", "calls", "said"),
    [
        (GOOD, 0, ""),
        ([*GOOD, ("result", "resumed", "r")], 1, ""),
        (GOOD[:1], 0, "of 2 events 1 have no entry, 0 entries are too many"),
        ([*GOOD, GOOD[0]], 0, "of 2 events 0 have no entry, 1 entries are too many"),
        ([GOOD[0], ("event", "began", "e-9")], 0, "of 2 events 1 have no entry"),
        ([GOOD[0], ("event", "oversize", "e-2")], 0, "the journal has 1 event began, 1 event oversize"),
        (GOOD, 1, "the journal has 2 event began"),
        ([*GOOD, ("timer", "gave_up", "")], 0, "1 timer gave_up"),
    ],
)
def test_wrong_finds_what_is_not_one_entry_each(
    monkeypatch: pytest.MonkeyPatch, journal: list[tuple[str, str, str]], calls: int, said: str
) -> None:
    """Exactly one for each event, one for each call, and nothing else."""
    monkeypatch.setattr(point_module, "read_entries", lambda codec, seen: seen)
    found = wrong(None, entries(*journal), ["e-1", "e-2"], calls)  # type: ignore[arg-type]
    assert said in found and bool(said) == bool(found)


def test_a_point_that_others_disturbed_is_busy() -> None:
    """By what they took while it was measured, or because the machine was not quiet at the start."""
    run: Any = SimpleNamespace(conditions={**MACHINE, "busy": False})
    shares = [told(Point("skew", "hot", 1), run, {"others_share": share}, "")["busy"] for share in (0.05, 0.2)]
    run.conditions["busy"] = True
    assert [*shares, told(Point("skew", "hot", 1), run, {}, "")["busy"]] == [False, True, True]


def test_sizes_are_growth_over_turns() -> None:
    """Of keyed state, logs and folders; compaction may have made one smaller."""
    before = Reading(1_000, 5_000, 900, 50, {"tm": 10, "kafka": 0}, {})
    after = Reading(3_000, 25_000, 800, 150, {"tm": 1_010, "kafka": 500}, {})
    assert sizes(before, after, 100, "tm") == {
        "state_bytes": 3_000,
        "state_growth_bytes_per_turn": 20,
        "log_bytes_per_turn": 200,
        "rocksdb_growth_bytes_per_turn": -1,
        "checkpoint_folder_growth_bytes_per_turn": 1,
        "taskmanager_written_bytes_per_turn": 10,
        "broker_written_bytes_per_turn": 5,
    }


def test_checkpoints_are_those_that_completed() -> None:
    """Out of Flink's answer; a savepoint, a failed one and one under way do not count."""
    one = {
        "id": 7, "status": "COMPLETED", "is_savepoint": False, "trigger_timestamp": 1_500, "state_size": 900,
        "checkpointed_size": 90, "end_to_end_duration": 45,
    }  # fmt: skip
    others = [{**one, "status": "FAILED"}, {**one, "status": "IN_PROGRESS"}, {**one, "is_savepoint": True}]
    assert completed({"history": [one, *others]}) == [Checkpoint(7, 1.5, 900, 90, 45)]


def test_state_bytes_are_of_the_newest_checkpoint_that_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    """None before the first: a zero would be a state that is empty."""
    one = {
        "id": 7, "status": "COMPLETED", "is_savepoint": False, "trigger_timestamp": 1_500, "state_size": 900,
        "checkpointed_size": 90, "end_to_end_duration": 45,
    }  # fmt: skip
    history = [{**one, "id": 8, "state_size": 950}, one, {**one, "id": 9, "status": "FAILED", "state_size": 1}]
    monkeypatch.setattr(readings.flink, "live_jobs", lambda settings: {"conversation": SimpleNamespace(id="j")})
    monkeypatch.setattr(readings.http, "call", lambda url: {"history": history})
    run: Any = SimpleNamespace(settings=SimpleNamespace(flink_rest="http://x"))
    assert readings.state_bytes(run) == 950
    history.clear()
    assert readings.state_bytes(run) is None


def test_taken_is_the_middle_one_and_the_sum_over_turns() -> None:
    """No checkpoint is none, not a zero."""
    made = [Checkpoint(n, 0, 0, written, took) for n, (written, took) in enumerate([(10, 5), (400, 9), (90, 40)])]
    assert taken(made, 100) == {
        "checkpoints": 3, "checkpoint_bytes": 90, "checkpoint_bytes_per_turn": 5, "checkpoint_ms": 9,
    }  # fmt: skip
    assert taken([], 100) == {"checkpoints": 0}


def test_record_bytes_are_key_value_and_headers() -> None:
    """As they are, before compression."""
    assert record_bytes(b"key", b"value", [("ü", b"12"), ("none", None)]) == 3 + 5 + 2 + 2 + 4
    assert record_bytes(None, None, None) == 0


def test_file_bytes_are_of_the_pattern_only(tmp_path: Any) -> None:
    """A broker's indexes are made larger than they are; a folder that is not there has no bytes."""
    (tmp_path / "t-0").mkdir()
    (tmp_path / "t-0" / "0.log").write_bytes(b"x" * 100)
    (tmp_path / "t-0" / "0.index").write_bytes(b"x" * 100)
    assert (file_bytes(tmp_path, "*.log"), file_bytes(tmp_path / "gone", "*")) == (100, 0)
    assert disk_bytes(tmp_path) >= 200


def test_windows_cut_the_middle_into_parts_of_as_many_turns() -> None:
    """One after the other, timers beside them, and together they are the middle."""
    used = SimpleNamespace(used_s=lambda name, begin, end: end - begin, others_share=lambda begin, end: 0.0)
    seen = [Committed(0, n, 1_000 + n / 10 + (n > 400) * 20, b"", time.time()) for n in range(1_000)]
    told: Any = seen, ["event"] * 1_000, used, "tm", 999.0
    parts, whole = windows(*told, 4), window(*told)
    assert [one.turns for one in parts] == [200] * 4
    assert [round(one.seconds) for one in parts] == [20, 40, 20, 20]
    assert sum(one.seconds for one in parts) == pytest.approx(whole.seconds)
    assert (parts[0].begin_s, whole.turns) == (whole.begin_s, 800)


def test_spread_is_the_middle_window_and_the_ends() -> None:
    """Of rate and CPU each by itself."""
    parts = [Window(seconds, 100, 0, cpu, 0, 0, 0, 0) for seconds, cpu in ((0.1, 0.09), (0.2, 0.05), (0.125, 0.07))]
    assert spread(parts) == {
        "windows": 3, "turns_per_s": 800.0, "turns_per_s_min": 500.0, "turns_per_s_max": 1_000.0,
        "cpu_ms_per_turn": 0.7, "cpu_ms_per_turn_min": 0.5, "cpu_ms_per_turn_max": 0.9,
    }  # fmt: skip


def test_full_speed_tells_its_spread_and_how_often_checkpoints_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """One every half second, where 200 ms were set."""
    began = 1_000.0
    monkeypatch.setattr(point_module.time, "time", lambda: began)
    meter = SimpleNamespace(
        read=lambda: None, used_s=lambda name, begin, end: end - begin, others_share=lambda begin, end: 0.0
    )
    stack = Stack()
    stack.seen = [Committed(0, n, began + n / 1_000, b"", began + n / 1_000) for n in range(3_000)]
    run: Any = SimpleNamespace(settings=Stack.settings, meter=meter, hosts={"conversation": "tm"})
    checkpoints = Checkpoints(run, {n: Checkpoint(n, began + 0.3 + n / 2, 9, 9, 9) for n in range(6)})
    one = Taking(run, checkpoints, Point("threads", 10, 1), SimpleNamespace(seen=[]))  # type: ignore[arg-type]
    monkeypatch.setattr(one, "feed", lambda *_: one.follower.seen.extend(stack.seen))
    monkeypatch.setattr(Reading, "now", lambda run, checkpoints: Reading(0, 0, 0, 0, {"tm": 0, "kafka": 0}, {}))
    one.full_speed(iter(()))
    assert (one.found["checkpoints"], one.found["checkpoint_every_ms"]) == (6, 500)
    assert [one.found[f"turns_per_s{end}"] for end in ("_min", "", "_max")] == pytest.approx([1_000] * 3, abs=2)


def test_committed_at_full_speed_is_looked_at_in_its_middle() -> None:
    """The broker's clock orders them; what the sender began and what the last ones waited for is left out."""
    used = SimpleNamespace(used_s=lambda name, begin, end: end - begin, others_share=lambda begin, end: 0.0)
    seen = [Committed(0, n, 1_000 + n / 10, b"", time.time()) for n in range(1_000)]
    middle = window(seen, ["event"] * 1_000, used, "tm", 999.0)  # type: ignore[arg-type]
    assert (middle.begin_s, middle.turns, round(middle.seconds, 3)) == (1_010.0, 800, 80.0)
