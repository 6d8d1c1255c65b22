# SPDX-License-Identifier: Apache-2.0
"""The topics that the jobs read and write, against those that their records and the list of topics name."""

from __future__ import annotations

from jobs import conversation, tools
from schemas.topics import AT_LEAST_ONCE, TOPICS
from tests.wire.golden import golden
from udfs.outputs import DEAD_LETTERS, RECORDS


def written(*topics: str) -> list[str]:
    return sorted(topics)


def test_conversation_has_a_sink_for_every_record_that_it_writes() -> None:
    """A record for a topic that its sink was not told of would stop the job, at the first agent that asks for one."""
    sinks = written(*conversation.OUTPUTS, *conversation.AT_ONCE)
    assert sinks == written(*RECORDS, DEAD_LETTERS)
    assert sinks == written(*{record["topic"].removeprefix("ns.") for record in golden("topics")})


def test_conversation_commits_all_but_what_may_be_written_twice() -> None:
    """What is written at once is written again after a crash."""
    ours = [topic for topic in TOPICS.values() if "conversation" in topic.writer]
    assert written(*conversation.AT_ONCE) == written(*(t.name for t in ours if t.guarantee == AT_LEAST_ONCE))
    assert written(*conversation.OUTPUTS) == written(*(t.name for t in ours if t.guarantee != AT_LEAST_ONCE))


def test_jobs_read_the_topics_that_name_them_as_readers() -> None:
    """A topic that a job forgets is handled by nobody."""
    for name, inputs in (("conversation", conversation.INPUTS), ("tools", (*tools.JOURNAL, *tools.INPUTS))):
        assert written(*inputs) == written(*(t.name for t in TOPICS.values() if name in t.readers))
