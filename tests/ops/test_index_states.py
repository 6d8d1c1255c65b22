# SPDX-License-Identifier: Apache-2.0
"""`show --at` and `diff`: a thread's state after any decision, and what differs between two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops.index import database
from ops.index.differences import Difference, differences
from ops.index.states import states_at
from tests.ops.fakes import FakeKafka, FakeTopic, objects, run
from tests.ops.indexes import CODEC, bring, journals, records, thread
from tests.threadlog.desk import Desk
from tests.threadlog.histories import LIMITS, some
from threadlog.canonical import digest
from threadlog.engine import apply
from threadlog.state import dump, new_state


def test_states_are_those_of_apply(tmp_path: Path) -> None:
    """After every decision, snapshots on the way or not; read from the last snapshot on, not from the start."""
    for number, (history, mode) in enumerate(some(8)):
        [entries] = journals([history], [mode])
        log, path = FakeTopic(records([entries])), tmp_path / str(number) / "i"
        bring(path, log)
        state, snapshot = new_state("a"), 1
        with database.reading(path) as db:
            for entry in entries:
                _, state = apply(state, entry, LIMITS)
                snapshot = entry.seq if entry.snapshot else snapshot
                log.asked.clear()
                assert states_at(db, log, CODEC, "a", [entry.seq]) == {entry.seq: dump(state)}
                assert [offset + 1 for _, offset in log.asked] == list(range(snapshot, entry.seq + 1))
            pair = [len(entries) // 3, len(entries)]
            both = states_at(db, log, CODEC, "a", pair)
            assert all(both[seq] == states_at(db, log, CODEC, "a", [seq])[seq] for seq in pair)
            assert states_at(db, log, CODEC, "a", [0]) == {0: dump(new_state("a"))}


def test_show_at_tells_the_state(journal: dict[str, Desk]) -> None:
    """The whole state as an object with its digest; for people without what says nothing."""
    [told] = objects(run("show", "waits", "--at", "1", "--json"))
    state = dump(journal["waits"].state)
    assert (told["seq"], told["state"], told["hash"]) == (1, state, digest(state))
    text = run("show", "waits", "--at", "1").stdout
    assert "seen: 1" in text and "positions" not in text


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("show", "waits", "--at", "2"), "Thread 'waits' has no decision 2.\nIt has 1 to 1."),
        (("show", "nobody", "--at", "1"), "The journal holds nothing of thread 'nobody'."),
        (("diff", "parked", "1", "3"), "Thread 'parked' has no decision 3.\nIt has 1 to 2."),
    ],
    ids=str,
)
def test_states_that_are_not_there_are_a_sentence(
    journal: dict[str, Desk], command: tuple[str, ...], said: str
) -> None:
    """It names what there is."""
    told = run(*command)
    assert (told.exit_code, said in told.stderr) == (1, True)


def test_diff_tells_what_differs_and_what_was_decided(journal: dict[str, Desk], kafka: FakeKafka) -> None:
    """The decisions between the two points, and every value that is another."""
    one = journal["waits"]
    one.answer(9)
    kafka.add_entry(one.journal[-1])
    told = objects(run("diff", "waits", "1", "2", "--json"))
    assert [(line["decision"], line["verdict"]) for line in told if "decision" in line] == [(2, "resumed")]
    changed = {".".join(line["path"]): (line["change"], line["after"]) for line in told if "path" in line}
    assert changed["run.agent"] == ("removed", None)
    assert changed["core.history_next"] == ("changed", 2)
    assert changed["history.1"][1]["text"] == "paid 9"
    assert not any(path.startswith(("seen", "positions", "core.head")) for path in changed)
    everything = objects(run("diff", "waits", "1", "2", "--all", "--json"))
    assert len(everything) > len(told)
    back = objects(run("diff", "waits", "2", "1", "--json"))
    assert {".".join(line["path"]) for line in back if "path" in line} == set(changed)
    text = run("diff", "waits", "1", "2").stdout
    assert "~ core.history_next  1 → 2" in text and '- run.agent  "go"' in text
    assert run("diff", "waits", "2", "2").stdout == "The state is the same.\n"


def test_differences_are_those_of_values() -> None:
    """Objects key by key, all else as a whole; true is not 1."""
    before: dict[str, Any] = {"a": 1, "b": {"c": [1], "d": 1}, "gone": 0}
    after = {"a": True, "b": {"c": [1, 2], "d": 1}, "new": None}
    assert list(differences(before, after)) == [
        Difference(("a",), "changed", 1, True),
        Difference(("b", "c"), "changed", [1], [1, 2]),
        Difference(("gone",), "removed", 0, None),
        Difference(("new",), "added", None, None),
    ]


def test_states_whose_entries_are_gone_are_a_sentence(tmp_path: Path) -> None:
    """Retention has taken them since the index read them; or the log is another."""
    path, log = tmp_path / "i", FakeTopic(records([thread("a", 0, 0, 0).journal]))
    bring(path, log)
    log.low[0] = 1
    with database.reading(path) as db, pytest.raises(Exception, match="no longer holds decision 1 of 'a' at 0/0"):
        states_at(db, log, CODEC, "a", [2])
