# SPDX-License-Identifier: Apache-2.0
"""What a bundle says to people: everything that happened, set off where it matters, and nothing of it as markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ops.audit.words import VERDICTS, shown
from schemas.codec import Codec
from tests.ops.audits import Case, case, eventful, exported, paid, signed
from tests.ops.fakes import FakeKafka
from tests.threadlog.desk import look
from tests.threadlog.histories import play, some
from threadlog import Event, Thread, sleep


class Page(HTMLParser):
    """The tags, attributes and words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.words = list[str](), list[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def entries_of(text: str) -> dict[int, str]:
    """The block of each entry."""
    found = re.findall(r'(<div class="entry[^>]*><h3>Entry (\d+),.*?entry hash)', text, re.DOTALL)
    return {int(number): block for block, number in found}


def told(kafka: FakeKafka, alone: Path, *options: str) -> str:
    signed(alone)
    return (exported(alone, *options) / "narrative.html").read_text("utf-8")


def test_narrative_tells_who_decided_what_on_which_evidence(kafka: FakeKafka, alone: Path) -> None:
    """The input with its source and fields, the agent, the calls with arguments and key, the answers, the reply."""
    made = eventful(kafka)
    page = told(kafka, alone)
    blocks, calls = entries_of(page), made.effects("call")
    first, third = Page(blocks[1]).text, Page(blocks[3]).text
    assert "from /s id e0 type t.Go" in first and "order t-1" in first
    assert "Agent go, version 1, run" in first
    assert f"to call look under the key {calls[0]['call_id']} with" in first
    assert (
        "/threadlog/tools" in third and "1: 2023-11-14 22:13:20.100 UTC to 2023-11-14 22:13:20.900 UTC, done" in third
    )
    assert "to reply: paid r1" in third
    assert len(blocks) == len(made.journal) == 10


def test_narrative_tells_what_happened_outside(kafka: FakeKafka, alone: Path) -> None:
    """Each call once: key, kind, arguments, attempts, how it ended and where."""
    made = eventful(kafka)
    text = Page(told(kafka, alone)).text
    outside = text[text.index("What happened outside") : text.index("Entry by entry")]
    for call in made.effects("call"):
        assert outside.count(call["call_id"]) == 1
    assert 'with { "amount": 7 }' in outside
    assert outside.count("attempts 1: 2023-11-14 22:13:20.100 UTC to 2023-11-14 22:13:20.900 UTC, done") == 4
    assert 'outcome done, entry 3 answer "r1"' in outside
    assert 'outcome in doubt, then found done, entry 7 answer "r2" found done entry 8' in outside


@pytest.mark.parametrize(
    ("seq", "css", "words"),
    [
        (5, "refused", "It had been taken before, so it changed nothing."),
        (7, "doubt", "IN DOUBT: nobody knows whether this happened."),
        (8, "doubt", "the call of pay that was in doubt has happened"),
        (9, "refused", "to put it among the dead letters: no agent handles t.Unknown"),
        (10, "refused", "It answers a call that had ended before, so it changed nothing."),
    ],
)
def test_narrative_sets_off_what_went_wrong(kafka: FakeKafka, alone: Path, seq: int, css: str, words: str) -> None:
    """Resends, refusals, dead letters, doubt and what was late."""
    eventful(kafka)
    block = entries_of(told(kafka, alone))[seq]
    assert css in block.partition(">")[0]
    assert words in Page(block).text


def test_narrative_sets_off_a_run_that_was_stopped(kafka: FakeKafka, alone: Path) -> None:
    """Parked, and by whom it was ended."""

    async def first(thread: Thread, event: Event) -> None:
        await look("a")

    async def other(thread: Thread, event: Event) -> None:
        await look("b")

    made = case(kafka, handler=first)
    made.send()
    changed = Case(case(kafka, handler=other).app, made.limits, name="t", kafka=kafka)
    changed.state, changed.offsets, changed.now, changed.journal = made.state, made.offsets, made.now, made.journal
    changed.answer({})
    changed.command("abandon")
    blocks = entries_of(told(kafka, alone, "--actor", "me"))
    assert "alarm" in blocks[2].partition(">")[0]
    assert "STOPPED, WAITS FOR A PERSON NondeterminismError" in Page(blocks[2]).text
    assert "marked" in blocks[3].partition(">")[0]
    assert "action abandon who me" in Page(blocks[3]).text


def test_narrative_shows_records_outside_the_chain(kafka: FakeKafka, alone: Path) -> None:
    """A fork is told with its place, and what of that which it asked for may be out: no effect, but anything else."""
    from tests.ops.fakes import run

    made = eventful(kafka)
    kafka.add_entry(made.journal[4])
    signed_by = run("audit", "keygen", "key")
    assert signed_by.exit_code == 0
    out = run("audit", "export", "--out", "bundle")
    assert (out.exit_code, "tells of what does not count, 1 record:" in out.stderr) == (1, True)
    text = Page((alone / "bundle" / "narrative.html").read_text("utf-8")).text
    assert "OUTSIDE THE CHAIN The record at partition 0, offset 10 does not continue this thread: fork: seq 5" in text
    assert (
        "It counts for nothing. No effect on the world that it asks for is run on its account. Reads, replies and "
        "events for other threads that it asks for may be out all the same. Its bytes are in void.jsonl." in text
    )


HOSTILE = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</pre></table><h1>All is well</h1>", "&lt;b&gt;",
    "javascript:alert(1)", "\u202etxt.exe", "\x00\x1b[31m", "]]>", "<!--", "{{7*7}}", "' onclick='x", "\u2028",
]  # fmt: skip


def test_narrative_holds_hostile_text_as_text(kafka: FakeKafka, alone: Path) -> None:
    """In every place where somebody else's words come: thread, source, id, field names and values, replies, answers."""

    async def parrot(thread: Thread, event: Event) -> None:
        found = await look(event["word"])
        await thread.reply(found, {"said": found})

    plain = case(kafka, "plain", parrot)
    plain.send(word="x")
    plain.answer("x")
    wanted = Page(told(kafka, alone))
    for number, word in enumerate(HOSTILE):
        kafka.topics.clear()
        (alone / "key.signed").unlink(missing_ok=True)  # the signer would tell of it
        made = case(kafka, f"thread {word}"[:100], parrot)
        made.take(
            made.input("event", "agent-events", source=word, id=word, type="t.Go", data={"word": word, word: [word]})
        )
        made.answer(word)
        signed(alone)
        text = (exported(alone, name=f"hostile{number}") / "narrative.html").read_text("utf-8")
        page = Page(text)
        assert set(page.tags) == set(wanted.tags)
        assert set(page.attributes) == set(wanted.attributes)
        assert not set("\x00\x1b\u202e\u2028") & set(text)
        assert page.text.count(" ".join(shown_as(word).split())) >= 8


def shown_as(word: str) -> str:
    """The words that a reader sees."""
    return Page(shown(word)).text


def test_narrative_runs_and_fetches_nothing(kafka: FakeKafka, alone: Path) -> None:
    """One file: no script, no link to elsewhere, and a policy that forbids both."""
    eventful(kafka)
    text = told(kafka, alone)
    page = Page(text)
    assert {"script", "link", "img", "iframe", "form", "object"} & set(page.tags) == set()
    assert {"src", "onload", "onclick", "style", "action"} & set(page.attributes) == set()
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text
    assert set(re.findall(r'href="([^"])', text)) == {"#"}


def test_narrative_says_what_was_asked_for(kafka: FakeKafka, alone: Path) -> None:
    """Everything is said too; where it is less, what was asked for is told in words, not by colour alone."""
    eventful(kafka)
    assert "Asked for: everything." in Page(told(kafka, alone)).text
    part = (exported(alone, "--tool", "pay", name="part") / "narrative.html").read_text("utf-8")
    assert "Asked for: tools pay" in Page(part).text
    said = {seq for seq, block in entries_of(part).items() if "ASKED FOR" in Page(block).text}
    assert said == {2, 3, 6, 7, 8}


def test_narrative_tells_answers_in_words(kafka: FakeKafka, alone: Path) -> None:
    """Field names and times of an answer are none that only we can read; what people ask for comes first."""
    paid(kafka)
    text = Page(entries_of(told(kafka, alone))[3]).text
    assert "What it said: tool pay outcome done answer" in text
    assert "asked for at 1970-01-01 00:00:00.001 UTC finished at 1970-01-01 00:00:00.002 UTC" in text
    assert not {"asked_ms", "error_type", "run_id", "args_digest", "quota_key"} & set(text.split())


def test_narrative_tells_why_a_thread_waited(kafka: FakeKafka, alone: Path) -> None:
    """A pause that an agent chose, when it is chosen and when it is over; deadlines of calls are not decisions."""

    async def patient(thread: Thread, event: Event) -> None:
        await sleep(5)
        await look("x")

    made = case(kafka, handler=patient)
    made.send()
    made.fire()
    blocks = entries_of(told(kafka, alone))
    assert "to go on at 2023-11-14 22:13:25.001 UTC at the latest" in Page(blocks[1]).text
    assert "the time 2023-11-14 22:13:25.001 UTC, until which the agent had chosen to pause." in Page(blocks[2]).text
    assert "to go on at" not in Page(blocks[2]).text


def test_narrative_leads_to_what_it_names(kafka: FakeKafka, alone: Path) -> None:
    """Each link has its place on the page, and what was set apart is named at the top of its thread."""
    eventful(kafka)
    paid(kafka, "u")
    text = told(kafka, alone)
    links, places = re.findall(r'href="#([^"]+)"', text), re.findall(r'id="([^"]+)"', text)
    assert set(links) <= set(places) and len(places) == len(set(places))
    assert "set apart below: entry 5 , entry 7 , entry 8 , entry 9 , entry 10 ." in Page(text).text


def test_narrative_tells_every_history(kafka: FakeKafka, alone: Path) -> None:
    """Whatever an agent and its inputs do, each entry is told and every verdict has its words."""
    verdicts = set[str]()
    for number, (history, mode) in enumerate(some(12)):
        kafka.topics.clear()
        journal = play(history, mode).journal
        for entry in journal:
            kafka.add("agent-decisions", b"t", Codec(kafka.schemas).encode("threadlog.Decision", entry.to_dict()))
        kafka.topics["threadlog.audit-heads"] = []
        text = (exported(alone, name=f"b{number}") / "narrative.html").read_text("utf-8")
        assert sorted(entries_of(text)) == list(range(1, len(journal) + 1))
        verdicts |= {entry.verdict for entry in journal}
    assert verdicts - VERDICTS.keys() == set()
