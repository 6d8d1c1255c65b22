# SPDX-License-Identifier: Apache-2.0
"""What a command says next can be done where it is said: on one's own cluster nothing of the local stack is named."""

from __future__ import annotations

import re
from dataclasses import astuple

import pytest
from confluent_kafka import KafkaError, KafkaException

from ops.context import Trouble
from ops.failures import trouble
from ops.hints import LOCAL, OWN
from ops.http import HttpError
from ops.reading import check_broker
from ops.settings import Settings
from ops.stack.layout import ROOT
from ops.watching.jobs import ALARMS
from ops.watching.leases import Leases
from tests.ops.fakes import FakeKafka, run
from tests.ops.test_journal import story
from wire.control import NEXT, TAKE_OVER

# Commands of the local stack, which refuse elsewhere or tell nothing.
OF_THE_STACK = re.compile(r"`threadlog (--namespace \S+ )?(start|status|logs|up|submit|watch --heal|stop)\b")
OURS = Settings(brokers="127.0.0.1:1")


def test_hints_for_ones_own_cluster_name_nothing_of_the_local_stack() -> None:
    """Nor the other way about: there each of them is a command of the local stack."""
    assert [hint for hint in astuple(OWN) if OF_THE_STACK.search(hint)] == []
    assert len([hint for hint in astuple(LOCAL) if OF_THE_STACK.search(hint)]) == len(astuple(LOCAL))
    assert Leases(hints=OWN).wrong(0)[0].do == OWN.start


@pytest.mark.parametrize(
    "error",
    [KafkaException(KafkaError(KafkaError._TRANSPORT)), HttpError("http://f", 0, "no answer"), OSError("gone")],
    ids=lambda error: type(error).__name__,
)
def test_failure_says_where_to_look(error: Exception) -> None:
    told, local = trouble(error, OURS), trouble(error, Settings())
    assert told is not None and local is not None
    assert (told.hint, bool(OF_THE_STACK.search(local.hint))) == (OWN.up, True)


def test_broker_that_does_not_listen_is_looked_for_where_the_settings_say() -> None:
    with pytest.raises(Trouble, match="No broker listens at") as raised:
        check_broker(OURS)
    assert "`brokers`" in raised.value.hint


def test_watch_says_how_a_state_is_made_anew_on_ones_own_cluster(kafka: FakeKafka) -> None:
    first, _, third = story("Ann", "Bob", "Cid")
    for entry in (first, third):
        kafka.add_entry(entry)
    told = run("watch", "--once").stdout
    assert "ALARM" in told and OWN.rebuild in told


@pytest.mark.parametrize("hint", [NEXT, TAKE_OVER])
def test_what_a_jobs_main_prints_names_both_ways(hint: str) -> None:
    """It does not know whose cluster it is."""
    assert "`threadlog start" in hint and "(local stack)" in hint and "`threadlog pack --job catchup`" in hint


def test_watch_says_what_it_does_not_watch(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a Flink that is not the local stack's it knows nothing, and silence would look like health. Not where
    nothing but the journal is looked at, nor on the local stack."""
    told = run("watch").stdout
    assert told.count("no alarms job, slots, restarts, jobmanager.") == 1
    assert "no alarms" not in run("watch", "--once").stdout
    monkeypatch.setattr("ops.commands.watch.check_broker", lambda settings: None)
    monkeypatch.delenv("THREADLOG_BROKERS")
    assert "no alarms" not in run("watch").stdout


def test_alarms_of_the_local_stack_are_marked_in_the_documents() -> None:
    table = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("| means | alarm | told |")[2]
    marked = [line.split("|")[2] for line in table.partition("\n\n")[0].splitlines() if "†" in line]
    assert {name for cell in marked for name in re.findall(r"`(\w+)` †", cell)} == set(ALARMS)
