# SPDX-License-Identifier: Apache-2.0
"""Verifies an audit bundle of threadlog. Needs Python 3.11 and `cryptography`, and nothing of threadlog.

    python verify.py BUNDLE --key PUBKEY [--key PUBKEY ...] [--journal NAME] [--all-signed]

PUBKEY: an Ed25519 key, a PEM file or 64 hex digits, from its signer, and this file from where it is published: those
in a bundle prove nothing. NAME: of the journal; a key may sign several. --all-signed: what is not signed is a fault.
Exit code: 0 whole; 1 broken, with a sentence for each fault that names file, thread and seq; 2 wrong usage."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

Record = dict[str, Any]
DECISION, RESULT, HEAD = "threadlog.Decision", "threadlog.ToolResult", "threadlog.AuditHead"
FIELDS = {  # names are not in the bytes: with two exchanged, a schema would read the same bytes as another story
    DECISION: "thread seq prev kind verdict reason input topic partition offset log_time_ms source id type schema_id "
    "value traceparent clock_ms time_ms agent version run_id app_digest limits_digest effects patch state_hash outbox "
    "snapshot hash",
    RESULT: "thread run_id ordinal call_id tool args_digest quota_key status value error_type error_message attempts "
    "asked_ms finished_ms",
    HEAD: "namespace thread first_seq seq hash time_ms signed_ms key signature",
}


class Broken(Exception):
    """A fault; who catches it says where."""


FAULTS = (Broken, LookupError, ValueError, TypeError, AttributeError, OSError, RecursionError, OverflowError)


def told(error: BaseException) -> str:
    """A fault in words."""
    return str(error) if isinstance(error, Broken) else f"cannot be read ({type(error).__name__}: {error})"


def avro(schema: Any, data: bytes, at: int) -> tuple[Any, int]:
    """The value at a place in Avro's binary encoding, and the place after it: as much of Avro as our records use."""
    if isinstance(schema, list):
        return avro(schema[(branch := avro("long", data, at))[0]], data, branch[1])
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind in ("int", "long"):
        number, shift = data[at] & 0x7F, 7
        while data[at] & 0x80:
            number, shift, at = number | (data[at + 1] & 0x7F) << shift, shift + 7, at + 1
        return number >> 1 ^ -(number & 1), at + 1
    if kind in ("string", "bytes"):
        size, at = avro("long", data, at)
        if not 0 <= size <= len(data) - at:
            raise Broken("the record ends early")
        return data[at : at + size].decode() if kind == "string" else data[at : at + size], at + size
    if kind == "record":
        value: Record = {}
        for field in schema["fields"]:
            inner, at = avro(field["type"], data, at)
            value |= {field["name"]: inner, **(inner if isinstance(inner, dict) else {})}  # `input`, and its fields too
        return value, at
    if kind == "array":
        items: list[Any] = []
        while (block := avro("long", data, at))[0]:
            if not 0 < block[0] <= len(data):
                raise Broken("an array as no writer of ours leaves it")
            at = block[1]
            for _ in range(block[0]):
                item, at = avro(schema["items"], data, at)
                items.append(item)
        return items, block[1]
    return (None, at) if kind == "null" else avro(kind, data, at)


def framed(*parts: str | bytes) -> bytes:
    """Parts one after the other, each preceded by its length in bytes and a colon."""
    return b"".join(b"%d:%b" % (len(raw), raw) for raw in (p if isinstance(p, bytes) else p.encode() for p in parts))


def chain(previous: str, *parts: str | bytes) -> str:
    """SHA-256 over the hash before and the framed parts."""
    return hashlib.sha256(previous.encode() + framed(*parts)).hexdigest()


def hash_of(entry: Record) -> str:
    """The hash of an entry, over the bytes that it carries: every field in order, but for `prev` and the hash."""
    fields = [value for name, value in entry.items() if name not in ("prev", "input", "hash")]
    return chain(entry["prev"], *("" if v is None else v if isinstance(v, str | bytes) else str(v) for v in fields))


class Bundle:
    """The folder: its manifest, its lines, and records read by the schemas beside them."""

    def __init__(self, folder: Path, keys: set[str]) -> None:
        self.folder, self.keys, self._avsc = folder, keys, dict[int, Any]()
        self.manifest: Record = json.loads((folder / "manifest.json").read_bytes())

    def check_files(self, must_be_signed: bool) -> str:
        """Every file is the one that the manifest lists, and no other is there. Returns who has signed the manifest."""
        paths = {path.relative_to(self.folder).as_posix(): path for path in self.folder.rglob("*") if not path.is_dir()}
        there = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
        for name, _ in sorted(there.items() ^ self.manifest["files"].items()):
            if name not in ("manifest.json", "manifest.sig"):
                raise Broken(f"{name} is not the file that the manifest lists")
        if not must_be_signed and not (self.folder / "manifest.sig").exists():
            rest = "not signed. What no head covers rests on who gave you this: narrative, schemas, choice, void"
            return f"{rest} records, what is not yet signed, and headers, places and broker's times of records"
        seal = json.loads((self.folder / "manifest.sig").read_bytes())
        signed = framed("threadlog.AuditManifest/1", (self.folder / "manifest.json").read_bytes())
        self.check_signature(seal["key"], bytes.fromhex(seal["signature"]), signed)
        return f"signed by {seal['key']}. Every file is as it was exported"

    def check_signature(self, key: str, signature: bytes, signed: bytes) -> None:
        """Raises Broken for what none of the given keys has signed."""
        if key not in self.keys:
            raise Broken(f"signed by {key!r:.80}, which is none of the keys that you gave")
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, signed)
        except InvalidSignature:
            raise Broken(f"forged: the signature is not of the key {key}") from None

    def read(self, value: bytes, name: str) -> Record:
        """A record in the Confluent wire format. Raises Broken for one of another schema than that of this name."""
        id = int.from_bytes(value[1:5], "big")
        schema = self._avsc[id] = self._avsc.get(id) or json.loads((self.folder / f"schemas/{id}.avsc").read_bytes())
        record, at = avro(schema, value, 5)
        if (value[0], at, f"{schema['namespace']}.{schema['name']}") != (0, len(value), name):
            raise Broken(f"not a {name} in the Confluent wire format")
        if " ".join(record) != FIELDS[name]:
            raise Broken(f"schema {id} is not the {name} that this verifier knows")
        return dict(record)


class Thread:
    """One thread: its chain, entry by entry, the heads that were signed of it, and the account of its calls."""

    first, last, signed, signed_ms, begin = 1, 0, 0, 0, 0
    state_hash: str | None = ""  # as the outbox, not known where the bundle does not begin at seq 1
    outbox: str | None = ""

    def __init__(self, name: str, bundle: Bundle) -> None:
        self.name, self.bundle, self.where = name, bundle, f"thread {name!r}"
        self.hashes, self.calls = dict[int, str](), dict[str, list[str]]()  # call id → [tool, how it ended]

    def entry(self, entry: Record) -> None:
        """The next entry. Raises Broken where it was changed, does not continue the chain or has calls out of turn."""
        seq, prev, snapshot = entry["seq"], entry["prev"], entry["snapshot"]
        if hash_of(entry) != entry["hash"]:
            raise Broken("the entry was changed after it was written")
        if not self.hashes and seq > 1:
            self.first, self.last, self.state_hash, self.outbox, self.hashes = seq, seq - 1, None, None, {seq - 1: prev}
        if seq != self.last + 1 or prev != self.hashes.get(self.last, ""):
            raise Broken(f"does not continue seq {self.last}: an entry was removed, reordered or replaced")
        if snapshot is not None:
            core = json.loads(snapshot)["state"]["core"]
            if core["head"] != prev or core["seq"] != seq - 1 or self.state_hash not in (None, core["state_hash"]):
                raise Broken("its snapshot is of another state")
            self.state_hash = core["state_hash"]
        if self.state_hash is not None and chain(self.state_hash, entry["patch"]) != entry["state_hash"]:
            raise Broken("the state hash does not follow from the patch")
        self.hashes[seq], self.last, self.state_hash = entry["hash"], seq, entry["state_hash"]
        for effect in json.loads(entry["effects"]):
            if effect["do"] == "call":
                self.ask(effect, effect["call_id"])
            elif effect["do"] in ("close_call", "late_success"):
                self.end(effect, effect["call_id"], entry)
        if self.outbox not in (None, entry["outbox"]):
            raise Broken("the outbox is not where the calls have brought it")
        self.outbox = entry["outbox"]

    def ask(self, ask: Record, call_id: str) -> None:
        """A call is asked for, or asked for again."""
        digest = hashlib.sha256(ask["args"].encode()).hexdigest()[:32]
        parts = [self.name, ask["run_id"], ask["ordinal"], ask["tool"], digest]
        named = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
        if (digest, hashlib.sha256(named.encode()).hexdigest()[:40]) != (ask["args_digest"], call_id):
            raise Broken(f"call {call_id} is not the key of its thread, run, place, tool and arguments")
        again, before = ask["ask"] > 1, call_id in self.calls or (ask["ask"] > 1 and self.first > 1)
        if again != before or (ask["effect"] != "read" and not again and self.outbox not in (None, ask["outbox_prev"])):
            raise Broken(f"call {call_id} is not asked for in its turn")
        if ask["effect"] != "read" and not again:
            self.outbox = chain(ask["outbox_prev"], call_id)
        self.calls.setdefault(call_id, [ask["tool"], "open"])

    def end(self, end: Record, call_id: str, entry: Record) -> None:
        """A call ends, in a doubt that its result need not have, or one that ended in doubt has happened after all."""
        status, before = ("done", "in doubt") if (late := end["do"] == "late_success") else (end["status"], "open")
        call = self.calls.setdefault(call_id, [end["tool"], before if self.first > 1 else "never asked for"])
        if call != [end["tool"], before]:
            raise Broken(f"call {call_id} ends as {status}, but was {call[1]}")
        result = self.bundle.read(entry["value"], RESULT) if entry["kind"] == "result" and entry["value"] else {}
        doubted = status == "in_doubt" and result.get("status") in ("failed", "refused", "rejected")
        wanted = {"call_id": call_id, "tool": call[0], "status": result["status"] if doubted else status}
        if result and not wanted.items() <= result.items():
            raise Broken(f"call {call_id} ends as {status}, which its result does not say")
        call[1] = "in doubt, then found done" if late else status.replace("_", " ")

    def head(self, head: Record) -> None:
        """A signed head. Raises Broken for a forged one, and where the chain is not what was signed."""
        parts = [str(head[name]) for name in FIELDS[HEAD].split()[:-2]]
        self.bundle.check_signature(head["key"], head["signature"], framed("threadlog.AuditHead/1", *parts))
        if head["namespace"] != self.bundle.manifest["namespace"]:
            raise Broken(f"signed for the journal of {head['namespace']!r}")
        if head["seq"] > self.last:
            raise Broken(f"signed, but the bundle ends at seq {self.last}: it was cut")
        if self.hashes.get(head["seq"], head["hash"]) != head["hash"]:
            raise Broken("not the entry that was signed: the chain was written anew")
        self.begin = max(self.begin, head["first_seq"])
        self.signed, self.signed_ms = max((self.signed, self.signed_ms), (head["seq"], head["signed_ms"]))

    def check(self, lines: list[tuple[str, str, Record]], all_signed: bool) -> str:
        """The verdict on its lines (place, name of the record, line), entries first. Raises Broken."""
        for place, name, line in lines:
            self.where = f"{place}, thread {self.name!r}, seq {line['seq']}"
            key, value = (b64decode(line[part], validate=True) for part in ("key", "value"))
            record = self.bundle.read(value, name)
            if (key.decode(), record["thread"], record["seq"]) != (self.name, self.name, line["seq"]):
                raise Broken(f"a record of thread {record['thread']!r}, seq {record['seq']} stands there")
            self.entry(record) if name == DECISION else self.head(record)
        self.where = f"thread {self.name!r}"
        if self.signed < self.first:
            raise Broken("no entry of it is signed, and a chain alone proves nothing: sign, then export again")
        if self.begin < self.first:
            raise Broken(f"begins at seq {self.first}, but the log held seq {self.begin} when it was signed")
        stands = {"thread": self.name, "first_seq": self.first, "last_seq": self.last}
        stands["last_hash"] = self.hashes[self.last]
        if not any(stands.items() <= one.items() for one in self.bundle.manifest["threads"]):
            raise Broken(f"seq {self.first} to {self.last} is not what the manifest lists: it was cut or written anew")
        rest = f"seq {self.signed + 1} to {self.last} not yet signed" if self.signed < self.last else "all signed"
        if all_signed and self.signed < self.last:
            raise Broken(rest)
        ends = [end for _, end in self.calls.values()]
        cut = f"; retention has taken what was before seq {self.first}" if self.first > 1 else ""
        at = datetime.fromtimestamp(self.signed_ms / 1000, UTC)
        said = f"seq {self.first} to {self.last} whole, signed to seq {self.signed} at {at:%F %T} UTC, {rest}{cut}"
        return f"{self.where}: {said}; calls: {', '.join(f'{ends.count(e)} {e}' for e in sorted({*ends})) or 'none'}"


def verify(folder: Path, keys: set[str], all_signed: bool, journal: str = "") -> tuple[list[str], list[str]]:
    """(what there is to say, faults), a sentence each; of a thread the first fault alone, for one makes many."""
    said, faults, place = list[str](), list[str](), "manifest"
    try:
        of = (bundle := Bundle(folder, keys)).manifest["namespace"]
        said.append(f"{place}: journal {of!r}, {bundle.check_files(all_signed)}.")
        threads = {one["thread"]: list[tuple[str, str, Record]]() for one in bundle.manifest["threads"]}
        if not threads or journal not in ("", of):
            raise Broken(f"of the journal {of!r}, not of {journal!r}" if threads else "of no thread")
        for file, name in (("void.jsonl", ""), ("records.jsonl", DECISION), ("heads.jsonl", HEAD)):
            for number, text in enumerate((folder / file).read_bytes().splitlines(), 1):
                place = f"{file} line {number}"
                threads.setdefault((line := json.loads(text))["thread"], []).extend([(place, name, line)] * bool(name))
                said += [] if name else [f"{place}, thread {line['thread']!r}: outside the chain, {line['reason']!r}"]
    except FAULTS as error:
        return said, [f"{place}: {told(error)}"]
    for thread in [Thread(name, bundle) for name in threads]:
        try:
            said.append(thread.check(threads[thread.name], all_signed))
        except FAULTS as error:
            faults.append(f"{thread.where}: {told(error)}")
    return said, faults


def public_key(text: str) -> str:
    """A key from the command line as hex digits. Raises ValueError, OSError, TypeError."""
    key = load_pem_public_key(Path(text).read_bytes()) if Path(text).is_file() else None
    if key is not None and not isinstance(key, Ed25519PublicKey):
        raise TypeError("a key of another kind")
    return (key or Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))).public_bytes_raw().hex()


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--key", action="append", required=True, metavar="PUBKEY")
    parser.add_argument("--journal", default="", metavar="NAME")
    parser.add_argument("--all-signed", action="store_true")
    given = parser.parse_args()
    if not given.bundle.is_dir():
        parser.error(f"{given.bundle} is no folder")
    try:
        keys = {public_key(text) for text in given.key}
    except (OSError, ValueError, TypeError) as error:
        parser.error(f"--key is no Ed25519 public key in a PEM file or in 64 hex digits: {error}")
    said, faults = verify(given.bundle, keys, given.all_signed, given.journal)
    for line in [*said, *(f"BROKEN  {fault}" for fault in faults), "BROKEN" if faults else "WHOLE"]:
        print("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))  # a bundle's text moves no cursor
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
