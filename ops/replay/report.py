# SPDX-License-Identifier: Apache-2.0
"""Divergences and tallies as a person reads them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator

from ops.replay.tally import Tally
from threadlog.differences import Field
from threadlog.limits import Limits
from threadlog.places import Place
from threadlog.replay import Divergence
from threadlog.upgrade import Breach

_CONTEXT_LINES = 2
_FIELDS_SHOWN = 8
_CHARS_SHOWN = 160
GROUPS_SHOWN = 20
# What follows from what was asked for; a person sees the cause.
_DERIVED = frozenset({
    "call_id", "run_id", "outbox_prev", "outbox_hash", "args_digest", "traceparent", "reply_id", "signal_id",
    "state_hash", "outbox",
})  # fmt: skip


def divergence(found: Divergence) -> Iterator[str]:
    """A divergence in a few lines: which decision, which line of the handler, what the log holds (-), what the code
    decides now (+)."""
    yield f"{found.thread} diverges at seq {found.seq}: {kind(found.differences.kind, found.differences.about)}"
    yield f"  decided on {_input(found)}{_subject(found)}"
    if found.place is not None:
        yield f"  handler    {place(found.place)}{'' if _is_difference(found.note) else _dash(found.note)}"
    elif found.note and not _is_difference(found.note):
        yield f"  because    {found.note}"
    yield from (f"    {line}" for line in _sides(found))


def _is_difference(note: str) -> bool:
    return "\n- " in note


def _dash(note: str) -> str:
    return f"  ({note})" if note else ""


def _input(found: Divergence) -> str:
    where = f"{found.topic}/{found.partition}/{found.offset}" if found.input_kind != "timer" else "a timer"
    return f"{where} ({found.input_kind}, {found.verdict})"


def _subject(found: Divergence) -> str:
    return f", run {found.run_id[:12]} of {found.agent} version {found.version}" if found.run_id else ""


def _sides(found: Divergence) -> Iterator[str]:
    of = found.differences
    if _is_difference(found.note):  # of a run that was executed again: what it asks for, rather than that it is parked
        yield from (_cut(line) for line in found.note.splitlines())
        return
    diff = list(difflib.unified_diff(of.recorded, of.now, n=_CONTEXT_LINES, lineterm=""))[2:]
    yield from (_cut(f"{line[:1]} {line[1:]}") for line in diff if not line.startswith("@@"))
    fields = [one for one in of.fields if one.path.rpartition(".")[2] not in _DERIVED]
    for one in fields[:_FIELDS_SHOWN] if not diff or of.at is None else _unsaid(fields):
        yield _cut(f"{one.path}:")
        yield _cut(f"- {one.recorded if one.recorded is not None else '(none)'}")
        yield _cut(f"+ {one.now if one.now is not None else '(none)'}")
    if not diff and len(fields) > _FIELDS_SHOWN:
        yield f"and {len(fields) - _FIELDS_SHOWN} more"


def _unsaid(fields: list[Field]) -> list[Field]:
    """What the lines of the effects do not say already."""
    return [one for one in fields if one.path in ("verdict", "reason")]


def _cut(line: str) -> str:
    return line if len(line) <= _CHARS_SHOWN else f"{line[: _CHARS_SHOWN - 1]}…"


def place(where: Place) -> str:
    """A line of user code, its file as seen from the current folder."""
    file = os.path.relpath(where.file)
    return f"{where.file if file.startswith('..') else file}:{where.line} in {where.function}"


def kind(name: str, about: str) -> str:
    """A kind of difference and what it is about."""
    return f"{name.replace('_', ' ')}{f': {about}' if about else ''}"


def breach(found: Breach) -> Iterator[str]:
    """What an upgrade would break."""
    run = f", run {found.run_id[:12]} of {found.agent} version {found.version}" if found.run_id else ""
    yield f"{found.thread} at seq {found.seq}{run}: {found.kind}"
    if found.place is not None:
        yield f"  handler    {place(found.place)}"
    yield from (f"    {_cut(line)}" for line in found.told.splitlines())


def summary(tally: Tally, seconds: float, workers: int) -> Iterator[str]:
    """What was read and how fast."""
    count = tally.decisions
    rate = f"{count / seconds:,.0f}/s" if seconds > 0 else "at once"
    yield (
        f"{_number(count, 'decision')} of {_number(tally.threads, 'thread')} in {seconds:.1f} s, {rate}"
        f" with {_number(max(workers, 1), 'process', 'es')}"
    )
    yield from notes(tally)


def notes(tally: Tally) -> Iterator[str]:
    """What the reader must know of what was read."""
    if of := tally.standings["unchecked"]:
        yield f"{of:,} could not be decided again: the journal holds their input by reference only"
    if of := tally.standings["followed"]:
        yield f"{of:,} were followed, not decided again"
    if of := tally.standings["repeat"]:
        yield f"{of:,} stand in the log twice"
    if of := tally.standings["tried"]:
        told = ", ".join(f"{tool} {count:,}" for tool, count in sorted(tally.answered.items()))
        yield f"{of:,} are compared by what their runs come to; answered besides the log: {told or 'nothing'}"
    if tally.cut:
        yield f"{_number(tally.cut, 'thread')} begin at a snapshot: their history before it is cut"
    if tally.lost:
        yield f"{_number(tally.lost, 'decision')} stand before their thread's first snapshot, what is before is cut"
    if of := tally.left_out:
        verb, its, they = ("is", "its", "it has") if of == 1 else ("are", "their", "they have")
        what = f"{_number(of, 'thread')} {verb} left out"
        yield f"{what}: retention has deleted {its} beginning, and {they} no snapshot yet"
    if of := tally.older_states:
        yield f"{of:,} were decided on states of an older version: their effects are compared, their patches are not"
    for digest, of in sorted(tally.other_limits.items()):
        yield f"{of:,} were decided under other limits ({digest}, here {Limits().digest}), and may differ for that"


def covered(tally: Tally, partitions: int, run: str, seconds: float) -> Iterator[str]:
    """What a replay in the cluster has verified, and how fast, if that is known."""
    count, threads = _number(tally.decisions, "decision"), _number(tally.threads, "thread")
    rate = f" in {seconds:.1f} s, {tally.decisions / seconds:,.0f}/s" if seconds else ""
    yield f"{count} of {threads} in {_number(partitions, 'partition')}, the whole journal{rate}; run {run}"
    yield from notes(tally)


def groups(tally: Tally) -> Iterator[str]:
    """The divergences by kind, most frequent first."""
    ordered = sorted(tally.groups.values(), key=lambda group: (-group.decisions, group.kind, group.about))
    for group in ordered[:GROUPS_SHOWN]:
        first = f"{group.first.thread} seq {group.first.seq}"
        in_ = f"in {group.threads:,} threads" if group.threads > 1 else "in one thread"
        yield f"{group.decisions:>9,}  {kind(group.kind, group.about)}  {in_}, first {first}"
    if len(ordered) > GROUPS_SHOWN:
        yield f"           and {len(ordered) - GROUPS_SHOWN} kinds more"


def upgrade(tally: Tally) -> str:
    """How many threads new code would break, of how many open runs, and how many nobody can tell of."""
    threads = len({one.thread for one in tally.breaches})
    parked = f" ({tally.parked_runs} parked already)" if tally.parked_runs else ""
    tried = " of what was tried" if tally.left_out else ""
    broken = f"This code would break {threads:,} of the threads" if threads else f"This code breaks nothing{tried}"
    untried = f"; {_number(tally.left_out, 'thread')} could not be tried" if tally.left_out else ""
    return f"{broken}: {tally.open_runs:,} runs are open{parked}{untried}."


def verdict(tally: Tally) -> str:
    """The last line: how many threads diverge."""
    if tally.ends or tally.standings["tried"]:
        return _came_to(tally)
    also = tally.standings["consequence"]
    more = f"; {also:,} more decisions follow from that" if also else ""
    if not tally.diverged and not tally.standings["equal"]:
        return "Nothing was decided again."
    if not tally.diverged:
        return f"Equal to the bit: {tally.standings['equal']:,} decisions."
    of = f"{tally.diverged:,} of {_number(tally.threads, 'thread')}"
    verb = "diverges" if tally.diverged == 1 else "diverge"
    return f"{of} {verb}, in {_number(tally.standings['diverged'], 'decision')}{more}."


def _came_to(tally: Tally) -> str:
    """What the runs came to that this code takes otherwise."""
    ends, also = tally.ends, []
    for name, one, more in _ENDS:
        if ends[name]:
            also.append(f"{ends[name]:,} {one if ends[name] == 1 else more}")
    verb = "comes" if ends["other"] == 1 else "come"
    of = f"{ends['other']:,} of {_number(ends.total(), 'run')} behind another decision {verb} to something else"
    if differ := tally.standings["diverged"]:
        also.append(f"{_number(differ, 'decision')} could not be gone on from")
    return f"{of}{'; ' if also else ''}{', '.join(also)}."


_ENDS = (
    ("same", "comes to the same", "come to the same"),
    ("unanswered", "waits for an answer", "wait for an answer"),
    ("unknown", "had an input that the journal does not hold", "had inputs that the journal does not hold"),
    ("open", "is under way in the log", "are under way in the log"),
)


def _number(count: int, one: str, more: str = "s") -> str:
    return f"{count:,} {one}{'' if count == 1 else more}"
