# SPDX-License-Identifier: Apache-2.0
"""A Kafka and a registry in memory, and the command line run against them."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click.testing

from ops.cli import main
from ops.stack.layout import SUPERVISOR_NAME, Layout
from schemas.codec import Codec, FixedSchemas
from threadlog.entry import Entry
from wire.frames import Record


@dataclass
class FakeKafka:
    """Topics as lists of records, by Kafka name; also the functions of wire.kafka over them."""

    schemas: FixedSchemas = field(default_factory=FixedSchemas)
    topics: dict[str, list[Record]] = field(default_factory=dict)
    cluster: str = "cluster-1"
    lows: dict[tuple[str, int], int] = field(default_factory=dict)  # below, retention has deleted what there was

    def add(self, topic: str, key: bytes | None, value: bytes | None, partition: int = 0, headers: Any = ()) -> Record:
        """Append a record; its timestamp is its place."""
        records = self.topics.setdefault(f"threadlog.{topic}", [])
        offset = 1 + max((record.offset for record in records if record.partition == partition), default=-1)
        records.append(Record(f"threadlog.{topic}", partition, offset, len(records), key, value, [*headers]))
        return records[-1]

    def add_entry(self, entry: Entry, key: str = "", partition: int = 0) -> Record:
        """Append an entry to the journal, as the conversation job writes it."""
        value = Codec(self.schemas).encode("threadlog.Decision", entry.to_dict())
        return self.add("agent-decisions", (key or entry.thread).encode(), value, partition)

    def add_reply(self, thread: str, event_id: str, text: str) -> Record:
        """Append a reply."""
        reply = dict.fromkeys(("run_id", "ordinal", "reply_id", "data", "agent", "event_source"), "x")
        reply |= {"thread": thread, "event_id": event_id, "text": text}
        return self.add("agent-replies", thread.encode(), Codec(self.schemas).encode("threadlog.Reply", reply))

    def read_topic(
        self,
        bootstrap: str,
        topic: str,
        first: Mapping[int, int] | None = None,
        partitions: Container[int] | None = None,
        missing: bool = False,
        until: Mapping[int, int] | None = None,
    ) -> Iterator[Record]:
        """All there is now, or what is from the offsets `first` on, or before `until`."""
        wanted = [r for r in self.topics.get(topic, []) if partitions is None or r.partition in partitions]
        wanted = [r for r in wanted if until is None or r.offset < until.get(r.partition, 0)]
        yield from [record for record in wanted if record.offset >= (first or {}).get(record.partition, 0)]

    def offsets_since(self, bootstrap: str, topic: str, time_ms: int) -> dict[int, int]:
        """Where the records of that time or later begin; of a partition that has none, its end."""
        found = dict[int, int]()
        for record in reversed(self.topics.get(topic, [])):
            end = found.setdefault(record.partition, record.offset + 1)
            found[record.partition] = record.offset if record.timestamp_ms >= time_ms else end
        return found

    def cut(self, topic: str, count: int) -> None:
        """Retention takes the first records of a topic."""
        records = self.topics[f"threadlog.{topic}"]
        self.lows |= {(record.topic, record.partition): record.offset + 1 for record in records[:count]}
        del records[:count]

    def first_offsets(self, bootstrap: str, topic: str) -> dict[int, int]:
        """Of the partitions that hold anything."""
        return {r.partition: self.lows.get((topic, r.partition), 0) for r in self.topics.get(topic, [])}

    def stable_ends(self, bootstrap: str, topics: list[str]) -> FakeEnds:
        """Where its partitions end."""
        return FakeEnds(self)

    def follow(
        self,
        bootstrap: str,
        topics: list[str],
        from_start: bool = False,
        after: dict[tuple[str, int], int] | None = None,
    ) -> Iterator[Record | None]:
        """What is after the end, or after `after`, or all; then a Ctrl-C."""
        after = {} if from_start else after
        ends = {topic: len(self.topics.get(topic, [])) for topic in topics}
        yield None
        for topic in topics:
            for at, record in enumerate(self.topics.get(topic, [])):
                known = after.get((topic, record.partition), -1) if after is not None else -1
                if record.offset > known and (after is not None or at >= ends[topic]):
                    yield record
        raise KeyboardInterrupt


@dataclass
class FakeEnds:
    """`wire.transactions.StableEnds` over a FakeKafka; of `held` partitions nothing can be read from an offset on."""

    kafka: FakeKafka
    held: dict[tuple[str, int], int] = field(default_factory=dict)

    def look(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Last stable offset and end."""
        ends = {(r.topic, r.partition): r.offset + 1 for records in self.kafka.topics.values() for r in records}
        return {place: (self.held.get(place, end), end) for place, end in ends.items()}


@dataclass
class FakeTopic:
    """`wire.kafka.TopicReader` over records. `low`: offsets below are gone. `asked`: places that were read by `at`.

    It has as many partitions as its records show."""

    records: list[Record]
    cluster: str = "cluster-1"
    low: dict[int, int] = field(default_factory=dict)
    asked: list[tuple[int, int]] = field(default_factory=list)

    def __enter__(self) -> FakeTopic:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def identity(self) -> str:
        """Cluster and topic."""
        return f"{self.cluster}/topic"

    def marks(self) -> dict[int, tuple[int, int]]:
        """First offset and the one after the last."""
        ends = {record.partition: record.offset + 1 for record in self.records}
        return {partition: (self.low.get(partition, 0), end) for partition, end in sorted(ends.items())}

    def read(self, first: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        """In the order of the list."""
        for record in self.records:
            begin = max(first.get(record.partition, 0), self.low.get(record.partition, 0))
            if begin <= record.offset < end.get(record.partition, 0):
                yield record

    def at(self, places: Sequence[tuple[int, int]]) -> Iterator[Record]:
        """Those that are still there."""
        self.asked += places
        there = {(r.partition, r.offset): r for r in self.records if r.offset >= self.low.get(r.partition, 0)}
        yield from (there[place] for place in places if place in there)


@dataclass
class FakeProducer:
    """A producer that hands what it takes to a FakeKafka, and refuses the first `full` records as librdkafka does."""

    kafka: FakeKafka
    full: int = 0
    answer: Callable[[str, str], None] = lambda thread, id: None

    def produce(
        self, topic: str, value: bytes, key: bytes, headers: Any, on_delivery: Any, partition: int = -1
    ) -> None:
        """BufferError while it is full."""
        if self.full:
            self.full -= 1
            raise BufferError
        record = self.kafka.add(topic.removeprefix("threadlog."), key, value, headers=headers)
        told = {name: raw.decode() for name, raw in record.headers if raw}
        on_delivery(None, SimpleNamespace(offset=lambda: record.offset))
        self.answer(key.decode(), told["ce_id"])

    def poll(self, seconds: float) -> int:
        """Something was delivered."""
        return 1

    def flush(self, seconds: float) -> int:
        """Nothing is left."""
        return 0

    def __len__(self) -> int:
        return 0


def begun(state: Path) -> None:
    """Make a folder known as that of a stack that was up once."""
    layout = Layout(state)
    layout.conf.mkdir(parents=True, exist_ok=True)
    layout.supervisor_conf.write_text(f"[supervisord]\n{SUPERVISOR_NAME}\n")


def run(*arguments: str, input: bytes | None = None) -> click.testing.Result:
    """`threadlog …`; an exception that is none of click's is raised here: it would be a traceback."""
    result = click.testing.CliRunner().invoke(main, arguments, input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def objects(result: click.testing.Result) -> list[dict[str, Any]]:
    """The lines of `--json`; each must be one object."""
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]
