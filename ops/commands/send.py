# SPDX-License-Identifier: Apache-2.0
"""`threadlog send`."""

from __future__ import annotations

import json
import secrets
import shlex
import time
from collections.abc import Iterable, Iterator
from typing import Any

import click

from ops.context import Context, Trouble, pass_context
from ops.printable import printable
from ops.reading import as_json, check_broker, codec_of, name_of
from ops.sending import SOURCE, Sender, Unacknowledged, stable_id
from wire.kafka import follow

NEWS = ("agent-replies", "agent-decisions")
UNANSWERED = frozenset({"duplicate", "too_old", "oversize", "refused", "rejected"})  # nothing begins for such an event
TEXT_FIELDS = ("thread", "type", "id")


def _events(thread: str | None, text: str | None, type: str, data: str | None, id: str) -> list[dict[str, Any]]:
    """The one event that the arguments say."""
    if thread is None or (text is None and data is None):
        raise Trouble("Nothing to send.", "Give THREAD and TEXT, or THREAD and --data, or --file.")
    if text is not None and data is not None:
        raise Trouble("Both TEXT and --data say what the event holds.", "Give one of them.")
    fields = _json(data, "--data") if data is not None else {"text": text, "data": "{}"}
    return [{"thread": thread, "type": type, "data": fields, "id": id or secrets.token_hex(12)}]


def _lines(file: Iterable[bytes], type: str) -> Iterator[dict[str, Any]]:
    """One event per line. Raises Trouble for a line that is none."""
    for number, raw in enumerate(file, 1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Trouble(f"line {number} is not UTF-8: {error.reason} at byte {error.start}.") from error
        if not line.strip():
            continue
        event = {"type": type, "id": stable_id(line), **_json(line, f"line {number}")}
        wrong = [name for name in TEXT_FIELDS if not isinstance(event.get(name), str)]
        if wrong or not isinstance(event.get("data"), dict):
            raise Trouble(
                f"line {number}: {', '.join(wrong) or 'data'} is missing or of the wrong kind.",
                'Expected {"thread": "…", "data": {…}, "type"?: "…", "id"?: "…"}.',
            )
        yield {**event, "id": event["id"] or stable_id(line)}


def _json(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Trouble(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Trouble(f"{where} is not a JSON object.")
    return value


@click.command("send")
@click.argument("thread", required=False)
@click.argument("text", required=False)
@click.option("--type", "type_", default="threadlog.Message", show_default=True, help="A registered event type.")
@click.option("--data", help="The event's fields as a JSON object, instead of TEXT.")
@click.option("--id", "id_", default="", help="The event's id; a second event with it is a duplicate.")
@click.option("--file", type=click.File("rb"), help="JSON lines with thread, data, type?, id?; - is stdin.")
@click.option("--rate", type=click.FloatRange(0), default=0, help="Events a second; 0 is as fast as it goes.")
@click.option("--wait", is_flag=True, help="Wait for a reply on each thread.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0), default=60, show_default=True, help="Seconds for --wait."
)
@pass_context
def command(
    ctx: Context, thread: str | None, text: str | None, type_: str, data: str | None, id_: str, file: Any,
    rate: float, wait: bool,
    timeout_s: float,
) -> None:  # fmt: skip
    """Send TEXT to THREAD as an event, or many events from a file."""
    if file is not None and (thread is not None or id_):
        raise Trouble("With --file each line says its thread, data and id.", "Leave THREAD, TEXT and --id out.")
    # All of it is read before the first is sent: a file with a wrong line sends nothing.
    events = _events(thread, text, type_, data, id_) if file is None else list(_lines(file, type_))
    check_broker(ctx.settings)
    news = follow(ctx.settings.bootstrap, [name_of(ctx.settings, topic) for topic in NEWS]) if wait else None
    if news is not None:
        next(news)  # from here on, no reply is missed
    waiting = {event["id"]: event["thread"] for event in events}
    try:
        with Sender(ctx.settings, lambda id, thread: ctx.emit(sent=id, thread=thread)) as sender:
            _send(sender, events, rate)
    except Unacknowledged as error:
        line = f"`--id {shlex.quote(events[0]['id'])}` it is the same event"
        again = f"Again with {line}." if file is None else "The same lines again are the same events."
        raise Trouble(error.said, f"{again} {error.hint}") from error
    ctx.say(f"{len(events)} sent" + (f", id {next(iter(waiting))}" if len(events) == 1 else ""))
    if news is not None:
        _wait(ctx, news, waiting, timeout_s)


def _send(sender: Sender, events: list[dict[str, Any]], rate: float) -> None:
    began = time.monotonic()
    for number, event in enumerate(events):
        if rate:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        try:
            sender.send(event["thread"], event["type"], event["data"], event["id"])
        except Unacknowledged:
            raise
        except Trouble as error:
            raise error if len(events) == 1 else Trouble(f"event {number + 1}: {error.said}", error.hint) from error


def _wait(ctx: Context, news: Any, waiting: dict[str, str], timeout_s: float) -> None:
    codec, until = codec_of(ctx.settings), time.monotonic() + timeout_s
    for record in news:
        if record is not None:
            _tell(ctx, as_json(record, codec), waiting)
        if not waiting:
            return
        if time.monotonic() > until:
            first = next(iter(waiting.values()))
            raise Trouble(
                f"{len(waiting)} events have no reply after {timeout_s:g} s.", f"`threadlog show {first}` tells why."
            )


def _tell(ctx: Context, record: dict[str, Any], waiting: dict[str, str]) -> None:
    """Say what a record says of an event that is waited for: a reply, or that there will be none."""
    data = record.get("data", {})
    if record.get("type") == "threadlog.Reply" and waiting.pop(data["event_id"], None) is not None:
        lines = [printable(line) for line in data["text"].split("\n")]
        ctx.say(f"{printable(data['thread'])}: " + "\n".join(lines))
        ctx.emit(reply=data["text"], thread=data["thread"], event_id=data["event_id"])
    elif record.get("type") == "threadlog.Decision" and data["verdict"] in UNANSWERED:
        came = data["input"]
        if came["source"] == SOURCE and waiting.pop(came["id"], None) is not None:
            ctx.say(printable(f"{data['thread']}: no reply, {data['verdict']}: {data['reason']}"))
            ctx.emit(verdict=data["verdict"], reason=data["reason"], thread=data["thread"], event_id=came["id"])
