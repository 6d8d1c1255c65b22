# SPDX-License-Identifier: Apache-2.0
"""The index as commands use it: brought up to date with the journal, then read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ops.index import database
from ops.index.refresh import Progress, Tell, refresh
from ops.reading import codec_of, reading
from ops.settings import Settings
from wire.kafka import TopicReader

JOURNAL = "agent-decisions"


@contextmanager
def journal(settings: Settings) -> Iterator[TopicReader]:
    """The journal's topic. Raises Trouble where the broker does not answer."""
    with reading(settings, JOURNAL) as name, TopicReader(settings.bootstrap, name) as reader:
        yield reader


def bring_up_to_date(settings: Settings, anew: bool = False, tell: Tell | None = None) -> Progress:
    """The index with all that the journal holds now. Raises Trouble without a broker, RegistryUnavailable."""
    database.remove_older(settings)
    with journal(settings) as log:
        return refresh(database.path_of(settings), settings.namespace, log, codec_of(settings), anew, tell)
