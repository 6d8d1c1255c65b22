# SPDX-License-Identifier: Apache-2.0
"""While a handler is executed again, it opens no connection and starts no program or thread. While an app is imported
for that, it opens no connection; libraries may start a thread or ask a program for a version.

A handler does no I/O, so none of it is missed; one that does would otherwise do it once more at every replay. Python
tells an audit hook before it connects, sends or looks a name up; while the seal is on, the hook says no, the handler
hears that as an error, and the decision differs from the log. What Python does not tell of is not seen: a connection
that was open before, a thread that ran before, a client that is not written in Python.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_CONNECTS = frozenset({
    "socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
})  # fmt: skip
_STARTS = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty"})
_HANDLER, _IMPORT = "a handler does no I/O", "an app that is imported connects to nothing"
_seal = threading.local()  # `of`: what is sealed, _HANDLER, _IMPORT or nothing; `refused`: of the innermost seal


class Sealed(PermissionError):
    """A handler tried to reach the world while it was executed again, or an app while it was imported."""


Refused = tuple[Sealed, traceback.StackSummary]  # and where it was tried


def _hook(event: str, _: tuple[Any, ...]) -> None:
    if event not in _CONNECTS and event not in _STARTS:
        return
    of = getattr(_seal, "of", "")
    if of == _HANDLER or (of == _IMPORT and event in _CONNECTS):
        error = Sealed(f"{event} in a replay: {of}, that belongs in a tool")
        _seal.refused.append((error, traceback.extract_stack()))
        raise error


_start = threading.Thread.start


def _start_thread(thread: threading.Thread) -> None:
    """`Thread.start`; Python 3.11 tells no hook of it, and another thread is not sealed."""
    if getattr(_seal, "of", "") == _HANDLER:
        raise Sealed("a thread in a replay: a handler waits for nothing but what it awaits, that belongs in a tool")
    _start(thread)


@cache
def _install() -> None:
    sys.addaudithook(_hook)  # for the life of the process: there is no way to take one back
    threading.Thread.start = _start_thread  # type: ignore[method-assign,assignment]


@contextmanager
def sealed(importing: bool = False) -> Iterator[list[Refused]]:
    """Within it, this thread reaches nothing. importing: it connects to nothing, and may start programs and threads.

    Gives what was refused, which whoever tried may have caught: it grows meanwhile."""
    _install()
    before, _seal.of = getattr(_seal, "of", ""), _IMPORT if importing else _HANDLER
    outer, _seal.refused = getattr(_seal, "refused", []), list[Refused]()
    try:
        yield _seal.refused
    finally:
        _seal.of, _seal.refused = before, outer
