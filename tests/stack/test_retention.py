# SPDX-License-Identifier: Apache-2.0
"""What retention has deleted is told of, and made up for where something can: beside the stack's own jobs, in a
namespace of these tests, whose topics lose records."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from ops.reading import Journal
from ops.stack import flink, lifecycle
from ops.stack.command_line import run_command
from ops.stack.layout import PYTHON, ROOT, Layout
from ops.stack.submit import client_environment, pack, stop_jobs
from schemas.topics import kafka_name
from tests.stack.cutting import cut
from tests.stack.follower import PATIENCE_S
from tests.stack.test_start import assert_refused, flink_run, mark
from tests.stack.world import Event, World, fresh, wait_until
from threadlog.entry import Entry
from wire.admin import delete_before
from wire.kafka import bounds, producer, read_topic

LONG = 520  # entries; a snapshot comes with the 500th
# No start and no attempt asks what its inputs have lost.
UNASKED = (
    ("udfs/start_guard.py", "        if trouble := why_not(looked):\n", '        if trouble := "":\n'),
    ("udfs/thread_function.py", "            patiently(lambda: inputs.check(*where, CONVERSATION))\n", ""),
)


class Aged:
    """The conversation alone, in a namespace of its own."""

    def __init__(self, world: World, namespace: str) -> None:
        self.world = world
        self.settings = dataclasses.replace(world.settings, namespace=namespace)
        self.sender, self.sent = producer(self.settings.bootstrap), list[Event]()
        lifecycle.ensure_wire(self.settings, print)

    def cli(self, *words: str) -> None:
        self.world.cli("--namespace", self.settings.namespace, *words, "--job", "conversation")

    def refused(self, *words: str) -> str:
        """What `threadlog …` says that ends with an error."""
        program, where = "from ops.cli import main; main()", ("--state-dir", str(self.settings.state_dir))
        command = [str(PYTHON), "-c", program, *where, "--namespace", self.settings.namespace, *words]
        environment = {**os.environ, "PYTHONPATH": str(self.world.app.parent)}
        done = subprocess.run(
            [*command, "--job", "conversation"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 1, done
        return done.stderr

    def send(self, thread: str, count: int) -> None:
        for _ in range(count):
            event = self.world.event(thread, "it.Go", {"plan": ""})
            name = kafka_name(self.settings.namespace, "agent-events")
            self.sender.produce(name, event.value, event.key, headers=event.headers)
            self.sent.append(event)
        assert self.sender.flush(30) == 0

    def entries(self, thread: str) -> list[Entry]:
        """The valid entries that are left of a thread; none is void, whatever is cut."""
        journal = Journal(self.settings, thread, from_anywhere=True)
        found = list(journal)
        assert journal.voids == []
        return found

    def wait_seq(self, thread: str, seq: int) -> None:
        def there() -> bool:
            found = self.entries(thread)
            return bool(found) and found[-1].seq >= seq

        wait_until(f"decision {seq} of {thread}", there)
        assert self.entries(thread)[-1].seq == seq

    def place(self, topic: str, thread: str) -> tuple[str, int]:
        """The topic and partition that a thread's records lie in."""
        name = kafka_name(self.settings.namespace, topic)
        key = thread.encode()
        return name, next(record.partition for record in read_topic(self.settings.bootstrap, name) if record.key == key)

    def delete(self, place: tuple[str, int], before: int) -> None:
        delete_before(self.settings.bootstrap, {place: before})

    def end(self, place: tuple[str, int]) -> int:
        return bounds(self.settings.bootstrap, place[0])[place[1]][1]

    def failure(self) -> str:
        return flink.last_failure(self.settings, flink.live_jobs(self.settings)["conversation"].id)


@pytest.fixture(scope="module")
def aged(followed: World) -> Iterator[Aged]:
    """One for all tests, whose job runs at the end of each."""
    made = Aged(followed, "aged")
    made.cli("start")
    yield made
    stop_jobs(made.settings, Layout(made.settings.state_dir, "aged"), ["conversation"], print)


@pytest.mark.chaos
def test_retention_leaves_threads_that_go_on_from_their_snapshots(aged: Aged) -> None:
    """With the journal's beginning deleted, the state is rebuilt to go on with the next decision, and none is void. A
    thread of which no snapshot is left is told of, and nothing is decided for it any more."""
    thread, others = fresh("long"), [fresh("short") for _ in range(6)]
    for name, count in ((thread, LONG), *((other, 3) for other in others)):
        aged.send(name, count)
    for name, seq in ((thread, LONG), *((other, 3) for other in others)):
        aged.wait_seq(name, seq)
    journal = list(read_topic(aged.settings.bootstrap, kafka_name("aged", "agent-decisions")))
    assert {dict(record.headers)["generation"] for record in journal} == {b"1"}
    aged.cli("stop")
    long = aged.place("agent-decisions", thread)
    short = next(other for other in others if aged.place("agent-decisions", other) != long)
    for name, gone in ((thread, LONG - 30), (short, 2)):
        offsets = [record.offset for record in journal if record.key == name.encode()]
        aged.delete(aged.place("agent-decisions", name), offsets[gone])
    aged.cli("start", "--rebuild")
    for name in (thread, short):
        aged.send(name, 1)
    aged.wait_seq(thread, LONG + 1)
    letters = kafka_name("aged", "dead-letters")
    wait_until(
        "a dead letter", lambda: any(r.key == short.encode() for r in read_topic(aged.settings.bootstrap, letters))
    )
    told = {
        dict(record.headers)["__streams.errors.exception"] for record in read_topic(aged.settings.bootstrap, letters)
    }
    assert told == {b"history_cut"}
    aged.wait_seq(short, 3)
    last = next(reversed(list(read_topic(aged.settings.bootstrap, long[0], partitions=[long[1]]))))
    assert dict(last.headers)["generation"] == b"2"


@pytest.mark.chaos
def test_inputs_that_retention_has_deleted_stop_a_start(aged: Aged) -> None:
    """What was handled may be gone; what was not is named, by `threadlog start` and by plain `flink run`, until the
    loss is accepted. What came behind it is then decided."""
    thread = fresh("waits")
    aged.send(thread, 4)
    aged.wait_seq(thread, 4)
    place = aged.place("agent-events", thread)
    aged.cli("stop")
    aged.delete(place, handled := aged.end(place))
    aged.cli("start")
    aged.cli("stop")
    aged.send(thread, 3)
    aged.delete(place, handled + 2)
    wanted = (
        f"2 input offsets were deleted before they were handled: agent-events partition {place[1]} offsets {handled} to"
    )
    assert wanted in aged.refused("start")
    folder, _ = pack(Layout(aged.settings.state_dir), aged.settings.app)
    assert_refused(flink_run(aged.settings, folder, mark(aged.settings).savepoint), wanted, "--accept-lost-inputs")
    aged.cli("start", "--accept-lost-inputs")
    aged.wait_seq(thread, 5)


@pytest.mark.chaos
def test_inputs_that_are_deleted_while_a_job_restarts_keep_it_from_going_on(aged: Aged) -> None:
    """Flink restarts it by itself, and no `main()` looks: the job says what is lost, decides nothing, and goes on by
    itself once the loss is accepted."""
    thread = fresh("restarts")
    aged.send(thread, 1)
    aged.wait_seq(thread, 1)
    place = aged.place("agent-events", thread)
    (host,) = flink.job_hosts(aged.settings)["conversation"]
    before = aged.world.process(host)
    aged.world.kill(host)
    at = aged.end(place)
    aged.send(thread, 3)
    aged.delete(place, at + 2)
    wait_until(
        "the job says what it lacks", lambda: "2 input offsets were deleted before they were handled" in aged.failure()
    )
    time.sleep(2)
    assert [entry.seq for entry in aged.entries(thread)] == [1]
    aged.cli("start", "--accept-lost-inputs")
    aged.wait_seq(thread, 2)
    aged.world.wait_again(host, before)


@pytest.mark.chaos
def test_inputs_that_are_deleted_are_lost_without_a_word_where_nothing_looks(aged: Aged) -> None:
    """The same steps with that cut out of the job: Flink's source goes on from what is left, nothing fails, and no
    entry, no dead letter and no log of the job names what was passed over."""
    thread = fresh("unasked")
    aged.send(thread, 1)
    aged.wait_seq(thread, 1)
    place = aged.place("agent-events", thread)
    aged.cli("stop")
    at = aged.end(place)
    aged.send(thread, 3)
    aged.delete(place, at + 2)
    code = cut(aged.settings, "unasked", *UNASKED)
    assert flink_run(aged.settings, code, mark(aged.settings).savepoint).returncode == 0
    aged.wait_seq(thread, 2)
    letters = read_topic(aged.settings.bootstrap, kafka_name("aged", "dead-letters"))
    assert [letter for letter in letters if letter.key == thread.encode()] == []
    assert "deleted" not in aged.failure()
    aged.cli("stop")
    aged.cli("start")


@pytest.mark.chaos
def test_of_two_starts_at_the_same_moment_one_goes_on(aged: Aged) -> None:
    """The other is refused, in a sentence; the one that runs can be taken over, and nothing is decided twice."""
    thread = fresh("race")
    aged.cli("stop")
    layout, point = Layout(aged.settings.state_dir), mark(aged.settings).savepoint
    folder, _ = pack(layout, aged.settings.app)
    command = run_command(aged.settings, layout, aged.settings.app, "conversation", folder, point)
    environment = client_environment(layout, "tools")
    clients = [
        subprocess.Popen(
            command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    told = [client.communicate(timeout=120)[0] for client in clients]
    assert sorted(client.returncode for client in clients) == [0, 3], told
    [refused] = [text for client, text in zip(clients, told, strict=True) if client.returncode]
    assert "was not started: another start of it" in refused
    assert flink.wait_running(aged.settings, ["conversation"], PATIENCE_S) == []
    first = flink.live_jobs(aged.settings)["conversation"].id
    aged.send(thread, 2)
    aged.wait_seq(thread, 2)
    aged.cli("start", "--take-over")
    assert flink.live_jobs(aged.settings)["conversation"].id != first
    aged.send(thread, 2)
    aged.wait_seq(thread, 4)
