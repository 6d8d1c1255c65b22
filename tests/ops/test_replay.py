# SPDX-License-Identifier: Apache-2.0
"""`threadlog replay`: from a file or from the journal, equal to the bit, or the first divergence as a difference."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import ops.commands.replay
import ops.reading
from bench.replay import entries, schemas
from ops.replay.histories import Writer
from ops.settings import Settings
from tests.ops.fakes import FakeKafka, objects, run
from tests.ops.replays import APP, changed, file, mix, registered, source
from tests.threadlog.histories import play, some
from threadlog.entry import Entry
from wire.sealed import Sealed, sealed

HERE = ("--workers", "0")
LESS = ("amount=amount)", "amount=min(amount, 9_000))")
WORDS = ("pieces.", "pieces left.")


def fill(kafka: FakeKafka, entries: list[Entry]) -> None:
    kafka.schemas = registered()
    for entry in entries:
        kafka.add_entry(entry)


def test_replay_of_a_file_needs_no_broker_no_registry_and_no_tool(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tools of the desk fail when they are run, and every way out of this process is shut."""
    path = file(tmp_path)

    def shut(*given: Any, **also: Any) -> Any:
        raise AssertionError("a replay of a file reaches nothing")

    monkeypatch.setattr(socket.socket, "connect", shut)
    monkeypatch.setattr(socket, "getaddrinfo", shut)
    for name in ("read_topic", "Registry", "check_broker"):
        monkeypatch.setattr(ops.reading, name, shut)
    monkeypatch.setattr(ops.commands.replay, "check_broker", shut)
    told = run("replay", "--file", str(path), "--app", APP, *HERE)
    assert (told.exit_code, told.stdout.splitlines()[0]) == (0, "Equal to the bit: 120 decisions.")


def test_replay_of_nothing_is_not_called_equal(alone: Path, tmp_path: Path) -> None:
    """Where no decision is asked for, none was compared."""
    told = run("replay", "--file", str(file(tmp_path)), "--app", APP, "--since", "2999-01-01", *HERE)
    lines = told.stdout.splitlines()
    assert (told.exit_code, lines[0], lines[2]) == (
        0, "Nothing was decided again.", "120 were followed, not decided again",
    )  # fmt: skip


def test_replay_shuts_a_handler_in_that_does_io(alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot connect, the listener hears nothing, and the decision is told as another one, with the line."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        port = listener.getsockname()[1]
        dial = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
        spec = changed(
            tmp_path, monkeypatch, ('    thread.vars["messages"] =', f'    {dial}\n    thread.vars["messages"] =')
        )
        told = run("replay", "--file", str(file(tmp_path)), "--app", spec, *HERE)
        with pytest.raises(TimeoutError):
            listener.accept()
    assert told.exit_code == 1
    assert "+ end run failed: Sealed: socket." in told.stdout
    assert f"{spec.partition(':')[0]}.py:{source(spec, tmp_path, 'create_connection')} in support" in told.stdout


@pytest.mark.parametrize("caught", [False, True], ids=["raises", "goes on with a default"])
def test_replay_shuts_an_app_in_that_connects_when_it_is_imported(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caught: bool
) -> None:
    """The listener hears nothing, and the sentence names the module's line, also where the app would have gone on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        dial = f"import socket; socket.create_connection(('127.0.0.1', {listener.getsockname()[1]})).close()"
        tried = f"try:\n    {dial}\nexcept OSError:\n    pass" if caught else dial
        spec = changed(tmp_path, monkeypatch, ("app = App(", f"{tried}\napp = App("))
        told = run("replay", "--file", str(file(tmp_path)), "--app", spec, *HERE)
        with pytest.raises(TimeoutError):
            listener.accept()
    assert told.exit_code == 1
    line = source(spec, tmp_path, "create_connection")
    assert f"{spec} cannot be imported: Sealed: socket." in told.stderr
    assert "in a replay: an app that is imported connects to nothing, that belongs in a tool" in told.stderr
    assert f"({spec.partition(':')[0]}.py:{line})" in told.stderr


def test_replay_lets_an_app_start_what_it_needs_when_it_is_imported(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries start a thread, or ask a program for a version; nothing is connected by that."""
    start = "import os, threading; os.system('true'); threading.Thread(target=int).start()"
    spec = changed(tmp_path, monkeypatch, ("app = App(", f"{start}\napp = App("))
    told = run("replay", "--file", str(file(tmp_path)), "--app", spec, *HERE)
    assert (told.exit_code, told.stdout.splitlines()[0]) == (0, "Equal to the bit: 120 decisions.")


def test_sealed_lets_go_again() -> None:
    """Within it nothing connects and no program starts; outside of it all does, also after an error."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with pytest.raises(Sealed), sealed(), sealed():
            socket.create_connection(address)
        with pytest.raises(Sealed), sealed():
            os.system("true")
        with pytest.raises(Sealed), sealed():
            threading.Thread(target=print).start()
        socket.create_connection(address).close()
        assert os.system("true") == 0


def test_replay_cold_executes_every_run_again_at_every_step(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a handler begins once for each run of the log."""
    first = '    thread.vars["messages"] ='
    spec = changed(
        tmp_path, monkeypatch, (first, f"    BEGUN.append(1)\n{first}"), ("_ONCE =", "BEGUN: list[int] = []\n_ONCE =")
    )
    path, begun = str(file(tmp_path)), []
    for cold in ((), ("--cold",)):
        assert run("replay", "--file", path, "--app", spec, *cold, *HERE).exit_code == 0
        runs = sys.modules[spec.partition(":")[0]].BEGUN
        begun.append(len(runs))
        runs.clear()
    runs_of_log = sum(entry.effects.count('"begin_run"') for entry in mix(120))
    assert begun[0] == runs_of_log < begun[1]


def test_replay_prints_the_first_divergence_as_a_difference(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earliest decision that differs: which it is, the line of the handler, the log's side and the code's."""
    spec = changed(tmp_path, monkeypatch, LESS, WORDS)
    told = run("replay", "--file", str(file(tmp_path)), "--app", spec, *HERE)
    expected = next(e for e in mix(120) if " pieces." in e.effects)
    came = expected.input
    shown = told.stdout.splitlines()
    assert told.exit_code == 1
    assert shown[0] == f"{expected.thread} diverges at seq {expected.seq}: reply: text"
    assert shown[1].startswith(f"  decided on {came.topic}/{came.partition}/{came.offset} (result, resumed), run ")
    place = f"{spec.partition(':')[0]}.py:{source(spec, tmp_path, WORDS[1])} in support"
    assert shown[2].split() == ["handler", *place.split()]
    assert [line.split()[0] for line in shown[3:] if " pieces" in line] == ["-", "+"]


def test_replay_counts_divergences_by_kind(alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In decisions and in threads; what-if is a question, so it is no failure and shows one of each kind."""
    spec = changed(tmp_path, monkeypatch, LESS, WORDS)
    told = run("replay", "--file", str(file(tmp_path)), "--app", spec, "--what-if", *HERE)
    assert told.exit_code == 0
    assert [line for line in told.stdout.splitlines() if " diverges at " in line and line.endswith(": reply: text")]
    assert "arguments: refund  in " in told.stdout
    again = run("replay", "--file", str(tmp_path / "mix.jsonl"), "--app", spec, "--what-if", "--json", *HERE)
    summary = objects(again)[-1]
    decided = [e for e in mix(120) if " pieces." in e.effects and '"reply"' in e.effects and "left if" not in e.effects]
    counted = {(g["kind"], g["about"]): (g["decisions"], g["threads"]) for g in summary["groups"]}
    assert counted["reply", "text"] == (len(decided), len({e.thread for e in decided}))


def test_what_if_over_a_thousand_threads_is_grouped_and_counted(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new rule and new words: how often each would have decided otherwise, in how many threads, and nothing else.

    What the log says of each is counted here without the replay."""
    monkeypatch.setattr("bench.replay.PHASES", 6)  # two batches of 500 customers, who stop early
    made = list(itertools.takewhile(lambda entry: not entry.thread.startswith("r2"), entries(schemas(), 100_000)))
    with (path := tmp_path / "mix.jsonl").open("wb") as into:
        writer = Writer(into, schemas())
        for entry in made:
            writer.add(entry)
        writer.close()
    spec = changed(tmp_path, monkeypatch, LESS, WORDS)
    *told, summary = objects(run("replay", "--file", str(path), "--app", spec, "--what-if", "--workers", "2", "--json"))
    expected = {
        ("arguments", "refund"): [e for e in made if any(one["do"] == "call" and one["tool"] == "refund" and
                                  json.loads(one["args"])["amount"] > 9_000 for one in json.loads(e.effects))],
        ("reply", "text"): [e for e in made if " pieces." in e.effects and "left if" not in e.effects],
    }  # fmt: skip
    groups = {(g["kind"], g["about"]): (g["decisions"], g["threads"]) for g in summary["groups"]}
    assert groups == {what: (len(of), len({e.thread for e in of})) for what, of in expected.items()}
    assert min(count for count, _ in groups.values()) > 100
    assert (summary["threads"], summary["decisions"]) == (1_000, len(made))
    assert {one["thread"] for one in told} == {e.thread for of in expected.values() for e in of}


@pytest.mark.parametrize("workers", ["0", "1", "3"])
def test_replay_finds_the_same_with_any_number_of_workers(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    """Threads are shared out, none twice; the first divergence is the same."""
    spec = changed(tmp_path, monkeypatch, LESS)
    told = run("replay", "--file", str(file(tmp_path, 300)), "--app", spec, "--json", "--workers", workers)
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    [summary] = [line for line in lines if "summary" in line]
    assert (told.exit_code, summary["decisions"], summary["threads"]) == (1, 300, len({e.thread for e in mix(300)}))
    found = sorted((line["thread"], line["seq"]) for line in lines if "diverged" in line)
    assert (len(found), found[0]) == (summary["threads_diverged"], min(found))
    assert summary["groups"][0]["kind"] == "arguments"


def test_replay_workers_go_through_sets_as_taskmanagers_do(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the hash seed of the command's own process is."""
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    unseeded = (
        "import sys\nif sys.flags.hash_randomization or hash('a') != int(ZERO):\n    raise ValueError(hash('a'))\n"
    )
    zero = subprocess.run(
        [sys.executable, "-c", "print(hash('a'))"],
        env={"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    spec = changed(tmp_path, monkeypatch, ("LARGE = ", unseeded.replace("ZERO", f"'{zero}'") + "LARGE = "))
    told = run("replay", "--file", str(file(tmp_path)), "--app", spec, "--workers", "1")
    assert told.exit_code == 0, told.output
    assert os.environ["PYTHONHASHSEED"] == "7"


def test_replay_of_the_journal_is_that_of_its_file(kafka: FakeKafka) -> None:
    """All threads, one thread, those since a moment."""
    fill(kafka, mix(120))
    one = mix(120)[0].thread
    count = sum(entry.thread == one for entry in mix(120))
    assert "Equal to the bit: 120 decisions." in run("replay", "--all", "--app", APP, *HERE).stdout
    assert f"Equal to the bit: {count} decisions." in run("replay", one, "--app", APP, *HERE).stdout
    late = mix(120)[60].time_ms
    since = sum(entry.time_ms >= late for entry in mix(120))
    moment = datetime.fromtimestamp(late / 1000, UTC).isoformat()
    told = objects(run("replay", "--since", moment, "--app", APP, "--json", *HERE))[-1]
    assert told["standings"] == {"equal": since, "followed": 120 - since}


def test_replay_tells_of_void_entries_of_journal_and_file(kafka: FakeKafka, tmp_path: Path) -> None:
    """A changed entry is no divergence of the code: it is left out and told of, and so is what it carried."""
    entries = mix(120)
    place = next(n for n, entry in enumerate(entries) if entry.seq == 2)
    entries = [*entries[:place], replace(entries[place], effects="[]"), *entries[place + 1 :]]
    fill(kafka, entries)
    after = sum(entry.thread == entries[place].thread and entry.seq >= 2 for entry in entries)
    told = run("replay", "--all", "--app", APP, *HERE)
    assert (told.exit_code, f"Void and left out, {after}:" in told.stderr) == (1, True)
    with (tmp_path / "broken.jsonl").open("wb") as out:
        writer = Writer(out, registered())
        for entry in entries:
            writer.add(entry)
        writer.close()
    told = run("replay", "--file", str(tmp_path / "broken.jsonl"), "--app", APP, *HERE)
    assert (told.exit_code, f"Void and left out, {after}:" in told.stderr) == (1, True)
    assert "diverges" not in told.stdout


def test_replay_begins_at_a_snapshot_where_the_history_is_cut(kafka: FakeKafka) -> None:
    """And says so; what stands before a thread's first snapshot is counted."""
    thread = next(t for t in (play(h, m) for h, m in some(40)) if any(e.snapshot for e in t.journal))
    first = next(entry.seq for entry in thread.journal if entry.snapshot)
    fill(kafka, thread.journal)
    kafka.cut("agent-decisions", 1)
    journal = ops.reading.Journal(Settings(brokers=os.environ["THREADLOG_BROKERS"]), from_snapshot=True)
    assert [entry.seq for entry in journal] == [entry.seq for entry in thread.journal[first - 1 :]]
    assert (journal.cut, journal.voids) == ({"t": first - 2}, [])
