# SPDX-License-Identifier: Apache-2.0
"""Events that wait in a thread.

Queued events wait for their turn to begin a run; those that interrupt stand in front. A buffered event came before the
`wait_for` of the open run that it is meant for; it is dropped when that run ends, because what answers one run must not
answer the next. `core.queue` lists all of them in order as [number, type, interrupts]; the events lie in a map.
"""

from __future__ import annotations

from typing import Any

from threadlog.canonical import canonical
from threadlog.turn import Turn


def enqueue(turn: Turn, event: dict[str, Any], verdict: str) -> None:
    """Let an event wait as `verdict` says: "queued", "interrupts" or "buffered"; or refuse it where too many do."""
    queue: list[list[Any]] = turn.get("core", "queue", [])
    if verdict == "buffered":
        count, limit = sum(item[1] == event["type"] for item in queue), "buffered_events_max"
    else:
        count, limit = sum(is_handled(turn, item) for item in queue), "queue_events_max"
    if count >= getattr(turn.limits, limit):
        turn.refuse("refused", f"{count} events wait already ({limit})", dead_letter=True)
        return
    # As bytes of Avro it was small enough; as JSON it may be many times as large, and the entry that begins its run
    # must hold it twice.
    if (size := len(canonical(event["data"]))) > turn.limits.event_bytes:
        turn.refuse(
            "oversize", f"{size} bytes of JSON are over event_bytes {turn.limits.event_bytes}", dead_letter=True
        )
        return
    number = turn.count("queue_next")
    item = [number, event["type"], verdict == "interrupts"]
    if item[2]:
        _behind_interruptions(turn, [item])
    else:
        turn.put("core", "queue", [*queue, item])
    turn.put("queue", str(number), event)
    turn.verdict = verdict


def put_back(turn: Turn, events: list[dict[str, Any]]) -> None:
    """Events that a run was to hear of, and which it ended without. Those that begin a run wait for that, before all
    others but interruptions; what none handles is dropped, as it would have been while it was buffered."""
    back = list[list[Any]]()
    for event in events:
        if event["type"] in turn.app.newest:
            back.append([turn.count("queue_next"), event["type"], False])
            turn.put("queue", str(back[-1][0]), event)
        else:
            _note_dropped(turn, event)
    if back:
        _behind_interruptions(turn, back)


def _behind_interruptions(turn: Turn, items: list[list[Any]]) -> None:
    """Let items wait before all others but the interruptions that wait already."""
    queue: list[list[Any]] = turn.get("core", "queue", [])
    place = sum(1 for other in queue if other[2])
    turn.put("core", "queue", [*queue[:place], *items, *queue[place:]])


def is_handled(turn: Turn, item: list[Any]) -> bool:
    """Whether an agent begins a run for this waiting event; what is only buffered begins none."""
    return item[1] in turn.app.newest


def take(turn: Turn, item: list[Any]) -> dict[str, Any]:
    """Remove one waiting event and return it."""
    event: dict[str, Any] = turn.get("queue", str(item[0]))
    turn.put("core", "queue", [other for other in turn.get("core", "queue", []) if other != item])
    turn.delete("queue", str(item[0]))
    return event


def drop_unhandled(turn: Turn) -> None:
    """No run is open: drop what was buffered for the last one, and what no agent of this app handles any more."""
    for item in turn.get("core", "queue", []):
        if not is_handled(turn, item):
            _note_dropped(turn, take(turn, item))


def _note_dropped(turn: Turn, event: dict[str, Any]) -> None:
    turn.effects.append({"do": "drop_event", "source": event["source"], "id": event["id"], "type": event["type"]})
