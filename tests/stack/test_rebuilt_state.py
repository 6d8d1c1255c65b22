# SPDX-License-Identifier: Apache-2.0
"""A state that is made from the log alone is the one that the jobs had: of every operator, key by key."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from jobs.conversation import THREADS_UID
from jobs.tools import GATE_UID, QUEUE_UID
from ops import http
from ops.stack import flink, records
from ops.stack.command_line import run_command
from ops.stack.layout import Layout
from ops.stack.submit import client_environment
from schemas.topics import kafka_name
from tests.stack.cutting import cut
from tests.stack.test_restore import check_all_end, open_work
from tests.stack.test_start import mark, some_runs
from tests.stack.world import World, fresh, wait_until
from wire.control import CAUGHT_UP
from wire.kafka import settled_ends

pytestmark = pytest.mark.chaos
JOURNAL, ASKS = "agent-decisions", "tool-invocations"
NAP_S = 45  # longer than the jobs run before they are stopped, and shorter than what comes behind


def dumped(world: World, point: str, of: str, folder: Path) -> dict[str, Any]:
    """What a savepoint holds of an operator, by key. Reads it with a job of its own, which must find room."""
    settings, layout = world.settings, Layout(world.settings.state_dir)
    code = cut(settings, "dump")
    shutil.copy(Path(__file__).with_name("dump.py"), code / "jobs" / "dump.py")
    topic, into = ASKS if of == QUEUE_UID else JOURNAL, folder / f"{of}-{len(list(folder.iterdir()))}"
    into.touch()
    ends = settled_ends(settings.bootstrap, kafka_name(settings.namespace, topic))
    begin, end = (",".join(f"{p}:{at(o)}" for p, o in ends.items()) for at in (lambda _: 0, lambda o: o))
    more = ["--of", of, "--into", str(into), "--topic", topic, "--begin", begin, "--end", end]
    command = [*run_command(settings, layout, settings.app, "dump", code, point), *more]
    command.insert(command.index("-s"), "-n")  # the other operators' state is left out
    environment = client_environment(layout, "conversation")
    done = subprocess.run(command, env=environment, cwd=code, check=False, capture_output=True, text=True, timeout=120)
    [id] = re.findall(r"JobID ([0-9a-f]{32})", done.stdout) or [done.stdout + done.stderr]

    def over() -> bool:
        state = http.call(f"{settings.flink_rest}/jobs/{id}")["state"]
        assert state not in ("FAILED", "CANCELED"), flink.last_failure(settings, id)
        return bool(state == "FINISHED")

    wait_until(f"what {point} holds of {of} is told", over)
    return dict(json.loads(line) for line in into.read_text().splitlines())


def calls(queues: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """The effect calls that a tools job holds, pending or waiting for their turn: each with the key of its quota."""
    asks = [(key, slot["ask"]) for key, queue in queues.items() for slot in queue["pending"].values()]
    for key, queue in queues.items():
        asks += [(key, slot) for name, slot in queue["queue"].items() if name.startswith("q:")]
    return {ask["call_id"]: (key, ask) for key, ask in asks if ask["effect"] == "keyed"}


def heard(world: World, keys: Collection[str]) -> Counter[str]:
    """How often the service was asked each of these."""
    return Counter(line["key"] for line in world.lines("arrived") if line["key"] in keys)


def test_rebuilt_state_of_every_operator_is_that_of_before(world: World, tmp_path: Path) -> None:
    """Runs in every way of waiting lie in it, timers and messages in queues, and all that this session has done before.
    Of the conversation each thread is equal, to the last field. Of the tools job the last entry of each thread is, and
    the effect calls that are open; a read that is not answered lies in its topic, not in the journal."""
    gate, layout = fresh("dumped"), Layout(world.settings.state_dir)
    work = open_work(world, gate, NAP_S)
    some_runs(world)
    world.cli("stop")
    point = {kind: records.restore_point(layout, kind) for kind in flink.JOBS}
    before = {
        of: dumped(world, point["conversation" if of == THREADS_UID else "tools"], of, tmp_path)
        for of in (THREADS_UID, GATE_UID, QUEUE_UID)
    }
    assert len(before[THREADS_UID]) > 20 and before[THREADS_UID].keys() == before[GATE_UID].keys()
    # The keys are the topic's, so a state that is empty would have them too.
    kept = {thread: (one["core"]["seq"], one["core"]["head"]) for thread, one in before[THREADS_UID].items()}
    ends = {thread: world.log.threads[thread][-1].entry for thread in kept}
    assert kept == {thread: (entry.seq, entry.hash) for thread, entry in ends.items()}
    assert [thread for thread, (head, *_) in before[GATE_UID].items() if head == [0, ""]] == []
    held = calls(before[QUEUE_UID])
    assert len(held) == 6
    for place in (layout.checkpoints, layout.savepoints, layout.jobs):
        shutil.rmtree(place)
        place.mkdir()
    asked = heard(world, held)
    world.cli("start", "--job", "tools")
    # All but the two whose quota lets one of three be out. Which one that is may be another one than before.
    wait_until("open calls are asked again", lambda: len(heard(world, held) - asked) >= len(held) - 2)
    world.cli("stop", "--job", "tools")
    tools = records.restore_point(layout, "tools")
    heads = dumped(world, tools, GATE_UID, tmp_path)
    assert heads == before[GATE_UID]
    assert calls(dumped(world, tools, QUEUE_UID, tmp_path)) == held
    world.cli("start")
    found = mark(world.settings)
    assert found.what == CAUGHT_UP
    world.wait_running()
    assert dumped(world, found.savepoint, THREADS_UID, tmp_path) == before[THREADS_UID]
    check_all_end(world, work, gate)
