# SPDX-License-Identifier: Apache-2.0
"""Histories files: exact, whole, and readable with nothing beside them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ops.context import Trouble
from ops.replay.histories import Histories, Writer
from schemas.errors import UnknownSchema
from tests.ops.fakes import FakeKafka, objects, run
from tests.ops.replays import APP, file, mix, registered
from tests.threadlog.histories import MODES, MOVES, NUMBERS, History, play
from threadlog.entry import Entry

moves = st.lists(st.tuples(st.integers(0, MOVES - 1), st.integers(0, NUMBERS - 1)), max_size=30)


def written(entries: list[Entry]) -> bytes:
    out = io.BytesIO()
    writer = Writer(out, registered())
    for entry in entries:
        writer.add(entry)
    writer.close()
    return out.getvalue()


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=moves, mode=st.sampled_from(MODES))
def test_histories_give_back_every_entry_to_the_bit(tmp_path: Path, history: History, mode: str) -> None:
    """Whatever a journal holds: fields, bytes and hashes."""
    journal = play(history, mode).journal
    path = tmp_path / "h.jsonl"
    path.write_bytes(written(journal))
    read = list(Histories(path))
    assert read == journal
    assert [entry.computed_hash() for entry in read] == [entry.hash for entry in journal]


def test_histories_of_the_mix_written_again_are_the_same_bytes(tmp_path: Path) -> None:
    """Poison, results, timers, Protobuf and users' types among them."""
    path = file(tmp_path)
    source = Histories(path)
    out = io.BytesIO()
    writer = Writer(out, source)
    for entry in source:
        writer.add(entry)
    writer.close()
    assert out.getvalue() == path.read_bytes()
    assert {entry.kind for entry in mix(120)} == {"event", "result", "timer", "poison"}


def test_histories_are_shared_out_by_thread(tmp_path: Path) -> None:
    """Each thread falls to one reader, whole."""
    path = file(tmp_path)
    parts = [list(Histories(path, (index, 3))) for index in range(3)]
    assert sorted(entry.hash for part in parts for entry in part) == sorted(entry.hash for entry in mix(120))
    threads = [{entry.thread for entry in part} for part in parts]
    assert all(threads) and sum(map(len, threads)) == len(set().union(*threads))


@pytest.mark.parametrize(
    "spelt",
    [
        json.dumps,
        lambda line: json.dumps(line, separators=(" , ", " : ")).replace("{", "{ ", 1),
        lambda line: json.dumps(line, ensure_ascii=line.get("seq", 0) % 2 == 1, separators=(",", ":")),
    ],
    ids=["spaces", "more spaces", "escapes in every second line"],
)
def test_histories_of_other_programs_are_shared_out_by_thread(tmp_path: Path, spelt: Callable[[Any], str]) -> None:
    """However their JSON is spelt, a thread falls to one reader, whole."""
    entries = [replace(entry, thread=f'{entry.thread} 🧾 ü "x" ,"seq":') for entry in mix(120)]
    path = tmp_path / "other.jsonl"
    lines = [json.loads(line) for line in written(entries).splitlines()]
    path.write_text("".join(f"{spelt(line)}\n" for line in lines), "utf-8")
    assert list(Histories(path)) == entries
    parts = [list(Histories(path, (index, 3))) for index in range(3)]
    threads = [{entry.thread for entry in part} for part in parts]
    assert all(threads) and sum(map(len, threads)) == len(set().union(*threads))
    assert sum(map(len, parts)) == len(entries)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda lines: lines[:-1], "it has no last line"),
        (lambda lines: [*lines[:5], *lines[6:]], "its end says 120"),
        (lambda lines: lines[1:], "is no histories file"),
        (lambda lines: [b'{"format":"threadlog.histories","version":2}', *lines[1:]], "is of version 2"),
        (lambda lines: [*lines[:5], lines[5][:-9], *lines[6:]], "line 6 is no entry"),
        (lambda lines: [*lines[:5], b"[]", *lines[6:]], "line 6 is neither an entry"),
        (lambda lines: [*lines, lines[5]], "stands after the end"),
        (lambda lines: [b""], "is no histories file"),
        (lambda lines: [b"\xff\xfe"], "is no histories file"),
    ],
)
def test_histories_that_are_not_whole_are_refused(alone: Path, harm: object, said: str) -> None:
    """With a sentence that says what is wrong, whoever reads them."""
    path = file(alone)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join(harm(lines)) + b"\n")  # type: ignore[operator]
    with pytest.raises(Trouble, match=said):
        list(Histories(path))
    told = run("replay", "--file", str(path), "--app", APP, "--workers", "0")
    assert (told.exit_code, said in told.stderr) == (1, True)


def test_histories_without_a_schema_are_a_divergence_that_says_so(alone: Path) -> None:
    """The bytes cannot be read: it is told at the decision that needs them."""
    path = file(alone)
    lines = [line for line in path.read_bytes().splitlines() if b"CustomerMessage" not in line or b'"thread"' in line]
    path.write_bytes(b"\n".join(lines) + b"\n")
    told = run("replay", "--file", str(path), "--app", APP, "--workers", "0")
    assert told.exit_code == 1
    assert "diverges at seq 1: input: unknown_schema" in told.stdout
    assert "because    unknown_schema: the histories file holds no schema" in told.stdout


def test_histories_are_exported_from_the_journal(kafka: FakeKafka, tmp_path: Path) -> None:
    """All, some by name, the last; the file replays, and what was exported of a file is the same."""
    kafka.schemas = registered()
    for entry in mix(120):
        kafka.add_entry(entry)
    out, again = tmp_path / "all.jsonl", tmp_path / "again.jsonl"
    [told] = objects(run("histories", "export", "--all", "-o", str(out), "--json"))
    assert (told["entries"], list(Histories(out))) == (120, mix(120))
    assert run("histories", "export", "--all", "--file", str(out), "-o", str(again)).exit_code == 0
    assert again.read_bytes() == out.read_bytes()
    names = sorted({entry.thread for entry in mix(120)})[:2]
    assert run("histories", "export", *names, "-o", str(again), "--force").exit_code == 0
    assert {entry.thread for entry in Histories(again)} == set(names)
    assert run("histories", "export", "--all", "--last", "3", "-o", str(again), "--force").exit_code == 0
    assert len({entry.thread for entry in Histories(again)}) == 3
    assert "Equal to the bit" in run("replay", "--file", str(again), "--app", APP, "--workers", "0").stdout


def test_histories_export_leaves_no_half_file(kafka: FakeKafka, tmp_path: Path) -> None:
    """An unknown thread is a sentence, and what was there before stays."""
    out = tmp_path / "out.jsonl"
    out.write_text("before")
    kafka.add_entry(mix(120)[0])
    kafka.schemas = registered()
    told = run("histories", "export", "nobody", "-o", str(out), "--force")
    assert (told.exit_code, out.read_text(), "holds nothing of nobody" in told.stderr) == (1, "before", True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == ["out.jsonl"]
    assert run("histories", "export", "-o", str(out)).exit_code == 1


def test_histories_export_writes_over_nothing_unasked(kafka: FakeKafka, tmp_path: Path) -> None:
    """What is there stays, and the way on is told, before anything is read."""
    out = tmp_path / "out.jsonl"
    out.write_text("before")
    told = run("histories", "export", "--all", "-o", str(out))
    assert (told.exit_code, out.read_text()) == (1, "before")
    assert told.stderr == f"Error: {out} is there already.\nName another file, or write over it with --force.\n"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == ["out.jsonl"]


def test_histories_name_schemas(tmp_path: Path) -> None:
    """By the record's name; one of ours that the file lacks gets an id of its own."""
    source = Histories(file(tmp_path))
    list(source)
    assert source.by_id(source.id_of("support_desk.CustomerMessage")).kind == "AVRO"
    with pytest.raises(UnknownSchema, match=r"no schema of shop\.Paid"):
        source.id_of("shop.Paid")
    own = source.id_of("threadlog.Approval")
    assert own > 10**9 and json.loads(source.by_id(own).text)["name"] == "Approval"
