# SPDX-License-Identifier: Apache-2.0
"""The yardstick's runs: when they are over, what is noted of a kill, and which repeats a kill explains."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from examples.yardstick import repeats, report, run
from examples.yardstick.ledger import Watch
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
    # A service that is gone reads nothing more.
    in_time = explained and before_ms <= 5_000
    assert repeats.is_explained(repeat, [killed("service", 2_000, 5_000, "service")]) == in_time
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


def host(monkeypatch: pytest.MonkeyPatch, on: dict[str, list[str]], *restarts: tuple[int, int]) -> None:
    """TaskManagers with jobs on them; when the tools job and the conversation began to restart, look by look."""
    looks = [dict(zip(("tools", "conversation"), times, strict=True)) for times in restarts]
    monkeypatch.setattr(run, "now_ms", lambda: 1_000)
    monkeypatch.setattr(run, "_restarts", lambda *_: looks.pop(0) if len(looks) > 1 else looks[0])
    monkeypatch.setattr(run, "_whole", lambda _: True)
    monkeypatch.setattr(run.flink, "job_hosts", lambda _: on)
    monkeypatch.setattr(run.flink, "wait_running", lambda *_: [])
    monkeypatch.setattr(run.processes, "read", lambda _, name: SimpleNamespace(name=name, alive=lambda: True))
    monkeypatch.setattr(run.processes, "send", lambda *_: None)


def test_yardstick_kill_of_one_job_tells_of_the_other_that_restarted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its repeats are explained, and the page says by what; the last restart of a recovery counts, not the first."""
    watch: Any = SimpleNamespace(unanswered=lambda: 9)
    host(monkeypatch, {"tools": ["tm-2"], "conversation": ["tm-1"]}, (3, 0), (3, 0), (3, 4_000), (5_000, 6_000))
    hit = run._kill_host(Settings(), "conversation", watch)
    assert (hit["hit"], hit["also"], hit["noticed_ms"]) == (["conversation", "tools"], ["tools"], 5_000)
    shown = report._kills({
        "runs": {"killed": {"kills": [{**hit, "target": "conversation", "seconds": 1}]}},
        "tables": {"killed": {"after_each_kill": [2]}},
    })  # fmt: skip
    assert "| conversation; tools restarted too | 9 | 2 | 1 |" in shown
    host(monkeypatch, {"tools": ["tm-2"], "conversation": ["tm-1"]}, (3, 0), (3, 4_000), (3, 4_500))
    hit = run._kill_host(Settings(), "conversation", watch)
    assert (hit["hit"], hit["also"], hit["noticed_ms"]) == (["conversation"], [], 4_500)


def test_yardstick_kill_of_the_service_waits_for_whoever_lost_an_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Until every key that was open has arrived again, so that its repeats are its own; not for ever."""
    path = tmp_path / "ledger.jsonl"
    waits, watch = list[float](), Watch(path)

    def write(*lines: dict[str, Any]) -> None:
        with path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def kill() -> int:
        write({"kind": "started"}, arrived(1, 3) | {"request": 8})
        return 7_000

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            write(arrived(0, 4) | {"request": 9})

    now = iter(range(100))
    monkeypatch.setattr(
        run, "time", SimpleNamespace(monotonic=lambda: next(now) / 10, time_ns=time.time_ns, sleep=sleep)
    )
    monkeypatch.setattr(run, "UNANSWERED", 1)
    write({"kind": "started"}, arrived(0, 1), arrived(1, 2))
    assert run._kill_service(SimpleNamespace(kill=kill), watch)["noticed_ms"] == 7_000  # type: ignore[arg-type]
    assert (len(waits), watch.lost(), watch.unanswered()) == (3, 0, 2)
    assert run._kill_service(SimpleNamespace(kill=kill), watch)["unanswered"] == 2  # type: ignore[arg-type]
    assert watch.lost() == 1 and 3 + run.AGAIN_S <= len(waits) <= 3 + run.AGAIN_S * 10


def test_yardstick_kill_is_noted_as_repeats_are_explained_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ran on the TaskManager, the moment of the signal, and when the job began to restart or the service was
    gone."""
    on = {"tools": ["tm-1", "tm-2"], "conversation": ["tm-1"]}
    host(monkeypatch, on, (0, 0), (0, 0), (0, 4_100), (4_000, 4_100))
    watch: Any = SimpleNamespace(unanswered=lambda: 9, lost=lambda: 0)
    noted = [run.kill(Settings(), target, Fell(), watch) for target in ("tools", "service")]  # type: ignore[arg-type]
    for one in noted:
        del one["seconds"]
    tools = {"target": "tools", "killed": "tm-1", "hit": ["tools", "conversation"], "noticed_ms": 4_000}
    service = {"target": "service", "killed": "the tool service", "hit": ["service"], "noticed_ms": 7_000}
    assert noted == [{**one, "unanswered": 9, "also": [], "at_ms": 1_000} for one in (tools, service)]


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
