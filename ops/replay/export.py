# SPDX-License-Identifier: Apache-2.0
"""From the journal, or from other histories, into a histories file. What is read twice is read from the log twice."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from pathlib import Path

from ops.context import Trouble
from ops.replay.histories import Writer
from ops.replay.source import FileSource, JournalSource, Source
from ops.settings import Settings
from ops.voids import complain
from ops.written import written


@dataclass
class Exported:
    """How much was written, and what the source said."""

    threads: int
    entries: int
    cut: int
    sources: list[Source]

    def complain(self) -> None:
        """Raises Trouble where entries of the journal are void."""
        voids = [void for source in self.sources for void in source.voids]
        complain(voids, len(voids))


def export(
    settings: Settings,
    out: Path,
    over: bool,
    files: tuple[Path, ...],
    threads: frozenset[str],
    since_ms: int,
    last: int | None,
) -> Exported:
    """Write the chosen threads whole; the file is there when all of it is, and `over` another one if that is wanted.

    Raises Trouble where there are none."""
    with written(out, over) as file:
        if since_ms or last:
            threads = _newest(_sources(settings, files, threads), since_ms, last)
            if not threads:
                raise Trouble("No thread decided anything since then.", "`threadlog status` tells what runs.")
        sources = _sources(settings, files, threads)
        writer = Writer(file, sources[0].schemas)
        cut = sum(_write(writer, source) for source in sources)
        writer.close()
        missing = threads - writer.threads
        if missing or not writer.entries:
            what = f"nothing of {', '.join(sorted(missing)[:5])}" if missing else "no decision"
            raise Trouble(f"The journal holds {what}.", "`threadlog show THREAD` names some that it knows.")
    return Exported(len(writer.threads), writer.entries, cut, sources)


def _write(writer: Writer, source: Source) -> int:
    """Write a source; how many of its threads do not begin at their beginning."""
    writer.go_on_from(source.schemas)
    before, cut = frozenset(writer.threads), 0
    for entry in source:
        if entry.thread in before:
            raise Trouble(f"Thread {entry.thread!r} is in two of the files.", "Export them apart.")
        cut += entry.thread not in writer.threads and entry.seq > 1
        writer.add(entry)
    return cut


def _sources(settings: Settings, files: tuple[Path, ...], threads: frozenset[str]) -> list[Source]:
    if files:
        return [FileSource(path, (0, 1), threads or None) for path in files]
    return [JournalSource(settings, (0, 1), threads or None)]


def _newest(sources: list[Source], since_ms: int, last: int | None) -> frozenset[str]:
    decided: dict[str, int] = {}
    for source in sources:
        for entry in source:
            decided[entry.thread] = entry.time_ms
    found = {thread: at for thread, at in decided.items() if at >= since_ms}
    chosen = found if last is None else heapq.nlargest(last, found, key=lambda thread: (found[thread], thread))
    return frozenset(chosen)
