# SPDX-License-Identifier: Apache-2.0
"""Threads with real bytes in their inputs, bundles of them, and what somebody might do to a bundle."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cryptography
from msgspec.structs import replace

from ops.audit import verify
from schemas.codec import Codec, Schema
from tests.ops.fakes import FakeKafka, run
from tests.threadlog.desk import Desk, app_of, refund
from threadlog import Event, InDoubt, Thread
from threadlog.app import Handler
from threadlog.engine import Decision
from threadlog.entry import Entry
from threadlog.inputs import Input
from threadlog.limits import Limits
from threadlog.state import new_state

ANY = json.dumps({"title": "t.Go", "type": "object"})
ATTEMPT = {"n": 1, "started_ms": 1_700_000_000_100, "ended_ms": 1_700_000_000_900, "outcome": "done", "detail": ""}


@dataclass
class Case(Desk):
    """A desk of any thread whose inputs have the bytes that the log would hold."""

    name: str = "t"
    kafka: FakeKafka = field(default_factory=FakeKafka)

    def __post_init__(self) -> None:
        self.state = new_state(self.name)
        self.go_id = self.kafka.schemas.register("t.Go", Schema("JSON", ANY))

    def take(self, input: Input) -> Decision:
        """The decision, which is in the journal too."""
        decision = super().take(replace(input, thread=self.name))
        self.kafka.add_entry(decision.entry)
        return decision

    def input(self, kind: Any, topic: str, **fields: Any) -> Input:
        """The next record of a topic, with its value; answers come from the tools."""
        fields = self._valued(fields)
        return replace(super().input(kind, topic, **fields), thread=self.name)

    def _valued(self, fields: dict[str, Any]) -> dict[str, Any]:
        type, data, codec = fields.get("type", ""), fields.get("data"), Codec(self.kafka.schemas)
        if type == "threadlog.ToolResult":
            whole = {"quota_key": "q", "attempts": [ATTEMPT], "asked_ms": 1, "finished_ms": 2, **data}
            return {**fields, "source": "/threadlog/tools", "data": whole, "value": codec.encode(type, whole)}
        if type == "threadlog.RunCommand":
            return {**fields, "value": codec.encode(type, data)}
        if type:
            value = b"\0" + self.go_id.to_bytes(4, "big") + json.dumps(data).encode()
            return {**fields, "value": value, "schema_id": self.go_id}
        return fields

    def settle(self, value: Any, status: str = "done") -> None:
        """Answer the first call that was ever closed in doubt, late."""
        call = next(c for c in self.effects("call") if c["call_id"] in dict(self.state.maps.items("doubts")))
        self.take(self.result(call, value, status))


async def careful(thread: Thread, event: Event) -> None:
    """Refunds, and says so when nobody knows."""
    try:
        await refund(thread, event)
    except InDoubt as doubt:
        await thread.reply(f"in doubt: {doubt.call_id}")


def case(kafka: FakeKafka, name: str = "t", handler: Handler = careful, **limits: Any) -> Case:
    """A desk of one thread."""
    return Case(app_of(handler), Limits(**limits), name=name, kafka=kafka)


def paid(kafka: FakeKafka, name: str = "t", total: int = 7, **limits: Any) -> Case:
    """A refund that was looked up and paid: message, answer, answer."""
    made = case(kafka, name, **limits)
    made.send(order=f"{name}-1")
    made.answer({"total": total})
    made.answer("r1")
    return made


def eventful(kafka: FakeKafka, name: str = "t") -> Case:
    """A refund paid, one in doubt that was found done, a resend, a refusal, and an answer that came too late."""
    made = paid(kafka, name)
    made.send(order="o2", id="twice")
    made.send(order="o2", id="twice")
    made.answer({"total": 9})
    made.answer(status="in_doubt")
    made.settle("r2")
    made.send(type="t.Unknown")
    made.take(made.result(made.effects("call")[0], {"total": 8}))
    return made


def key_pair(folder: Path, name: str = "key") -> Path:
    """A private key in a file; its public one lies beside it."""
    assert run("audit", "keygen", str(folder / name)).exit_code == 0
    return folder / name


def signed(folder: Path, name: str = "key") -> Path:
    """Sign the journal as it is with a key, new or not."""
    key = folder / name if (folder / name).exists() else key_pair(folder, name)
    told = run("audit", "sign", "--key", str(key))
    assert told.exit_code == 0, told.output
    return key


def exported(folder: Path, *options: str, name: str = "bundle") -> Path:
    """A bundle."""
    told = run("audit", "export", "--out", str(folder / name), *options)
    assert told.exit_code == 0, told.output
    return folder / name


def public_hex(key: Path) -> str:
    """The public key beside a private one."""
    return verify.public_key(f"{key}.pub")


def check(bundle: Path, *keys: Path, all_signed: bool = False) -> tuple[list[str], list[str]]:
    """What the verifier says, and its faults."""
    return verify.verify(bundle, {public_hex(key) for key in keys}, all_signed)


def verifier(bundle: Path, *arguments: str, file: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The bundle's own verifier in a Python that finds the standard library and `cryptography`, and no product."""
    packages = Path(cryptography.__file__).parents[1]
    program = (
        "import runpy, sys\n"
        f"sys.path.append({str(packages)!r})\n"
        "for name in ('schemas', 'threadlog', 'wire', 'ops'):\n"
        "    try: __import__(name)\n"
        "    except ModuleNotFoundError: continue\n"
        "    sys.exit(f'{name} is there')\n"
        f"sys.argv = ['verify.py', *{list(arguments)!r}]\n"
        f"runpy.run_path({str(file or bundle / 'verify.py')!r}, run_name='__main__')\n"
    )
    command = [sys.executable, "-I", "-S", "-c", program]
    return subprocess.run(command, cwd=bundle, capture_output=True, text=True, timeout=60, check=False)


Lines = list[dict[str, Any]]


def change(bundle: Path, file: str, edit: Callable[[Lines], Lines | None]) -> None:
    """Edit the lines of a file, and list its new digest: who can write the bundle can do that too."""
    path = bundle / file
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    lines = edit(lines) or lines
    path.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    relist(bundle)


def relist(bundle: Path) -> None:
    """Make the manifest list the files as they are now."""
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    for name in manifest["files"]:
        manifest["files"][name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def value(raw: bytes) -> str:
    """Bytes as the bundle has them."""
    return base64.b64encode(raw).decode()


def rewritten(kafka: FakeKafka, entries: list[Entry], **changed: Any) -> list[str]:
    """The values of entries of which the first is changed, with every hash made anew."""
    made, prev = list[Entry](), ""
    for entry in entries:
        fresh = replace(entry, **changed) if not made else replace(entry, prev=prev)
        made.append(fresh.sealed())
        prev = made[-1].hash
    codec = Codec(kafka.schemas)
    return [value(codec.encode("threadlog.Decision", one.to_dict())) for one in made]


def entries(kafka: FakeKafka, thread: str) -> list[Entry]:
    """A thread's entries as the log holds them."""
    decode, found = Codec(kafka.schemas).decode, list[Entry]()
    for record in kafka.topics["threadlog.agent-decisions"]:
        data = decode(record.value)[2]
        data["input"]["value"] = base64.b64decode(data["input"]["value"])
        found.append(Entry.from_dict(data))
    return [entry for entry in found if entry.thread == thread]
