# SPDX-License-Identifier: Apache-2.0
"""`threadlog audit keygen` and `sign`, against a Kafka and a registry in memory."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from msgspec.structs import replace

from ops.audit import heads, keys
from ops.audit.heads import AuditHead
from ops.audit.memory import Memory, Stand
from schemas.cloudevents import read_headers
from schemas.codec import Codec
from tests.ops.audits import check, exported, key_pair, paid, public_hex, signed
from tests.ops.fakes import FakeKafka, objects, run


def written(kafka: FakeKafka) -> list[AuditHead]:
    """Every head of the topic."""
    records = kafka.topics.get("threadlog.audit-heads", [])
    found = [heads.read(Codec(kafka.schemas), record.value) for record in records]
    return [head for head in found if head is not None]


def stands(kafka: FakeKafka) -> list[tuple[str, int, int]]:
    return [(head.thread, head.first_seq, head.seq) for head in written(kafka)]


def test_keygen_keeps_the_private_key_private(alone: Path) -> None:
    """Mode 0600, whatever the umask; the public key is beside it and is what is printed."""
    [told] = objects(run("audit", "keygen", "key", "--json"))
    assert stat.S_IMODE((alone / "key").stat().st_mode) == 0o600
    assert told == {"private": "key", "public": "key.pub", "key": public_hex(alone / "key")}
    assert keys.hex_of(keys.load(alone / "key")) == told["key"]


@pytest.mark.parametrize("name", ["key", "key.pub"])
def test_keygen_writes_over_nothing(alone: Path, name: str) -> None:
    """A key that is lost cannot sign for what it signed before."""
    (alone / name).write_text("mine")
    told = run("audit", "keygen", "key")
    assert (told.exit_code, "is there already; no key is written over" in told.stderr) == (1, True)
    assert (alone / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda key: key.chmod(0o640), "Others than its owner may use"),
        (lambda key: key.write_text("junk"), "holds no private key in PEM"),
        (lambda key: key.unlink(), "cannot be read: No such file or directory"),
        (lambda key: key.write_bytes(Path(f"{key}.pub").read_bytes()), "holds no private key in PEM"),
    ],
    ids=["open to others", "junk", "gone", "public"],
)
@pytest.mark.parametrize("command", [["sign"], ["export", "--out", "bundle"]], ids=" ".join)
def test_audit_takes_only_a_private_key(kafka: FakeKafka, alone: Path, edit: Any, sentence: str, command: Any) -> None:
    """A sentence for any other file."""
    edit(key_pair(alone))
    told = run("audit", *command, "--key", "key")
    assert (told.exit_code, sentence in told.stderr) == (1, True), told.output


def test_sign_signs_the_head_of_each_thread_once(kafka: FakeKafka, alone: Path) -> None:
    """Again only when it has moved."""
    made = paid(kafka)
    paid(kafka, "u")
    signed(alone)
    signed(alone)
    assert stands(kafka) == [("t", 1, 3), ("u", 1, 3)]
    made.send(order="o2")
    signed(alone)
    assert stands(kafka)[2:] == [("t", 1, 4)]
    assert all(head.is_signed_by(public_hex(alone / "key")) for head in written(kafka))


def test_sign_writes_a_record_like_any_other(kafka: FakeKafka, alone: Path) -> None:
    """Keyed by its thread, with a full envelope under the registered schema."""
    made = paid(kafka)
    signed(alone)
    [record] = kafka.topics["threadlog.audit-heads"]
    told, [head] = read_headers(record.headers), written(kafka)
    assert (record.key, told.type, told.subject) == (b"t", "threadlog.AuditHead", "t")
    assert (head.hash, head.time_ms) == (made.journal[-1].hash, made.journal[-1].time_ms)


def test_sign_says_what_it_signed(kafka: FakeKafka, alone: Path) -> None:
    """One object for each head."""
    paid(kafka)
    [told] = objects(run("audit", "sign", "--key", str(key_pair(alone)), "--json"))
    assert (told["thread"], told["seq"], told["key"]) == ("t", 3, public_hex(alone / "key"))
    assert run("audit", "sign", "--key", "key").stdout == "0 heads signed.\n"


def remake(kafka: FakeKafka, **changed: Any) -> None:
    """The log again, with another story in it."""
    kafka.topics["threadlog.agent-decisions"] = []
    paid(kafka, **changed)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda kafka: remake(kafka, total=8), "seq 3 is not the entry that was signed"),
        (lambda kafka: kafka.topics["threadlog.agent-decisions"].pop(), "seq 3 was signed, and the log ends at seq 2"),
        (lambda kafka: kafka.topics["threadlog.agent-decisions"].clear(), "the log holds nothing of the thread"),
    ],
    ids=["anew", "cut", "gone"],
)
def test_sign_is_a_witness(kafka: FakeKafka, alone: Path, edit: Any, reason: str) -> None:
    """A log that is not what was signed is not signed again, and the command says so and fails."""
    paid(kafka)
    signed(alone)
    edit(kafka)
    told = run("audit", "sign", "--key", "key")
    assert (told.exit_code, f"NOT SIGNED  't': {reason}" in told.stdout or reason in told.stdout) == (1, True)
    assert stands(kafka) == [("t", 1, 3)]


def test_sign_leaves_out_what_does_not_count(kafka: FakeKafka, alone: Path) -> None:
    """A fork is told and not signed; the first history is."""
    made = paid(kafka)
    kafka.add_entry(made.journal[1])
    key_pair(alone)
    told = run("audit", "sign", "--key", "key")
    assert (told.exit_code, "NOT SIGNED  't': void at 0/3: fork: seq 2 was told before" in told.stdout) == (1, True)
    assert stands(kafka) == [("t", 1, 3)]


def test_sign_takes_a_missing_beginning_for_a_gap(kafka: FakeKafka, alone: Path) -> None:
    """Where retention has taken nothing, a thread that begins in its middle has lost something else."""
    paid(kafka)
    paid(kafka, "u")
    del kafka.topics["threadlog.agent-decisions"][3]
    key_pair(alone)
    told = run("audit", "sign", "--key", "key")
    assert (told.exit_code, "'u': void at 0/4: gap: seq 2 comes after seq 0" in told.stdout) == (1, True)
    assert stands(kafka) == [("t", 1, 3)]


@pytest.mark.parametrize("what", ["junk", "forged", "foreign"])
def test_sign_takes_its_place_back(kafka: FakeKafka, alone: Path, what: str) -> None:
    """Compaction keeps the last record of a thread: one of somebody else's is followed by ours again."""
    paid(kafka)
    key = signed(alone)
    [head] = written(kafka)
    other = keys.load(key_pair(alone, "other"))
    value = {"junk": b"junk", "forged": head.signed(other).encode(Codec(kafka.schemas))}.get(what)
    kafka.add("audit-heads", b"t", value)
    signed(alone)
    assert (len(kafka.topics["threadlog.audit-heads"]), written(kafka)[-1].key) == (3, public_hex(key))


def test_sign_says_again_where_retention_has_moved_the_beginning(kafka: FakeKafka, alone: Path) -> None:
    """The head of a thread that has not moved, with the first entry that the log still holds."""
    paid(kafka)
    key = signed(alone)
    kafka.cut("agent-decisions", 1)
    told = run("audit", "export", "--out", "stale")
    assert "Not signed as they stand: 1 thread." in told.stdout
    assert check(alone / "stale", key)[1] == ["thread 't': begins at seq 2, but the log held seq 1 when it was signed"]
    signed(alone)
    assert stands(kafka)[1:] == [("t", 2, 3)]
    assert check(exported(alone), key)[1] == []


def test_sign_without_its_topic_says_how_to_make_it(
    kafka: FakeKafka, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack of before has no topic for heads."""

    def missing(bootstrap: str, topic: str, **given: Any) -> Any:
        raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))

    monkeypatch.setattr("ops.reading.read_topic", missing)
    told = run("audit", "sign", "--key", str(key_pair(alone)))
    assert (told.exit_code, "`threadlog topics --ensure` makes missing topics." in told.stderr) == (1, True)


def test_heads_signed_bytes_are_fixed() -> None:
    """What is signed today is verified in years; no two heads have the same bytes."""
    head = AuditHead("ns", "a:b", 1, 23, "ff", 4, 5)
    assert head.signed_bytes() == b"21:threadlog.AuditHead/12:ns3:a:b1:12:232:ff1:41:5"


@pytest.mark.parametrize("left", [(), (None,)], ids=["cleared", "written over"])
def test_sign_remembers_what_the_topic_has_lost(kafka: FakeKafka, alone: Path, left: tuple[None, ...]) -> None:
    """Who has the cluster takes the head away and writes the log anew: the signer does not sign the second story."""
    paid(kafka)
    signed(alone)
    kafka.topics["threadlog.audit-heads"] = []
    for value in left:
        kafka.add("audit-heads", b"t", value)
    remake(kafka, total=8)
    told = run("audit", "sign", "--key", "key")
    assert (told.exit_code, "NOT SIGNED  't': seq 3 is not the entry that was signed" in told.stdout) == (1, True)
    assert written(kafka) == []


def test_sign_learns_from_the_topic_what_its_file_lacks(kafka: FakeKafka, alone: Path) -> None:
    """A signer of before there was a file, or one that died between the two, has it at its next start."""
    paid(kafka)
    signed(alone)
    (alone / "key.signed").unlink()
    signed(alone)
    kafka.topics["threadlog.audit-heads"] = []
    remake(kafka, total=8)
    assert run("audit", "sign", "--key", "key").exit_code == 1


@pytest.mark.parametrize("prev", ["", "0" * 64], ids=["the same", "another"])
def test_sign_holds_what_comes_behind_the_signed_entry_to_it(kafka: FakeKafka, alone: Path, prev: str) -> None:
    """Retention has taken the signed entry itself; the first one that is left must continue it."""
    made = paid(kafka)
    signed(alone)
    made.send(order="o2")
    if prev:
        kafka.topics["threadlog.agent-decisions"].pop()
        kafka.add_entry(replace(made.journal[3], prev=prev).sealed())
    kafka.cut("agent-decisions", 3)
    told = run("audit", "sign", "--key", "key")
    assert (told.exit_code, "'t': seq 3 is not the entry that was signed" in told.stdout) == (bool(prev), bool(prev))


def test_sign_that_cannot_remember_signs_nothing(kafka: FakeKafka, alone: Path) -> None:
    """A sentence that names the file."""
    paid(kafka)
    key_pair(alone)
    (alone / "key.signed").write_text("no database " * 100)
    told = run("audit", "sign", "--key", "key")
    assert (told.exit_code, "key.signed does not take what was signed: " in told.stderr) == (1, True)
    assert written(kafka) == []


def test_sign_beside_another_signer_forgets_nothing_that_one_has_signed(alone: Path) -> None:
    """It has read the memory before, and writes down less after."""
    memory = Memory.beside(alone / "key")
    memory.keep("threadlog", {"t": Stand(1, 130, "h130", 2)})
    memory.keep("threadlog", {"t": Stand(1, 125, "h125", 1), "u": Stand(1, 1, "h1", 1)})
    assert memory.of("threadlog") == {"t": Stand(1, 130, "h130", 2), "u": Stand(1, 1, "h1", 1)}
    assert memory.of("other") == {}
