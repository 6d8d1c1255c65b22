# SPDX-License-Identifier: Apache-2.0
"""The verifier as a reader has it: alone, with a key, its exit code and its sentences; and what it adds up."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec.structs import replace

from ops.audit import verify
from schemas.codec import Codec
from tests.ops.audits import (
    case,
    change,
    check,
    entries,
    eventful,
    exported,
    paid,
    public_hex,
    relist,
    rewritten,
    signed,
    verifier,
)
from tests.ops.fakes import FakeKafka
from tests.threadlog.histories import play, some


def test_verify_whole_bundle_is_whole(bundle: Path, key: Path) -> None:
    """Each thread is told with its entries, its signature and the account of its calls."""
    said, faults = check(bundle, key)
    assert faults == []
    assert said[0].startswith("manifest: journal 'threadlog', not signed.")
    assert "thread 't': seq 1 to 10 whole, signed to seq 10 at " in said[1]
    assert said[1].endswith("all signed; calls: 3 done, 1 in doubt, then found done")
    assert said[2].endswith("all signed; calls: 2 done")


def test_verify_stands_alone(bundle: Path, key: Path) -> None:
    """The bundle's copy runs where the product is not, with `cryptography` and the standard library."""
    told = verifier(bundle, str(bundle), "--key", f"{key}.pub")
    assert (told.returncode, told.stderr, told.stdout.splitlines()[-1]) == (0, "", "WHOLE")
    assert (bundle / "verify.py").read_bytes() == Path(verify.__file__).read_bytes()


def test_verify_imports_the_standard_library_and_cryptography() -> None:
    """Not even in a function."""
    tree = ast.parse(Path(verify.__file__).read_text())
    found = {n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
    found |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in found} - sys.stdlib_module_names == {"cryptography"}


def test_verify_key_may_be_given_in_hex(bundle: Path, key: Path) -> None:
    """As the signer may have printed it."""
    assert verifier(bundle, str(bundle), "--key", public_hex(key)).returncode == 0


@pytest.mark.parametrize("wrong", ["none", "no bundle", "no key", "short", "private", "other kind", "cut"])
def test_verify_wrong_usage_is_two(bundle: Path, key: Path, alone: Path, wrong: str) -> None:
    """A sentence, and another code than that of a broken bundle."""
    other = generate_private_key(SECP256R1()).public_key()
    (alone / "ec.pub").write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (alone / "cut.pub").write_bytes(Path(f"{key}.pub").read_bytes()[:50])
    arguments = {
        "none": [], "no bundle": [str(alone / "nowhere"), "--key", f"{key}.pub"], "no key": [str(bundle)],
        "short": [str(bundle), "--key", "abc"], "private": [str(bundle), "--key", str(key)],
        "other kind": [str(bundle), "--key", str(alone / "ec.pub")],
        "cut": [str(bundle), "--key", str(alone / "cut.pub")],
    }[wrong]  # fmt: skip
    told = verifier(bundle, *arguments)
    assert (told.returncode, "Traceback" in told.stderr) == (2, False), told.stderr


JUNK = {
    "no JSON": b"junk\n", "no object": b"[]\n", "no thread": b"{}\n", "a number": b'{"thread": 1}\n',
    "no value": b'{"thread": "t", "seq": 1}\n', "null": b'{"thread": "t", "seq": 1, "value": null, "key": "dA=="}\n',
    "short": b'{"thread": "t", "seq": 1, "value": "AA==", "key": "dA=="}\n', "not UTF-8": b'{"thread": "\xff"}\n',
    "deep": b'{"thread":' + b"[" * 100_000 + b"\n",
}  # fmt: skip


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("file", ["records.jsonl", "heads.jsonl", "manifest.json", "manifest.sig"])
def test_verify_junk_is_a_sentence(bundle: Path, key: Path, file: str, junk: str) -> None:
    """No traceback, whatever lies in a file."""
    (bundle / file).write_bytes(JUNK[junk])
    if file != "manifest.json":
        relist(bundle)
    told = verifier(bundle, str(bundle), "--key", f"{key}.pub")
    assert (told.returncode, "Traceback" in told.stderr, told.stdout.splitlines()[-1]) == (1, False, "BROKEN")


def relogged(kafka: FakeKafka, seq: int, **changed: Any) -> None:
    """The log itself with another entry, all hashes right: what a broken engine would write."""
    story, records = entries(kafka, "t"), kafka.topics["threadlog.agent-decisions"]
    values = rewritten(kafka, story[seq - 1 :], **changed)
    for index, fresh in zip(range(seq - 1, len(story)), values, strict=True):
        records[index] = replace(records[index], value=verify.b64decode(fresh))


@pytest.mark.parametrize(
    ("seq", "old", "new", "fault"),
    [
        (2, '"amount\\":7', '"amount\\":70', "is not the key of its thread, run, place, tool and arguments"),
        (3, '"status":"done"', '"status":"failed"', "ends as failed, which its result does not say"),
        (2, '"do":"close_call"', '"do":"nothing"', "does not continue"),
        (1, '"do":"call"', '"do":"nothing"', "ends as done, but was never asked for"),
        (2, '"do":"call"', '"do":"nothing"', "the outbox is not where the calls have brought it"),
        (2, '"ask":1', '"ask":2', "is not asked for in its turn"),
        (2, '"outbox_prev":""', '"outbox_prev":"00"', "is not asked for in its turn"),
    ],
)
def test_verify_sees_an_account_that_does_not_add_up(
    kafka: FakeKafka, alone: Path, seq: int, old: str, new: str, fault: str
) -> None:
    """A signed chain whose calls contradict its own results is told apart from a sound one."""
    paid(kafka)
    relogged(kafka, seq, effects=entries(kafka, "t")[seq - 1].effects.replace(old, new))
    key = signed(alone)
    faults = check(exported(alone), key)[1]
    if old == '"do":"close_call"':  # a call that stays open contradicts nothing
        assert faults == []
    else:
        assert len(faults) == 1 and fault in faults[0]


def test_verify_sees_a_state_that_does_not_follow(kafka: FakeKafka, alone: Path) -> None:
    """The state hash is over the patches."""
    paid(kafka)
    relogged(kafka, 2, patch=entries(kafka, "t")[1].patch.replace("7", "8"))
    key = signed(alone)
    fault = "records.jsonl line 2, thread 't', seq 2: the state hash does not follow from the patch"
    assert check(exported(alone), key)[1] == [fault]


def test_verify_begins_where_retention_has_cut(kafka: FakeKafka, alone: Path) -> None:
    """The thread is told from the first entry that the log held when it was signed; less than that is a removal."""
    made = eventful(kafka)
    kafka.cut("agent-decisions", 4)
    key = signed(alone)
    bundle = exported(alone)
    said, faults = check(bundle, key)
    assert faults == []
    assert "seq 5 to 10 whole" in said[1] and "retention has taken what was before seq 5" in said[1]
    change(bundle, "records.jsonl", lambda lines: lines[1:])
    assert check(bundle, key)[1] == ["thread 't': begins at seq 6, but the log held seq 5 when it was signed"]
    assert len(made.journal) == 10


def test_verify_begins_at_a_snapshot(kafka: FakeKafka, alone: Path) -> None:
    """What the snapshot says of the state before it is checked with the chain."""
    made = case(kafka, snapshot_every_entries=3)
    for number in range(4):
        made.send(type="t.More", id=f"m{number}")
    assert [entry.seq for entry in made.journal if entry.snapshot] == [3]
    kafka.cut("agent-decisions", 2)
    key = signed(alone)
    assert check(exported(alone), key)[1] == []
    false = json.loads(entries(kafka, "t")[0].snapshot or "")
    false["state"]["core"]["seq"] = 7
    relogged(kafka, 1, snapshot=json.dumps(false))
    other = signed(alone, "other")
    kafka.topics["threadlog.audit-heads"] = kafka.topics["threadlog.audit-heads"][1:]
    assert check(exported(alone, name="false"), other)[1][0].endswith("its snapshot is of another state")


def test_verify_takes_every_history(kafka: FakeKafka, alone: Path) -> None:
    """Histories with refusals, interruptions, timers, doubts and new code add up; their results carry no bytes."""
    for number, (history, mode) in enumerate(some(12)):
        for entry in play(history, mode).journal:
            kafka.add("agent-decisions", b"t", Codec(kafka.schemas).encode("threadlog.Decision", entry.to_dict()))
        key = signed(alone, f"key{number}")
        assert check(exported(alone, name=f"b{number}"), key)[1] == []
        kafka.topics.clear()


def test_verify_asks_for_the_journal_that_was_named(bundle: Path, key: Path) -> None:
    """The same key may have signed a rehearsal's threads of the same names."""
    arguments = [str(bundle), "--key", f"{key}.pub", "--journal"]
    told = verifier(bundle, *arguments, "production")
    assert "BROKEN  manifest: of the journal 'threadlog', not of 'production'\n" in told.stdout
    assert (told.returncode, verifier(bundle, *arguments, "threadlog").returncode) == (1, 0)


def test_verify_of_nothing_is_broken(bundle: Path, key: Path) -> None:
    """No thread, no evidence."""
    for file in ("records.jsonl", "heads.jsonl", "void.jsonl"):
        (bundle / file).write_bytes(b"")
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "threads": []}))
    relist(bundle)
    assert check(bundle, key)[1] == ["manifest: of no thread"]


@pytest.mark.parametrize("name", ["narrative-corrected.html", "thread\x1b[1A\rWHOLE"])
def test_verify_sees_a_file_that_was_not_exported(bundle: Path, key: Path, name: str) -> None:
    """Beside the narrative another one. And what a bundle holds writes nothing on a terminal but itself."""
    (bundle / name).write_text("All is well.")
    told = verifier(bundle, str(bundle), "--key", f"{key}.pub")
    shown = name.replace("\x1b", "\\x1b").replace("\r", "\\r")
    assert told.returncode == 1
    assert f"BROKEN  manifest: {shown} is not the file that the manifest lists\n" in told.stdout


def test_verify_takes_a_doubted_answer(kafka: FakeKafka, alone: Path) -> None:
    """An effect was asked for again, and its first answer says "refused": the call ends in doubt, and that is told."""
    made = case(kafka)
    made.send(order="o1")
    made.answer({"total": 8})
    [call] = made.calls()
    made.fire()
    made.take(made.result(call, status="refused"))
    key = signed(alone)
    said, faults = check(exported(alone), key)
    assert (faults, said[1].endswith("calls: 1 done, 1 in doubt")) == ([], True), said
