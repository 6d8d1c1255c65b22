# SPDX-License-Identifier: Apache-2.0
"""`threadlog replay --what-if --answers`: a thread goes on as it would have, and what its runs come to is compared."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.ops.fakes import objects, run
from tests.ops.replays import APP, changed, file, mix
from threadlog.entry import Entry

COUNT = 800
HERE = ("--workers", "0")
SUBTLE = ('thread.vars.get("messages", 0) + 1', 'thread.vars.get("messages", 0) + 2')
PROMPT = ("await check_stock(sku=event['sku'])", "await check_stock(sku='of ' + event['sku'])")
LARGER = ("LARGE = 12_000", "LARGE = 20_000")
SEVEN = """
asked = []
def answer(call, args):
    if call.tool != "check_stock":
        raise NotImplementedError
    return 7
"""
_numbers = itertools.count()


def answers(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    """A module that answers."""
    name = f"answers_{next(_numbers)}"
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return f"{name}:answer"


def asked(folder: Path, spec: str, by: str, *more: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The examples and the summary of a what-if over the mix."""
    path = folder / "mix.jsonl"
    told = run("replay", "--file", str(path if path.exists() else file(folder, COUNT)), "--app", spec, "--what-if",
               "--answers", by, "--json", *(more or HERE))  # fmt: skip
    assert told.exit_code == 0, told.output
    *examples, summary = objects(told)
    return examples, summary


def runs(made: list[Entry]) -> dict[str, list[dict[str, Any]]]:
    """The effects of every run that has ended in the log."""
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in made:
        for effect in json.loads(entry.effects):
            if "run_id" in effect:
                found.setdefault(effect["run_id"], []).append(effect)
    return {id: effects for id, effects in found.items() if effects[-1]["do"] == "end_run"}


def threads(made: list[Entry]) -> dict[str, str]:
    """The thread of every run."""
    return {effect["run_id"]: one.thread for one in made for effect in json.loads(one.effects) if "run_id" in effect}


def texts(effects: list[dict[str, Any]]) -> list[str]:
    return [effect["text"] for effect in effects if effect["do"] == "reply"]


def test_a_history_that_differs_in_nothing_outside_comes_to_the_same(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each thread goes its own way from its first message on, and is given all of the log's events, results and timers:
    no run comes to anything else, and nobody is asked."""
    spec = changed(tmp_path, monkeypatch, SUBTLE)
    examples, summary = asked(tmp_path, spec, answers(tmp_path, monkeypatch, "def answer(call, args): return 1 / 0"))
    ended = len(runs(mix(COUNT)))
    assert (examples, summary["groups"], summary["answered"]) == ([], [], {})
    assert summary["ends"]["same"] == ended > 100
    assert summary["ends"].keys() <= {"same", "open"}
    assert summary["standings"]["tried"] > COUNT / 2


def test_a_reworded_question_is_no_difference_but_another_answer_is(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question that the log does not hold is answered once; the runs that say something else for it are told."""
    spec = changed(tmp_path, monkeypatch, PROMPT)
    examples, summary = asked(tmp_path, spec, answers(tmp_path, monkeypatch, SEVEN))
    ended = [(id, text) for id, effects in runs(mix(COUNT)).items() for text in texts(effects) if " pieces." in text]
    other = [(id, text) for id, text in ended if text != "7 pieces."]
    [group] = summary["groups"]
    assert (group["kind"], group["about"], group["decisions"]) == ("reply", "text", len(other))
    assert 0 < len(other) == summary["ends"]["other"]
    assert summary["answered"]["check_stock"] >= len(ended)
    assert examples[0]["differences"]["now"][0] == 'reply "7 pieces." {"outcome":"told"}'
    assert "unanswered" not in summary["ends"]


def test_another_rule_goes_on_with_the_results_of_the_log(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is no longer asked whether a refund is meant gets it: by the log's receipt where the customer agreed, and
    where there is none the run waits for an answer."""
    spec = changed(tmp_path, monkeypatch, LARGER)
    _, summary = asked(tmp_path, spec, answers(tmp_path, monkeypatch, SEVEN))
    said, waits = Counter[str](), set[str]()
    for id, effects in runs(mix(COUNT)).items():
        thread, asks = threads(mix(COUNT))[id], [text for text in texts(effects) if "is a large refund" in text]
        without = bool(asks) and float(asks[0].partition(" ")[0]) < 200
        if without and any("as it is" in text for text in texts(effects)):
            waits.add(thread)
        said["unanswered" if thread in waits else "less" if without else "as before"] += 1
    groups = {(g["kind"], g["about"]): g["decisions"] for g in summary["groups"]}
    assert (summary["ends"]["unanswered"], groups["less", "reply"]) == (said["unanswered"], said["less"])
    assert min(said["less"], said["unanswered"]) > 0
    assert groups.keys() <= {("less", "reply"), ("reply", "text")}  # how many answers there were so far
    assert summary["answered"] == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("async def answer(call, args): return 9", "9 pieces."),
        ("import socket\ndef answer(call, args): return len(socket.getaddrinfo('127.0.0.1', 1)) and 8", "8 pieces."),
        (
            "import threadlog\ndef answer(call, args): raise threadlog.ToolError(args['sku'])",
            "That cannot be done: of sku",
        ),
        ("import threadlog\ndef answer(call, args): raise threadlog.Retryable('busy')", "That cannot be done: busy"),
        ("def answer(call, args): return object()", "That cannot be done: "),
    ],
)
def test_answers_are_given_as_a_tool_gives_them(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    """By a coroutine, over the network, or as an error."""
    spec = changed(tmp_path, monkeypatch, PROMPT)
    examples, _ = asked(tmp_path, spec, answers(tmp_path, monkeypatch, text))
    assert all(said in line for one in examples for line in one["differences"]["now"] if line.startswith("reply"))
    assert examples


def test_what_if_counts_the_same_with_any_number_of_workers(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads are shared out; what they come to adds up."""
    spec, by = changed(tmp_path, monkeypatch, PROMPT, LARGER), answers(tmp_path, monkeypatch, SEVEN)
    one, two = (asked(tmp_path, spec, by, "--workers", count)[1] for count in ("0", "2"))
    for summary in (one, two):
        summary["groups"].sort(key=lambda group: (group["kind"], group["about"]))
    same = ("ends", "answered", "groups", "standings", "threads_diverged")
    assert [one[name] for name in same] == [two[name] for name in same]


def test_an_agent_that_never_comes_to_an_end_is_told(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for ever; the what-if does not."""
    monkeypatch.setattr("ops.replay.history.STEPS_MAX", 20)
    again = (PROMPT[0], "[await check_stock(sku=str(n)) for n in range(100)]")
    file(tmp_path, 200)
    _, summary = asked(tmp_path, changed(tmp_path, monkeypatch, again), answers(tmp_path, monkeypatch, SEVEN))
    assert ("crash", "it asked for more than 20 calls in a row") in {(g["kind"], g["about"]) for g in summary["groups"]}


def test_a_person_is_told_what_runs_came_to(alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of each kind in full, how many there are, and what was asked besides the log."""
    spec, by = changed(tmp_path, monkeypatch, PROMPT), answers(tmp_path, monkeypatch, SEVEN)
    path = file(tmp_path, COUNT)
    lines = run(
        "replay", "--file", str(path), "--app", spec, "--what-if", "--answers", by, *HERE
    ).stdout.splitlines()  # fmt: skip
    at = next(index for index, line in enumerate(lines) if " pieces." in line)
    assert [line.strip()[:9] for line in lines[at : at + 2]] == ['- reply "', '+ reply "']
    assert any(" behind another decision come to something else; " in line for line in lines)
    assert any(line.strip().startswith("Nothing") for line in lines) is False
    assert any("answered besides the log: check_stock " in line for line in lines)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--answers", "json:dumps"), "--answers is for what the log cannot answer"),
        (("--what-if", "--answers", "no.such:thing"), "no.such:thing cannot be imported"),
        (("--what-if", "--answers", "os:sep"), "os:sep answers no calls"),
        (("--what-if", "--answers", "os:getpid"), "os:getpid answers no calls"),
    ],
)  # fmt: skip
def test_what_answers_nothing_is_refused(alone: Path, tmp_path: Path, given: tuple[str, ...], said: str) -> None:
    """With a sentence, before anything is decided."""
    told = run("replay", "--file", str(file(tmp_path)), "--app", APP, *given, *HERE)
    assert (told.exit_code, said in told.output) == (1, True), told.output
