# SPDX-License-Identifier: Apache-2.0
"""docs/runbook.md, executed: its very command lines on the stack, with work of every kind open meanwhile.

The laws that are checked after each test say that nothing was lost, decided twice or reordered."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops import http
from ops.stack import flink
from tests.stack.console import Console, another_checkout, block, edit
from tests.stack.test_deploy import waiting
from tests.stack.test_restore import check_all_end, open_work
from tests.stack.world import World, fresh, thread_of

RESCALE, OPERATOR = "Rescale", "Add an operator to a job"
APP, FIELD = "Upgrade the app with runs in flight", "Add a field to an event"
COUNTED = '''# SPDX-License-Identifier: Apache-2.0
"""An operator that a later release adds."""

from pyflink.datastream import ProcessFunction


class Counted(ProcessFunction):
    def process_element(self, value, ctx):
        return []
'''
# Behind the threads of the conversation's graph.
ADDED = '    decisions.process(Counted(), FRAME){uid}.name("counted")\n'
IMPORT = "from udfs.flink_io import"


def subtasks(world: World) -> dict[str, set[int]]:
    """The parallelism of each job's vertices."""
    rest = world.settings.flink_rest
    jobs = {kind: http.call(f"{rest}/jobs/{job.id}") for kind, job in flink.live_jobs(world.settings).items()}
    return {kind: {vertex["parallelism"] for vertex in job["vertices"]} for kind, job in jobs.items()}


def vertices(world: World, kind: str) -> list[dict[str, str]]:
    job = flink.live_jobs(world.settings)[kind]
    found: list[dict[str, str]] = http.call(f"{world.settings.flink_rest}/jobs/{job.id}")["vertices"]
    return found


def with_operator(checkout: Path, uid: str) -> str:
    """Add an operator to the conversation of a copy; its line."""
    (checkout / "udfs" / "counted.py").write_text(COUNTED)
    job, at = "jobs/conversation.py", "    write_transactional(decisions,"
    added = ADDED.format(uid=uid)
    edit(checkout, job, (at, added + at), (IMPORT, f"from udfs.counted import Counted\n{IMPORT}"))
    return added


@pytest.mark.chaos
def test_runbook_rescales_there_and_back(world: World, console: Console) -> None:
    """1 → 2 → 1, both jobs, with work of every kind open over all of it."""
    gate = fresh("rescaled")
    world.wait_running()
    work = open_work(world, gate)
    console.run(RESCALE, 0)
    assert subtasks(world) == {"conversation": {2}, "tools": {2}}
    for number in range(20):  # both subtasks decide
        work[f"at two {number}"] = world.go("look pay")
    console.run(RESCALE, 1)
    console.run(RESCALE, 2)
    assert subtasks(world) == {"conversation": {1}, "tools": {1}}
    check_all_end(world, work, gate)


@pytest.mark.chaos
def test_runbook_adds_an_operator(world: World, console: Console, tmp_path: Path) -> None:
    """Code that has no uid for it, or has renamed one, is refused; with a uid, open work goes on, and goes on again
    under code without it, as it had no state."""
    gate = fresh("operator")
    world.wait_running()
    work = open_work(world, gate)
    later = console.of(another_checkout(tmp_path / "later"))
    without = with_operator(later.checkout, uid="")
    world.cli("stop", "--job", "conversation")
    later.run(OPERATOR, 0)
    edit(later.checkout, "jobs/conversation.py", (without, ADDED.format(uid='.uid("counted")')))
    edit(later.checkout, "jobs/conversation.py", ('THREADS_UID = "threads"', 'THREADS_UID = "turns"'))
    later.run(OPERATOR, 1)
    assert "conversation" not in flink.live_jobs(world.settings)
    edit(later.checkout, "jobs/conversation.py", ('THREADS_UID = "turns"', 'THREADS_UID = "threads"'))
    later.run(OPERATOR, 2)
    assert any("counted" in vertex["name"] for vertex in vertices(world, "conversation"))
    check_all_end(world, work, gate)
    world.cli("stop", "--job", "conversation")
    world.cli("start")
    world.wait_replied([world.go("look pay") for _ in range(10)])


SECOND = '''

@app.agent(on="it.Go", name="go", version=2, awaits=("it.More",))
async def second(thread: Thread, event: Event) -> None:
    """Says which version it is."""
    told = []
    for number, word in enumerate(event["plan"].split()):
        told.append(await _word(thread, event, number, word))
    await thread.reply("; ".join([*told, "version 2"]), {"event": event.id})
'''
FIRST = '@app.agent(on="it.Go", awaits=("it.More",))\n'


def test_runbook_upgrades_an_app_with_runs_in_flight(world: World, console: Console) -> None:
    """Code without the version of an open run is named and refused, and the jobs run on; beside a newer version the run
    ends on the one that began it."""
    open_run = waiting(world, "look")
    jobs = {kind: job.id for kind, job in flink.live_jobs(world.settings).items()}
    code = world.app.read_text()
    world.app.write_text(code.replace(FIRST, "") + SECOND)
    assert thread_of(open_run) in console.run(APP, 0)
    console.run(APP, 1)
    assert {kind: job.id for kind, job in flink.live_jobs(world.settings).items()} == jobs
    world.app.write_text(code + SECOND)
    console.run(APP, 2)
    world.wait_running()
    world.more(open_run, "go on")
    begun_on_the_second = world.go("look")
    [told, new] = world.wait_replied([open_run, begun_on_the_second])
    assert told.endswith("heard go on") or told.endswith("understood go on")
    assert new.endswith("version 2")
    versions = {entry.version for seen in world.log.threads[thread_of(open_run)] if (entry := seen.entry).run_id}
    assert versions == {1}
    assert thread_of(open_run) not in console.run(APP, 3)
    assert thread_of(open_run) not in console.run(APP, 4)


def test_runbook_adds_a_field_to_an_event(world: World, console: Console) -> None:
    """Old and new events are read by the running jobs; a field that old events lack is refused without a default."""
    before = world.attempts()
    for number in ("1", "2", "3"):
        written(console, number)
    assert console.shell("threadlog register ticket-1.avsc", {})[1] == 0
    said, _ = console.shell('threadlog send t-calm --type it.Ticket --data \'{"plan": ""}\' --wait', {})
    assert "t-calm: urgent: not said" in said
    assert "t-urgent: urgent: True" in console.run(FIELD, 0)
    console.run(FIELD, 1)
    assert world.attempts() == before


def written(console: Console, number: str) -> None:
    """The schema of the runbook as a file: 1 lacks the new field, 3 has one without a default."""
    [step] = [step for step in block(FIELD, 0).steps if step.command.startswith("cat ")]
    text, added = "\n".join(step.prints), ',\n  {"name": "urgent", "type": "boolean", "default": false}'
    assert added in text
    other = {"1": "", "2": added, "3": ',\n  {"name": "must", "type": "int"}'}[number]
    console.folder.mkdir(exist_ok=True)
    (console.folder / f"ticket-{number}.avsc").write_text(text.replace(added, other) + "\n")
