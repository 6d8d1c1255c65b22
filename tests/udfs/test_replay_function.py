# SPDX-License-Identifier: Apache-2.0
"""The operator that verifies the journal, over Flink in memory: frames in, findings out, state now and then."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from schemas.cloudevents import read_headers
from schemas.codec import Codec
from tests.ops.replays import APP, changed, mix, registered, source
from tests.udfs.keyed import Keyed
from threadlog.entry import Entry
from threadlog.places import Place
from threadlog.verifying import Verifier
from udfs import replay_function
from udfs.replay_function import ReplayFunction, seen_from_path
from wire.app_code import load_app
from wire.frames import OutRecord, Record, pack_in
from wire.sealed import Sealed

KEY, END = "3.17", 200
SCHEMAS = registered()
CODEC = Codec(SCHEMAS)
Json = dict[str, Any]


@pytest.fixture(autouse=True)
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No registry, and the code of this process."""
    monkeypatch.setattr(replay_function, "Registry", lambda url: SCHEMAS)
    monkeypatch.setattr(replay_function.AppCode, "load", lambda code: load_app(code.spec))
    monkeypatch.setattr(replay_function.gc, "freeze", lambda: None)
    monkeypatch.setattr(replay_function.gc, "set_threshold", lambda *given: None)


class Journal:
    """The partition as a TopicReader has it: these records, the first of them at `low`; `asked` says who read what."""

    def __init__(self, records: list[Record], low: int = 0) -> None:
        self.records, self.low, self.asked = records, low, list[tuple[int, int]]()

    def __call__(self, bootstrap: str, topic: str) -> Journal:
        assert (bootstrap, topic) == ("broker:9092", "ns.agent-decisions")
        return self

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def marks(self) -> dict[int, tuple[int, int]]:
        return {3: (self.low, END)}

    def read(self, first: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        self.asked.append((first[3], end[3]))
        return iter([record for record in self.records if first[3] <= record.offset < end[3]])


def use(monkeypatch: pytest.MonkeyPatch, journal: Journal, **how: int) -> Journal:
    """Let the operator read this journal, and keep and store states so."""
    monkeypatch.setattr(replay_function, "TopicReader", journal)
    monkeypatch.setattr(replay_function, "Verifier", partial(Verifier, **how))
    return journal


def record_of(entry: Entry, offset: int) -> Record:
    value = CODEC.encode("threadlog.Decision", {**entry.to_dict(), "traceparent": ""})
    return Record("ns.agent-decisions", 3, offset, 1_000 + offset, entry.thread.encode(), value, [])


class Replaying:
    """The operator over a Flink in memory, which is given a partition of the journal."""

    def __init__(self, app: str = APP, flink: Keyed | None = None) -> None:
        self.app, self.flink, self.found = app, flink or Keyed(None, 0), list[OutRecord]()
        self.restarted()

    def restarted(self) -> None:
        """A new function over the same state."""
        self.flink.function = ReplayFunction(
            self.app, "d" * 64, "ns", "http://registry", "broker:9092", "run-1", {3: END}
        )
        self.flink.open()

    def read(self, records: list[Record]) -> None:
        """Give it these records."""
        for record in records:
            self.found += self.flink.give(KEY, pack_in(record))[0]

    def checkpoint(self) -> Keyed:
        """What a checkpoint holds, to go on from; nobody tells the operator of it."""
        return Keyed(None, 0, stored=deepcopy(self.flink.stored), event_timers=set(self.flink.event_timers))

    def end(self) -> Json:
        """The sum at the end."""
        [summary] = self.flink.end()
        assert data_of(summary)["what"] == "summary"
        told: Json = json.loads(data_of(summary)["detail"])
        return told


def data_of(record: OutRecord) -> Json:
    """The finding in a record."""
    data: Json = CODEC.decode_own(record.value, "threadlog.ReplayFinding")
    return data


def records(decisions: int = 120) -> list[Record]:
    return [record_of(entry, offset) for offset, entry in enumerate(mix(decisions))]


def test_replay_function_finds_the_mix_equal_and_sums_up() -> None:
    """Nothing is written but one sum for the partition, at the end."""
    replaying = Replaying()
    replaying.read(records())
    assert replaying.found == []
    threads = len({entry.thread for entry in mix(120)})
    assert replaying.end() == {
        "first": 0, "last": 119, "last_log_ms": 1_119, "records": 120, "threads": threads, "cut": 0, "lost": 0,
        "standings": {"equal": 120}, "other_limits": {}, "ends": {"3": 200},
    }  # fmt: skip


def test_replay_function_touches_flinks_state_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first record, which says that there was one, and then every so often: to write after each costs more than
    to decide."""
    use(monkeypatch, Journal([]), store_every=100)
    replaying, written = Replaying(), list[int]()
    for record in records():
        before = deepcopy(replaying.flink.stored)
        replaying.read([record])
        written += [record.offset] * (before != replaying.flink.stored)
    assert written == [0, 100]
    assert set(replaying.flink.stored["threads"][KEY]) == {entry.thread for entry in mix(120)[:101]}


@pytest.mark.parametrize("after", [0, 1, 2, 50, 119, 120])
@pytest.mark.parametrize("how", [{"store_every": 7}, {"store_every": 1_000}, {"kept_max": 2, "store_every": 1_000}])
def test_replay_function_goes_on_from_a_checkpoint(
    after: int, how: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any moment, through two of them: each finding is told once, and the sum is that of a straight run.

    Offsets have gaps, as where transactions end; the keys of some records name no thread."""
    spec = changed(tmp_path, monkeypatch, ("amount=amount)", "amount=min(amount, 9_000))"))
    whole = [replace(record, offset=n + n // 5) for n, record in enumerate(records())]
    whole[7] = replace(whole[7], key=b"\xff", legal_key=False)
    use(monkeypatch, Journal([replace(record, legal_key=True) for record in whole]), **how)
    straight, crashing = Replaying(spec), Replaying(spec)
    straight.read(whole)
    crashing.read(whole[:after])
    kept, state = list(crashing.found), crashing.checkpoint()
    crashing.read(whole[after:])  # of this nothing is committed
    again = Replaying(spec, state)
    again.read(whole[after : after + 3])
    kept, state = [*kept, *again.found], again.checkpoint()
    once_more = Replaying(spec, state)
    once_more.read(whole[after + 3 :])
    assert len(straight.found) > 1
    assert [*kept, *once_more.found] == straight.found
    assert once_more.end() == straight.end()


def test_replay_function_reads_the_journal_after_a_restore_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies between the stored states and the first record; a gap by itself is a marker of a transaction."""
    whole = [replace(record, offset=2 * record.offset) for record in records(20)]
    journal = use(monkeypatch, Journal(whole), store_every=5)
    replaying = Replaying()
    replaying.read(whole[:9])
    assert journal.asked == []
    again = Replaying(flink=replaying.checkpoint())
    again.read(whole[9:])
    assert journal.asked == [(2 * 6 - 1, 2 * 9)]
    assert again.end()["records"] == 20
    assert len(journal.asked) == 1


def test_replay_function_stores_what_it_has_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that dies again before it would have stored has less to make up for."""
    journal = use(monkeypatch, Journal(records(20)), store_every=1_000)
    replaying = Replaying()
    replaying.read(records(20)[:10])
    for first in (10, 11):
        replaying = Replaying(flink=replaying.checkpoint())
        replaying.read([records(20)[first]])
    assert journal.asked == [(1, 10), (10, 11)]


def test_replay_function_brings_a_partition_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a checkpoint had all of its records, none comes any more."""
    journal = use(monkeypatch, Journal(records()), store_every=1_000)
    replaying = Replaying()
    replaying.read(records())
    state = replaying.checkpoint()
    again = Replaying(flink=state)
    assert again.end() == replaying.end()
    assert journal.asked == [(1, END)]


def test_replay_function_fails_where_retention_was_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was deleted since cannot be verified again: better no sum than a wrong one."""
    use(monkeypatch, Journal(records(20), low=2), store_every=1_000)
    replaying = Replaying()
    replaying.read(records(20)[:10])
    at_once = Replaying(flink=replaying.checkpoint())
    at_once.read([records(20)[1]])  # nothing lies between
    again = Replaying(flink=replaying.checkpoint())
    with pytest.raises(RuntimeError, match="what follows offset 0 was deleted by retention"):
        again.read(records(20)[10:])


def test_replay_function_tells_what_diverges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which decision, both sides, the line of the handler as it is imported, under an id that says which it is."""
    words = ("pieces.", "pieces left.")
    spec = changed(tmp_path, monkeypatch, words)
    replaying = Replaying(spec)
    replaying.read(records())
    first, found = replaying.found[0], data_of(replaying.found[0])
    detail, told = json.loads(found["detail"]), read_headers(first.headers)
    entry = mix(120)[found["offset"]]
    assert (found["run"], found["what"], found["thread"], found["seq"], found["partition"], found["reason"]) == (
        "run-1", "divergence", entry.thread, entry.seq, 3, "reply: text",
    )  # fmt: skip
    assert " pieces." in entry.effects
    module = f"{spec.partition(':')[0]}.py"
    assert detail["place"] == {"file": module, "line": source(spec, tmp_path, words[1]), "function": "support"}
    assert [" left." in "".join(detail["differences"][side]) for side in ("recorded", "now")] == [False, True]
    assert (first.topic, first.key, told.id) == (
        "ns.replay-findings", entry.thread.encode(), f"run-1/divergence/3/{found['offset']}",
    )  # fmt: skip
    ids = [read_headers(record.headers).id for record in replaying.found]
    assert len(set(ids)) == len(ids) > 1


def test_replay_function_tells_what_is_void() -> None:
    """A changed entry, a key that names no thread, bytes that are no entry; each is counted, and the job goes on."""
    whole = records()
    place = next(n for n, entry in enumerate(mix(120)) if entry.seq == 2)
    broken = record_of(replace(mix(120)[place], effects="[]"), place)
    after = sum(e.thread == mix(120)[place].thread and e.seq >= 2 for e in mix(120))
    bad = [
        Record("ns.agent-decisions", 3, 120, 0, b"\xff\xfe", b"\0\0\0\0\1", [], legal_key=False),
        Record("ns.agent-decisions", 3, 121, 0, b"t", b"\0\0\0\0\1", []),
        Record("ns.agent-decisions", 3, 122, 0, None, None, [], legal_key=False),
    ]
    replaying = Replaying()
    replaying.read([*whole[:place], broken, *whole[place + 1 :], *bad])
    found = [data_of(record) for record in replaying.found]
    assert {one["what"] for one in found} == {"void"} and len(found) == after + 3
    assert (found[0]["offset"], found[0]["reason"].partition(":")[0]) == (place, "wrong hash")
    assert [(one["thread"], one["reason"].partition(":")[0]) for one in found[-3:]] == [
        ("\\xff\\xfe", "illegal_key"), ("t", "truncated"), ("", "illegal_key"),
    ]  # fmt: skip
    assert replaying.end()["standings"] == {"equal": 120 - after, "void": after + 3}


def test_replay_function_shuts_a_handler_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can connect to nothing while it is executed again; the operator can before and after."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        port = listener.getsockname()[1]
        dial = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
        line = '    thread.vars["messages"] ='
        spec = changed(tmp_path, monkeypatch, (line, f"    {dial}\n{line}"))
        replaying = Replaying(spec)
        replaying.read(records(20))
        with pytest.raises(TimeoutError):
            listener.accept()
        socket.create_connection(("127.0.0.1", port)).close()
    assert Sealed.__name__ in json.loads(data_of(replaying.found[0])["detail"])["differences"]["now"][-1]


def test_replay_function_sums_up_each_partition_once() -> None:
    """A second end, as after a restart between it and the last checkpoint, has nothing left to say."""
    replaying = Replaying()
    replaying.read(records(10))
    replaying.end()
    assert replaying.flink.end() == []


def test_place_is_seen_from_where_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the innermost folder of the path; a file that is in none is named in full."""
    monkeypatch.setattr("sys.path", ["", "/a", "/a/b"])
    assert seen_from_path(Place("/a/b/shop/app.py", 3, "f")) == Place("shop/app.py", 3, "f")
    assert seen_from_path(Place("/other/app.py", 3, "f")) == Place("/other/app.py", 3, "f")
