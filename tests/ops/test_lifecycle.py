# SPDX-License-Identifier: Apache-2.0
"""`up` begins only where it may, `down --purge` removes only what a stack left, and both say what they did."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import pytest

from ops import http
from ops.settings import DEFAULTS, Settings
from ops.stack import flink, lifecycle, ports, records
from ops.stack.layout import BUILD, OURS, ROOT, Layout
from ops.stack.parts import Part
from ops.stack.render import render
from tests.ops.fakes import objects, run


def test_purge_removes_a_stacks_folder(stopped: Layout) -> None:
    """All of it, and says so; a second time there is nothing to say no to."""
    (stopped.state / "kafka").mkdir()
    told = run("down", "--purge")
    assert (told.exit_code, f"{stopped.state} is removed" in told.stdout) == (0, True)
    assert not stopped.state.exists()
    assert objects(run("down", "--purge", "--json")) == [{"down": True, "was_running": False, "purged": True}]


def test_purge_leaves_what_is_not_the_stacks(stopped: Layout) -> None:
    """A file that somebody put there stays, and is named."""
    (stopped.state / "notes.txt").write_text("mine")
    told = run("down", "--purge")
    assert (told.exit_code, "so it stays: notes.txt" in told.stdout) == (0, True)
    assert [path.name for path in stopped.state.iterdir()] == ["notes.txt"]


def test_purge_lists_what_is_gone_and_what_stays(stopped: Layout) -> None:
    """One object a line; the last says that it is done."""
    there = {*stopped.state.iterdir(), stopped.state / "lock"}
    (stopped.state / "notes.txt").write_text("mine")
    told = objects(run("down", "--purge", "--json"))
    assert {Path(line["removed"]) for line in told if "removed" in line} == there
    assert [line["kept"] for line in told if "kept" in line] == [str(stopped.state / "notes.txt")]
    assert told[-1] == {"down": True, "was_running": False, "purged": True}
    (stopped.state / "notes.txt").unlink()
    render(Settings(state_dir=stopped.state, port_base=28000), stopped)
    assert {"removed": str(stopped.state)} in objects(run("down", "--purge", "--json"))


class Ending:
    """A supervisor that ends at once, and a cluster with jobs of three namespaces; one of them cannot be stopped."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.catch_ups, self.folders = list[str](), dict[str, Path]()
        names = (
            "threadlog.tools",
            "rewound.tools",
            "rewound.conversation",
            "stuck.tools",
            "stuck.catchup",
            "A b.tools",
            "verified.replay",
        )
        overview = [{"name": n, "jid": "f" * 32, "state": "RUNNING", "start-time": 1, "tasks": {}} for n in names]
        overview.append({**overview[0], "name": "gone.tools", "state": "FINISHED"})
        monkeypatch.setattr(flink.http, "call", lambda url: {"jobs": overview})
        monkeypatch.setattr(lifecycle, "Supervisor", lambda layout: self)
        monkeypatch.setattr(lifecycle, "end_catch_ups", lambda settings, say: self.catch_ups.append(settings.namespace))
        monkeypatch.setattr(lifecycle, "stop_jobs", self.stop_jobs)
        monkeypatch.setattr(lifecycle, "pause", self.pause)

    def pause(self, settings: Settings, layout: Layout, say: object) -> list[str]:
        if settings.namespace == "stuck":
            raise http.HttpError("", 0, "not cancelled within 30 s")
        return ["file:/chk-3"] if settings.namespace == "verified" else []

    def stop_jobs(self, settings: Settings, layout: Layout, kinds: list[str], say: object, s: float) -> list[str]:
        self.folders[settings.namespace] = layout.jobs
        if settings.namespace == "stuck":
            return ["tools"]
        for kind in kinds:
            records.write(layout, records.Record(kind, "f" * 32, "a:app", "", f"file:/{settings.namespace}-{kind}"))
        return []

    def is_running(self) -> bool:
        return True

    def info(self) -> dict[str, object]:
        return {}

    def stop(self, names: list[str]) -> None: ...

    def shut_down(self) -> None: ...


def test_down_stops_the_jobs_of_every_namespace(stopped: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a branch too, whatever namespace it is told, and a replay: else the next JobManager would recover them.
    Each has its savepoint written down beside its own, and what could not be stopped is named, each by itself."""
    ending = Ending(monkeypatch)
    told = objects(run("down", "--json"))
    assert told == [
        {"namespace": "rewound", "job": "conversation", "savepoint": "file:/rewound-conversation"},
        {"namespace": "rewound", "job": "tools", "savepoint": "file:/rewound-tools"},
        {"namespace": "threadlog", "job": "tools", "savepoint": "file:/threadlog-tools"},
        {"namespace": "verified", "job": "replay", "checkpoint": "file:/chk-3"},
        {"down": True, "was_running": True, "purged": False},
    ]
    jobs = stopped.state / "jobs"
    others = {name: jobs / name for name in ("rewound", "stuck", "verified")}
    assert ending.folders == {"threadlog": jobs} | others
    assert ending.catch_ups == ["rewound", "stuck", "threadlog", "verified"]
    failed = "stuck.replay (not cancelled within 30 s) and stuck.tools will go on from the last checkpoint"
    assert failed in run("--namespace", "rewound", "down").stdout


@pytest.mark.parametrize("name", ["run", "logs", "conf"])
def test_purge_refuses_a_folder_of_somebody_else(alone: Path, name: str) -> None:
    """A folder that holds a `run` or a supervisor's `conf` of another program is not a stack's."""
    (alone / "work" / name).mkdir(parents=True)
    (alone / "work" / name / "supervisord.conf").write_text("[supervisord]\nidentifier=other\n")
    told = run("--state-dir", "work", "down", "--purge")
    assert (told.exit_code, "nothing was removed" in told.stderr) == (1, True)
    assert (alone / "work" / name / "supervisord.conf").is_file()


def test_purge_knows_all_that_a_stack_writes(stopped: Layout) -> None:
    """What is rendered and remembered is on the list of what is removed."""
    assert {path.name for path in stopped.state.iterdir()} - set(OURS) == set()


def test_up_refuses_a_folder_with_other_things(alone: Path) -> None:
    """The current folder of a person is no state folder."""
    (alone / "thesis.tex").write_text("x")
    told = run("--state-dir", ".", "up", "--no-jobs")
    assert (told.exit_code, "holds other things: thesis.tex" in told.stderr) == (1, True)


@pytest.mark.parametrize("app", ["typo:app", "examples.support_desk.app:typo"])
def test_up_starts_nothing_for_code_that_is_no_app(alone: Path, monkeypatch: pytest.MonkeyPatch, app: str) -> None:
    """A stack without jobs is not what was asked for, and is not called up."""
    monkeypatch.setattr(lifecycle, "check_built", lambda: None)
    monkeypatch.setattr(lifecycle, "_start_cold", lambda settings, layout, say: pytest.fail("it was started"))
    told = run("up", "--app", app)
    assert (told.exit_code, "The app cannot run" in told.stderr, "Up." in told.stdout) == (1, True, False)


def test_up_refuses_a_broker_that_is_not_its_own(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of a local Flink on somebody's Kafka are nobody's wish."""
    monkeypatch.setenv("THREADLOG_BROKERS", "kafka:9092")
    for command in ("up", "submit"):
        told = run(command)
        assert (told.exit_code, "Kafka is set to kafka:9092" in told.stderr) == (1, True)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            ["--port-base", "28000", "up", "--app", "my.other:app"],
            "app = examples.support_desk.app:app, not my.other:app",
        ),
        (["--port-base", "28010", "up"], "port_base = 28000, not 28010"),
    ],
    ids=["app", "port_base"],
)
def test_up_on_a_running_stack_says_what_it_will_not_change(
    stopped: Layout, monkeypatch: pytest.MonkeyPatch, line: list[str], sentence: str
) -> None:
    """Neither silence nor a restart: what differs from what runs is named, with the command that changes it."""
    monkeypatch.setattr(lifecycle.Supervisor, "is_running", lambda self: True)
    told = run(*line)
    assert (told.exit_code, sentence in told.stderr, "threadlog submit --app" in told.stderr) == (1, True, True)


def test_up_takes_no_folder_of_another_namespace(stopped: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its jobs would go on from the other one's savepoints, and do what those had in hand under a new name."""
    monkeypatch.setattr(lifecycle, "_start_cold", lambda settings, layout, say: pytest.fail("it was started"))
    told = run("--namespace", "branch", "up", "--no-jobs")
    assert (told.exit_code, "is of the namespace threadlog, not of branch" in told.stderr) == (1, True)


def test_ports_that_are_taken_are_named_with_their_owner() -> None:
    """Part, port, use, and the program that has it; a free port is not mentioned."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        taken, free = server.getsockname()[1], probe.getsockname()[1]
        probe.close()
        [complaint] = ports.taken([Part("kafka", (), {"clients": taken}), Part("registry", (), {"HTTP": free})])
        own = Path("/proc/self/comm").read_text().strip()
        assert complaint.startswith(f"kafka wants port {taken} for clients, but {own} (pid ")


def test_up_stops_before_a_port_that_is_taken(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started; the sentence names the port and the way out."""
    base = int(run("--json", "status").stdout.split('"port_base": ')[1].rstrip("}\n"))
    monkeypatch.setattr(lifecycle, "check_built", lambda: None)
    with socket.create_server(("127.0.0.1", base + 4)):
        told = run("up", "--no-jobs")
    assert told.exit_code == 1
    assert f"registry wants port {base + 4} for HTTP" in told.stderr
    assert "--port-base" in told.stderr
    assert not Layout(alone / ".threadlog").socket.exists()


def test_broker_is_formatted_under_any_cluster_id(alone: Path) -> None:
    """Ids are drawn, and one in 64 begins with a dash: it must not be taken for an option."""
    if not (BUILD / "kafka").exists():
        pytest.skip("needs the stack's programs: run `make setup`")
    settings = Settings(state_dir=alone / "state")
    layout = Layout(settings.state_dir)
    layout.state.mkdir(parents=True)
    (layout.state / "kafka-cluster-id").write_text("-" + "A" * 21)
    [broker] = [part for part in render(settings, layout) if part.name == "kafka"]
    done = subprocess.run(["sh", "-c", *broker.prepare], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, (layout.state / "kafka" / "meta.properties").exists()) == (0, True), done.stderr


def test_ports_in_the_documents_are_those_of_the_parts(alone: Path) -> None:
    """docs/operations.md lists each port of each part by its distance from the base."""
    settings = Settings(state_dir=alone / "state", port_base=28000)
    parts = render(settings, Layout(settings.state_dir))
    wanted = {port - 28000: f"{part.name}, {use}" for part in parts for use, port in part.ports.items()}
    rows = [
        line.split("|") for line in (ROOT / "docs" / "operations.md").read_text().splitlines() if line.startswith("| +")
    ]
    told = {int(row[1].strip().removeprefix("+")): row[2].strip() for row in rows}
    assert {number: told.get(number) for number in wanted} == wanted
    assert sorted(told) == list(range(10))


def test_settings_in_the_documents_are_those_that_there_are() -> None:
    """docs/operations.md lists every setting with its default."""
    found = re.findall(r"^\| `(\w+)` \| (.*?) ?\|", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert dict(found) == {key: str(value) for key, value in DEFAULTS.items()}
