# SPDX-License-Identifier: Apache-2.0
"""A job that writes down what a savepoint holds: run in place of the one that left it, from the same packed code.

    journal, or asks, to their end as of now ──► by key ──► an operator with the uid and the state of `--of` ──► a file

One JSON line, [key, state], for each key that the topics name. It changes nothing and emits nothing."""

from __future__ import annotations

import json
from typing import Any

from msgspec import to_builtins
from pyflink.common import Types, WatermarkStrategy
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.connectors.kafka import KafkaSource
from pyflink.datastream.state import MapStateDescriptor, ValueStateDescriptor
from pyflink.java_gateway import get_gateway

from jobs.arguments import _offsets, _parser
from jobs.conversation import AT_ONCE, AT_ONCE_UID, THREADS_UID
from jobs.tools import GATE_UID, QUEUE_UID, QUOTA_KEY
from schemas.topics import kafka_name
from threadlog.state import State, dump
from udfs.app_guard import OwnCode
from udfs.flink_io import FRAME, environment, keyed, offsets, side, write_at_once
from udfs.outbox_gate import Threads
from udfs.thread_function import READS, thread_state
from udfs.tool_queue import MapSlots


class Teller(KeyedProcessFunction):
    """The operator of that uid, as far as its state goes."""

    def __init__(self, of: str, path: str) -> None:
        self._of, self._path, self._code = of, path, OwnCode()

    def open(self, context: RuntimeContext) -> None:
        self._code.check()  # what comes to this TaskManager next finds all of our modules
        self._told = set[str]()
        if self._of == THREADS_UID:
            self._threads = thread_state(context)
        elif self._of == GATE_UID:
            self._heads = Threads(context.get_state(ValueStateDescriptor("thread", Types.STRING())))
        else:
            text = Types.STRING()
            self._maps = {
                name: MapSlots(context.get_map_state(MapStateDescriptor(name, text, text)))
                for name in ("queue", "pending")
            }

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> list[Any]:
        key = ctx.get_current_key()
        if key not in self._told:
            self._told.add(key)
            with open(self._path, "a") as file:
                file.write(json.dumps([key, self._state(key)]) + "\n")
        return []

    def _state(self, key: str) -> Any:
        if self._of == THREADS_UID:
            kept = self._threads.load(key)
            return dump(State(kept.small, kept))
        if self._of == GATE_UID:
            return to_builtins(self._heads.load(key))
        return {name: {id: slots.get(id) for id in slots.keys()} for name, slots in self._maps.items()}


def main() -> None:
    """Submit the job."""
    parser = _parser("dump")
    parser.add_argument("--of", required=True, choices=(THREADS_UID, GATE_UID, QUEUE_UID))
    parser.add_argument("--into", required=True)
    parser.add_argument("--topic", required=True, help="whose keys are those of the state")
    parser.add_argument("--begin", required=True, type=_offsets)
    parser.add_argument("--end", required=True, type=_offsets)
    args = parser.parse_args()
    env = environment(args.parallelism, args.checkpoint_interval_ms, args.checkpoint_dir)
    header, names = (QUOTA_KEY if args.of == QUEUE_UID else None), [kafka_name(args.namespace, args.topic)]
    ends = KafkaSource.builder().set_bootstrap_servers(args.bootstrap).set_topics(*names)
    ends.set_group_id(f"{args.namespace}.dump").set_property("isolation.level", "read_committed")
    ends.set_starting_offsets(offsets(names, args.begin)).set_bounded(offsets(names, args.end))
    ends._j_builder.setDeserializer(get_gateway().jvm.threadlog.KafkaInput(header))
    told = env.from_source(ends.build(), WatermarkStrategy.no_watermarks(), "dumped").uid("dumped")
    nothing = keyed(told).process(Teller(args.of, args.into), FRAME).uid(args.of).name(args.of)
    write_at_once(
        side(nothing, READS), AT_ONCE_UID, args.bootstrap, [kafka_name(args.namespace, topic) for topic in AT_ONCE]
    )
    env.execute_async(f"{args.namespace}.dump")


if __name__ == "__main__":
    main()
