# SPDX-License-Identifier: Apache-2.0
"""docs/runbook.md as data: recipes by heading, and of each the command lines with what they print.

In a block ```console a line with `$ ` is a command for bash, the lines below it are what it prints, on both streams:
each line that is printed is one of them, and each of them is printed. `…` stands for anything; alone on a line, for any
lines. `[exit code N]` is how the command ends, where that is not 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "runbook.md"
_EXIT = re.compile(r"\[exit code (\d+)\]")


@dataclass
class Step:
    """A command line, what it prints, and its exit code."""

    command: str
    prints: list[str] = field(default_factory=list)
    code: int = 0

    def differences(self, output: str, code: int) -> list[str]:
        """How what was printed differs from what the document says."""
        printed = [line.rstrip() for line in output.splitlines() if line.strip()]
        patterns = {line: pattern(line) for line in self.prints if line != "…"}
        wrong = [f"not printed: {line}" for line, one in patterns.items() if not any(map(one.fullmatch, printed))]
        if "…" not in self.prints:
            wrong += [
                f"not told: {line}" for line in printed if not any(one.fullmatch(line) for one in patterns.values())
            ]
        return [*wrong, f"exit code {code}, not {self.code}"] if code != self.code else wrong


@dataclass
class Block:
    """Commands that are given together."""

    steps: list[Step] = field(default_factory=list)


def pattern(line: str) -> re.Pattern[str]:
    """What a printed line must look like."""
    return re.compile(re.escape(line.rstrip()).replace("…", ".*"))


def recipes(text: str) -> dict[str, list[Block]]:
    """The blocks below each heading of the second level that has any."""
    found: dict[str, list[Block]] = {}
    heading, inside = "", False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = line == "```console"
            if inside:
                found.setdefault(heading, []).append(Block())
        elif inside:
            _take(found[heading][-1].steps, line)
        elif line.startswith("## "):
            heading = line.removeprefix("## ")
    return found


def _take(steps: list[Step], line: str) -> None:
    if line.startswith("$ "):
        steps.append(Step(line.removeprefix("$ ")))
    elif match := _EXIT.fullmatch(line):
        steps[-1].code = int(match[1])
    elif line:
        steps[-1].prints.append(line)
