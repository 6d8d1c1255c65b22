# SPDX-License-Identifier: Apache-2.0
"""The engine's laws. Each takes a history and how its agent treats a second message, plays it, and asserts."""

from __future__ import annotations

import msgspec

from tests.threadlog.desk import Desk
from tests.threadlog.histories import LIMITS, History, play
from threadlog.engine import step
from threadlog.state import dump

STILL = {"duplicate", "late", "forged", "refused", "rejected", "stale", "unreadable", "too_old", "oversize"}


def apply_is_step(history: History, mode: str) -> None:
    """The state followed from the journal is bit for bit the state that was decided, cache or no cache."""
    for cache_runs in (0, 10):
        thread = play(history, mode, cache_runs)
        assert dump(thread.rebuilt()) == dump(thread.state)


def cache_changes_nothing(history: History, mode: str) -> None:
    """Cache off, on, or emptied at every step: the same journal."""
    off = play(history, mode).journal
    assert play(history, mode, cache_runs=10).journal == off
    assert play(history, mode, cache_runs=10, evict=True).journal == off


def same_log_same_decisions(history: History, mode: str) -> None:
    """The same inputs, decided by another process, give the same entries, effects and hashes."""
    assert play(history, mode).journal == play(history, mode).journal


def every_input_has_one_entry(history: History, mode: str) -> None:
    """seq counts the inputs, and a second reading of any record decides nothing."""
    thread = play(history, mode)
    assert [entry.seq for entry in thread.journal] == list(range(1, len(thread.inputs) + 1))
    assert all(step(thread.state, i, thread.app, thread.limits) is None for i in thread.inputs if i.kind != "timer")


def keys_are_unique_per_call(history: History, mode: str) -> None:
    """One key, one call: the same key only where the same ask is repeated."""
    calls = play(history, mode).effects("call")
    firsts = [call["call_id"] for call in calls if call["ask"] == 1]
    assert len(set(firsts)) == len(firsts)
    places = {(call["run_id"], call["ordinal"]): call["call_id"] for call in calls}
    assert all(places[call["run_id"], call["ordinal"]] == call["call_id"] for call in calls)


def effects_form_the_outbox_chain(history: History, mode: str) -> None:
    """First asks of effects are numbered without a gap, each names the one before, and the entry carries the head."""
    thread = play(history, mode)
    outbox = [call for call in thread.effects("call") if call["effect"] == "keyed" and call["ask"] == 1]
    assert [call["outbox_seq"] for call in outbox] == list(range(1, len(outbox) + 1))
    assert [call["outbox_prev"] for call in outbox] == ["", *[call["outbox_hash"] for call in outbox]][: len(outbox)]
    assert len({call["outbox_hash"] for call in outbox}) == len(outbox)
    if thread.journal:
        assert thread.journal[-1].outbox == (outbox[-1]["outbox_hash"] if outbox else "")


def no_effect_without_an_entry(history: History, mode: str) -> None:
    """What a decision asks of the world is what its entry says, no more and no less."""
    for decision in play(history, mode).decisions:
        assert decision.effects == msgspec.json.decode(decision.entry.effects)


def refused_leaves_the_state_unmoved(history: History, mode: str) -> None:
    """A refusal changes heads and positions, nothing a handler could see, and asks for nothing but a dead letter."""
    for entry in play(history, mode).journal:
        if entry.verdict in STILL:
            assert entry.patch == '{"del":{},"put":{}}'
            assert {effect["do"] for effect in msgspec.json.decode(entry.effects)} <= {"dead_letter"}


def entries_fit_their_limit(history: History, mode: str) -> None:
    """Whatever a handler says, the sink can write it."""
    for entry in play(history, mode).journal:
        assert len(entry.effects) + len(entry.patch) <= LIMITS.entry_bytes
        assert len(entry.snapshot or "") <= LIMITS.snapshot_bytes


def time_never_goes_back(history: History, mode: str) -> None:
    """Whatever the clocks say."""
    times = [entry.time_ms for entry in play(history, mode).journal]
    assert times == sorted(times)


def nobody_waits_for_ever(history: History, mode: str) -> None:
    """At every step each open call has a deadline, an open run waits for something, what is queued will be begun."""
    for place in range(len(history) + 1):
        thread = play(history[:place], mode)
        small = thread.state.small
        run, timers = small["run"], small["timers"]
        assert {f"call:{call_id}" for call_id in small["calls"]} == {id for id in timers if id.startswith("call:")}
        if run and "parked" not in run:
            own = [call for call in small["calls"].values() if call["run"] == run["id"]]
            assert own or run["waits"] or any(id.startswith("sleep:") for id in timers)
        if not run and small["core"]["queue"]:
            assert "chain" in timers


def nothing_is_left_behind(history: History, mode: str) -> None:
    """An ended run leaves no record, no wait, no ask; maps and small sections list the same."""
    thread = play(history, mode)
    small, maps = thread.state.small, {name: dict(thread.state.maps.items(name)) for name in ("steps", "asks", "queue")}
    assert set(maps["asks"]) == set(small["calls"])
    assert set(maps["queue"]) == {str(item[0]) for item in small["core"]["queue"]}
    steps = {"event", *map(str, range(small["run"]["steps"]))} if small["run"] else set[str]()
    assert set(maps["steps"]) == steps
    if not small["run"]:
        assert [id for id in small["timers"] if id.startswith(("sleep:", "wait:"))] == []


def done_is_told_once(history: History, mode: str) -> None:
    """Of every effect call that was done, its own run or a later one is told, or it still stands to be told."""
    thread = play(history, mode)
    told = [call_id for run in runs_of(thread) for call_id in run]
    assert len(told) == len(set(told))


def runs_of(thread: Desk) -> list[list[str]]:
    """Per run, the done calls of earlier runs that it was shown."""
    shown = []
    for entry in thread.journal:
        known = msgspec.json.decode(entry.patch)["put"].get("run", {}).get("known", [])
        shown.append([one["call_id"] for one in known if one["status"] == "done"])
    return shown


LAWS = [
    apply_is_step, cache_changes_nothing, same_log_same_decisions, every_input_has_one_entry, keys_are_unique_per_call,
    effects_form_the_outbox_chain, no_effect_without_an_entry, refused_leaves_the_state_unmoved,
    entries_fit_their_limit, time_never_goes_back, nobody_waits_for_ever, nothing_is_left_behind, done_is_told_once,
]  # fmt: skip
