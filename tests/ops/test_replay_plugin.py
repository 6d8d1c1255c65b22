# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin: histories in a user's own test run."""

from __future__ import annotations

import configparser
import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ops.replays import APP, changed, file, mix, source

ROOT = Path(__file__).resolve().parents[2]
Pytest = Callable[..., tuple[int, str]]


@pytest.fixture
def tests(tmp_path: Path) -> Pytest:
    """Runs pytest in a folder with one test of its own and histories; gives exit code and what it says."""
    (tmp_path / "histories").mkdir()
    file(tmp_path / "histories")
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")

    def call(*arguments: str, ini: str = "") -> tuple[int, str]:
        (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini}")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        command = [sys.executable, "-m", "pytest", "-p", "ops.replay.plugin", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        return done.returncode, done.stdout + done.stderr

    return call


COUNT = len({entry.thread for entry in mix(120)})


def test_plugin_is_announced_to_pytest() -> None:
    """An installed threadlog needs no `-p`."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    named = dict(line.split(" = ") for line in config["options.entry_points"]["pytest11"].strip().splitlines())
    assert hasattr(importlib.import_module(named["threadlog"]), "pytest_collect_file")


@pytest.mark.parametrize("how", ["options", "settings", "both"])
def test_plugin_makes_a_test_of_each_thread(tests: Pytest, how: str) -> None:
    """Beside the tests that are there; named on the command line twice, they run once."""
    options = ("--threadlog-histories=histories", f"--threadlog-app={APP}")
    ini = f"threadlog_histories = histories\nthreadlog_app = {APP}\n"
    given = {"options": (options, ""), "settings": ((), ini), "both": ((*options, ".", "histories"), ini)}
    arguments, settings = given[how]
    code, said = tests(*arguments, "-q", ini=settings)
    assert (code, f"{COUNT + 1} passed" in said) == (0, True), said


def test_plugin_leaves_alone_who_asks_for_one_test(tests: Pytest) -> None:
    """Histories of the configuration are run with the whole, or when they are named."""
    ini = f"threadlog_histories = histories\nthreadlog_app = {APP}\n"
    assert "1 passed" in tests("-q", "test_own.py", ini=ini)[1]
    assert f"{COUNT} passed" in tests("-q", "histories/mix.jsonl", ini=ini)[1]


def test_plugin_fails_a_thread_with_its_divergence(
    tests: Pytest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The difference and the line of the handler, and no line of ours; threads that are equal pass."""
    spec = changed(tmp_path, monkeypatch, ("pieces.", "pieces left."))
    code, said = tests("--threadlog-histories=histories", f"--threadlog-app={spec}", "--threadlog-cold")
    threads = {e.thread for e in mix(120) if " pieces." in e.effects}
    assert (code, f"{len(threads)} failed, {COUNT + 1 - len(threads)} passed" in said) == (1, True), said
    name = spec.partition(":")[0]
    assert f"handler    {name}.py:{source(spec, tmp_path, 'pieces left.')} in support" in said
    assert '+ reply "' in said and "plugin.py" not in said


def test_plugin_fails_every_thread_of_an_app_that_connects_when_it_is_imported(
    tests: Pytest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test run reaches nothing: the module is told so by a sentence."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        dial = f"import socket; socket.create_connection(('127.0.0.1', {listener.getsockname()[1]})).close()"
        spec = changed(tmp_path, monkeypatch, ("app = App(", f"{dial}\napp = App("))
        code, said = tests("-q", "--threadlog-histories=histories", f"--threadlog-app={spec}")
        with pytest.raises(TimeoutError):
            listener.accept()
    assert (code, f"{COUNT} failed, 1 passed" in said) == (1, True), said
    assert f"{spec} cannot be imported: Sealed: socket." in said


def test_plugin_without_an_app_or_histories_is_a_sentence(tests: Pytest) -> None:
    """Wrong options end before anything is collected."""
    assert "histories of what app?" in tests("--threadlog-histories=histories")[1]
    assert "there are no histories at" in tests("--threadlog-histories=nowhere", f"--threadlog-app={APP}")[1]


@pytest.mark.parametrize("named", ["mix.json", ".", ".old"], ids=["another name", "an empty folder", "a hidden one"])
def test_plugin_without_a_file_of_histories_is_a_sentence(tests: Pytest, tmp_path: Path, named: str) -> None:
    """Where no test of a history can come of what is named, the tests beside it do not pass for all."""
    folder, asked = tmp_path / "histories", "histories" if named == ".old" else f"histories/{named}"
    (folder / ".old").mkdir()
    into = {"mix.json": folder / "mix.json", ".": tmp_path / "mix.json", ".old": folder / ".old" / "mix.jsonl"}
    (folder / "mix.jsonl").rename(into[named])
    code, said = tests("-q", f"--threadlog-histories={asked}", f"--threadlog-app={APP}", ".")
    assert (code, "so none is tested" in said) == (4, True), said


def test_plugin_takes_histories_of_folders_below(tests: Pytest, tmp_path: Path) -> None:
    """They may be sorted into some."""
    (tmp_path / "histories" / "old").mkdir()
    (tmp_path / "histories" / "mix.jsonl").rename(tmp_path / "histories" / "old" / "mix.jsonl")
    assert f"{COUNT + 1} passed" in tests("-q", "--threadlog-histories=histories", f"--threadlog-app={APP}", ".")[1]


def test_plugin_refuses_a_file_that_is_not_whole(tests: Pytest, tmp_path: Path) -> None:
    """A file that was cut off must not pass for fewer threads."""
    path = tmp_path / "histories" / "mix.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    code, said = tests("--threadlog-histories=histories", f"--threadlog-app={APP}")
    assert (code, "is not whole: it has no last line" in said) == (2, True), said


def test_plugin_fails_a_thread_whose_chain_is_broken(tests: Pytest, tmp_path: Path) -> None:
    """An entry that was changed by hand is no history; the other threads pass."""
    path = tmp_path / "histories" / "mix.jsonl"
    entry = next(one for one in mix(120) if one.seq == 2)
    path.write_bytes(path.read_bytes().replace(entry.hash.encode(), b"0" * 64))
    code, said = tests("-q", "--threadlog-histories=histories", f"--threadlog-app={APP}")
    assert (code, f"1 failed, {COUNT} passed" in said) == (1, True), said
    assert f"{entry.thread} seq 2: it does not continue its thread's chain" in said


def test_plugin_is_silent_where_no_histories_are_named(tests: Pytest) -> None:
    """It changes nothing for those who do not use it: a folder of histories is not collected."""
    code, said = tests("-q")
    assert (code, "1 passed" in said) == (0, True), said
