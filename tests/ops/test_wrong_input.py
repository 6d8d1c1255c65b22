# SPDX-License-Identifier: Apache-2.0
"""Whatever a person gives a command, it ends with a sentence: no traceback, no silence, no success."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from ops.cli import main
from schemas.codec import Schema
from schemas.errors import RegistryUnavailable
from schemas.limits import VALUE_BYTES
from tests.ops.fakes import FakeKafka, begun, run

# A command line, and what its sentence must say. Nothing listens anywhere.
NO_STACK = [
    (["branch", "other"], "No broker listens"),
    (["branch", "other", "--until", "soon"], "'soon' is no moment"),
    (["diff", "t", "1", "2"], "No broker listens"),
    (["diff", "t", "1", "two"], "'two' is not a valid integer"),
    (["down", "--purge"], "no stack's folder"),
    (["index", "rebuild"], "No broker listens"),
    (["index", "status"], "There is no index yet"),
    (["logs", "nothing"], "There is no log of 'nothing'"),
    (["parked", "list"], "No broker listens at 127.0.0.1"),
    (["parked", "retry", "t"], "No broker listens"),
    (["parked", "abandon", "t"], "No broker listens"),
    (["send", "t", "hi"], "No broker listens"),
    (["send", "t", "hi", "--wait"], "No broker listens"),
    (["show", "t"], "No broker listens"),
    (["show", "t", "--at", "1"], "No broker listens"),
    (["show", "t", "--at", "0"], "0 is not in the range"),
    (["sql", "SELECT 1"], "No broker listens"),
    (["sql", "SELECT 1", "--no-refresh"], "There is no index yet"),
    (["tail", "agent-events"], "No broker listens"),
    (["tail", "no-topic"], "There is no topic 'no-topic'"),
    (["replay", "--all", "--workers", "0"], "No broker listens"),
    (["replay", "t", "--workers", "0"], "No broker listens"),
    (["replay"], "Nothing says what to replay"),
    (["histories", "export", "--all", "-o", "h.jsonl"], "No broker listens"),
    (["fork", "t", "--at", "1", "--as", "u", "-o", "f.jsonl"], "No broker listens"),
    (["threads"], "No broker listens"),
    (["threads", "--state", "dead"], "'dead' is not one of"),
    (["threads", "--older", "soon"], "write a number and ms, s, m, h or d"),
    (["topics", "--ensure"], "No broker listens"),
    (["doctor"], "No broker listens"),
    (["watch"], "No broker listens"),
    (["watch", "--once", "--heal"], "Give one of the two"),
    (["audit", "keygen", "no/such/folder/key"], "no/such/folder/key cannot be written"),
    (["audit", "sign"], "Missing option '--key'"),
    (["audit", "sign", "--key", "nowhere"], "nowhere cannot be read"),
    (["audit", "export"], "Missing option '--out'"),
    (["audit", "export", "--out", "bundle"], "No broker listens"),
    (["audit", "export", "--out", "bundle", "--to", "soon"], "'soon' is no moment"),
    (["submit"], "holds no stack of its own"),
    (["submit", "--from-savepoint", "file:///s"], "A savepoint belongs to one job"),
    (["start"], "holds no stack of its own"),
    (["start", "--accept-lost-inputs"], "for containers see docs/operations.md"),
    (["start", "--from-savepoint", "file:///s"], "A savepoint belongs to one job"),
    (["start", "--parallelism", "2"], "holds no stack of its own"),
    (["start", "--parallelism", "many"], "'many' is not a valid integer"),
    (["register"], "Missing argument 'FILES...'"),
    (["register", "nowhere.avsc"], "'nowhere.avsc' does not exist"),
    (["start", "--rebuild", "--job", "tools", "--from-savepoint", "file:///s"], "Give one of the two"),
    (["stop"], "holds no stack of its own"),
    (["stop", "--record", "file:///s"], "No broker listens"),
    (["stop", "--caught-up"], "Give its URI with --record"),
    (["pack", "--app", "typo:app"], "there is no module typo"),
    (["pack", "--app", "typo"], "expected package.module:attribute"),
    (["pack", "--from-savepoint", "file:///s"], "A savepoint belongs to one job"),
    (["up", "--app", "typo:app"], "there is no module typo"),
    (["up", "--app", "typo"], "expected package.module:attribute"),
    (["up", "--taskmanagers", "0"], "taskmanagers = 0, expected a whole number from 1 to 16"),
    (["up", "--taskmanagers", "many"], "'many' is not a valid integer"),
    (["--port-base", "80", "status"], "port_base = 80, expected"),
    (["--namespace", "NO", "status"], "namespace = 'NO', expected"),
    (["status", "extra"], "unexpected extra argument"),
    (["demo", "--kills", "99"], "99 is not in the range"),
    (["nothing"], "No such command 'nothing'"),
]  # fmt: skip
# The same in the folder of a stack that is down.
DOWN = [
    (["submit"], "The stack does not answer"),
    (["submit", "--app", "typo:app"], "there is no module typo"),
    (["start"], "The stack does not answer"),
    (["start", "--take-over", "--accept-lost-inputs"], "The stack does not answer"),
    (["start", "--parallelism", "2"], "The stack does not answer"),
    (["stop"], "/jobs/overview: [Errno 111] Connection refused"),
]


@pytest.fixture
def littered(alone: Path) -> Path:
    """A state folder that no stack made."""
    (alone / ".threadlog" / "run").mkdir(parents=True)
    return alone


@pytest.mark.parametrize(("line", "sentence"), NO_STACK, ids=[" ".join(line) for line, _ in NO_STACK])
def test_wrong_input_is_a_sentence_without_a_stack(littered: Path, line: list[str], sentence: str) -> None:
    """Every command, given what is wrong or run without a stack, fails and says what, in each of its voices."""
    said(line, sentence)
    assert (littered / ".threadlog" / "run").is_dir()


@pytest.mark.parametrize("command", ["start", "stop", "submit"])
def test_jobs_of_a_stack_elsewhere_are_left_alone(alone: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Those in containers answer at the same ports, and keep their savepoints elsewhere. Nothing is made here
    either, by which the folder would look like a stack's."""
    monkeypatch.setattr("ops.http.call", lambda *given, **more: pytest.fail("a JobManager was asked"))
    assert "holds no stack of its own" in run(command).stderr
    assert list(alone.iterdir()) == []


@pytest.mark.parametrize(("line", "sentence"), DOWN, ids=[" ".join(line) for line, _ in DOWN])
def test_wrong_input_is_a_sentence_on_a_stack_that_is_down(alone: Path, line: list[str], sentence: str) -> None:
    begun(alone / ".threadlog")
    said(line, sentence)


def said(line: list[str], sentence: str) -> None:
    """A person is told the sentence, a program an object, the last line of the error stream, with the same code."""
    plain, told = run(*line), run("--json", *line)
    for voice in (plain, told):
        assert (voice.exit_code != 0, sentence in voice.stderr) == (True, True), voice.output
    error = json.loads(told.stderr.splitlines()[-1])
    assert (told.exit_code, set(error), sentence in error["error"] + error["hint"]) == (
        plain.exit_code, {"error", "hint"}, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "error", "hint", "code"),
    [
        (["status", "extra", "--json"], "Got unexpected extra argument (extra)",
         " status --help` says how it is called.", 2),
        (["parked", "list", "--json", "--what"], "No such option '--what'.",
         " parked list --help` says how it is called.", 2),
        (["--json", "--port-base", "many", "status"], "Invalid value for '--port-base': 'many' is not a valid integer.",
         " --help` says how it is called.", 2),
        (["threads", "--state", "idle", "--json"], "No broker listens at 127.0.0.1:",
         "Is the stack up? `threadlog status`.", 1),
        (["down", "--purge", "--json"], " is no stack's folder; nothing was removed.", "Check --state-dir.", 1),
        (["up", "--taskmanagers", "0", "--json"], "wrong:\n  - command line: taskmanagers = 0, expected", "", 1),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)  # fmt: skip
def test_errors_are_objects_under_json(littered: Path, line: list[str], error: str, hint: str, code: int) -> None:
    """Wherever `--json` stands, and also where the line cannot be parsed: what happened and what to do, apart."""
    told = run(*line)
    [found] = [json.loads(line) for line in told.stderr.splitlines()]
    assert (told.exit_code, told.stdout) == (code, "")
    assert (found["hint"].endswith(hint), error in found["error"]) == (True, True), found


def test_interrupt_is_an_object_under_json(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With code 1, as without; a code that a command ends with is kept, too."""

    def end(error: BaseException) -> int:
        def check_broker(settings: object) -> None:
            raise error

        monkeypatch.setattr("ops.commands.replay.check_broker", check_broker)
        told = run("--json", "replay", "--run", "r")
        assert [json.loads(line)["error"] for line in told.stderr.splitlines() if line] == (
            ["It was interrupted."] if isinstance(error, KeyboardInterrupt) else []
        )
        return told.exit_code

    assert (end(KeyboardInterrupt()), end(click.exceptions.Exit(3))) == (1, 3)


def test_wrong_input_covers_every_command() -> None:
    """A command that is added comes into the table."""
    tried = {word for line, _ in NO_STACK for word in line}
    with main.make_context("threadlog", ["--help"], resilient_parsing=True) as ctx:
        assert set(main.list_commands(ctx)) - tried == set()


LINES = {
    "no JSON": (b"nonsense", "line 1 is not JSON"),
    "no object": (b"[1]", "line 1 is not a JSON object"),
    "no thread": (b'{"data": {}}', "line 1: thread is missing or of the wrong kind"),
    "no data": (b'{"thread": "t"}', "line 1: data is missing"),
    "a number for an id": (b'{"thread": "t", "data": {}, "id": 7}', "line 1: id is missing or of the wrong kind"),
    "a number for a type": (b'{"thread": "t", "data": {}, "type": 7}', "line 1: type is missing or of the wrong kind"),
    "another encoding": ("ä".encode("latin-1"), "line 1 is not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("what", LINES)
def test_wrong_input_in_a_file_is_a_sentence(kafka: FakeKafka, what: str) -> None:
    """The line is named, and nothing is sent, not even the good lines."""
    line, sentence = LINES[what]
    good = b'{"thread": "t", "data": {"text": "", "data": ""}}\n'
    told = run("send", "--file", "-", input=line + b"\n" + good)
    assert (told.exit_code, sentence in told.stderr) == (1, True), told.output
    assert kafka.topics == {}


EVENTS = {
    "no thread": (["", "hi"], "a thread has 1 to 512 bytes, this one 0"),
    "a long thread": (["t" * 513, "hi"], "this one 513"),
    "half a letter as thread": (["\udcff", "hi"], "is not UTF-8"),
    "half a letter as text": (["t", "\udcff"], "The data is no threadlog.Message"),
    "a long id": (["t", "hi", "--id", "i" * 513], "the header ce_id has 513 bytes"),
    "too large": (["t", "x" * VALUE_BYTES], "bytes, 983,040 are allowed"),
    "an unknown type": (["t", "hi", "--type", "no.Such"], "No event type 'no.Such' is registered"),
    "what to do about it": (["t", "hi", "--type", "no.Such"], "`threadlog register FILE` registers its schema"),
    "a broken schema": (["t", "hi", "--type", "my.Broken"], "The schema of my.Broken cannot be used"),
    "no record": (["t", "hi", "--type", "my.Enum"], "my.Enum is of the kind enum, an event is a record"),
    "foreign Protobuf": (["t", "hi", "--type", "my.Proto"], "only threadlog.Note can be sent"),
    "other fields of Note": (["t", "--data", '{"a": 1}', "--type", "threadlog.Note"], "The data is no threadlog.Note"),
    "other fields": (["t", "--data", '{"a": 1}'], "Its fields are text, data"),
    "data that is no JSON": (["t", "--data", "{"], "--data is not JSON"),
    "nothing": ([], "Nothing to send"),
    "two of one": (["t", "hi", "--data", "{}"], "Both TEXT and --data"),
    "a file and a thread": (["t", "--file", "-"], "each line says its thread"),
}  # fmt: skip


@pytest.mark.parametrize("what", EVENTS)
def test_wrong_input_as_an_event_is_a_sentence(kafka: FakeKafka, what: str) -> None:
    """What would be a dead letter, or fit no topic, or no schema, is not sent."""
    kafka.schemas.register("my.Broken", Schema("AVRO", '{"type": "nothing"}'))
    kafka.schemas.register("my.Enum", Schema("AVRO", '{"type": "enum", "name": "my.Enum", "symbols": ["A"]}'))
    kafka.schemas.register("my.Proto", Schema("PROTOBUF", 'syntax = "proto3"; message P {}'))
    line, sentence = EVENTS[what]
    told = run("send", *line)
    assert (told.exit_code, sentence in told.stderr) == (1, True), told.output
    assert kafka.topics == {}


@pytest.mark.parametrize(
    "line",
    [["tail", "agent-events"], ["show", "t"], ["parked", "list"], ["threads"], ["send", "t", "hi"]],
    ids=" ".join,
)
def test_wrong_input_without_a_registry_is_a_sentence(
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    """The broker answers, the registry does not."""
    for topic in ("agent-events", "agent-decisions"):
        kafka.add(topic, b"t", b"\0\0\0\0\x63junk")

    def silent(id: int | str) -> Schema:
        raise RegistryUnavailable("the registry does not answer")

    monkeypatch.setattr(kafka.schemas, "by_id", silent)
    monkeypatch.setattr(kafka.schemas, "id_of", silent)
    told = run(*line)
    assert (told.exit_code, "The registry does not answer." in told.stderr) == (1, True), told.output


@pytest.mark.parametrize("text", ["{", "[]", '"', "\udcff"], ids=["cut", "a list", "a quote", "no UTF-8"])
def test_wrong_input_in_the_state_folder_is_a_sentence(alone: Path, text: str) -> None:
    """A damaged settings.json is named, with what to do."""
    (alone / ".threadlog").mkdir()
    (alone / ".threadlog" / "settings.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    told = run("status")
    assert (told.exit_code, "remove it to start with the defaults" in told.stderr) == (1, True), told.output


def test_wrong_input_of_an_older_version_is_let_be(alone: Path) -> None:
    """A setting that is gone may still stand in the state folder of a stack that an older threadlog started."""
    (alone / ".threadlog").mkdir()
    (alone / ".threadlog" / "settings.json").write_text(json.dumps({"state_retention_days": 30, "namespace": "old"}))
    assert run("status").exit_code == 0


def test_every_command_takes_json() -> None:
    """Before and after its name, and after the name of a command inside it."""
    for name in main.list_commands(None):  # type: ignore[arg-type] # the list does not depend on it
        assert "--json" in run(name, "--help").stdout
    assert "--json" in run("parked", "list", "--help").stdout
