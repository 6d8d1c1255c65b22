# SPDX-License-Identifier: Apache-2.0
"""Points of curves for people: a line each, tables, and a page with plots. Pure: text of JSON objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bench.axes import AXES
from bench.figures import short
from bench.sheet import row

Told = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a table: its heading, the field of a point, what the field is divided by."""

    heading: str
    field: str
    over: int = 1


SPEED = (
    Column("turns/s", "turns_per_s"), Column("TaskManager, CPU ms a turn", "cpu_ms_per_turn"),
    Column("broker, CPU ms a turn", "broker_ms_per_turn"), Column("latency p50, ms", "latency_p50_ms"),
    Column("latency p99, ms", "latency_p99_ms"), Column("turns", "turns"), Column("a thread", "turns_per_thread"),
)  # fmt: skip
BYTES = (
    Column("keyed state, MB", "state_bytes", 1_000_000), Column("more of it a turn, B", "state_growth_bytes_per_turn"),
    Column("ms between two checkpoints, as taken", "checkpoint_every_ms"),
    Column("a checkpoint's increment, kB", "checkpoint_bytes", 1_000), Column("its duration, ms", "checkpoint_ms"),
    Column("increments a turn, B", "checkpoint_bytes_per_turn"), Column("wire a turn, B", "wire_bytes_per_turn"),
    Column("broker's log a turn, B", "log_bytes_per_turn"),
    Column("RocksDB's folder a turn, B", "rocksdb_growth_bytes_per_turn"),
    Column("checkpoint folder a turn, B", "checkpoint_folder_growth_bytes_per_turn"),
    Column("written by the TaskManager a turn, B", "taskmanager_written_bytes_per_turn"),
    Column("written by the broker a turn, B", "broker_written_bytes_per_turn"),
)  # fmt: skip
POINTS_MIN = 2  # of a plot
PLOTS = (
    ("turns/s", ("turns_per_s",)),
    ("CPU ms a turn: TaskManager blue, broker orange", ("cpu_ms_per_turn", "broker_ms_per_turn")),
)
# Mermaid's own first colour can hardly be seen on white; these can on white and on black.
COLOURS = '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "#2f81f7, #d9730d"}}}}%%'
TITLES = {
    "threads": "Threads",
    "history": "History",
    "payload": "Payload",
    "skew": "Skew",
    "waiting": "Calls that wait",
    "checkpoint": "Checkpoint interval",
}
ABOUT = {
    "threads": "Events go to the threads in turn; the last column but one says how many each of them got.",
    "history": "Every thread has so many messages before anything is measured. 1,000 threads, then 400, 40 and 8: the "
    "longer the histories, the fewer are made.",
    "payload": "1,000 threads in turn; the event's text has so many bytes. It goes over the wire as the event, and "
    "again in the journal entry.",
    "skew": "10,000 threads, drawn for each event: all alike, or by Zipf's law with exponent 1.1. `hot`: one thread "
    "gets everything.",
    "waiting": "So many calls of a look-up that takes a minute or more are out, on threads of their own; meanwhile "
    "1,000 other threads are measured in turn.",
    "checkpoint": "1,000 threads in turn; a stack for each interval. A decision is readable when its checkpoint has "
    "completed.",
}
HOW = """\
# Cost curves

What one turn costs while one thing grows and all others stay, but for what cannot: the fewer the threads of a point,
the more turns each of them gets (column *a thread*), and with the length of histories the number of threads changes
too. Made of [raw data](curves.jsonl), one JSON object per point with all of its figures and conditions, by
`python -m bench.curves --write-docs docs/curves.md`; `make curves` measures all of it anew.

How it was measured:

* **A turn** is one event of `bench/live.py` that says one thing: its agent replies, the run is over, one journal entry
  and one reply are committed. No call is made, so this is not the support desk's mix of
  [performance.md](performance.md).
* **Everything on one machine**: ZooKeeper, broker, registry, JobManager, a TaskManager for each job, the sender and the
  reader. Both jobs run. Each axis has a stack of its own, the last one a stack for each point; it is warmed up first.
  Points follow each other on it in the order of the table, each with threads of its own.
* **Full speed**: events are sent as fast as entries come back, a bounded number out at a time. Rate and CPU are of the
  middle 80 % of the turns, by the broker's append times and the processes' own accounting. Where a range stands beside
  them, these turns were cut into thirds: the middle one of three, and the least and the most.
* **Latency** is from the broker's append of an event to the moment a `read_committed` reader sees its entry, at a slow
  pace afterwards: a fifth of that speed, 50 a second at most.
* **Bytes a turn** are of full speed. Keyed state: full size of the newest completed checkpoint, as Flink tells it, of
  all threads that the stack has seen by then. Increments: what checkpoints wrote anew, with the middle one's size and
  duration. Wire: keys, values and headers of all records in all topics between the two ends, events included, before
  compression. Log: bytes appended below the broker's log folder, internal topics included. Folders: how much they grew,
  which compaction can make less than nothing. Written: what the process had the kernel write to disks.
* **Every event has exactly one entry**, or the point says so. A point that does not get through within its bound says
  how far it came. One that was measured while the machine had other work is marked as busy: its figures are not to be
  quoted.
"""


def cell(point: Told, column: Column) -> str:
    """A field of a point, with its range where it has one, or a dash."""
    value, ends = point.get(column.field), [point.get(f"{column.field}_{end}") for end in ("min", "max")]
    if value is None:
        return "-"
    told = [short(end / column.over) for end in ends if end is not None]
    return short(value / column.over) + (f" ({' to '.join(told)})" if told else "")


def x(point: Told) -> str:
    """Where a point is on its axis, and whether it was there before."""
    where = f"{point['x']:,}" if isinstance(point["x"], int) else str(point["x"])
    return f"{where} again" if point.get("again") else where


def note(point: Told) -> str:
    """What is to be known of a point besides its figures."""
    state = ["did not finish"] * (not point["finished"]) + ["busy"] * point["busy"]
    return ": ".join(filter(None, (", ".join(state), point["note"]))).replace("|", "/").replace("\n", " ")


def line(point: Told) -> str:
    """One point in one line."""
    told = "; ".join(f"{column.heading} {cell(point, column)}" for column in SPEED[:5])
    return f"{point['axis']} {x(point)}: {told}" + (f" ({said})" if (said := note(point)) else "")


def table(points: list[Told], columns: Iterable[Column], notes: bool) -> str:
    """Points as rows of a Markdown table. A column that no point has anything in is left out."""
    columns = [column for column in columns if any(one.get(column.field) is not None for one in points)]
    heads = [points[0]["unit"], *(column.heading for column in columns), *(["note"] if notes else [])]
    rows = [heads, ["---:"] * (len(columns) + 1) + ["---"] * notes]
    rows += [[x(p), *(cell(p, column) for column in columns), *([note(p)] if notes else [])] for p in points]
    return "".join(map(row, rows))


def tables(points: list[Told], axes: Iterable[str]) -> str:
    """The tables of these axes."""
    found = [[one for one in points if one["axis"] == axis] for axis in AXES if axis in tuple(axes)]
    return "\n".join(f"{table(ones, SPEED, True)}\n{table(ones, BYTES, False)}" for ones in found if ones)


def plain(value: float) -> str:
    """A number as Mermaid reads it: without an exponent."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def plot(points: list[Told], title: str, fields: tuple[str, ...]) -> str:
    """A Mermaid plot, one line a field; points that lack one or were there before are left out. Empty when too few are
    left.

    Points are evenly spaced whatever their numbers, which on axes that grow by factors is a logarithmic scale."""
    once = [p for p in points if not p.get("again")]
    whole = [p for p in once if all(p.get(field) is not None for field in fields)]
    if len(whole) < POINTS_MIN:
        return ""
    labels = ", ".join(f'"{x(p)}"' for p in whole)
    top = max(p[field] for p in whole for field in fields)
    kind = "bar" if isinstance(whole[0]["x"], str) else "line"
    lines = [f"    {kind} [{', '.join(plain(p[field]) for p in whole)}]" for field in fields]
    return "\n".join([
        "```mermaid", COLOURS, "xychart-beta", f'    title "{title}"', f'    x-axis "{whole[0]["unit"]}" [{labels}]',
        f'    y-axis "{title.split(":")[0]}" 0 --> {plain(top * 1.1)}', *lines, "```", "",
    ])  # fmt: skip


def conditions(points: list[Told]) -> str:
    """On what and with what the points were measured: each value that there is, once."""
    shown: tuple[tuple[str, Callable[[Told], Any]], ...] = (
        ("machine", lambda c: f"{c['cores']} cores, {c['cpu']}, Linux {c['kernel']}"),
        ("versions", lambda c: f"Flink {c['flink']}, Kafka {c['kafka']}, {c['java']}, Python {c['python']}"),
        ("jobs", lambda c: f"{' and '.join(c['jobs'])}, parallelism {c['parallelism']}, {c['partitions']} partitions"),
        ("state", lambda c: c["state"]),
        ("seed", lambda c: c["seed"]),
        ("full speed of a point, s, `--point-s`", lambda c: c["full_speed_s"]),
        ("warm-up of a stack, s, `--warm-s`", lambda c: c.get("warm_s", "not told")),
    )
    known = [one["conditions"] for one in points if "cores" in one["conditions"]]
    rows = [(name, sorted({str(of(one)) for one in known})) for name, of in shown]
    return "| condition | value |\n|---|---|\n" + "".join(f"| {name} | {'; '.join(each)} |\n" for name, each in rows)


def repeated(points: list[Told]) -> str:
    """How far an axis's first point and the same again are apart; empty where it was not measured again."""
    again = next((p for p in points if p.get("again")), None)
    if again is None:
        return ""
    first = next(p for p in points if p["x"] == again["x"])
    shown = [Column("turns/s", "turns_per_s"), Column("CPU ms a turn", "cpu_ms_per_turn")]
    told = ", ".join(f"{column.heading} {cell(first, column)} and {cell(again, column)}" for column in shown)
    return f" The first point once more at the end says how far equal points differ: {told}."


# A new thread is neither: nothing of it is kept, and nothing is loaded.
WARM = (
    " The job keeps 10,000 threads decoded and live: a turn finds its thread warm where there are fewer, cold where "
    "there are more."
)


def first_turns(points: list[Told]) -> str:
    """Whether some of what was measured are first turns of threads, which load no state; else what was warm."""
    if all(one["conditions"].get("history", 0) for one in points):
        axis = points[0]["axis"]
        said = "" if axis == "history" else " Every thread has had a message before."
        return said + (WARM if axis == "threads" else "")
    return " Threads are new: the fewer turns each of them got, the more of these are its first, which loads no state."


def section(points: list[Told]) -> str:
    """One axis."""
    axis = points[0]["axis"]
    intervals = sorted({one["conditions"]["checkpoint_interval_ms"] for one in points if "cores" in one["conditions"]})
    every = "" if axis == "checkpoint" else f" Checkpoints every {' or '.join(map(str, intervals))} ms."
    commits = sorted({one["conditions"]["commit"] for one in points if "cores" in one["conditions"]})
    of = f" Measured at commit {' and '.join(commits)}." if commits else ""
    plots = [plot(points, title, fields) for title, fields in PLOTS]
    about = f"{ABOUT[axis]}{first_turns(points)}{every if intervals else ''}{repeated(points)}{of}"
    parts = (
        f"## {TITLES[axis]}\n", f"{about}\n",
        table(points, SPEED, True), *plots, table(points, BYTES, False),
    )  # fmt: skip
    return "\n".join(filter(None, parts))


def render(points: list[Told]) -> str:
    """The page: how it was measured, the conditions, and for each axis its tables and plots."""
    by_axis = [[one for one in points if one["axis"] == axis] for axis in AXES]
    return "\n".join([HOW, conditions(points), *(section(ones) for ones in by_axis if ones)])
