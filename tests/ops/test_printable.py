# SPDX-License-Identifier: Apache-2.0
"""What anybody wrote is shown to a person, and cannot command the terminal."""

from __future__ import annotations

import pytest

from ops.printable import printable
from tests.ops.fakes import FakeKafka, run
from tests.threadlog.desk import Desk, desk
from threadlog import Event, Thread

HOSTILE = "a\x1b]0;owned\x07b\x9b2Jc\x7fd"


async def echo(thread: Thread, event: Event) -> None:
    thread.vars[event["n"]] = event["n"]
    await thread.reply(event["n"])


def test_controls_are_written_out() -> None:
    """Those of C0, DEL and C1, line ends too; letters of any script stay."""
    assert printable("\x00\t\n\r\x1b[31m\x7f\x80\x9f") == r"\x00\t\n\r\x1b[31m\x7f\x80\x9f"
    assert printable("é «日本» 🙂 \\ \xa0") == "é «日本» 🙂 \\ \xa0"


COMMANDS = [
    ("show", "t"), ("show", "t", "--at", "1"), ("diff", "t", "0", "1"), ("tail", "agent-decisions", "--headers"),
    ("tail", "agent-events", "--headers"), ("sql", "SELECT text, text AS [\x1b] FROM replies"), ("watch", "--once"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2])[:30].replace("\x1b", "?"))
def test_commands_pass_no_controls_on(kafka: FakeKafka, command: tuple[str, ...]) -> None:
    """Whatever was sent, as a name, a value, a key or a header, or is void."""
    made: Desk = desk(echo)
    made.send(n=HOSTILE)
    kafka.add_entry(made.journal[0])
    kafka.add_entry(made.journal[0], key=HOSTILE)
    kafka.add("agent-events", HOSTILE.encode(), HOSTILE.encode(), headers=[(HOSTILE, HOSTILE.encode())])
    told = run(*command)
    said = told.stdout + told.stderr
    assert "a" in said
    assert [c for c in said if c != "\n" and (ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0)] == []
