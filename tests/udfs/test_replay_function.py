# SPDX-License-Identifier: Apache-2.0
"""The operator that verifies the journal, over Flink in memory: slices in, findings out, state at each slice's end."""

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
from udfs.slices import Slice, slices
from wire.app_code import load_app
from wire.frames import OutRecord, Record
from wire.sealed import Sealed

KEY, END = "3.17", 200
CUT = slices({3: END}, 50)
SCHEMAS = registered()
CODEC = Codec(SCHEMAS)
Json = dict[str, Any]


@pytest.fixture(autouse=True)
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of this process."""
    monkeypatch.setattr(replay_function.AppCode, "load", lambda code: load_app(code.spec))
    monkeypatch.setattr(replay_function.gc, "freeze", lambda: None)
    monkeypatch.setattr(replay_function.gc, "set_threshold", lambda *given: None)


class Journal:
    """Partition 3 as a TopicReader has it: these records, the first of them at `low`. `read_from`: where a reader was
    made to stand; `told`: how far the group is."""

    def __init__(self, records: list[Record], low: int = 0) -> None:
        self.records, self.low = records, low
        self.read_from, self.told, self.closed = list[int](), list[int](), 0

    def __call__(self, bootstrap: str, topic: str, group: str) -> Journal:
        assert (bootstrap, topic, group) == ("broker:9092", "ns.agent-decisions", "ns.replay.run-1")
        return self

    def __exit__(self, *raised: object) -> None:
        self.closed += 1

    def first(self, partition: int) -> int:
        assert partition == 3
        return self.low

    def read(self, first: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        assert end == {3: END}
        self.read_from.append(first[3])
        return iter([record for record in self.records if first[3] <= record.offset < END])

    def commit(self, partition: int, offset: int) -> None:
        assert partition == 3
        self.told.append(offset)


def record_of(entry: Entry, offset: int) -> Record:
    value = CODEC.encode("threadlog.Decision", {**entry.to_dict(), "traceparent": ""})
    return Record("ns.agent-decisions", 3, offset, 1_000 + offset, entry.thread.encode(), value, [])


class Replaying:
    """The operator over a Flink in memory and a journal, which is given slices of a partition of it."""

    def __init__(self, patch: pytest.MonkeyPatch, journal: Journal, app: str = APP, flink: Keyed | None = None) -> None:
        patch.setattr(replay_function, "TopicReader", journal)
        self.journal = journal
        self.flink, self.found = flink or Keyed(None, 0), list[OutRecord]()
        self.flink.function = ReplayFunction(app, "d" * 64, "ns", SCHEMAS, "broker:9092", "run-1", {3: END})
        self.flink.open()

    def read(self, pieces: list[Slice]) -> None:
        """Give it these slices."""
        for piece in pieces:
            self.found += self.flink.give(KEY, piece.pack())[0]

    def checkpoint(self) -> Keyed:
        """What a checkpoint holds, to go on from; nobody tells the operator of it."""
        return Keyed(None, 0, stored=deepcopy(self.flink.stored))

    @property
    def of_partition(self) -> list[dict[str, str]]:
        """What is stored of it."""
        return [self.flink.stored[name][KEY] for name in ("checked", "threads")]

    @property
    def sum(self) -> Json:
        """What it told last: the sum."""
        assert data_of(self.found[-1])["what"] == "summary"
        told: Json = json.loads(data_of(self.found[-1])["detail"])
        return told


def data_of(record: OutRecord) -> Json:
    """The finding in a record."""
    data: Json = CODEC.decode_own(record.value, "threadlog.ReplayFinding")
    return data


def records(decisions: int = 120) -> list[Record]:
    return [record_of(entry, offset) for offset, entry in enumerate(mix(decisions))]


def test_replay_function_finds_the_mix_equal_and_sums_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written but one sum for the partition, behind its last slice."""
    replaying = Replaying(monkeypatch, Journal(records()))
    replaying.read(CUT[:-1])
    assert replaying.found == []
    replaying.read(CUT[-1:])
    threads = len({entry.thread for entry in mix(120)})
    assert len(replaying.found) == 1
    assert replaying.sum == {
        "low": 0, "first": 0, "last": 119, "last_log_ms": 1_119, "records": 120, "threads": threads, "cut": 0,
        "lost": 0, "standings": {"equal": 120}, "other_limits": {}, "older_states": 0, "ends": {"3": 200},
    }  # fmt: skip


def test_replay_function_reads_a_partition_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """One reader goes on from slice to slice, and lets it be known how far it is."""
    journal = Journal(records())
    replaying = Replaying(monkeypatch, journal)
    replaying.read(CUT)
    replaying.flink.function.close()
    assert (journal.read_from, journal.closed) == ([0], 1)
    assert journal.told == [piece.before for piece in CUT]


@pytest.mark.parametrize("after", range(len(CUT)))
@pytest.mark.parametrize("kept_max", [2, 1_000])
def test_replay_function_goes_on_from_a_checkpoint(
    after: int, kept_max: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any slice, through two of them, and with few threads in memory: each finding is told once, and the sum is that
    of a straight run. Offsets have gaps, as where transactions end; the keys of some records name no thread."""
    spec = changed(tmp_path, monkeypatch, ("amount=amount)", "amount=min(amount, 9_000))"))
    whole = [replace(record, offset=n + n // 5) for n, record in enumerate(records())]
    whole[7] = replace(whole[7], key=b"\xff")
    monkeypatch.setattr(replay_function, "Verifier", partial(Verifier, kept_max=kept_max))
    straight, crashing = (Replaying(monkeypatch, Journal(whole), spec) for _ in range(2))
    straight.read(CUT)
    crashing.read(CUT[:after])
    kept, state = list(crashing.found), crashing.checkpoint()
    crashing.read(CUT[after:])  # of this nothing is committed
    again = Replaying(monkeypatch, Journal(whole), spec, state)
    again.read(CUT[after : after + 2])
    kept, state = [*kept, *again.found], again.checkpoint()
    once_more = Replaying(monkeypatch, Journal(whole), spec, state)
    once_more.read(CUT[after + 2 :])
    assert len(straight.found) > 2
    assert [*kept, *once_more.found] == straight.found


def test_replay_function_tells_what_diverges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which decision, both sides, the line of the handler as it is imported, under an id that says which it is."""
    words = ("pieces.", "pieces left.")
    spec = changed(tmp_path, monkeypatch, words)
    replaying = Replaying(monkeypatch, Journal(records()), spec)
    replaying.read(CUT)
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


def test_replay_function_tells_what_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed entry, a key that names no thread, bytes that are no entry; each is counted, and the job goes on."""
    whole = records()
    place = next(n for n, entry in enumerate(mix(120)) if entry.seq == 2)
    broken = record_of(replace(mix(120)[place], effects="[]"), place)
    after = sum(e.thread == mix(120)[place].thread and e.seq >= 2 for e in mix(120))
    bad = [
        Record("ns.agent-decisions", 3, 120, 0, b"\xff\xfe", b"\0\0\0\0\1", []),
        Record("ns.agent-decisions", 3, 121, 0, b"t", b"\0\0\0\0\1", []),
        Record("ns.agent-decisions", 3, 122, 0, None, None, []),
    ]
    replaying = Replaying(monkeypatch, Journal([*whole[:place], broken, *whole[place + 1 :], *bad]))
    replaying.read(CUT)
    found = [data_of(record) for record in replaying.found[:-1]]
    assert {one["what"] for one in found} == {"void"} and len(found) == after + 3
    assert (found[0]["offset"], found[0]["reason"].partition(":")[0]) == (place, "wrong hash")
    assert [(one["thread"], one["reason"].partition(":")[0]) for one in found[-3:]] == [
        ("\\xff\\xfe", "illegal_key"), ("t", "truncated"), ("", "illegal_key"),
    ]  # fmt: skip
    assert replaying.sum["standings"] == {"equal": 120 - after, "void": after + 3}


def test_replay_function_shuts_a_handler_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can connect to nothing while it is executed again; the operator can before and after."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        port = listener.getsockname()[1]
        dial = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
        line = '    thread.vars["messages"] ='
        spec = changed(tmp_path, monkeypatch, (line, f"    {dial}\n{line}"))
        replaying = Replaying(monkeypatch, Journal(records(20)), spec)
        replaying.read(CUT)
        with pytest.raises(TimeoutError):
            listener.accept()
        socket.create_connection(("127.0.0.1", port)).close()
    assert Sealed.__name__ in json.loads(data_of(replaying.found[0])["detail"])["differences"]["now"][-1]


def test_place_is_seen_from_where_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the innermost folder of the path; a file that is in none is named in full."""
    monkeypatch.setattr("sys.path", ["", "/a", "/a/b"])
    assert seen_from_path(Place("/a/b/shop/app.py", 3, "f")) == Place("shop/app.py", 3, "f")
    assert seen_from_path(Place("/other/app.py", 3, "f")) == Place("/other/app.py", 3, "f")
