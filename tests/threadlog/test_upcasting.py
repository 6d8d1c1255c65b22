# SPDX-License-Identifier: Apache-2.0
"""A state of an older version goes on under newer code, and whoever follows the journal ends in the same state."""

from __future__ import annotations

import msgspec
import pytest

from tests.threadlog.desk import Desk, desk, look, pay
from tests.threadlog.replays import story, then
from tests.threadlog.test_following import resealed
from threadlog import Event, Thread, upcasting
from threadlog.app import Handler
from threadlog.canonical import digest
from threadlog.engine import apply
from threadlog.entry import Entry
from threadlog.errors import BrokenInvariant, NewerState
from threadlog.limits import Limits
from threadlog.replay import Replay
from threadlog.snapshots import state_before
from threadlog.state import dump, new_state
from threadlog.upcasting import Whole, newest, upcast
from threadlog.upgrade import breaches


def second(whole: Whole) -> Whole:
    """To version 2: what was said gets a language, what orphans returned is forgotten. Changes what it is given."""
    for said in whole["history"].values():
        said["language"] = "en"
    whole["history"] |= {"note": {"language": "en"}} if whole["history"] else {}
    for key in sorted(whole["orphan_values"]):
        del whole["orphan_values"][key]
    return whole


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Calling `release` makes the code one version newer; `undo` makes it today's again."""
    return monkeypatch


def release(patch: pytest.MonkeyPatch, *more: upcasting.Upcaster) -> None:
    patch.setattr(upcasting, "UPCASTERS", (*upcasting.UPCASTERS, *(more or (second,))))


async def handler(thread: Thread, event: Event) -> None:
    thread.vars["n"] = thread.vars.get("n", 0) + 1
    await look("x")
    await pay(1)
    await thread.reply("done")


def versions(journal: list[Entry]) -> list[int | None]:
    """The version that each entry's patch says; None: as before."""
    return [msgspec.json.decode(entry.patch)["put"].get("core", {}).get("v") for entry in journal]


def halfway(limits: Limits | None = None) -> Desk:
    """A thread of the code's version in the middle of its second run: one effect call is open."""
    thread = desk(handler, limits=limits)
    for _ in range(2):
        thread.send()
        while not any(call["effect"] == "keyed" for call in thread.calls()):
            thread.answer()
        if not thread.replies():
            thread.answer()
    return thread


def test_version_is_not_in_the_journal_before_there_is_a_second() -> None:
    """Every byte of it is as it always was."""
    assert (newest(), set(versions(halfway().journal))) == (1, {None})


def test_older_state_goes_on_and_its_first_new_entry_says_so(next_version: pytest.MonkeyPatch) -> None:
    """Once; the run that was open ends; what the upcaster adds and takes away is in the state."""
    thread = halfway()
    thread.state.maps.sections["orphan_values"]["old"] = 1  # type: ignore[attr-defined]
    release(next_version)
    thread.answer()
    thread.send()
    assert versions(thread.journal)[-3:] == [None, 2, None]
    assert (thread.state.small["core"]["v"], thread.ends(), thread.parked()) == (2, ["finished"] * 2, [])
    whole = dump(thread.state)
    assert whole["orphan_values"] == {} and whole["history"]["note"] == {"language": "en"}


def test_followers_end_where_the_live_state_is(next_version: pytest.MonkeyPatch) -> None:
    """From the first entry on, whenever the thread was upcast; and no hash before that is another one."""
    thread = halfway()
    before = [entry.hash for entry in thread.journal]
    release(next_version)
    thread.answer()
    thread.send(id="again")
    assert dump(thread.rebuilt()) == dump(thread.state)
    assert [entry.hash for entry in thread.journal][: len(before)] == before


def test_new_thread_of_newer_code_begins_at_version_one(next_version: pytest.MonkeyPatch) -> None:
    """So it is followed like any other: who follows does not know which code began it."""
    release(next_version)
    thread = halfway()
    assert versions(thread.journal)[:2] == [2, None]
    assert new_state("t").small["core"]["v"] == 1
    assert dump(thread.rebuilt()) == dump(thread.state)


def test_two_versions_are_caught_up_at_once(next_version: pytest.MonkeyPatch) -> None:
    """A thread that slept through a release."""

    def third(whole: Whole) -> Whole:
        assert all(said["language"] == "en" for said in whole["history"].values())
        return {**whole, "vars": {**whole["vars"], "third": True}}

    thread = halfway()
    release(next_version, second, third)
    thread.answer()
    assert (versions(thread.journal)[-1], thread.state.small["vars"]["third"]) == (3, True)


def test_snapshot_of_an_older_version_is_begun_from(next_version: pytest.MonkeyPatch) -> None:
    """Its digest is of the form that it has; what follows upcasts it."""
    thread = halfway(Limits(snapshot_every_entries=3))
    place = max(place for place, entry in enumerate(thread.journal) if entry.snapshot)
    release(next_version)
    thread.answer()
    state = state_before(thread.journal[place])
    assert state is not None and state.small["core"]["v"] == 1
    for entry in thread.journal[place:]:
        standing, state = apply(state, entry, thread.limits)
        assert standing == "applied"
    assert dump(state) == dump(thread.state)


def test_snapshot_without_a_section_that_is_newer_than_it_is_whole(next_version: pytest.MonkeyPatch) -> None:
    """And one of this version without it is none."""
    thread = halfway(Limits(snapshot_every_entries=3))
    [entry] = [entry for entry in thread.journal if entry.snapshot][:1]
    whole = msgspec.json.decode(entry.snapshot or "")
    del whole["state"]["doubts"]
    whole["hash"] = digest(whole["state"])
    entry = msgspec.structs.replace(entry, snapshot=msgspec.json.encode(whole).decode())
    assert state_before(entry) is None
    release(next_version)
    found = state_before(entry)
    assert found is not None and list(found.maps.items("doubts")) == []


def test_older_code_does_not_go_on_with_a_newer_state() -> None:
    """It would misread what it finds: it says which code is needed, and changes nothing."""
    with pytest.MonkeyPatch.context() as newer:
        release(newer)
        thread = desk(handler)
        thread.send()
    with pytest.raises(NewerState, match=r"of thread 't' is of version 2, this code knows 1: run the threadlog that"):
        thread.answer()
    with pytest.raises(NewerState):
        thread.rebuilt()


def test_patch_of_an_older_version_than_the_state_is_void(next_version: pytest.MonkeyPatch) -> None:
    """No code writes one: versions only grow."""
    release(next_version)
    state = new_state("t")
    state.small["core"]["v"] = 2
    entry = resealed(desk(handler).send().entry, patch='{"put":{"core":{"v":1}},"del":{}}')
    assert apply(state, entry, Limits())[0] == "void"


@pytest.mark.parametrize(("section", "key"), [("core", "head"), ("positions", "agent-events/0"), ("timers", "call:1")])
def test_upcaster_moves_nothing_that_is_read_without_the_engine(
    next_version: pytest.MonkeyPatch, section: str, key: str
) -> None:
    """Operators compare heads and positions and arm timers whatever version they find."""

    def moves(whole: Whole) -> Whole:
        whole[section][key] = 1
        return whole

    release(next_version, moves)
    with pytest.raises(BrokenInvariant, match=f"moves {section}"):
        upcast(dump(new_state("t")), 2)


def checked(thread: Desk, handler: Handler) -> Replay:
    """A replay of the whole journal by this code: what is not equal is told by the next line that looks."""
    replay = Replay(desk(handler).app)
    standings = [
        replay.check(entry, input).standing for entry, input in zip(thread.journal, thread.inputs, strict=True)
    ]
    assert set(standings) == {"equal"}, standings
    return replay


def test_replay_compares_what_was_asked_for_across_versions(next_version: pytest.MonkeyPatch) -> None:
    """Entries of the older form are equal but for their patches, and counted; those of this form to the bit."""
    thread = story(then)
    release(next_version)
    thread.send(order="p")
    thread.answer({"total": 6})
    replay = checked(thread, then)
    assert (replay.older_states, dump(replay.states["t"])) == (4, dump(thread.state))


def test_replay_sees_other_code_in_entries_of_an_older_version(next_version: pytest.MonkeyPatch) -> None:
    """The patch is left out of the comparison, nothing else is."""

    async def otherwise(thread: Thread, event: Event) -> None:
        order = await look(event["order"])
        await pay(order["total"])

    thread = story(then)
    release(next_version)
    replay = Replay(desk(otherwise).app)
    outcomes = [replay.check(entry, input) for entry, input in zip(thread.journal, thread.inputs, strict=True)]
    assert [one.standing for one in outcomes] == ["equal", "diverged", "consequence", "consequence"]


def test_check_before_an_upgrade_reads_states_of_an_older_version(next_version: pytest.MonkeyPatch) -> None:
    """What is open is tried on the form that the new code works with."""

    def renaming(whole: Whole) -> Whole:
        for call in whole["calls"].values():
            call["tool"] = call["tool"].removeprefix("old_")
        return whole

    thread = halfway()
    for call in thread.state.small["calls"].values():
        call["tool"] = f"old_{call['tool']}"
    assert [one.kind for one in breaches(thread.state, thread.app, thread.limits)] == ["tool"]
    release(next_version, renaming)
    assert list(breaches(thread.state, thread.app, thread.limits)) == []
