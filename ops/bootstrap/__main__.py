# SPDX-License-Identifier: Apache-2.0
"""`python3 -m ops.bootstrap [STEP ...]`: bring a checkout from nothing to ready, or see in a moment that it is ready.

Checks the machine's programs first, then makes what is missing, one step after the other, saying what and how big.
Safe to interrupt and to repeat."""

from __future__ import annotations

import fcntl
import sys
import time

from ops.bootstrap import programs, steps


def _say(line: str) -> None:
    print(line, flush=True)


def _make(pending: list[steps.Step]) -> None:
    for number, step in enumerate(pending, 1):
        _say("[%d/%d] %s: %s" % (number, len(pending), step.name, step.size))
        began = time.monotonic()
        steps.run(step, _say)
        _say("    done in %.0f s" % (time.monotonic() - began))


def main(names: list[str]) -> int:
    """Exit code 0 when everything is there, 1 when a step failed, 2 when the machine lacks a program or a name is none.

    `names`: the steps that are wanted; none: all."""
    unknown = sorted(set(names) - {step.name for step in steps.STEPS})
    if unknown:
        _say("There is no step %s; there are %s." % (", ".join(unknown), ", ".join(step.name for step in steps.STEPS)))
        return 2
    wanted = [step for step in steps.STEPS if not names or step.name in names]
    pending = [step for step in wanted if not steps.is_done(step)]
    if not pending:
        return 0
    complaints = programs.missing()
    if complaints:
        _say("Set-up cannot begin:")
        for sentence in complaints:
            _say("  - " + sentence)
        return 2
    steps.BUILD.mkdir(exist_ok=True)
    with open(steps.BUILD / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            _make([step for step in wanted if not steps.is_done(step)])
        except steps.StepFailed as error:
            _say("Set-up stopped here; run it again to continue.\n%s" % error)
            return 1
    _say("Set-up is complete.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
