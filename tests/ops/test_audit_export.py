# SPDX-License-Identifier: Apache-2.0
"""`threadlog audit export`: what is chosen, and what a bundle carries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ops.audit import collect
from schemas.codec import Codec
from tests.ops.audits import case, check, eventful, exported, paid, public_hex, signed
from tests.ops.fakes import FakeKafka, objects, run
from wire.frames import Record

CHOICES = [
    (["--thread", "u"], {"u": [1, 2, 3]}),
    (["--thread", "t", "--thread", "u"], {"t": list(range(1, 11)), "u": [1, 2, 3]}),
    (["--actor", "/s"], {"t": [1, 4, 5, 9], "u": [1]}),
    (["--actor", "/threadlog/tools", "--thread", "u"], {"u": [2, 3]}),
    (["--tool", "pay"], {"t": [2, 3, 6, 7, 8], "u": [2, 3]}),
    (["--tool", "pay", "--tool", "look", "--thread", "u"], {"u": [1, 2, 3]}),
    (["--tool", "pay", "--actor", "/s", "--thread", "u"], {"u": [1, 2, 3]}),
    (["--from", "2023-11-14T22:13:20.009"], {"t": [9, 10]}),
    (["--to", "2023-11-14T23:13:20.002+01:00"], {"t": [1], "u": [1]}),
    (["--from", "2023-11-14T22:13:20.004", "--to", "2023-11-14T22:13:20.006"], {"t": [4, 5]}),
    ([], {"t": list(range(1, 11)), "u": [1, 2, 3]}),
]


@pytest.mark.parametrize(("options", "marked"), CHOICES, ids=[" ".join(options) or "all" for options, _ in CHOICES])
def test_export_marks_what_was_asked_for(kafka: FakeKafka, alone: Path, options: Any, marked: Any) -> None:
    """By thread, actor, tool and time; threads that match are whole."""
    eventful(kafka)
    paid(kafka, "u")
    key = signed(alone)
    bundle = exported(alone, *options)
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert {thread["thread"]: thread["marked"] for thread in manifest["threads"]} == marked
    lines = [json.loads(line) for line in (bundle / "records.jsonl").read_bytes().splitlines()]
    assert {line["thread"] for line in lines} == marked.keys()
    assert len(lines) == sum({"t": 10, "u": 3}[thread] for thread in marked)
    assert check(bundle, key)[1] == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--thread", "nobody"], "Nothing in the journal matches."),
        (["--actor", "nobody"], "Nothing in the journal matches."),
        (["--tool", "pay", "--actor", "/s", "--from", "2024-01-01"], "Nothing in the journal matches."),
        (["--from", "soon"], "'soon' is no moment.\nWrite 2026-01-31T09:00Z, or 36h"),
        (["--from", "36h"], "Nothing in the journal matches."),
        (["--thread", "\udcff"], "is not UTF-8"),
    ],
)
def test_export_of_nothing_is_a_sentence(kafka: FakeKafka, alone: Path, options: Any, sentence: str) -> None:
    """And leaves no folder."""
    paid(kafka)
    kafka.topics["threadlog.audit-heads"] = []
    told = run("audit", "export", "--out", "bundle", *options)
    assert (told.exit_code != 0, sentence in told.stderr) == (True, True), told.output
    assert not (alone / "bundle").exists()


def test_export_takes_threads_that_meet_every_option(kafka: FakeKafka, alone: Path) -> None:
    """One that spoke with the actor and never used the tool is not asked for."""
    paid(kafka)
    case(kafka, "u").send(type="t.Unknown")
    signed(alone)
    bundle = exported(alone, "--tool", "pay", "--actor", "/s")
    assert [one["thread"] for one in json.loads((bundle / "manifest.json").read_text())["threads"]] == ["t"]


def test_export_writes_over_nothing(kafka: FakeKafka, alone: Path) -> None:
    """A bundle is a new folder."""
    paid(kafka)
    signed(alone)
    exported(alone)
    told = run("audit", "export", "--out", "bundle")
    assert (told.exit_code, "bundle is there already" in told.stderr) == (1, True)


def test_export_of_too_much_is_a_sentence(kafka: FakeKafka, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says to ask for less."""
    paid(kafka)
    monkeypatch.setattr("ops.audit.collect.BUNDLE_BYTES_MAX", 1_000)
    told = run("audit", "export", "--out", "bundle")
    assert (told.exit_code, "larger than 1,000 bytes" in told.stderr) == (1, True)


def test_export_carries_records_as_the_log_holds_them(kafka: FakeKafka, alone: Path) -> None:
    """Place, time, key, value and headers; the schemas of records and of the inputs in them; the signer's key."""
    paid(kafka)
    key = signed(alone)
    bundle = exported(alone)
    [first, *_] = [json.loads(line) for line in (bundle / "records.jsonl").read_bytes().splitlines()]
    record: Record = kafka.topics["threadlog.agent-decisions"][0]
    assert (first["partition"], first["offset"], first["timestamp_ms"]) == (0, 0, 0)
    assert Codec(kafka.schemas).decode(record.value)[2]["seq"] == first["seq"] == 1
    ids = {str(kafka.schemas.id_of(f"threadlog.{name}")) for name in ("Decision", "ToolResult", "AuditHead")}
    assert {path.stem for path in (bundle / "schemas").iterdir()} == {*ids, str(kafka.schemas.id_of("t.Go"))}
    assert (bundle / "keys" / f"{public_hex(key)}.pem").read_bytes() == Path(f"{key}.pub").read_bytes()


def test_export_says_how_to_verify(kafka: FakeKafka, alone: Path) -> None:
    """Objects for programs: each thread, then the bundle with what is not signed and the verifier's digest."""
    made = paid(kafka)
    signed(alone)
    made.send(order="o2")
    thread, whole = objects(run("audit", "export", "--out", "bundle", "--json"))
    assert (thread["thread"], thread["last_seq"], thread["signed_seq"], thread["marked"]) == ("t", 4, 3, 4)
    assert (whole["threads"], whole["entries"], whole["unsigned"]) == (1, 4, 1)
    assert json.loads((alone / "bundle" / "manifest.json").read_text())["files"]["verify.py"] == whole["verifier"]


def test_export_without_a_key_says_what_is_not_seen(kafka: FakeKafka, alone: Path) -> None:
    """And how to sign; with a key there is nothing to say."""
    paid(kafka)
    key = signed(alone)
    assert (
        "The bundle is not signed: by whoever can change its manifest too, threads and the tail behind a last signed "
        "head can be left out, and headers, places and broker's times of records changed, unseen. --key KEY signs it.\n"
        in run("audit", "export", "--out", "open").stdout
    )
    assert "not signed" not in run("audit", "export", "--out", "sealed", "--key", str(key)).stdout
    told = [
        objects(run("audit", "export", "--out", name, *more, "--json"))[-1]
        for name, more in (("a", ()), ("b", ("--key", str(key))))
    ]
    assert [whole["sealed"] for whole in told] == [False, True]


def test_export_reads_inputs_that_cannot_be_read(kafka: FakeKafka, alone: Path) -> None:
    """Poison is in the bundle like everything else."""
    made = case(kafka)
    made.take(made.input("poison", "agent-events", value=b"\0\0\0\0\x63junk", reason="unknown_schema: no schema"))
    key = signed(alone)
    bundle = exported(alone)
    assert check(bundle, key)[1] == []
    assert "Its 9 bytes are in the records, and cannot be read." in (bundle / "narrative.html").read_text()


def test_export_beside_a_signer_is_whole(kafka: FakeKafka, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decided and signed while the journal is read is not in the bundle, and its head is none of it either."""
    made = paid(kafka)
    key, stories = signed(alone), collect._stories

    def meanwhile(*given: Any) -> Any:
        found = stories(*given)
        made.send(order="o2")
        signed(alone)
        return found

    monkeypatch.setattr(collect, "_stories", meanwhile)
    said, faults = check(exported(alone), key)
    assert (faults, "seq 1 to 3 whole, signed to seq 3" in said[1]) == ([], True)


def test_export_takes_a_repeat_for_what_it_is(kafka: FakeKafka, alone: Path) -> None:
    """The head once more, to the byte, is harmless: neither an error nor a void record."""
    made = paid(kafka)
    kafka.add_entry(made.journal[-1])
    key = signed(alone)
    bundle = exported(alone)
    assert (check(bundle, key)[1], (bundle / "void.jsonl").read_bytes()) == ([], b"")
