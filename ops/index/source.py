# SPDX-License-Identifier: Apache-2.0
"""The index as commands use it: brought up to date with the journal, then read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaException

from ops.context import Trouble
from ops.index import database
from ops.index.refresh import Progress, Tell, refresh
from ops.reading import check_broker, codec_of, name_of
from ops.settings import Settings
from wire.kafka import TopicReader

JOURNAL = "agent-decisions"


@contextmanager
def journal(settings: Settings) -> Iterator[TopicReader]:
    """The journal's topic. Raises Trouble where the broker does not answer."""
    check_broker(settings)
    try:
        with TopicReader(settings.bootstrap, name_of(settings, JOURNAL)) as reader:
            yield reader
    except KafkaException as error:
        said = f"{JOURNAL} cannot be read from {settings.bootstrap}: {error.args[0].str()}."
        raise Trouble(said, "Is the stack up? `threadlog status`.") from error


def bring_up_to_date(settings: Settings, anew: bool = False, tell: Tell | None = None) -> Progress:
    """The index with all that the journal holds now. Raises Trouble without a broker, RegistryUnavailable."""
    with journal(settings) as log:
        return refresh(database.path_of(settings), settings.namespace, log, codec_of(settings), anew, tell)
