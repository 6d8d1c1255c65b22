# SPDX-License-Identifier: Apache-2.0
"""What the golden files in tests/golden hold, made anew: `python -m tests.wire.golden` prints those that are computed.

* records.json   one record of each of our schemas: its data and its bytes, under fixed schema ids; written by hand
* topics.json    whole Kafka records, as the conversation writes them for two fixed inputs
* frames.json    one record on its way from Java to Python, and two on their way back
* bare.json      what the benches' frozen job makes of three events; `tests/bench/test_bare.py` says more

A topic keeps what was once written, so a line of the first two that changes is a change of the wire: old bytes must
stay readable, and keys, hashes and ids stay what they are. Frames live for a moment only; both sides of them must
change together."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from schemas.codec import Codec, FixedSchemas
from threadlog import App, Event, Retry, Thread, ToolCall, gather
from threadlog.engine import follow, step
from threadlog.inputs import Input
from threadlog.limits import Limits
from threadlog.requests import Call
from threadlog.state import new_state
from udfs.outputs import Outputs
from wire.frames import OutRecord, Record, pack_in, pack_out

FOLDER = Path(__file__).resolve().parents[1] / "golden"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BEGAN_MS = 1_700_000_000_000
CAME = Record("ns.agent-events", 3, 14, 1_700_000_000_123, "grüß".encode(), b"\0\0\0\0\7", [
    ("ce_id", b"1"), ("ü", None), ("ce_id", b""),
])  # fmt: skip
NO_RECORD = Record("ns.agent-events", 3, 15, BEGAN_MS + 1, b"t-1", b"??", [("ce_id", b"\xff"), ("none", None)])
LEAVES = [
    OutRecord("ns.agent-replies", "grüß".encode(), b"\0\0\0\0\4", [("ce_id", b"1"), ("ü", None), ("ce_id", b"")]),
    OutRecord("ns.dead-letters", None, None, []),
]


@dataclass(frozen=True)
class SameLimits(Limits):
    """Limits under one digest for ever: a golden decision does not depend on which bounds there are."""

    @property
    def digest(self) -> str:
        return "1" * 64


async def look(call: ToolCall, what: str) -> None: ...
async def pay(call: ToolCall, amount: int) -> None: ...


async def every_effect(thread: Thread, event: Event) -> None:
    """Asks for one of each in its first turn."""
    await thread.reply(f"On it: {event['order']} 😀", {"order": event["order"]})
    await thread.spawn("t-2", "t.Go", {"order": "o-2"})
    await gather(Call[Any]("look", "read", {"what": "o-1"}), Call[Any]("pay", "keyed", {"amount": 7}))


def fixed_app() -> App:
    """The app that decides, with every option said: it does not depend on what the defaults are."""
    app, retry = App("golden"), Retry(attempts=5, base_s=0.2, max_s=5)
    app.tool("read", key_ttl_s=86_400, timeout_s=10, retry=retry)(look)
    app.tool("keyed", key_ttl_s=86_400, timeout_s=10, retry=retry)(pay)
    app.agent(on="t.Go", name="go", while_running="enqueue")(every_effect)
    app.digest = "2" * 64
    return app


def inputs() -> list[tuple[Input, Record | None]]:
    """An event that begins a run, and a record that cannot be read, with what Kafka held."""
    place = ("t-1", "agent-events", 3)
    event = Input(
        "event", *place, 14, BEGAN_MS, BEGAN_MS + 5, source="/shop", id="e-1", type="t.Go", data={"order": "o-1"},
        schema_id=12, value=b"\0\0\0\0\x0c\6o-1", traceparent=TRACE,
    )  # fmt: skip
    poison = Input("poison", *place, 15, BEGAN_MS + 1, BEGAN_MS + 6, value=b"??", reason="magic: the first byte is 63")
    return [(event, None), (poison, NO_RECORD)]


def written() -> list[OutRecord]:
    """Every record that the conversation writes for the inputs."""
    app, state, outputs = fixed_app(), new_state("t-1"), Outputs(Codec(FixedSchemas()), "ns", generation=7)
    records: list[OutRecord] = []
    for input, cause in inputs():
        decision = step(state, input, app, SameLimits())
        assert decision is not None
        state = follow(state, decision)
        committed, at_once = outputs.of_decision(decision, cause)
        records += [*committed, *at_once]
    return records


def shown(record: OutRecord | Record) -> dict[str, Any]:
    """A record as the golden files show it: the value in hex, key and headers as text, headers in their order."""
    value = None if record.value is None else record.value.hex()
    headers = [f"{name}: {told(value)}" for name, value in record.headers]
    return {**asdict(record), "key": told(record.key), "value": value, "headers": headers}


def told(value: bytes | None) -> str:
    """Bytes in quotes if they are text, otherwise in hex; or null."""
    try:
        return "null" if value is None else f"'{value.decode('utf-8')}'"
    except UnicodeDecodeError:
        return value.hex() if value else ""


def topics() -> list[dict[str, Any]]:
    """What topics.json holds."""
    return [shown(record) for record in written()]


def frames() -> dict[str, Any]:
    """What frames.json holds."""
    return {
        "in": {"record": shown(CAME), "frame": pack_in(CAME).hex()},
        "out": {"records": [shown(record) for record in LEAVES], "pack": pack_out(LEAVES).hex()},
    }


def golden(name: str) -> Any:
    """The golden file of a name."""
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


if __name__ == "__main__":
    print(json.dumps({"topics": topics(), "frames": frames()}, ensure_ascii=False, indent=1))
