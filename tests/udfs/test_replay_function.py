# SPDX-License-Identifier: Apache-2.0
"""The operator that verifies the journal, over Flink in memory: records in, findings out, state now and then."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from copy import deepcopy
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
from udfs import replay_function
from udfs.replay_function import ReplayFunction, seen_from_path
from wire.app_code import load_app
from wire.frames import OutRecord, Record, pack_in
from wire.sealed import Sealed

KEY = "3.17"
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


def record_of(entry: Entry, offset: int) -> Record:
    value = CODEC.encode("threadlog.Decision", {**entry.to_dict(), "traceparent": ""})
    return Record("ns.agent-decisions", 3, offset, 1_000 + offset, entry.thread.encode(), value, [])


class Log:
    """The journal's partition as a client reads it, and the ranges that were asked for."""

    def __init__(self, records: list[Record]) -> None:
        self.records, self.asked = records, list[tuple[int, int]]()

    def __call__(self, bootstrap: str, topic: str) -> Log:
        assert (bootstrap, topic) == ("broker:1", "ns.agent-decisions")
        return self

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def read(self, first: dict[int, int], end: dict[int, int]) -> Iterator[Record]:
        self.asked.append((first[3], end[3]))
        return (replace(one, legal_key=True) for one in self.records if first[3] <= one.offset < end[3])


class Replaying:
    """The operator over a Flink in memory, which is given a partition of the journal."""

    def __init__(self, app: str = APP, flink: Keyed | None = None) -> None:
        self.app, self.flink, self.found = app, flink or Keyed(None, 0), list[OutRecord]()
        self.restarted()

    def restarted(self) -> None:
        """A new function over the same state."""
        self.flink.function = ReplayFunction(self.app, "d" * 64, "ns", "http://registry", "broker:1", "run-1", {3: 200})
        self.flink.open()

    def read(self, records: list[Record]) -> None:
        """Give it these records."""
        for record in records:
            self.found += self.flink.give(KEY, pack_in(record))[0]

    def checkpoint(self) -> Keyed:
        """What a checkpoint holds, to go on from."""
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


def test_replay_function_writes_states_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that is written after each decision costs more than to decide; that a partition was begun is."""
    monkeypatch.setattr(replay_function, "STORE_RECORDS", 60)
    replaying = Replaying()
    replaying.read(records()[:59])
    assert (dict(replaying.flink.stored["threads"]), list(replaying.flink.stored["checked"])) == ({KEY: {}}, [KEY])
    replaying.read(records()[59:])
    assert set(replaying.flink.stored["threads"][KEY]) == {entry.thread for entry in mix(120)}


@pytest.mark.parametrize("stored", [7, 1_000])
@pytest.mark.parametrize("after", [0, 1, 50, 119, 123])
def test_replay_function_goes_on_from_a_checkpoint(
    after: int, stored: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies between the states that were stored and where the source goes on is decided once more, and told no
    second time; the findings together, and the sum, are those of a straight run."""
    spec = changed(tmp_path, monkeypatch, ("amount=amount)", "amount=min(amount, 9_000))"))
    bad = [Record("ns.agent-decisions", 3, 120 + n, 0, b"\xff", b"x", [], legal_key=False) for n in range(3)]
    whole, log = [*records(), *bad], Log([*records(), *bad])
    monkeypatch.setattr(replay_function, "STORE_RECORDS", stored)
    monkeypatch.setattr(replay_function, "TopicReader", log)
    straight, crashing = Replaying(spec), Replaying(spec)
    straight.read(whole)
    crashing.read(whole[:after])
    kept, state = list(crashing.found), crashing.checkpoint()
    crashing.read(whole[after:])  # of this nothing is committed
    again = Replaying(spec, state)
    again.read(whole[after:])
    assert len(straight.found) > 3
    assert [*kept, *again.found] == straight.found
    assert again.end() == straight.end()
    last = whole[after].offset if after < len(whole) else 200
    assert log.asked == ([(after // stored * stored, last)] if after else [])


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
