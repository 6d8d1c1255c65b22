# SPDX-License-Identifier: Apache-2.0
"""What is shipped is what was meant: its digest is the one that TaskManagers find, and it can be imported."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path

import pytest

from jobs.arguments import parse, parse_catch_up, parse_replay
from ops.replay import cluster
from ops.settings import Settings
from ops.stack import code, starting
from ops.stack.code import PACKAGES, app_digest, check, pack
from ops.stack.command_line import arguments
from ops.stack.layout import Layout
from tests.ops.fakes import begun, objects, run
from wire.app_code import AppCodeError, digest, files_digest

APP = 'from threadlog import App\n\napp = App("mine")\nother = 1\n'


@pytest.fixture
def home(alone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A person's folder with apps in it, as the current one; what is imported of it is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (alone / "single_app.py").write_text(APP)
    (alone / "pack_app" / "inner").mkdir(parents=True)
    for folder in ("pack_app", "pack_app/inner"):
        (alone / folder / "__init__.py").write_text(APP)
        (alone / folder / "main.py").write_text(APP)
    before = set(sys.modules)
    yield alone
    for name in set(sys.modules) - before:
        if name.startswith(("single_app", "pack_app", "bad_")):
            del sys.modules[name]


SPECS = ("single_app:app", "pack_app:app", "pack_app.main:app", "pack_app.inner:app", "pack_app.inner.main:app")


@pytest.mark.parametrize("spec", SPECS)
def test_code_digest_is_that_of_what_is_shipped(home: Path, spec: str) -> None:
    """Caches, hidden files and links beside the code change neither; both sides name the same files."""
    layout = Layout(home / "state")
    plain = app_digest(spec, pack(layout, spec)[0])
    assert plain == digest(spec)
    for folder in ("pack_app", "pack_app/inner"):
        (home / folder / ".editor.swp").write_text("x")
        (home / folder / "__pycache__").mkdir(exist_ok=True)  # importing it has made one
        (home / folder / "__pycache__" / "main.cpython-311.pyc").write_text("x")
    (home / "pack_app" / ".git").mkdir()
    (home / "pack_app" / ".git" / "HEAD").write_text("x")
    folder, _ = pack(layout, spec)
    assert (app_digest(spec, folder), digest(spec)) == (plain, plain)
    assert [path.name for path in folder.rglob("*") if path.name.startswith(".")] == []


def test_two_who_pack_the_same_at_once_have_one_copy(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that comes second takes what the first has left."""
    first = home / "first"

    def compile_dir(fresh: Path, **_: object) -> None:
        if not first.exists():
            first.touch()
            pack(Layout(home / "state"), "pack_app:app")
            fresh.mkdir()
            (fresh / "left").touch()

    monkeypatch.setattr(code.compileall, "compile_dir", compile_dir)
    folder, _ = pack(Layout(home / "state"), "pack_app:app")
    assert (folder / "pack_app" / "main.py").is_file()
    assert sorted(folder.parent.iterdir()) == [folder]


def test_shipped_code_is_compiled(home: Path) -> None:
    """Every module, by its source's content: the unpacked copies have other times. No cache from elsewhere is."""
    (home / "pack_app" / "__pycache__").mkdir()
    (home / "pack_app" / "__pycache__" / "gone.cpython-311.pyc").write_text("x")
    folder, _ = pack(Layout(home / "state"), "pack_app:app")
    assert list(folder.rglob("gone.*")) == []
    for source in folder.rglob("*.py"):
        compiled = Path(cache_from_source(str(source))).read_bytes()
        assert (compiled[:4], compiled[4:8]) == (MAGIC_NUMBER, (0b11).to_bytes(4, "little")), source
        assert compiled[8:16] == source_hash(source.read_bytes()), source


def test_code_behind_a_link_counts(home: Path) -> None:
    """A linked folder is shipped as files, and the digest is that of the files."""
    (home / "elsewhere").mkdir()
    (home / "elsewhere" / "more.py").write_text("x = 1\n")
    (home / "pack_app" / "linked").symlink_to(home / "elsewhere")
    told = objects(run("--json", "pack", "--app", "pack_app:app"))[0]
    shipped = Path(told["folder"]) / "pack_app"
    assert (shipped / "linked" / "more.py").is_file()
    assert told["command"][-2:] == ["--app-digest", files_digest([shipped])]


def test_code_is_laid_out_once(home: Path) -> None:
    """The same code is the same folder; an edit is another one, and nothing else is left."""
    layout = Layout(home / "state")
    first, again = pack(layout, "single_app:app"), pack(layout, "single_app:app")
    (home / "single_app.py").write_text(APP + "more = 2\n")
    edited = pack(layout, "single_app:app")
    assert first == again != edited
    assert {path.name for path in (layout.state / "code").iterdir()} == {first[1], edited[1]}
    assert {path.name for path in first[0].iterdir()} == {*PACKAGES, "single_app.py", "__pycache__"}


BAD = {
    "bad_name:nothing": ("app = 1\n", "module bad_name has no nothing"),
    "bad_kind:app": ("app = 1\n", "bad_kind:app is a int, expected a threadlog App"),
    "bad_code:app": ("x = 1\nraise ValueError('wrong\\nlines')\n", "ValueError: wrong lines (bad_code.py:2)"),
    "bad_exit:app": ("import os\nos._exit(3)\n", "its process ended (3)"),
    "bad_beside:app": ("import single_app\n", "No module named 'single_app' (bad_beside.py:1)"),
    "bad_syntax:app": ("def\n", "SyntaxError: invalid syntax (bad_syntax.py, line 1)"),
}


@pytest.mark.parametrize("spec", BAD)
def test_code_that_is_no_app_is_found_before_anything_is_stopped(home: Path, spec: str) -> None:
    """What is shipped is imported in a process of its own; a sentence says what is wrong and where."""
    text, sentence = BAD[spec]
    (home / f"{spec.partition(':')[0]}.py").write_text(text)
    with pytest.raises(AppCodeError) as raised:
        check(spec, pack(Layout(home / "state"), spec)[0])
    assert str(raised.value).endswith(sentence)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("command", ["up", "submit", "pack"])
def test_code_whose_package_cannot_be_imported_is_a_sentence(home: Path, command: str) -> None:
    """To find `package.module`, Python runs the package: whatever it raises is told."""
    begun(home / ".threadlog")
    (home / "bad_package").mkdir()
    (home / "bad_package" / "__init__.py").write_text("def\n")
    (home / "bad_package" / "app.py").write_text(APP)
    told = run(command, "--app", "bad_package.app:app")
    assert told.exit_code == 1
    assert "the package of bad_package.app cannot be imported: SyntaxError" in told.stderr


HINTS = {
    "typo.app:app": "Name it as package.module:attribute",
    "bad_kind:app": "Name it as package.module:attribute",
    "bad_code:app": "Mend the code",
    "bad_inside.app:app": "Mend the code",
    "bad_beside:app": "what else it imports must be installed",
    "bad_needs.app:app": "what else it imports must be installed",
}


@pytest.mark.parametrize("spec", HINTS)
def test_code_that_cannot_run_is_told_with_what_to_do_about_it(home: Path, spec: str) -> None:
    """A wrong name, a mistake in the code, and a package that is not installed are three things."""
    for name in ("bad_kind", "bad_code", "bad_beside"):
        (home / f"{name}.py").write_text(BAD[f"{name}:app"][0])
    for name, needed in (("bad_inside", "bad_inside.missing"), ("bad_needs", "not_installed")):
        (home / name).mkdir()
        (home / name / "__init__.py").write_text(f"import {needed}\n")
        (home / name / "app.py").write_text(APP)
    told = run("pack", "--app", spec)
    assert (told.exit_code, HINTS[spec] in told.stderr) == (1, True), told.stderr


def test_pack_prints_what_a_job_takes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed lines name the folder, the digest and the cluster of the settings, and the jobs understand them."""
    monkeypatch.setenv("THREADLOG_BROKERS", "k1:9092,k2:9092")
    monkeypatch.setenv("THREADLOG_REGISTRY", "https://registry/api")
    line = ("pack", "--app", "single_app:app", "--checkpoint-dir", "s3://bucket/checkpoints")
    conversation, tools = objects(run("--json", *line))
    said = [shlex.split(one) for one in run(*line).stdout.splitlines() if one.startswith("flink")]
    assert said == [conversation["command"], tools["command"]]
    folder = Path(conversation["folder"])
    assert said[0][:7] == ["flink", "run", "-d", "-pyfs", str(folder), "-py", str(folder / "jobs" / "conversation.py")]
    monkeypatch.setattr(sys, "argv", said[0][6:])
    args = parse("conversation")
    assert (args.bootstrap, args.registry.url, args.checkpoint_dir) == (
        "k1:9092,k2:9092",
        "https://registry/api",
        "s3://bucket/checkpoints",
    )
    assert args.app_digest == digest("single_app:app") == conversation["app_digest"]


@pytest.mark.parametrize(("asked_ms", "told_ms"), [(200, 1_000), (5_000, 5_000)])
def test_tools_job_has_checkpoints_no_more_often_than_each_second(
    home: Path, monkeypatch: pytest.MonkeyPatch, asked_ms: int, told_ms: int
) -> None:
    """The conversation's are as often as the settings say, for an effect waits for one. Nothing waits for theirs."""
    folder, _ = pack(Layout(home), "single_app:app")
    settings = Settings(checkpoint_interval_ms=asked_ms)
    for kind, interval_ms in (("conversation", asked_ms), ("tools", told_ms)):
        monkeypatch.setattr(
            sys, "argv", [f"{kind}.py", *arguments(settings, kind, "single_app:app", folder, "file:///c")]
        )
        assert parse(kind).checkpoint_interval_ms == interval_ms


def test_jobs_that_read_the_journal_take_what_they_are_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No argument that is required is left out, and none is given that is unknown."""
    folder, _ = pack(Layout(home), "single_app:app")
    base = arguments(Settings(), "replay", "single_app:app", folder, "file:///c")
    monkeypatch.setattr(sys, "argv", ["replay.py", *base, *cluster.arguments("r-1", {1: 7, 0: 12})])
    replay = parse_replay()
    assert (replay.run, replay.journal_end) == ("r-1", {0: 12, 1: 7})
    assert replay.checkpoint_interval_ms == cluster.CHECKPOINT_INTERVAL_MS
    held = {0: (2, 12), 1: (0, 7)}
    monkeypatch.setattr(sys, "argv", ["catchup.py", *base, *starting.catch_up_arguments("g-1", held)])
    catch_up = parse_catch_up()
    assert (catch_up.generation, catch_up.journal_begin, catch_up.journal_end) == ("g-1", {0: 2, 1: 0}, {0: 12, 1: 7})


def test_pack_restores_one_job_from_its_savepoint(home: Path) -> None:
    """`-s` stands before the program, where Flink looks for it."""
    line = ("--json", "pack", "--app", "single_app:app", "--job", "tools", "--from-savepoint", "file:///s")
    [tools] = objects(run(*line))
    assert tools["command"][:5] == ["flink", "run", "-d", "-s", "file:///s"]


def test_pack_for_a_foreign_cluster_needs_a_folder_for_checkpoints(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The local stack's folder is on no other machine."""
    monkeypatch.setenv("THREADLOG_BROKERS", "k1:9092")
    told = run("pack", "--app", "single_app:app")
    assert (told.exit_code, "--checkpoint-dir" in told.stderr) == (1, True)
