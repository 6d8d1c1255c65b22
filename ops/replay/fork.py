# SPDX-License-Identifier: Apache-2.0
"""A fork in a file: a thread's history under another id, and what comes of events that it never had.

The history is decided again under the new id, inputs as recorded, and nothing is performed. Then events are tried on
it. What the handler asks for is told, and only tools that are allowed by name are run, once, under the fork's own keys;
calls that were open when the history ends are never run: they may be under way for the thread itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ops.context import Trouble
from ops.replay.histories import Writer
from ops.replay.results import RESULTS, Told, result, told_of
from ops.replay.source import Source
from ops.sending import event_value, writer_of
from schemas.codec import Codec
from schemas.errors import UnknownSchema, Unreadable
from threadlog import App, ToolCall
from threadlog.decide import RESULT
from threadlog.engine import Decision
from threadlog.forking import Fork, ForkDiffers
from threadlog.inputs import Input, timer
from threadlog.replay import input_of
from wire.sealed import sealed

SOURCE = "/threadlog/fork"
EVENTS = "agent-events"
_RUNS_MAX = 100  # calls performed for one tried event: an agent that loops must come to an end


@dataclass(eq=False)
class Trial:
    """A fork that goes on. `told` hears of each decision, `allowed` are the tools that may run."""

    fork: Fork
    source: Source
    writer: Writer
    told: Callable[[Decision], None]
    allowed: frozenset[str] = frozenset()
    _mine: set[str] = field(default_factory=set)  # calls that were asked for after the history, open or not

    def history(self, thread: str, at: int) -> None:
        """Decide the thread's entries up to `at` again under the new id. Raises Trouble where that cannot be done."""
        codec, last = Codec(self.source.schemas), 0
        for entry in self.source:
            if entry.thread != thread or entry.seq > at:
                continue
            if entry.seq != last + 1:
                why = "is cut: it begins at a snapshot" if last == 0 else "is broken"
                raise Trouble(f"The history of {thread!r} {why}.", "A fork needs it from its first decision on.")
            self.writer.add(self._again(entry, codec))
            last = entry.seq
        if last < at:
            raise Trouble(
                f"Thread {thread!r} has {last} decisions, seq {at} is none of them.",
                "`threadlog show THREAD` tells its story."
                if last
                else "`threadlog threads` names those of the journal.",
            )

    def _again(self, entry: Any, codec: Codec) -> Any:
        try:
            input = input_of(entry, codec.decode)
        except Unreadable as error:
            raise Trouble(f"The input of seq {entry.seq} cannot be read: {error}.") from error
        if input is None:
            raise Trouble(
                f"The input of seq {entry.seq} was too large for the journal, which names it only.",
                f"Fork at {entry.seq - 1} or before.",
            )
        try:
            with sealed():
                return self.fork.take(entry, input)
        except ForkDiffers as error:
            sides = [*(f"  - {line}" for line in error.recorded), *(f"  + {line}" for line in error.now)]
            raise Trouble(
                "\n".join([f"The history cannot be forked by this code: {error}.", *sides]),
                "Fork with the code that made it, or before that decision. What a handler draws by `thread.random` "
                "depends on the thread's id.",
            ) from error

    def open_calls(self) -> list[dict[str, Any]]:
        """What the fork waits for, in the order in which it was asked."""
        asks = [ask for _, ask in self.fork.state.maps.items("asks")]
        return sorted(asks, key=lambda ask: (ask["asked_ms"], ask["outbox_seq"], ask["ordinal"]))

    def attempt(self, tried: dict[str, Any], number: int) -> None:
        """Try one event of the events file, and perform what is allowed. Raises Trouble for what is no event."""
        if "type" in tried:
            self._decide(self._event(str(tried["type"]), tried.get("data", {}), str(tried.get("id", f"try-{number}"))))
        elif "answer" in tried:
            self._decide(self._answer(tried))
        elif tried.get("timer") == "next":
            self._decide(self._timer())
        else:
            raise Trouble(
                f"Line {number} is no event: it has neither type nor answer, nor timer.", "See docs/replay.md."
            )
        for _ in range(_RUNS_MAX):
            ask = next((one for one in self.open_calls() if self._may_run(one)), None)
            if ask is None:
                return
            self._decide(self._result(ask, perform(self.fork.app, ask)))
        raise Trouble(f"The agent asked for more than {_RUNS_MAX} calls in a row.", "It may never come to an end.")

    def _may_run(self, ask: dict[str, Any]) -> bool:
        return ask["tool"] in self.allowed and ask["call_id"] in self._mine

    def _decide(self, input: Input) -> None:
        with sealed():
            decision = self.fork.go_on(input)
        # One that was open in the history can be asked again in the fork; its first asking tells whose it is.
        self._mine.update(e["call_id"] for e in decision.effects if e["do"] == "call" and e["ask"] == 1)
        self.writer.add(decision.entry)
        self.told(decision)

    def _place(self, topic: str) -> tuple[str, int, int, int, int]:
        """Topic, partition, offset and both times of the next record."""
        positions: dict[str, int] = self.fork.state.small["positions"]
        known = sorted(key for key in positions if key.rpartition("/")[0] == topic)
        partition = int(known[0].rpartition("/")[2]) if known else 0
        now = self.fork.state.small["core"]["now"] + 1
        return topic, partition, positions.get(f"{topic}/{partition}", -1) + 1, now, now

    def _event(self, type: str, data: dict[str, Any], id: str) -> Input:
        schemas = self.source.schemas
        try:
            schema_id = schemas.id_of(type)
            schema = schemas.by_id(schema_id)
        except UnknownSchema as error:
            raise Trouble(f"No event type {type!r} is known here: {error}.", "Take the thread from Kafka.") from error
        value = event_value(type, schema_id, schema.kind, writer_of(type, schema), data)
        read = Codec(schemas).decode(value)[2]
        return Input(
            "event", self.fork.thread, *self._place(EVENTS), source=SOURCE, id=id, type=type, data=read,
            schema_id=schema_id, value=value,
        )  # fmt: skip

    def _answer(self, tried: dict[str, Any]) -> Input:
        name = str(tried["answer"])
        ask = next((one for one in self.open_calls() if one["tool"] == name), None)
        if ask is None:
            others = ", ".join(sorted({one["tool"] for one in self.open_calls()})) or "none"
            raise Trouble(f"No call of {name!r} is open in the fork.", f"Open calls are of: {others}.")
        error = tried.get("error")
        status = str(tried.get("status", "done" if error is None else "failed"))
        return self._result(ask, Told(status, tried.get("value"), "Answered" if error else "", str(error or "")))

    def _result(self, ask: dict[str, Any], told: Told) -> Input:
        came = result(ask, told, self._place(RESULTS), SOURCE)
        encoded = self.fork.encode(RESULT, came.data)
        return replace(came, thread=self.fork.thread, value=encoded, schema_id=int.from_bytes(encoded[1:5], "big"))

    def _timer(self) -> Input:
        small = self.fork.state.small
        if not small["timers"]:
            raise Trouble("No timer is set in the fork.", "Its open calls and waits have none.")
        due, id = min((due, id) for id, due in small["timers"].items())
        return timer(self.fork.thread, id, due, max(due, small["core"]["now"]))


def perform(app: App, ask: dict[str, Any]) -> Told:
    """Run an allowed tool once: how it ended, as the tools job would tell it."""
    tool = app.tools[ask["tool"]]
    call = ToolCall(ask["call_id"], ask["thread"], ask["tool"], 1, ask["traceparent"], ask["deadline_ms"])
    return told_of(lambda: tool.invoke(call, tool.arguments(json.loads(ask["args"]))), tool.effect, tool.timeout_s)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of an events file. Raises Trouble."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise Trouble(f"{path} cannot be read: {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            read = json.loads(line)
        except ValueError as error:
            raise Trouble(f"{path}: line {number} is no JSON: {error}.", "See docs/replay.md.") from error
        if not isinstance(read, dict):
            raise Trouble(f"{path}: line {number} is no JSON object.", "See docs/replay.md.")
        yield read
