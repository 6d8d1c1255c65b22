# SPDX-License-Identifier: Apache-2.0
"""One run of the tasks through a running stack: turns sent, hosts and the service killed, replies awaited."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.yardstick import fetch
from examples.yardstick.ledger import Watch
from examples.yardstick.repeats import TARGETS
from examples.yardstick.tasks import Task
from ops import http, reading
from ops.context import Trouble
from ops.sending import Sender
from ops.settings import Settings
from ops.stack import flink, processes
from ops.stack.layout import ROOT, Layout

TURN = "yardstick.UserTurn"
# A kill waits for so many open requests, and for one fewer every PATIENCE_S: a few tasks never have many open at once.
UNANSWERED, PATIENCE_S = 8, 0.2
HIT_S = 20
RECOVERY_S = 60
STALLED_S = 60
# Whoever lost an answer with the service asks again within so long, and is counted before the next kill.
AGAIN_S = 5
# After the last reply that is wanted: what is said or asked twice may come later. Longer than an attempt of a tool.
QUIET_S = 6.0

Say = Callable[[str], None]


@dataclass
class Service:
    """The tool service's process. It goes on from its ledger after each kill."""

    url: str
    ledger: Path
    options: list[str]
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it and wait until it answers. Raises Trouble."""
        log_path = self.ledger.with_suffix(".log")
        command = [fetch.PYTHON, "-m", "examples.yardstick.service", "--port", self.url.rpartition(":")[2]]
        command += ["--ledger", self.ledger, *self.options]
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                env=ENVIRONMENT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + 15
        while time.monotonic() < until and self.process.poll() is None:
            try:
                http.call(f"{self.url}/health", timeout_s=1)
                return
            except http.HttpError:
                time.sleep(0.05)
        raise Trouble(f"The tool service does not start on {self.url}.", f"Read {log_path}.")

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal it and wait until it is gone."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()

    def kill(self) -> int:
        """SIGKILL, a moment of absence, start; when it was gone."""
        self.end(signal.SIGKILL)
        gone_ms = now_ms()
        time.sleep(0.3)
        self.start()
        return gone_ms


# Both sides of the comparison print dates in one zone and walk sets in one order.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "TZ": "UTC", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def now_ms() -> int:
    """The clock of the ledger."""
    return time.time_ns() // 1_000_000


def direct(out: Path) -> dict[str, Any]:
    """Execute all tasks without threadlog; `out` is written and its content returned."""
    command = [str(fetch.PYTHON), "-m", "examples.yardstick.direct", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def register(settings: Settings) -> None:
    """Register the event type under its name, as any producer may."""
    schema = (Path(__file__).parent / "schemas" / "user_turn.avsc").read_text(encoding="utf-8")
    http.call(f"{settings.registry_url}/subjects/{TURN}/versions", {"schema": schema})


def send(settings: Settings, prefix: str, tasks: list[Task]) -> None:
    """Send every turn of these tasks, first turns first; a thread takes its turns one after the other."""
    with Sender(settings) as sender:
        for number in range(max((len(task.turns) for task in tasks), default=0)):
            for task in tasks:
                if number < len(task.turns):
                    thread, turn = prefix + task.id, task.turns[number]
                    calls = [
                        {"function": call.function, "args": json.dumps(call.args), "kwargs": json.dumps(call.kwargs)}
                        for call in turn.calls
                    ]
                    data = {"task": task.id, "turn": number, "text": turn.text, "calls": calls}
                    sender.send(thread, TURN, data, id=f"{thread}/{number}", source="/yardstick")


def _wait_open(watch: Watch) -> int:
    """Wait for requests without answers; how many the ledger shows."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < HIT_S:
        if (count := watch.unanswered()) >= max(1, UNANSWERED - passed // PATIENCE_S):
            return count
        time.sleep(0.01)
    return 0


def _restarts(settings: Settings) -> dict[str, int]:
    """When each job last began to restart, in Flink's milliseconds; 0 for never."""
    told = {kind: http.call(f"{settings.flink_rest}/jobs/{job.id}") for kind, job in flink.live_jobs(settings).items()}
    return {kind: int(one["timestamps"]["RESTARTING"]) for kind, one in told.items()}


def _moved(before_ms: dict[str, int], after_ms: dict[str, int]) -> set[str]:
    """The jobs that have restarted in between."""
    return {job for job, at_ms in after_ms.items() if at_ms != before_ms.get(job)}


def _whole(settings: Settings) -> bool:
    """Whether every TaskManager is registered, so that a spare is there for the next kill."""
    return len(http.call(f"{settings.flink_rest}/taskmanagers")["taskmanagers"]) >= settings.taskmanagers


def _kill_host(settings: Settings, kind: str, watch: Watch) -> dict[str, Any]:
    """SIGKILL a TaskManager that hosts the job's subtasks; what was hit, and when."""
    layout, on = Layout(settings.state_dir), flink.job_hosts(settings)
    hosts = [processes.read(layout, name) for name in on.get(kind, [])]
    living = [host for host in hosts if host is not None and host.alive()]
    if not living:
        raise Trouble(
            f"The {kind} job runs on no TaskManager that could be killed.", "Read `threadlog logs jobmanager`."
        )
    name = living[0].name
    there = [job for job, names in on.items() if name in names]
    open_now = _wait_open(watch)
    before_ms, at_ms = _restarts(settings), now_ms()
    processes.send(living[0], signal.SIGKILL)
    until = time.monotonic() + RECOVERY_S
    while not set(there) <= _moved(before_ms, _restarts(settings)) and time.monotonic() < until:
        time.sleep(0.1)
    waiting = flink.wait_running(settings, list(flink.JOBS), until - time.monotonic())
    while not _whole(settings) and time.monotonic() < until:
        time.sleep(0.1)
    if waiting or time.monotonic() >= until:
        raise Trouble(f"{name} was killed, and {RECOVERY_S} s later not all was well.", "`threadlog status`")
    last_ms = _restarts(settings)
    also = sorted(_moved(before_ms, last_ms).difference(there))
    hit = [*there, *also]
    # A recovery may restart more than once; what is asked again after the last time is explained as well.
    noticed_ms = last_ms["tools" if "tools" in hit else kind]
    told = {"killed": name, "unanswered": open_now, "hit": hit, "also": also}
    return {**told, "at_ms": at_ms, "noticed_ms": noticed_ms}


def _kill_service(service: Service, watch: Watch) -> dict[str, Any]:
    """SIGKILL the tool service, start it again, and wait for whoever lost an answer; what was hit, and when."""
    open_now, at_ms = _wait_open(watch), now_ms()
    hit = {"killed": "the tool service", "unanswered": open_now, "hit": ["service"], "also": [], "at_ms": at_ms}
    noticed_ms, until = service.kill(), time.monotonic() + AGAIN_S
    while watch.lost() and time.monotonic() < until:
        time.sleep(0.05)
    return {**hit, "noticed_ms": noticed_ms}


def kill(settings: Settings, target: str, service: Service, watch: Watch) -> dict[str, Any]:
    """Kill one target while requests are open, and wait until everything runs again; the kill as `repeats` has it."""
    began = time.monotonic()
    hit = _kill_service(service, watch) if target == "service" else _kill_host(settings, target, watch)
    if not hit["unanswered"]:
        raise Trouble(
            f"{hit['killed']} was killed while no request was open.", "Send more tasks, or ask for fewer kills."
        )
    return {"target": target, **hit, "seconds": round(time.monotonic() - began, 1)}


def wait_replies(settings: Settings, prefix: str, wanted: int, ledger: Path) -> tuple[int, float]:
    """Wait until so many replies are committed and neither they nor the ledger have grown for a moment, or for a long
    while; how many there are, and when they were (time.monotonic)."""
    before, since = (-1, -1), time.monotonic()
    replied_at = since
    while time.monotonic() - since < (QUIET_S if before[0] >= wanted else STALLED_S):
        time.sleep(0.5)
        keys = (record.key or b"" for record in reading.whole_topic(settings, "agent-replies"))
        now = (sum(key.startswith(prefix.encode()) for key in keys), ledger.stat().st_size)
        if now != before:
            since = time.monotonic()
            replied_at = since if now[0] != before[0] else replied_at
            before = now
    return before[0], replied_at


def run(settings: Settings, name: str, tasks: list[Task], service: Service, kills: int, say: Say) -> dict[str, Any]:
    """Push the tasks through: a part of them before each kill, so that every kill meets work. What was done."""
    prefix, began, done = f"{name}.", time.monotonic(), []
    watch = Watch(service.ledger)
    service.start()
    try:
        for number in range(kills):
            send(settings, prefix, tasks[number :: kills + 1])
            hit = kill(settings, TARGETS[number % len(TARGETS)], service, watch)
            say(
                "  SIGKILL {killed} ({target}), {unanswered} requests open; all went on {seconds} s later".format(**hit)
            )
            done.append(hit)
        send(settings, prefix, tasks[kills :: kills + 1])
        wanted = sum(len(task.turns) for task in tasks)
        count, replied_at = wait_replies(settings, prefix, wanted, service.ledger)
        states = http.call(f"{service.url}/states", timeout_s=60)
        service.ledger.with_suffix(".states.json").write_text(json.dumps(states))
    finally:
        service.end()
    seconds = round(replied_at - began, 1)
    say(f"  {count} of {wanted} turns replied to in {seconds} s")
    return {"kills": done, "seconds": seconds}
