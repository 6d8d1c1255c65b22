# SPDX-License-Identifier: Apache-2.0
"""The lock of a state folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

Say = Callable[[str], None]


class Busy(Exception):
    """Another command changes the stack just now."""


@contextmanager
def alone(state: Path, say: Say, waits: bool = True) -> Iterator[None]:
    """One at a time per state folder changes the stack, or which of its jobs run; a second one says that it waits.

    Two starts at once would each find no job, and begin one. Raises Busy instead of waiting, if it is not to."""
    with _locked(state, say, waits):
        yield


def _locked(state: Path, say: Say, waits: bool) -> TextIO:
    """The lock's file, which holds it until it is closed."""
    while True:
        state.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as closed:
            lock = closed.enter_context(open(state / "lock", "w"))
            _take(lock, state, say, waits)
            # A purge has removed what this one waited for: nobody else would see it.
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(state / "lock")):
                closed.pop_all()
                return lock


def _take(lock: TextIO, state: Path, say: Say, waits: bool) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        if not waits:
            raise Busy from error
        say(f"  another command changes the stack in {state}; waiting for its end")
        fcntl.flock(lock, fcntl.LOCK_EX)
