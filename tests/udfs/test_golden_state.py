# SPDX-License-Identifier: Apache-2.0
"""Golden states: what lies in a savepoint of any version goes on, and is what this version writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.udfs import golden
from tests.udfs.golden import LONG, THREAD
from tests.udfs.test_thread_function import Operator, topics
from tests.udfs.test_tool_queue import Operator as Tools
from threadlog.state import MAPS
from threadlog.upcasting import newest
from udfs.attempts import result_of
from udfs.backlog import HELD_MS


def restored(form: str, patch: pytest.MonkeyPatch) -> Operator:
    """The conversation operator over the state of a form, in a new process."""
    operator, left = Operator(golden.app(), patch), golden.golden(form)["conversation"]
    for name, keys in left["stored"].items():
        for key, pairs in keys.items():
            operator.flink.stored[name][key].update(pairs)
    operator.flink.timers = {(due, key) for due, key in left["timers"]}
    operator.flink.now_ms, operator.log.offsets = left["now_ms"], dict(left["offsets"])
    operator.restarted()
    return operator


def replies(operator: Operator, records: list[Any]) -> list[str]:
    return [operator.data(record)["text"] for record in records if record.topic == "ns.agent-replies"]


@pytest.mark.parametrize("form", golden.forms())
def test_golden_state_goes_on_where_it_was(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The open call is answered, the timer fires, the run ends; then the message behind it begins the next one."""
    operator = restored(form, monkeypatch)
    stored = json.loads(operator.flink.stored["thread"][THREAD][""])
    [call] = [ask for ask in stored["near"]["asks"].values() if ask["effect"] == "keyed"]
    main, _ = operator.give(operator.log.result(call, "r-1"))
    assert "ns.dead-letters" not in topics(main)
    main, [read] = operator.flink.fire(operator.flink.now_ms + HELD_MS)
    assert replies(operator, main) == ["paid r-1"]
    assert json.loads(operator.data(read)["args"]) == {"what": "o-2"}


@pytest.mark.parametrize("form", golden.forms())
def test_golden_state_of_a_long_thread_goes_on(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies far is found there: a resend of an event of that time is a duplicate, a new one begins a run."""
    operator = restored(form, monkeypatch)
    [entry], _ = operator.give(operator.log.go(LONG, "l-3"), LONG)
    assert operator.data(entry)["verdict"] == "duplicate"
    _, [read] = operator.give(operator.log.go(LONG, "l-new", order="o-new"), LONG)
    assert json.loads(operator.data(read)["args"]) == {"what": "o-new"}


@pytest.mark.parametrize("form", golden.forms())
def test_golden_queue_goes_on_where_it_was(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was pending is fired again under its key; its result frees the slot for what waits."""
    left = golden.golden(form)["tools"]
    tools = Tools(monkeypatch)
    for name, pairs in left["stored"].items():
        tools.context.maps[name].stored.update(pairs)
    tools.now = left["now_ms"]
    tools.reopened()
    tools.watch(1_000)
    [(first, again)] = tools.reactor.fired
    assert (first["ordinal"], again) == ("1", True)
    tools.take("threadlog.ToolResult", result_of(first, "done", 1, []), "tool-results")
    assert tools.fired() == ["1", "2"]


def shape(value: Any, path: str = "") -> set[str]:
    """The keys of plain JSON and the kinds of its values; ids and numbers as keys are one, JSON in strings opened."""
    if isinstance(value, dict):
        inner = [(f"{path}.{'*' if any(map(str.isdigit, key)) else key}", one) for key, one in value.items()]
        return {found for below, one in inner for found in shape(one, below)} or {f"{path} {{}}"}
    if isinstance(value, list):
        return {found for one in value for found in shape(one, f"{path}[]")} or {f"{path} []"}
    if isinstance(value, str) and value[:1] in ("{", "["):
        return shape(json.loads(value), f"{path}:")
    return {f"{path} {type(value).__name__}"}


def test_golden_state_is_what_this_version_writes() -> None:
    """Whoever changes the form of the state has to say so: another version with an upcaster, and another file; only
    another file where operators keep it otherwise. A new key that older states may lack needs neither, and is put into
    the file by hand."""
    assert golden.NEWEST.partition("-")[0] == str(newest())
    wanted, found = golden.golden(golden.NEWEST), golden.made()
    for job in ("conversation", "tools"):
        assert sorted(shape(found[job]["stored"]) ^ shape(wanted[job]["stored"])) == []


def test_golden_state_has_near_and_far_sections() -> None:
    """The file shows both ways in which a section is kept."""
    stored = golden.golden(golden.NEWEST)["conversation"]["stored"]
    near = set(json.loads(stored["thread"][THREAD][""])["near"])
    far = {key.partition("/" if ":" not in key else ":")[0] for key in stored["maps"][LONG]}
    assert near >= {"asks", "steps", "queue", "history", "seen"} and far and far <= set(MAPS)
