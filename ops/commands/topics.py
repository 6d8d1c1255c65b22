# SPDX-License-Identifier: Apache-2.0
"""`threadlog topics`."""

from __future__ import annotations

import dataclasses

import click
from rich.console import Console
from rich.table import Column, Table

from ops.context import Context, pass_context
from ops.reading import check_broker
from schemas.topics import FOR_EVER_MS, TOPICS, kafka_name
from wire.admin import ensure_topics
from wire.registry import COMPATIBILITY, ensure_subjects


def _ensure(ctx: Context) -> None:
    """Topics, subjects and the compatibility level, on whatever broker and registry are set."""
    settings = ctx.settings
    check_broker(settings)
    found = ensure_topics(settings.bootstrap, settings.namespace, settings.partitions, settings.replication)
    for difference in found:
        ctx.say(str(difference))
        ctx.emit(**dataclasses.asdict(difference))
    ctx.say(f"Topics are on {settings.bootstrap}" + (", with the differences above." if found else ", as declared."))
    for subject, id in ensure_subjects(settings.registry_url).items():
        ctx.emit(subject=subject, schema_id=id, compatibility=COMPATIBILITY)
    ctx.say(f"Subjects are in {settings.registry_url}; its compatibility level is {COMPATIBILITY}.")


@click.command("topics")
@click.option("--ensure", is_flag=True, help="Create missing topics and subjects; say what differs.")
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
        days = "for ever" if topic.retention_ms == FOR_EVER_MS else f"{topic.retention_ms / 86_400_000:g} days"
        guarantee = topic.guarantee.partition(":")[0].partition(" producer")[0]
        kept = days if topic.cleanup == "delete" else topic.cleanup
        table.add_row(topic.name, topic.key, topic.writer, guarantee, ", ".join(topic.readers), kept)
        ctx.emit(
            topic=topic.name, kafka_name=kafka_name(ctx.settings.namespace, topic.name), key=topic.key,
            writer=topic.writer, guarantee=topic.guarantee, readers=list(topic.readers),
            partitions=topic.partitions or ctx.settings.partitions, replication=ctx.settings.replication,
            config=topic.config,
        )  # fmt: skip
    if not ctx.json:
        Console().print(table)
    if ensure:
        _ensure(ctx)
