# SPDX-License-Identifier: Apache-2.0
"""`threadlog topics`."""

from __future__ import annotations

import click
from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Column, Table

from ops.context import Context, Trouble, pass_context
from schemas.topics import TOPICS, kafka_name
from wire.admin import ensure_topics


@click.command("topics")
@click.option("--ensure", is_flag=True, help="Create what is missing on the broker, and say what differs there.")
@pass_context
def command(ctx: Context, ensure: bool) -> None:
    """The topics: who writes them and how, who reads them, how long they are kept."""
    table = Table(
        Column("topic", no_wrap=True, min_width=16),
        "key",
        "written by",
        "guarantee",
        "read by",
        "kept",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for topic in TOPICS.values():
        days = topic.retention_ms / 86_400_000
        guarantee = topic.guarantee.partition(":")[0].partition(" producer")[0]
        kept = f"{days:g} days" if topic.cleanup == "delete" else topic.cleanup
        table.add_row(topic.name, topic.key, topic.writer, guarantee, ", ".join(topic.readers), kept)
        ctx.emit(
            topic=topic.name, kafka_name=kafka_name(ctx.settings.namespace, topic.name), key=topic.key,
            writer=topic.writer, guarantee=topic.guarantee, readers=list(topic.readers),
            partitions=ctx.settings.partitions, config=topic.config,
        )  # fmt: skip
    if not ctx.json:
        Console().print(table)
    if ensure:
        try:
            differences = ensure_topics(ctx.settings.bootstrap, ctx.settings.namespace, ctx.settings.partitions)
        except KafkaException as error:
            raise Trouble(
                f"{ctx.settings.bootstrap} does not answer: {error}", "Is the stack up? `threadlog status`."
            ) from error
        for difference in differences:
            ctx.say(str(difference))
            ctx.emit(
                topic=difference.topic, setting=difference.setting, expected=difference.expected, found=difference.found
            )
