# SPDX-License-Identifier: Apache-2.0
"""What turns cost besides time: bytes of keyed state, of checkpoints, on disk, on the wire; read before and after."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition

from bench.feed import ends
from bench.session import Session
from ops import http
from ops.stack import flink
from ops.stack.layout import Layout
from schemas.topics import TOPICS, kafka_name
from wire.kafka import consumer

POLL_S = 0.5  # Flink shows the last ten checkpoints, which at 100 ms are those of a second
_BLOCK_BYTES = 512  # of st_blocks, whatever the file system's own are
_BATCH, _WAIT_S = 5_000, 0.2

Places = dict[tuple[str, int], int]  # (topic in Kafka, partition) → offset after the last committed record


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One completed checkpoint. at_s: the clock's time when it was triggered; written_bytes: what was not there yet."""

    number: int
    at_s: float
    state_bytes: int
    written_bytes: int
    took_ms: int


@dataclass
class Checkpoints:
    """Keeps every completed checkpoint of the conversation from `with` on, over REST."""

    run: Session
    kept: dict[int, Checkpoint] = field(default_factory=dict)

    def __enter__(self) -> Checkpoints:
        self.job_id = flink.live_jobs(self.run.settings)["conversation"].id
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="checkpoints", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(POLL_S):
            with contextlib.suppress(http.HttpError):  # a JobManager that is busy is asked again
                self.read()

    def read(self) -> None:
        """Ask now. Raises HttpError."""
        told = http.call(f"{self.run.settings.flink_rest}/jobs/{self.job_id}/checkpoints")
        self.kept |= {one.number: one for one in completed(told)}

    def newest(self) -> Checkpoint | None:
        """The newest that has completed; None before the first. Raises HttpError."""
        self.read()
        return self.kept[max(self.kept)] if self.kept else None

    def between(self, begin_s: float, end_s: float) -> list[Checkpoint]:
        """Those triggered between two times of the clock."""
        return [one for _, one in sorted(self.kept.items()) if begin_s < one.at_s <= end_s]

    def every_ms(self, begin_s: float, end_s: float) -> float | None:
        """From one checkpoint to the next as they were taken: a setting is only the least that it may be. None where
        there were not two: how many fall into a short time is chance."""
        times = [one.at_s for one in self.between(begin_s, end_s)]
        return 1000 * (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None


def completed(told: dict[str, Any]) -> list[Checkpoint]:
    """The completed checkpoints in what Flink tells of a job's."""
    return [
        Checkpoint(
            one["id"], one["trigger_timestamp"] / 1000, one["state_size"], one["checkpointed_size"],
            one["end_to_end_duration"],
        )
        for one in told["history"]
        if one["status"] == "COMPLETED" and not one["is_savepoint"]
    ]  # fmt: skip


def state_bytes(run: Session) -> int | None:
    """Of the conversation's keyed state at its newest checkpoint; None before the first. Raises HttpError."""
    job = flink.live_jobs(run.settings)["conversation"].id
    found = completed(http.call(f"{run.settings.flink_rest}/jobs/{job}/checkpoints"))
    return max(found, key=lambda one: one.number).state_bytes if found else None


@dataclass(frozen=True)
class Reading:
    """Bytes of a stack at one time. `written` by process: what it has had the kernel write to disks since its start."""

    state: int
    log: int
    rocksdb: int
    checkpoints: int
    written: dict[str, int]
    places: Places

    @classmethod
    def now(cls, run: Session, checkpoints: Checkpoints) -> Reading:
        """Read all of it. Raises HttpError."""
        layout, host, newest = Layout(run.settings.state_dir), run.hosts["conversation"], checkpoints.newest()
        return cls(
            newest.state_bytes if newest else 0,
            # A segment has as many bytes as were appended; its indexes are made larger than they are.
            file_bytes(layout.state / "kafka", "*.log"),
            disk_bytes(layout.tmp / host),
            disk_bytes(layout.checkpoints / checkpoints.job_id),
            {name: written_bytes(run.meter.pids[name]) for name in (host, "kafka")},
            places(run),
        )


def file_bytes(folder: Path, pattern: str) -> int:
    """Bytes in the files below a folder; one that vanishes meanwhile has none."""
    return sum(status.st_size for status in _statuses(folder, pattern))


def disk_bytes(folder: Path) -> int:
    """Bytes that all files below a folder take on the disk."""
    return sum(status.st_blocks * _BLOCK_BYTES for status in _statuses(folder, "*"))


def _statuses(folder: Path, pattern: str) -> list[Any]:
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in folder.rglob(pattern):
            with contextlib.suppress(FileNotFoundError):
                found.append(path.lstat())
    return found


def written_bytes(pid: int) -> int:
    """Bytes that a process has had the kernel write to disks."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def places(run: Session, topics: Iterable[str] = TOPICS) -> Places:
    """Where each of these topics of ours ends now."""
    reader = consumer(run.settings.bootstrap, "bench")
    try:
        names = [kafka_name(run.settings.namespace, topic) for topic in topics]
        return {(end.topic, end.partition): end.offset for name in names for end in ends(reader, name)}
    finally:
        reader.close()


def wire(run: Session, before: Places, after: Places, bound_s: float) -> tuple[int, int] | None:
    """Records between two places of the topics, and the bytes of their keys, values and headers; None when they could
    not be read within the bound. Compression and Kafka's own framing are left out."""
    read = read_between(run, before, after, bound_s)
    return None if read is None else (read[0].total(), read[1].total())


def read_between(
    run: Session, before: Places, after: Places, bound_s: float
) -> tuple[Counter[str], Counter[str]] | None:
    """As `wire`, by the topic's name in Kafka. Offsets do not tell: they count marks of transactions as well."""
    reader, until = consumer(run.settings.bootstrap, "bench"), time.monotonic() + bound_s
    left, records, size = {p: end for p, end in after.items() if end > before[p]}, Counter[str](), Counter[str]()
    try:
        reader.assign([TopicPartition(*place, before[place]) for place in left])
        while left and time.monotonic() < until:
            for message in reader.consume(_BATCH, _WAIT_S):
                told: Any = message  # as in wire.kafka
                if told.error() is None and told.offset() < after[told.topic(), told.partition()]:
                    records[told.topic()] += 1
                    size[told.topic()] += record_bytes(told.key(), told.value(), told.headers())
            for place in reader.position([TopicPartition(*place) for place in left]):
                if place.offset >= after[place.topic, place.partition]:
                    del left[place.topic, place.partition]
        return None if left else (records, size)
    finally:
        reader.close()


def record_bytes(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]] | None) -> int:
    """Of a record's key, value and headers."""
    named = sum(len(name.encode()) + len(content or b"") for name, content in headers or ())
    return len(key or b"") + len(value or b"") + named
