# SPDX-License-Identifier: Apache-2.0
"""What the yardstick says: its page, its verdict and code, its list of writes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from examples.yardstick import __main__ as yardstick
from examples.yardstick import check, repeats, report, tasks
from examples.yardstick.report import page, table
from ops.settings import Settings
from tests.examples.yardstick_runs import effect, equal, straight

MACHINE = {
    "commit": "abc+", "cpu": "a cpu", "cores": 2, "memory_gib": 7.6, "kernel": "6.1", "python": "3.11.9", "java": "17",
    "flink": "2.1", "kafka": "4.1", "connector": "4.0", "load_average": 0.25, "nice": 0,
}  # fmt: skip


def told(run: check.Run) -> dict[str, Any]:
    """A run's table as the checker prints it."""
    found = check.compare(run)
    each = repeats.after_each(repeats.repeats(run.ledger), run.kills)
    return {**found, "wrong": check.faults(found), "after_each_kill": each}


def without_keys() -> check.Run:
    """The request that came again after its effect has it twice."""
    run = equal()
    run.ledger.insert(3, effect(0, 9_100))
    return run


def whole(run: check.Run, dedup_off: bool = False) -> dict[str, Any]:
    tables = {"straight": told(straight()), "killed": told(run)}
    hits = [{**one, "unanswered": 3, "seconds": 9.5} for one in run.kills]
    return {
        "equal": not any(one["wrong"] for one in tables.values()),
        "seconds": 9,
        "machine": MACHINE,
        "settings": {"seed": 1, "dedup_off": dedup_off},
        "writes": {},
        "runs": {"straight": {"seconds": 1.0, "kills": []}, "killed": {"seconds": 2.0, "kills": hits}},
        "tables": tables,
    }


def test_yardstick_page_shows_both_runs() -> None:
    """Every row that the checker fills is a number that the page can print, wrong ones marked; and every kill with
    what was repeated after it."""
    found = whole(without_keys())
    shown = page(found)
    first, second = found["tables"].values()
    for row, value in check.compare(straight()).items():
        mark = "   <- wrong" if row in second["wrong"] else ""
        assert f"  {row.replace('_', ' '):<26}{value:>10}{second[row]:>10}{mark}\n" in shown, row
    assert set(first) - set(check.compare(straight())) == {"wrong", "after_each_kill"}
    assert "| 1 | tools | tools | 3 | 1 | 9.5 |" in shown


def test_yardstick_page_tells_of_the_machine_and_the_seed() -> None:
    """Under which conditions it was: commit, machine, versions, and what else the machine did before."""
    shown = page(whole(equal()))
    assert "seed 1" in shown
    assert [
        f"{name} {MACHINE[key]}" for key, name in report.CONDITIONS.items() if f"{name} {MACHINE[key]}" not in shown
    ] == []
    assert set(report.CONDITIONS) == set(MACHINE) - {"nice"}


def test_yardstick_page_has_every_row_that_may_be_wrong() -> None:
    """Whatever the checker finds, a reader of the page sees it."""
    tables = {"killed": {**dict.fromkeys(check.compare(equal()), 0), "wrong": []}}
    tables["killed"]["wrong"] = wrong = check.faults({**tables["killed"], "kills": 1}) + list(check.WRONG)
    marked = [line.split("   <- ")[0].split() for line in table(tables).splitlines() if line.endswith("<- wrong")]
    assert {"_".join(words[:-1]) for words in marked} == set(wrong)


def test_yardstick_list_has_a_line_for_each_write() -> None:
    """By task, with the number of the call in its task and where a duplicate would show; a call that is none is left
    out."""
    calls = [{"function": name} for name in "fgh"]
    shows = {"shows_in_state": [False, False, True], "shows_in_answer": [True, False, False]}
    one = {"calls": calls, "writes": [True, False, True], **shows}
    assert [
        json.loads(line) for line in report.each_write({"b": one, "a": {**one, "writes": [False, False, True]}})
    ] == [
        {"task": "a", "ordinal": 2, "function": "h", "shows_in_state": True, "shows_in_answer": False},
        {"task": "b", "ordinal": 0, "function": "f", "shows_in_state": False, "shows_in_answer": True},
        {"task": "b", "ordinal": 2, "function": "h", "shows_in_state": True, "shows_in_answer": False},
    ]


def hit_nothing() -> check.Run:
    """The kill repeated a request before its effect only."""
    run = equal()
    run.ledger[1], run.ledger[2] = run.ledger[2], run.ledger[1]
    return run


def repeated_nothing() -> check.Run:
    run = straight()
    run.kills.append(equal().kills[0])
    return run


def unseen() -> check.Run:
    """Two requests came again after their effect, one of them has it twice."""
    run = without_keys()
    run.ledger.append({**run.ledger[4], "time_ms": 11_000})
    run.kills.append({**run.kills[0], "at_ms": 10_500, "noticed_ms": 10_600})
    return run


def unanswered() -> check.Run:
    run = without_keys()
    run.replies["t"].pop()
    return run


@pytest.mark.parametrize(
    ("run", "dedup_off", "code", "said"),
    [
        (equal(), False, 0, "Every run is equal to direct execution."),
        (without_keys(), False, 1, "NOT equal to direct execution."),
        (without_keys(), True, 1, "NOT equal to direct execution: without keys, 1 requests"),
        (hit_nothing(), True, 2, "Nothing is shown: no request came again after its effect"),
        (repeated_nothing(), True, 2, "Nothing is shown: no request came again after its effect"),
        (equal(), True, 2, "Requests that came again after their effect: 1; effects twice: 0."),
        (unseen(), True, 2, "Requests that came again after their effect: 2; effects twice: 1."),
        (unanswered(), True, 2, "NOT equal to direct execution, and not for want of keys: turns unanswered."),
    ],
)
def test_yardstick_outcome(run: check.Run, dedup_off: bool, code: int, said: str) -> None:
    """Without keys it is red if each request that came again after its effect is seen to have it twice; if none did,
    or if something else is wrong, that is said, and is no success either."""
    found = whole(run, dedup_off)
    assert report.outcome(found)[0] == code
    assert report.verdict(found).startswith(said)


def test_yardstick_outcome_without_kills_shows_nothing() -> None:
    """A run without kills repeats nothing, so nothing is said about keys."""
    found = whole(equal(), True)
    del found["tables"]["killed"]
    assert report.outcome(found)[0] == 2


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The command with no stack behind it: its runs are `hit_nothing` without keys and `equal` with them."""

    def both(settings: Settings, folder: Path, tasks: Any, given: dict[str, Any]) -> dict[str, Any]:
        found = whole(hit_nothing() if given["dedup_off"] else equal())
        return {"runs": found["runs"], "tables": found["tables"]}

    task = {"calls": [{"function": "f"}], "writes": [True], "shows_in_state": [True], "shows_in_answer": [True]}
    monkeypatch.setattr(yardstick, "ROOT", tmp_path)
    monkeypatch.setattr(yardstick, "FOLDER", tmp_path / "yardstick")
    monkeypatch.setattr(yardstick, "machine", lambda: {**MACHINE, "commit": "abc"})
    monkeypatch.setattr(yardstick, "_settings", lambda given: Settings())
    monkeypatch.setattr(yardstick, "_chosen", lambda count, seed: [tasks.Task("t", [], {}, [])])
    monkeypatch.setattr(yardstick, "_runs", both)
    monkeypatch.setattr(yardstick.fetch, "ensure", lambda say: None)
    monkeypatch.setattr(yardstick.runs, "direct", lambda path: {"t": task})
    monkeypatch.setattr(yardstick.lifecycle, "down", lambda settings, say, purge: None)
    return tmp_path / "docs"


def test_yardstick_command_does_not_end_well_where_nothing_was_shown(ran: Path) -> None:
    """A service without keys that nobody asked twice proves nothing; no page is published of that."""
    ended = CliRunner().invoke(yardstick.main, ["--dedup-off", "--write-docs", str(ran)])
    assert (ended.exit_code, "Nothing is shown" in ended.output, ran.exists()) == (2, True, False)


@pytest.mark.parametrize(("seed", "name"), [("1", "yardstick.md"), ("7", "yardstick-seed-7.md")])
def test_yardstick_command_publishes_its_page_with_the_list_that_it_links_to(ran: Path, seed: str, name: str) -> None:
    """Both are beside each other, and a page of another seed beside the first."""
    ended = CliRunner().invoke(yardstick.main, ["--seed", seed, "--write-docs", str(ran)])
    assert (ended.exit_code, {path.name for path in ran.iterdir()}) == (0, {name, "yardstick-writes.jsonl"})
    assert "(yardstick-writes.jsonl)" in (ran / name).read_text()
    assert len((ran / "yardstick-writes.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("other", ["--tasks 3", "--kills 20", "--delay-ms 50 300"])
def test_yardstick_command_publishes_nothing_else(ran: Path, other: str) -> None:
    """A page of some of the tasks, or of other kills or delays, is not what the document speaks of."""
    ended = CliRunner().invoke(yardstick.main, [*other.split(), "--write-docs", str(ran)])
    assert (ended.exit_code, ran.exists(), other.split()[0] in ended.output) == (1, False, True)
    assert CliRunner().invoke(yardstick.main, other.split()).exit_code == 0


def test_yardstick_command_publishes_no_page_of_a_changed_tree(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could measure it again."""
    monkeypatch.setattr(yardstick, "machine", lambda: MACHINE)
    ended = CliRunner().invoke(yardstick.main, ["--write-docs", str(ran)])
    assert (ended.exit_code, ran.exists(), "this tree is changed (abc+)" in ended.output) == (1, False, True)


def test_yardstick_checker_takes_what_the_command_gives_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files of a run, its kills, and the names of the runs before it; out comes the table with a count a kill."""
    run, found = equal(), list[tuple[str, ...]]()
    direct, states = run.direct, {"killed.t": {"x": 1}}
    named = [{**line, "thread": "killed.t"} for line in run.ledger]
    (tmp_path / "killed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in named))
    for name, content in (("direct", direct), ("killed.states", states), ("killed.kills", run.kills)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    def gather(into: check.Run, earlier: tuple[str, ...], *_: str) -> None:
        found.append(earlier)
        for name in ("decisions", "results", "replies"):
            setattr(into, name, {"killed.t": getattr(run, name)["t"]})
        into.letters = run.letters

    def called(command: list[str], **_: Any) -> Any:
        monkeypatch.setattr("sys.argv", command[2:])
        with pytest.raises(SystemExit, match="0"):
            check.main()
        return SimpleNamespace(stdout=capsys.readouterr().out)

    monkeypatch.setattr(check, "gather", gather)
    monkeypatch.setattr(yardstick.subprocess, "run", called)
    table = yardstick._check(Settings(), tmp_path, "killed", ["straight"])
    assert (table["wrong"], table["after_each_kill"], table["effects"]) == ([], [1], 2)
    assert found == [("straight.",)]
