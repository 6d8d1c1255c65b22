# SPDX-License-Identifier: Apache-2.0
"""`threadlog replay --check-upgrade`: before new code is deployed, which open runs it would break."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ops.fakes import FakeKafka, objects, run
from tests.ops.indexes import thread
from tests.ops.replays import APP, changed, file, mix, registered, source

HERE = ("--workers", "0")


def check(folder: Path, app: str) -> tuple[int, list[dict[str, object]], str]:
    """Exit code, breaches, what a person is told."""
    path = str(file(folder, 700))
    told = run("replay", "--file", path, "--app", app, "--check-upgrade", "--json", *HERE)
    said = run("replay", "--file", path, "--app", app, "--check-upgrade", *HERE)
    assert said.exit_code == told.exit_code
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    return told.exit_code, [line for line in lines if "breaks" in line], said.stdout


def test_upgrade_to_the_same_code_breaks_nothing(alone: Path) -> None:
    """And the check had something to try: runs are open."""
    code, breaches, said = check(alone, APP)
    assert (code, breaches) == (0, [])
    assert "This code breaks nothing: " in said
    assert int(said.partition("breaks nothing: ")[2].split()[0]) > 20
    assert len(mix(700)) == 700


def test_upgrade_that_asks_otherwise_is_nondeterminism_with_its_line(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the runs that have passed the changed line, and of no others."""
    spec = changed(alone, monkeypatch, ("receipt = await refund(", "await sleep(1)\n    receipt = await refund("))
    code, breaches, said = check(alone, spec)
    assert (code, {one["kind"] for one in breaches}) == (1, {"nondeterminism"})
    line = source(spec, alone, "await sleep(1)")
    assert {one["place"]["line"] for one in breaches if isinstance(one["place"], dict)} == {line}
    assert "    - call refund({" in said and "    + sleep({" in said
    waiting = {e.thread for e in mix(700) if '"refund"' in e.effects}
    assert 0 < len(breaches) < len(waiting)


def test_upgrade_without_a_version_is_told(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every open run of it would be parked."""
    spec = changed(alone, monkeypatch, ("@app.agent(on=MESSAGE, ", "@app.agent(on=MESSAGE, version=2, "))
    code, breaches, said = check(alone, spec)
    assert (code, {one["kind"] for one in breaches}) == (1, {"version"})
    assert "agent 'support' version 1 began this run but is not in the app" in said


def test_upgrade_without_a_tool_is_told_for_each_open_call(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call could not be tried any more."""
    spec = changed(
        alone, monkeypatch, ('@app.tool(effect="keyed", timeout_s=HOUR_S', '@app.tool(effect="read", timeout_s=HOUR_S')
    )
    code, breaches, said = check(alone, spec)
    assert code == 1 and "tool" in {one["kind"] for one in breaches}
    assert "of the keyed tool refund is open; the app has a read tool of this name" in said


def test_upgrade_without_a_handler_is_told_for_what_waits(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that waits its turn would be dropped."""
    spec = changed(alone, monkeypatch, ("@app.agent(on=MESSAGE, ", '@app.agent(on="other.Type", '))
    code, breaches, _ = check(alone, spec)
    assert code == 1 and "handler" in {one["kind"] for one in breaches}


def test_upgrade_check_decides_nothing_again(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another answer to a future message is no breach."""
    spec = changed(alone, monkeypatch, ("pieces.", "pieces left."))
    assert check(alone, spec)[:2] == (0, [])


def test_upgrade_check_names_how_many_threads_it_could_not_try(kafka: FakeKafka) -> None:
    """Where retention has left a thread without its beginning and without a snapshot, nobody knows what is open in it:
    "breaks nothing" is said of the others alone."""
    kafka.schemas = registered()
    entries = mix(120)
    for entry in entries:
        kafka.add_entry(entry)
    check = ("replay", "--all", "--app", APP, "--check-upgrade", *HERE)
    assert "This code breaks nothing: " in run(*check).stdout
    assert objects(run(*check, "--json"))[-1]["threads_left_out"] == 0
    kafka.cut("agent-decisions", 5)
    lost = {entry.thread for entry in entries[5:]} - {entry.thread for entry in entries[5:] if entry.seq == 1}
    assert len(lost) == 5 and not any(entry.snapshot for entry in entries)
    told = run(*check)
    assert told.exit_code == 0
    [verdict] = [line for line in told.stdout.splitlines() if line.startswith("This code breaks nothing of what was ")]
    assert verdict.endswith(f"; {len(lost)} threads could not be tried.")
    why = "threads are left out: retention has deleted their beginning, and they have no snapshot yet\n"
    assert f"\n{len(lost)} {why}" in told.stdout
    assert objects(run(*check, "--json"))[-1]["threads_left_out"] == len(lost)


def test_upgrade_check_of_a_thread_that_cannot_be_tried_fails(kafka: FakeKafka) -> None:
    """It is in the journal, so it is not called missing; nor is it said to be fine."""
    for entry in thread("t", 1, 0, 0).journal:
        kafka.add_entry(entry)
    kafka.cut("agent-decisions", 1)
    told = run("replay", "t", "--app", APP, "--check-upgrade", *HERE)
    assert (told.exit_code, told.stdout) == (1, "")
    assert "Retention has deleted the beginning of thread 't', and left no snapshot: nothing can" in told.stderr
