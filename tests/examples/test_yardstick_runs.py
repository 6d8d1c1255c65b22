# SPDX-License-Identifier: Apache-2.0
"""The yardstick's runs: when they are over, what is noted of a kill, and which repeats a kill explains."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from examples.yardstick import repeats, run
from ops.settings import Settings
from tests.examples.yardstick_runs import arrived, equal, killed


def test_yardstick_request_that_was_turned_away_is_not_repeated_by_a_crash() -> None:
    """A second request after a 409 is the first one's doing."""
    ledger = equal().ledger
    ledger.insert(1, {"kind": "answered", "key": "k0", "request": 0, "status": 409})
    assert repeats.repeats(ledger) == []


@pytest.mark.parametrize(
    ("before_ms", "at_ms", "explained"),
    [
        (1_000, 9_000, True),
        (1_000, 1_999, False),  # both before the kill
        (5_500, 9_000, True),  # sent before the loss was noticed, read by the service a little later
        (7_000, 9_000, False),  # both after it
        (1_000, 60_000, True),
    ],
)
def test_yardstick_kill_explains_a_repeat_between_whose_askings_it_lies(
    before_ms: int, at_ms: int, explained: bool
) -> None:
    """Who asks twice on one side of it has another reason."""
    repeat = repeats.Repeat(before_ms, at_ms, False)
    assert repeats.is_explained(repeat, [killed("tools", 2_000, 5_000, "tools")]) == explained
    assert repeats.is_explained(repeat, [killed("service", 2_000, 5_000, "service")]) == explained
    assert repeats.is_explained(repeat, [killed("conversation", 2_000, 5_000, "conversation", "tools")]) == explained
    assert not repeats.is_explained(repeat, [killed("conversation", 2_000, 5_000, "conversation")])


def test_yardstick_one_kill_explains_one_repeat_of_a_request() -> None:
    """A request that comes a third time needs a second kill."""
    ledger = [arrived(0, 1_000), arrived(0, 9_000), arrived(0, 9_500)]
    kills = [killed("tools", 2_000, 5_000, "tools"), killed("service", 9_200, 9_201, "service")]
    assert repeats.requests(ledger, kills[:1])["repeats_unexplained"] == 1
    assert repeats.requests(ledger, kills)["repeats_unexplained"] == 0


def test_yardstick_repeats_are_counted_by_the_kill_before_them() -> None:
    """Each belongs to the time between its kill and the next; the table has them by what was killed."""
    kills = [killed(target, at_ms, at_ms, target) for target, at_ms in (("tools", 10), ("service", 20), ("tools", 30))]
    ledger = [arrived(n, 1) for n in range(4)] + [arrived(n, at_ms) for n, at_ms in enumerate((10, 25, 29, 31))]
    assert repeats.after_each(repeats.repeats(ledger), kills) == [1, 2, 1]
    table = repeats.requests(ledger, kills)
    assert [table[f"after_{target}_killed"] for target in repeats.TARGETS] == [2, 0, 2]
    assert (table["kills"], table["requests"], table["repeated_by_crashes"]) == (3, 8, 4)


class Fell:
    """A service that is killed."""

    def kill(self) -> int:
        return 7_000


def test_yardstick_kill_is_noted_as_repeats_are_explained_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ran on the TaskManager, the moment of the signal, and when the job began to restart or the service was
    gone."""
    restarts = iter([0, 0, 4_000])
    monkeypatch.setattr(run, "now_ms", lambda: 1_000)
    monkeypatch.setattr(run, "_restarts", lambda *_: next(restarts))
    monkeypatch.setattr(run, "_whole", lambda _: True)
    monkeypatch.setattr(run.flink, "job_hosts", lambda _: {"tools": ["tm-1", "tm-2"], "conversation": ["tm-1"]})
    monkeypatch.setattr(run.flink, "wait_running", lambda *_: [])
    monkeypatch.setattr(run.processes, "read", lambda _, name: SimpleNamespace(name=name, alive=lambda: True))
    monkeypatch.setattr(run.processes, "send", lambda *_: None)
    watch: Any = SimpleNamespace(unanswered=lambda: 9)
    noted = [run.kill(Settings(), target, Fell(), watch) for target in ("tools", "service")]  # type: ignore[arg-type]
    for one in noted:
        del one["seconds"]
    tools = {"target": "tools", "killed": "tm-1", "hit": ["tools", "conversation"], "noticed_ms": 4_000}
    service = {"target": "service", "killed": "the tool service", "hit": ["service"], "noticed_ms": 7_000}
    assert noted == [{**one, "unanswered": 9, "at_ms": 1_000} for one in (tools, service)]


class Late:
    """Replies and a ledger as they are at each look, half a second apart."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *looks: tuple[int, int]) -> None:
        self.looks, self.now_s = [*looks], 0.0
        monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: self.now_s, sleep=self.sleep))
        monkeypatch.setattr(run.reading, "whole_topic", lambda *_: [SimpleNamespace(key=b"p.t")] * self.seen[0])

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    @property
    def seen(self) -> tuple[int, int]:
        return self.looks[min(int(self.now_s / 0.5) - 1, len(self.looks) - 1)]

    def stat(self) -> Any:
        return SimpleNamespace(st_size=self.seen[1])

    def wait(self) -> tuple[int, float]:
        return run.wait_replies(Settings(), "p.", 2, self)  # type: ignore[arg-type]


def test_yardstick_waits_for_what_comes_after_the_last_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """A doubled reply and a repeated request are seen if they come within a moment of what is wanted."""
    late = Late(monkeypatch, (1, 1), (2, 2), *[(2, 2)] * 8, *[(2, 3)] * 8, (3, 3))
    assert late.wait() == (3, 9.5)
    assert run.QUIET_S <= late.now_s - 9.5 <= run.QUIET_S + 1


def test_yardstick_gives_up_where_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """With less than is wanted, after a long while."""
    late = Late(monkeypatch, (1, 1))
    assert late.wait() == (1, 0.5)
    assert run.STALLED_S <= late.now_s <= run.STALLED_S + 2
