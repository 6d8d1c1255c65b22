# SPDX-License-Identifier: Apache-2.0
"""The bundle for people: one static page, no scripts, nothing fetched. Who decided what, on which evidence, and what
happened outside. It is a reading of the records beside it, and no evidence itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from ops.audit.account import LATE, OPEN, Called, calls_of
from ops.audit.collect import Collected, Story
from ops.audit.selection import actors, data_of
from ops.audit.words import ALARMING, ANSWER, GLOSSARY, REFUSALS, counted, is_told, shown, time, timer, verdict
from schemas.codec import Codec
from threadlog.decide import RESULT
from threadlog.entry import Entry

_STYLE = """
body{font:16px/1.5 Georgia,serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1,h2,h3{line-height:1.2;overflow-wrap:anywhere}h2{border-top:3px solid #222;padding-top:1rem;margin-top:3rem}
table{border-collapse:collapse;margin:.5rem 0;font-size:.9rem;width:100%}
td,th{border:1px solid #bbb;padding:.2rem .5rem;text-align:left;vertical-align:top}
td{overflow-wrap:anywhere}.pairs{table-layout:fixed}.pairs th{width:10rem;overflow-wrap:break-word}
.words pre{font:inherit}
pre,code{font:.85rem/1.4 monospace;white-space:pre-wrap;overflow-wrap:anywhere;margin:0}
.entry{border-left:4px solid #bbb;padding:.1rem 1rem;margin:1rem 0}.entry h3{font-size:1rem;margin:.3rem 0}
.marked{background:#f3f7ff;border-color:#36c}.refused{border-color:#999;color:#555}
.doubt{background:#fff3d6;border-color:#d80}.alarm{background:#fde8e8;border-color:#c00}
.note{font-size:.85rem;color:#555;overflow-wrap:anywhere}.tag{font-weight:bold;padding:0 .4rem;border:1px solid}
blockquote{margin:.3rem 0 .3rem 1rem;white-space:pre-wrap;overflow-wrap:anywhere}
@media(max-width:40rem){body{margin:1rem auto}.entry{padding:.1rem .5rem}ul{padding-left:1.2rem}
.threads{display:block;overflow-x:auto}.threads td{min-width:6rem}.pairs th{width:6.5rem}}
@media print{body{max-width:none;margin:0;font-size:11pt}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
h2,h3,.tag{break-after:avoid}tr{break-inside:avoid}a{color:inherit}h2{break-before:page}}
"""
# The page may load nothing and run nothing, whatever text it is given.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_DOUBT = '<p class="tag doubt">IN DOUBT: nobody knows whether this happened.</p>'


def page(found: Collected, exported_ms: int) -> str:
    """The whole page. Raises RegistryUnavailable."""
    body = "".join(_thread(number, story, found.codec) for number, story in enumerate(found.stories, 1))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    return (
        f'<!DOCTYPE html><html lang="en"><head>{head}<title>Audit of {counted(len(found.stories), "thread")}</title>'
        f"<style>{_STYLE}</style></head><body>{_summary(found, exported_ms)}{body}</body></html>\n"
    )


def _summary(found: Collected, exported_ms: int) -> str:
    asked = [(name, value) for name, value in found.selection.as_dict().items() if value not in ([], None)]
    words = {"from_ms": "from", "to_ms": "until before"}
    chosen = [(words.get(n, n), time(v) if n in words else ", ".join(v)) for n, v in asked]
    rows = "".join(
        f'<tr><td><a href="#t{number}">{shown(story.thread)}</a></td>{_span(story)}<td>{len(story.entries)}</td>'
        f"<td>{len(story.marked)}</td><td>{story.last_seq - min(story.signed_seq, story.last_seq)}</td>"
        f"<td>{len(story.voids)}</td></tr>"
        for number, story in enumerate(found.stories, 1)
    )
    return (
        f"<h1>What these threads decided, and why</h1><p>Journal <code>{shown(found.settings.namespace)}</code>, "
        f"exported {time(exported_ms)}. Asked for: {'' if chosen else 'everything.'}</p>{_pairs(chosen)}"
        "<p>A thread is one conversation or case. Each entry below is one thing that reached it and what was made of "
        "it. Threads that match are shown whole; entries that answer the question are blue, and say ASKED FOR.</p>"
        '<p class="note">This page is a reading of records.jsonl and proves nothing by itself. verify.py, taken from '
        "its publisher and given the signer's public key from its publisher, says whether the records are whole.</p>"
        '<table class="threads"><tr><th>thread</th><th>from</th><th>to</th><th>entries</th><th>of them asked for</th>'
        f"<th>not yet signed</th><th>outside the chain</th></tr>{rows}</table>"
        f'<h3>Words on this page</h3><div class="words">{_pairs(list(GLOSSARY.items()))}</div>'
    )


def _span(story: Story) -> str:
    times = [time(story.entries[at][1].time_ms) for at in (0, -1)] if story.entries else ["none", "none"]
    return "".join(f"<td>{one}</td>" for one in times)


def _thread(number: int, story: Story, codec: Codec) -> str:
    entries = [entry for _, entry in story.entries]
    calls = calls_of(entries, codec)
    told = [f'<h2 id="t{number}">Thread {shown(story.thread)}</h2>', *_about(number, story, codec)]
    if calls:
        told.append("<h3>What happened outside</h3>" + "".join(_call(call, number) for call in calls.values()))
    told.append("<h3>Entry by entry</h3>")
    told += [_entry(entry, number, story, calls, codec) for entry in entries]
    told += [
        f'<div class="entry alarm"><p class="tag">OUTSIDE THE CHAIN</p><p>The record at partition {void.partition}, '
        f"offset {void.offset} does not continue this thread: {shown(void.reason)}. It counts for nothing. No effect "
        "on the world that it asks for is run on its account. Reads, replies and events for other threads that it asks "
        "for may be out all the same. Its bytes are in void.jsonl.</p></div>"
        for _, void in story.voids
    ]
    return "".join(told)


def _about(number: int, story: Story, codec: Codec) -> Iterator[str]:
    entries = [entry for _, entry in story.entries]
    if not entries:
        return
    who = sorted({name for entry in entries for name in actors(entry, codec)})
    agents = sorted({f"{entry.agent} (version {entry.version})" for entry in entries if entry.agent})
    head = max(story.vouched, key=lambda head: head.seq, default=None)
    signed = f"to entry {head.seq}, at {time(head.signed_ms)}, with the key {head.key}" if head else "not yet"
    apart = [_link(number, entry.seq) for entry in entries if _standing(entry)]
    yield _pairs([
        ("entries", f"{story.first_seq} to {story.last_seq}"),
        ("from", time(entries[0].time_ms)), ("to", time(entries[-1].time_ms)),
        ("who spoke to it", "\n".join(who)), ("which agents decided", "\n".join(agents) or "none"),
        ("signed", signed),
    ])  # fmt: skip
    if apart:
        yield f"<p>Refused, stopped, in doubt or too late, and set apart below: {', '.join(apart)}.</p>"
    if story.first_seq > 1:
        yield (
            f'<p class="note">Entries 1 to {story.first_seq - 1} are no longer in the log: its retention has taken '
            "them. Calls that were asked for there are shown without their arguments.</p>"
        )


def _link(number: int, seq: int) -> str:
    """To an entry of the thread with this number on the page."""
    return f'<a href="#t{number}e{seq}">entry {seq}</a>'


def _call(call: Called, number: int) -> str:
    css = " doubt" if call.is_doubtful or call.status in (OPEN, LATE) else ""
    times = "once" if call.asks == 1 else f"{call.asks} times, under the same key"
    kind = {"read": "read: it changes nothing", "keyed": "effect on the world"}.get(call.effect, call.effect)
    ended = f", {_link(number, call.ended_seq)}" if call.ended_seq else ""
    asked = f"{_link(number, call.asked_seq)}, {times}" if call.asked_seq else "before the first entry"
    rows = [
        ("asked for", asked), ("idempotency key", shown(call.call_id)), ("kind", shown(kind)),
        ("with", shown(_data(call.args))), ("attempts", shown(_attempts(call.attempts))),
        ("outcome", shown(call.status.replace("_", " ")) + ended), ("answer", shown(_data(call.said))),
        ("found done", _link(number, call.late_seq) if call.late_seq else ""),
    ]  # fmt: skip
    doubt = _DOUBT if call.is_doubtful else ""
    return f'<div class="entry{css}"><h3>{shown(call.tool)}</h3>{doubt}{_rows(rows)}</div>'


def _attempts(attempts: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"{one['n']}: {time(one['started_ms'])} to {time(one['ended_ms'])}, {one['outcome']} {one['detail']}".rstrip()
        for one in attempts
    )


def _standing(entry: Entry) -> str:
    """How an entry is set off: alarm, doubt, refused or not at all."""
    effects = json.loads(entry.effects)
    did = {effect["do"] for effect in effects}
    if "park_run" in did or entry.verdict in ALARMING:
        return "alarm"
    if any(effect.get("status") == "in_doubt" for effect in effects) or "late_success" in did:
        return "doubt"
    return "refused" if entry.verdict in REFUSALS else ""


def _entry(entry: Entry, number: int, story: Story, calls: dict[str, Called], codec: Codec) -> str:
    effects, marked = json.loads(entry.effects), entry.seq in story.marked
    css = " ".join(filter(None, ["entry", "marked" if marked else "", _standing(entry)]))
    asked_for = ' <span class="tag">ASKED FOR</span>' if marked and len(story.marked) < len(story.entries) else ""
    reason = f" Reason: {shown(entry.reason)}." if entry.reason else ""
    by = f"Agent {entry.agent}, version {entry.version}, run {entry.run_id}" if entry.run_id else ""
    told = "".join(f"<li>{_effect(effect, calls)}</li>" for effect in effects if is_told(effect))
    code = f"code {shown(entry.app_digest[:16])}, " if entry.app_digest else ""
    return (
        f'<div class="{css}" id="t{number}e{entry.seq}"><h3>Entry {entry.seq}, {time(entry.time_ms)}{asked_for}</h3>'
        f"{_cause(entry, codec)}"
        f"<p><b>What became of it:</b> {shown(verdict(entry.verdict))} ({shown(entry.verdict)}){reason}</p>"
        + (f"<p><b>Decided by:</b> {shown(by)}</p>" if by else "")
        + (f"<p><b>Decided:</b></p><ul>{told}</ul>" if told else "")
        + f'<p class="note">{code}entry hash <code>{shown(entry.hash)}</code></p></div>'
    )


def _cause(entry: Entry, codec: Codec) -> str:
    came = entry.input
    if entry.kind == "timer":
        return f"<p><b>What came:</b> the time {time(came.log_time_ms)}, {shown(timer(came.id))}.</p>"
    data = data_of(entry, codec)
    rows = [
        ("from", came.source), ("id", came.id), ("type", came.type), ("in the log since", time(came.log_time_ms)),
        ("at", f"{came.topic}, partition {came.partition}, offset {came.offset}"), ("trace", came.traceparent),
    ]  # fmt: skip
    evidence = _pairs(_answer(data) if came.type == RESULT else [(n, _data(v)) for n, v in data.items()])
    if not data:
        why = "are in the records, and cannot be read" if came.value else "did not fit into the journal"
        evidence = f"<p>Its {len(came.value) or ''} bytes {why}.</p>"
    return f"<p><b>What came:</b></p>{_pairs(rows)}<p><b>What it said:</b></p>{evidence}"


def _answer(data: dict[str, Any]) -> list[tuple[str, str]]:
    """A tool's result: what people ask for first, every field that there is, in words."""
    told: dict[str, Callable[[Any], str]] = {"attempts": _attempts, "asked_ms": time, "finished_ms": time}
    names = [*(name for name in ANSWER if name in data), *(name for name in data if name not in ANSWER)]
    return [(ANSWER.get(name, name), told.get(name, _data)(data[name])) for name in names]


def _effect(effect: dict[str, Any], calls: dict[str, Called]) -> str:
    return _EFFECTS.get(effect["do"], _told_as_it_is)(effect, calls)


def _told_as_it_is(effect: dict[str, Any], calls: dict[str, Called]) -> str:
    return f"<code>{shown(json.dumps(effect, ensure_ascii=False))}</code>"


def _told_call(effect: dict[str, Any], calls: dict[str, Called]) -> str:
    again = f" It is asked for the {effect['ask']}. time." if effect["ask"] > 1 else ""
    status = calls[effect["call_id"]].status.replace("_", " ")
    return (
        f"to call <b>{shown(effect['tool'])}</b> under the key <code>{shown(effect['call_id'])}</code> with "
        f"<pre>{shown(_data(effect['args']))}</pre>{again} It ended as: <b>{shown(status)}</b>."
    )


def _told_end(effect: dict[str, Any], calls: dict[str, Called]) -> str:
    error = effect.get("error")
    why = f": {error['type']}: {error['message']}" if error else ""
    return f"the run is over, {shown(effect['status'] + why)}"


def _told_close(effect: dict[str, Any], calls: dict[str, Called]) -> str:
    doubt = _DOUBT if effect["status"] == "in_doubt" else ""
    status = shown(effect["status"].replace("_", " "))
    return f"the call of <b>{shown(effect['tool'])}</b> <code>{shown(effect['call_id'])}</code> ended: {status}{doubt}"


def _told_reply(effect: dict[str, Any], calls: dict[str, Called]) -> str:
    data = "" if effect["data"] == "null" else f"<pre>{shown(_data(effect['data']))}</pre>"
    return f"to reply:<blockquote>{shown(effect['text'])}</blockquote>{data}"


def _told_park(effect: dict[str, Any], calls: dict[str, Called]) -> str:
    error = effect["error"]
    said = shown(f"{error['type']}: {error['message']}")
    return f'<span class="tag alarm">STOPPED, WAITS FOR A PERSON</span> {said}'


_EFFECTS: dict[str, Callable[[dict[str, Any], dict[str, Called]], str]] = {
    "begin_run": lambda e, _: f"to begin a run of agent <b>{shown(e['agent'])}</b>, version {shown(e['version'])}",
    "call": _told_call,
    "close_call": _told_close,
    "reply": _told_reply,
    "set_timer": lambda e, _: f"to go on at {time(e['due_ms'])} at the latest",
    "signal": lambda e, _: f"to send <code>{shown(e['data'])}</code> to thread <b>{shown(e['thread'])}</b>",
    "end_run": _told_end,
    "park_run": _told_park,
    "dead_letter": lambda e, _: f"to put it among the dead letters: {shown(e['message'])}",
    "drop_event": lambda e, _: f"to drop event {shown(e['id'])} of {shown(e['source'])}, which nobody waits for",
    "late_success": lambda e, _: f"the call of <b>{shown(e['tool'])}</b> that was in doubt <b>has happened</b>",
}


def _pairs(rows: list[tuple[str, str]]) -> str:
    """Names and text as a table; what is empty is left out."""
    return _rows([(name, shown(text)) for name, text in rows])


def _rows(rows: list[tuple[str, str]]) -> str:
    """The same of what is HTML already."""
    told = "".join(f"<tr><th>{shown(n)}</th><td><pre>{v}</pre></td></tr>" for n, v in rows if v != "")
    return f'<table class="pairs">{told}</table>' if told else ""


def _data(value: Any) -> str:
    """JSON laid out for reading; what is no JSON, or only a word, as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value[:1] in "{[" and value else value
        except (ValueError, RecursionError):
            return str(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
