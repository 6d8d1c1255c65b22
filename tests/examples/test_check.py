# SPDX-License-Identifier: Apache-2.0
"""The checker sees each planted fault, and nothing in a sound run."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaError

from examples.support_desk import check, rules
from tests.examples.desk_runs import (
    Run,
    answer_again,
    answer_late,
    answer_late_without_a_kill,
    asked,
    bury,
    decide_back_to_front,
    doubt_all,
    doubt_without_a_kill,
    entry,
    event,
    letter,
    lose_the_answer,
    only_ask,
    pay_back_to_front,
    seal,
    sound,
    swap,
    tell,
    unpay,
)
from threadlog.entry import Entry, InputRef


def test_check_sound_run_adds_up() -> None:
    """Nothing is wrong with a sound run, and its one repeated request is counted."""
    table = check.compare(**sound())
    assert check.faults(table) == []
    assert (table["accounted_for"], table["refunds_asked"], table["refunds_paid"]) == (4, 2, 2)
    assert (table["kills"], table["repeated_by_crashes"]) == (1, 1)


PLANTED: dict[str, tuple[str, Callable[[Run], Any]]] = {
    "an event without an entry": ("accounted_for", lambda run: run["sent"].append(event(4, "b", "o3", offset=4))),
    "a good event among the dead letters too": ("accounted_for", bury),
    "a good event among the dead letters": ("accounted_for", lambda run: run["sent"][2].update(bad="")),
    "a bad record without a dead letter": ("accounted_for", lambda run: run["topics"]["dead-letters"].pop()),
    "a message without a reply": ("unanswered", lambda run: run["topics"]["agent-replies"].pop()),
    "a reply twice": (
        "replies_doubled",
        lambda run: run["topics"]["agent-replies"].append(run["topics"]["agent-replies"][1]),
    ),
    "a second answer to a message": ("replies_doubled", answer_again),
    "nothing but a question back": ("unanswered", only_ask),
    "a question back, and the answer lost": ("unanswered", lose_the_answer),
    "a reply that was decided and not told": ("replies_differ", lambda run: run["topics"]["agent-replies"].pop()),
    "a reply of other words": ("replies_differ", lambda run: run["topics"]["agent-replies"][1].update(text="No.")),
    "a reply of other data": ("replies_differ", lambda run: run["topics"]["agent-replies"][1].update(data="{}")),
    "a reply that nobody decided": (
        "replies_differ",
        lambda run: run["topics"]["agent-decisions"][3].update(entry(4, "tool-results", 1, ("k1", "done"))),
    ),
    "a dead letter twice": ("dead_letters", letter),
    "an answer that is refused and that no kill explains": ("dead_letters", answer_late_without_a_kill),
    "a dead letter of another topic": ("dead_letters", lambda run: letter(run, topic="t.tool-results", offset=7)),
    "an order paid under two keys": ("paid_twice", lambda run: run["ledger"].append(asked("k9", "o0")[1])),
    "a key paid twice": ("paid_twice", lambda run: run["ledger"].append(asked("k0", "o0")[1])),
    "told done, never paid": ("lost", unpay),
    "paid, never asked": ("lost", lambda run: run["topics"]["tool-invocations"].pop()),
    "asked, and nothing told": ("lost", lambda run: run["topics"]["agent-decisions"][3].update(effects="[]")),
    "paid, told failed": ("paid_but_told_failed", lambda run: tell(run, "failed")),
    "paid, told refused": ("paid_but_told_failed", lambda run: tell(run, "refused")),
    "paid, told rejected": ("paid_but_told_failed", lambda run: tell(run, "rejected")),
    "an end that is none": ("refunds_asked", lambda run: (unpay(run), tell(run, "vanished"))),
    "a fork": ("journal_gaps", lambda run: run["topics"]["agent-decisions"][1].update(prev="other")),
    "a number left out": ("journal_gaps", lambda run: run["topics"]["agent-decisions"][3].update(seq=5)),
    "an entry changed after it was written": (
        "journal_gaps",
        lambda run: run["topics"]["agent-decisions"][1]["input"].update(source="other"),
    ),
    "a gap": ("journal_gaps", lambda run: run["topics"]["agent-decisions"].pop(1)),
    "an offset decided twice": (
        "order_violations",
        lambda run: run["topics"]["agent-decisions"][2]["input"].update(offset=0, id="e0"),
    ),
    "decided in another order than sent": ("order_violations", decide_back_to_front),
    "replied in another order than sent": (
        "order_violations",
        lambda run: swap(run["topics"]["agent-replies"], 0, 1),
    ),
    "paid in another order than sent": ("order_violations", pay_back_to_front),
    "decided in a foreign thread": ("order_violations", lambda run: run["sent"][0].update(thread="b")),
    "another event than was sent there": (
        "order_violations",
        lambda run: run["topics"]["agent-decisions"][2]["input"].update(id="e7"),
    ),
    "an event that nobody sent": ("order_violations", lambda run: run["sent"].pop(0)),
    "silence for ever after a kill": (
        "never_recovered",
        lambda run: run["topics"].update({"tool-results": [{"tool": "refund", "log_ms": ms} for ms in (900, 1003)]}),
    ),
    "kills that hit nothing": ("repeated_by_crashes", lambda run: run["ledger"].pop(2)),
    "a repeat that no kill explains": ("repeated_by_crashes", lambda run: run["kills"].clear()),
    "nobody was told that it was done": ("refunds_told_done", doubt_all),
    "more in doubt than was repeated": ("paid_but_in_doubt", doubt_all),
    "a payment in doubt without a kill": ("paid_but_in_doubt", doubt_without_a_kill),
    "nothing sent": ("events_sent", lambda run: run["sent"].clear()),
    "nothing decided": ("decisions", lambda run: run["topics"]["agent-decisions"].clear()),
    "nothing paid": ("refunds_paid", lambda run: run["ledger"].clear()),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_check_planted_fault_is_seen(fault: str) -> None:
    """The row that names the fault is wrong."""
    row, plant = PLANTED[fault]
    run = sound()
    plant(run)
    assert row in check.faults(check.compare(**run))


def test_check_every_rule_has_a_planted_fault() -> None:
    """Whatever row can be wrong is made wrong above."""
    rows = {*check.NONE, *check.SOME, "accounted_for", "dead_letters", "refunds_asked", "repeated_by_crashes"}
    rows |= {"paid_but_in_doubt"}
    assert {row for row, _ in PLANTED.values()} == rows


@pytest.mark.parametrize(
    ("status", "row"),
    [("refused", "refused"), ("rejected", "refused"), ("failed", "failed"), ("in_doubt", "in_doubt")],
)
def test_check_every_end_of_an_unpaid_refund_has_its_row(status: str, row: str) -> None:
    """Asked = paid + refused + failed + in doubt."""
    run = sound()
    unpay(run)
    tell(run, status)
    table = check.compare(**run)
    assert check.faults(table) == []
    assert (table["refunds_paid"], table[f"refunds_{row}"]) == (1, 1)


def test_check_refund_in_doubt_may_have_been_paid() -> None:
    """In doubt is an honest answer either way; the table says how often the money had gone out, whatever its order."""
    run = sound()
    tell(run, "in_doubt")
    pay_back_to_front(run)
    table = check.compare(**run)
    assert check.faults(table) == []
    assert (table["refunds_in_doubt"], table["paid_but_in_doubt"], table["refunds_paid"]) == (0, 1, 2)


def test_check_hash_of_an_entry_is_the_one_that_the_engine_gives_it() -> None:
    """Bytes, numbers, what is absent and what is not ASCII included; when the broker took it is no part of it."""
    came = InputRef("agent-events", 1, 2, 3, "/s", "ü", "a.B", 4, b"\x00\xff", "", 5)
    sealed = Entry("t", 1, "", "event", "began", "", came, 6, "a", 1, "r", "d", "l", "[]", "{}", "h", "o").sealed()
    assert rules.hash_of({**sealed.to_dict(), "log_ms": 7}) == sealed.hash
    assert rules.hash_of({**sealed.to_dict(), "snapshot": "{}"}) != sealed.hash


def fake_consumer(monkeypatch: pytest.MonkeyPatch, *errors: int | None) -> None:
    """A topic of one partition; each poll gives a message, or the error of this number."""
    polled = [SimpleNamespace(error=lambda e=e: e and KafkaError(e), partition=lambda: 0) for e in errors]
    topic = SimpleNamespace(partitions={0: None})
    consumer = SimpleNamespace(
        list_topics=lambda name, timeout: SimpleNamespace(topics={name: topic}),
        assign=lambda places: None,
        poll=lambda seconds: polled.pop(0),
        close=lambda: None,
    )
    monkeypatch.setattr(confluent_kafka, "Consumer", lambda settings: consumer)


def test_check_reads_a_topic_up_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client calls the end of the partition is no message."""
    fake_consumer(monkeypatch, None, None, KafkaError._PARTITION_EOF)
    assert len(check.read("b", "t")) == 2


def test_check_does_not_take_an_error_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic that was read in part would look like one that holds no more."""
    fake_consumer(monkeypatch, None, KafkaError._TRANSPORT, None, KafkaError._PARTITION_EOF)
    with pytest.raises(SystemExit, match="t could not be read"):
        check.read("b", "t")


def test_check_second_answer_to_a_call_may_come_after_a_kill() -> None:
    """It is refused, which is a dead letter; nothing else may be one but the bad records."""
    run = sound()
    answer_late(run)
    assert check.faults(check.compare(**run)) == []


def test_check_message_sent_again_counts_where_it_was_first() -> None:
    """A copy that the broker took after the next message changes no order; a refund out of order is named."""
    run = sound()
    run["sent"].append(event(4, "a", "o0", id="e0", copy=True))
    run["topics"]["agent-decisions"].append(entry(5, "agent-events", 4))
    run["topics"]["agent-decisions"][-1]["input"]["id"] = "e0"
    seal(run)
    assert check.faults(check.compare(**run)) == []
    pay_back_to_front(run)
    del run["kills"]
    assert check.named(**run)["order_violations"] == ["a: what was paid for e0 follows that for e1"]


def test_check_first_end_told_is_the_one_that_counts() -> None:
    """An agent that heard "failed" acts on it, whatever the log says later."""
    run = sound()
    tell(run, "failed")
    tell(run, "done", seq=4)
    assert check.compare(**run)["paid_but_told_failed"] == 1


@pytest.mark.parametrize("status", [429, 500, 409, "dropped"])
def test_check_request_that_the_service_asked_for_is_not_repeated_by_a_crash(status: Any) -> None:
    """A second request after a refusal or a dropped connection is the service's own doing."""
    run = sound()
    kind = "dropped" if status == "dropped" else "answered"
    run["ledger"].insert(2, {"kind": kind, "key": "k0", "status": status, "time_ms": 1})
    assert check.compare(**run)["repeated_by_crashes"] == 0


def test_check_silence_is_the_longest_that_began_before_all_ran_again() -> None:
    """Neither a record under way at the kill nor the quiet after the traffic is taken for the recovery."""
    run = sound()
    service = {"job": "payments", "at_ms": 5000, "noticed_ms": 5500, "running_ms": 5600}
    run["ledger"][-1]["time_ms"] = 5700
    run["kills"].append(service)
    silent_s = rules.silences(run["kills"], run["topics"], run["ledger"])
    assert silent_s == [3.097, 0.7]
    assert check.silent(run["kills"], silent_s) == ["Silent after each kill: tools 3.1 s, payments 0.7 s"]


def test_check_recovery_gaps_are_those_of_the_jobs() -> None:
    """Median and maximum in seconds; the service, which only starts again, would flatter them."""
    kills = [{"job": job} for job in ("tools", "payments", "conversation", "tools")]
    table = rules.recovery(kills, [4.0, 0.6, 7.04, 5.0])
    assert table == {"kills": 4, "never_recovered": 0, "recovery_gap_median_s": 5.0, "recovery_gap_max_s": 7.0}
    assert rules.recovery(kills[:1], [None])["never_recovered"] == 1


def test_check_two_runs_stand_side_by_side() -> None:
    """The run before has a column of its own, and the wrong row is marked."""
    before, now = {"paid_twice": 0.0, "recovery_gap_max_s": 5.25}, {"paid_twice": 41.0, "recovery_gap_max_s": 6.0}
    assert check.printed(now, before, ["paid_twice"]) == [
        "                          run before  this run",
        "  paid twice                       0        41   <- wrong",
        "  recovery gap max s             5.2       6.0",
    ]
    assert check.printed(now, None, [])[0] == "  paid twice                      41"
