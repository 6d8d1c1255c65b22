# SPDX-License-Identifier: Apache-2.0
"""`threadlog fork`: a history under another id, in a file, and events tried on it; nothing is performed unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ops.replay.histories import Histories
from tests.ops.fakes import FakeKafka, objects, run
from tests.ops.replays import APP, changed, file, mix, registered
from threadlog.entry import Entry

STOCK = {"type": "support_desk.CustomerMessage",
         "data": {"text": "", "intent": "stock", "order_id": "", "amount": 0, "sku": "sku-01"}}  # fmt: skip
REFUND = {"type": "support_desk.CustomerMessage",
          "data": {"text": "", "intent": "refund", "order_id": "o-1", "amount": 50, "sku": "sku-01"}}  # fmt: skip
ORDER = {"order_id": "o-1", "total": 50, "sku": "sku-01", "status": "delivered"}


def entries(thread: str) -> list[Entry]:
    return [entry for entry in mix(700) if entry.thread == thread]


def ended(seq_min: int = 4) -> str:
    """A thread with a refund that has come to rest."""
    for thread in sorted({entry.thread for entry in mix(700)}):
        own = entries(thread)
        if any('"keyed"' in e.effects for e in own) and len(own) >= seq_min and '"end_run"' in own[-1].effects:
            return thread
    raise AssertionError("no such thread")


def fork(folder: Path, *tried: dict[str, Any], app: str = APP, at: int = 0, allow: str = "") -> Any:
    thread = ended()
    (folder / "try.jsonl").write_text("".join(json.dumps(one) + "\n" for one in tried))
    given = [
        "fork",
        thread,
        "--at",
        str(at or len(entries(thread))),
        "--as",
        "fork-1",
        "-o",
        str(folder / "fork.jsonl"),
    ]
    given += ["--file", str(file(folder, 700)), "--app", app, "--try", str(folder / "try.jsonl")]
    return run(*given, *(("--allow", allow) if allow else ()), "--force", "--json")


def forked(folder: Path) -> list[Entry]:
    return list(Histories(folder / "fork.jsonl"))


def effects(entry: Entry) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(entry.effects)
    return found


def test_fork_is_the_history_under_ids_of_its_own(alone: Path) -> None:
    """The same story, decision by decision; no run, no call, no key is shared with the thread; it replays."""
    assert fork(alone).exit_code == 0
    was, now = entries(ended()), forked(alone)
    assert [(e.seq, e.kind, e.verdict, e.time_ms) for e in now] == [(e.seq, e.kind, e.verdict, e.time_ms) for e in was]
    assert {entry.thread for entry in now} == {"fork-1"}
    for name in ("call_id", "run_id", "reply_id"):
        one, other = ({e[name] for entry in side for e in effects(entry) if e.get(name)} for side in (was, now))
        assert one and other and not one & other
    told = run("replay", "--file", str(alone / "fork.jsonl"), "--app", APP, "--workers", "0")
    assert told.stdout.startswith(f"Equal to the bit: {len(now)} decisions.")


def test_fork_ends_where_it_is_told(alone: Path) -> None:
    """At the decision that it shares last; what the thread waited for then, the fork waits for."""
    thread = ended()
    at = next(e.seq for e in entries(thread) if '"keyed"' in e.effects)
    told = objects(fork(alone, at=at))[-1]
    assert [entry.seq for entry in forked(alone)] == list(range(1, at + 1))
    assert [one["tool"] for one in told["waits_for"]] == ["refund"]


def test_fork_performs_nothing_unless_it_is_allowed(alone: Path) -> None:
    """What is asked for is told and stays open: the desk's tools would fail if they were run."""
    told = objects(fork(alone, STOCK))
    assert [e["tool"] for e in told[0]["effects"] if e["do"] == "call"] == ["check_stock"]
    assert [one["tool"] for one in told[-1]["waits_for"]] == ["check_stock"]
    assert told[-1]["entries"] == len(entries(ended())) + 1


def test_fork_goes_on_with_answers_that_it_is_given(alone: Path) -> None:
    """Results, errors and timers of the events file; the whole of it replays."""
    tried = [REFUND, {"answer": "look_up_order", "value": ORDER}, {"answer": "check_stock", "value": 3},
             {"answer": "refund", "error": "declined"}]  # fmt: skip
    told = objects(fork(alone, *tried))
    replies = [e["text"] for line in told for e in line.get("effects", []) if e["do"] == "reply"]
    assert replies == ["That cannot be done: declined"]
    assert told[-1]["waits_for"] == []
    replayed = run("replay", "--file", str(alone / "fork.jsonl"), "--app", APP, "--workers", "0", "--cold")
    assert replayed.exit_code == 0
    status = {**STOCK, "data": {**STOCK["data"], "intent": "status"}}  # type: ignore[dict-item]
    told = objects(fork(alone, status, {"timer": "next"}))
    assert [line["kind"] for line in told[:-1]] == ["event", "timer"]


def test_fork_runs_an_allowed_tool_for_tried_events_only(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, under the fork's own key. A call that was open when the history ends may be under way: it is never run."""
    body = "    raise NotImplementedError\n\n\nasync def _confirmed"
    paid = '    (__import__("pathlib").Path("paid").open("a")).write(call.idempotency_key + "\\n")\n'
    spec = changed(
        alone, monkeypatch, (body, f"{paid}    return Receipt('r-1', order_id, amount)\n\n\nasync def _confirmed")
    )
    tried = [REFUND, {"answer": "look_up_order", "value": ORDER}, {"answer": "check_stock", "value": 3}]
    told = objects(fork(alone, *tried, app=spec, allow="refund"))
    keys = [e["call_id"] for line in told[:-1] for e in line["effects"] if e["do"] == "call" and e["tool"] == "refund"]
    assert (alone / "paid").read_text().split() == keys and len(keys) == 1
    assert told[-1]["waits_for"] == []
    (alone / "paid").unlink()
    at = next(e.seq for e in entries(ended()) if '"keyed"' in e.effects)
    told = objects(fork(alone, STOCK, app=spec, at=at, allow="refund"))
    assert not (alone / "paid").exists()
    assert [one["tool"] for one in told[-1]["waits_for"]] == ["refund"]
    told = objects(fork(alone, {"timer": "next"}, app=spec, at=at, allow="refund"))
    assert [(line["kind"], line["verdict"]) for line in told[:-1]] == [("timer", "asked_again")]
    assert not (alone / "paid").exists()


def test_fork_tells_how_an_allowed_tool_failed(alone: Path) -> None:
    """A read that raises has failed."""
    told = objects(fork(alone, STOCK, allow="check_stock"))
    assert [line["kind"] for line in told[:-1]] == ["event", "result"]
    assert any(e["do"] == "reply" and "That cannot be done" in e["text"] for e in told[1]["effects"])


def test_fork_by_code_that_decides_otherwise_is_refused(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history would not be that of the thread; both sides are shown and no file is left."""
    spec = changed(alone, monkeypatch, ("amount=amount)", "amount=amount + 1)"))
    told = fork(alone, app=spec)
    assert told.exit_code == 1
    assert "The history cannot be forked by this code: at seq " in told.stderr
    assert "  - call refund({" in told.stderr and "  + call refund({" in told.stderr
    assert not (alone / "fork.jsonl").exists()


@pytest.mark.parametrize(
    ("tried", "said"),
    [
        ({"answer": "refund", "value": 1}, "No call of 'refund' is open"),
        ({"type": "shop.Unknown", "data": {}}, "No event type 'shop.Unknown' is known here"),
        ({"type": "support_desk.CustomerMessage", "data": {"text": 1}}, "The data is no support_desk.CustomerMessage"),
        ({"what": 1}, "Line 1 is no event"),
        ({"timer": "next"}, "No timer is set in the fork"),
    ],
)
def test_fork_tells_what_is_no_event(alone: Path, tried: dict[str, Any], said: str) -> None:
    """A sentence, and no file."""
    told = fork(alone, tried)
    assert (told.exit_code, said in told.stderr) == (1, True), told.stderr
    assert not (alone / "fork.jsonl").exists()


def test_fork_tells_what_cannot_be_forked(alone: Path) -> None:
    """A seq that is not there, an id that names no thread, a tool that the app lacks."""
    assert "seq 999 is none of them" in fork(alone, at=999).stderr
    assert "The app has no tool nothing" in fork(alone, allow="nothing").stderr
    path = str(file(alone, 700))
    same = run("fork", "x", "--at", "1", "--as", "x", "-o", "f", "--file", path, "--app", APP)
    assert "the thread's own id" in same.stderr
    none = run("fork", "x", "--at", "1", "--as", "", "-o", "f", "--file", path, "--app", APP)
    assert "names no thread" in none.stderr


def test_fork_of_the_journal(kafka: FakeKafka, tmp_path: Path) -> None:
    """From Kafka it is the same fork. Another one does not take its file's place unasked."""
    kafka.schemas = registered()
    for entry in mix(700):
        kafka.add_entry(entry)
    out = tmp_path / "k.jsonl"
    told = run("fork", ended(), "--at", "3", "--as", "fork-1", "-o", str(out), "--app", APP)
    assert told.exit_code == 0 and "3 decisions of" in told.stdout
    fork(tmp_path, at=3)
    assert list(Histories(out)) == forked(tmp_path)
    was = out.read_bytes()
    told = run("fork", ended(), "--at", "2", "--as", "fork-2", "-o", str(out), "--app", APP)
    assert (told.exit_code, f"{out} is there already." in told.stderr, out.read_bytes()) == (1, True, was)
