# SPDX-License-Identifier: Apache-2.0
"""A journal in Kafka without the job that decides: entries that are made, or read from a file, in their topic.

Several processes make them side by side, each its own threads, and write them as the conversation's sink does: same
bytes, same headers, same batches, but in no transaction.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer

from bench.replay import entries
from examples.support_desk import traffic
from ops.context import Trouble
from ops.replay.histories import Histories
from ops.replay.work import COLLECT_AFTER
from schemas.codec import Codec, FixedSchemas, Schema
from threadlog.engine import Decision
from threadlog.entry import Entry
from udfs.flink_io import BATCHES
from udfs.outputs import Outputs
from wire.registry import Registry

_POLL_S, _FLUSH_S = 0.05, 120


def registered(registry_url: str) -> FixedSchemas:
    """Our schemas and those of the customers' events, under the ids that the registry has given them."""
    registry = Registry(registry_url)
    ids = {**registry.ensure_subjects(), **traffic.register(registry_url)}
    found = FixedSchemas()
    found.schemas, found.ids = {id: registry.by_id(id) for id in ids.values()}, ids
    return found


def fill(bootstrap: str, namespace: str, schemas: FixedSchemas, made: Iterable[Entry]) -> int:
    """Write entries to the journal; how many. Raises Trouble when the broker does not take them."""
    sender = Producer({
        "bootstrap.servers": bootstrap, "enable.idempotence": True, "partitioner": "murmur2_random",
        "message.max.bytes": 2 * 1024 * 1024, **BATCHES,
    })  # fmt: skip
    outputs, count = Outputs(Codec(schemas), namespace), 0
    for entry in made:
        count += 1
        ((record,), _) = outputs.of_decision(Decision(entry, [], {}, {}), None)
        while True:
            try:
                sender.produce(record.topic, record.value, record.key, headers=record.headers)  # type: ignore[arg-type]
                break
            except BufferError:
                sender.poll(_POLL_S)
    if sender.flush(_FLUSH_S):
        raise Trouble(f"The broker did not take all entries within {_FLUSH_S} s.")
    return count


@dataclass(frozen=True)
class Filling:
    """What to write, and where. `file`: histories to read instead of making decisions."""

    bootstrap: str
    namespace: str
    registry_url: str
    decisions: int
    seed: int
    file: Path | None = None

    def part(self, share: tuple[int, int]) -> int:
        """One process's share; how many entries that were."""
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        schemas = registered(self.registry_url)
        return fill(self.bootstrap, self.namespace, schemas, self._entries(schemas, share))

    def _entries(self, schemas: FixedSchemas, share: tuple[int, int]) -> Iterator[Entry]:
        index, of = share
        if self.file is None:
            part = self.decisions // of + (index < self.decisions % of)
            yield from entries(schemas, part, self.seed, share)
            return
        histories, known = Histories(self.file, share), 0
        for entry in histories:
            if len(histories.schemas) > known:
                known = len(histories.schemas)
                _check(histories, schemas)
            yield entry

    def run(self, processes: int) -> int:
        """Write all of it with so many processes; how many entries."""
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            return sum(pool.map(self.part, [(index, processes) for index in range(processes)]))


def _check(histories: Histories, schemas: FixedSchemas) -> None:
    """Raises Trouble where the file names its schemas by other ids than the registry: hashes are over them."""
    for id, schema in histories.schemas.items():
        if not _same(schema, schemas.schemas.get(id)):
            raise Trouble(
                f"Schema {id} of {histories.path} has another id in this registry.",
                "Leave --file out: the decisions are then made with the registry's ids.",
            )


def _same(one: Schema, other: Schema | None) -> bool:
    if other is None or one.kind != other.kind:
        return False
    return one.text == other.text if one.kind != "AVRO" else bool(json.loads(one.text) == json.loads(other.text))
