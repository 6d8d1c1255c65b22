# SPDX-License-Identifier: Apache-2.0
"""The app as an operator may run it, or no operator at all.

One interpreter serves a TaskManager for its whole life: a job that was submitted with new code would silently run the modules
that an older job has loaded. So the digest of the code travels in the job graph and is compared when an operator opens; on a
difference the process ends itself, and whoever supervises TaskManagers brings a fresh interpreter.
"""
from __future__ import annotations

import os
import sys
import time
from typing import NoReturn

from threadlog import App
from wire.app_code import load_app, loaded_digest

# A TaskManager that cannot get better must not be restarted as fast as the machine can.
EXIT_PAUSE_S = 1.0
EXIT_CODE = 70


def checked_app(spec: str, expected_digest: str) -> App:
    """The loaded app; does not return where its code differs from what was submitted.

    Raises RuntimeError without PYTHONHASHSEED=0: the order of a set would differ from one process to the next, and with it
    what an agent asks for."""
    if sys.flags.hash_randomization:
        raise RuntimeError("PYTHONHASHSEED is not 0: set it in the environment that starts the TaskManagers")
    app = load_app(spec)
    found = loaded_digest(spec)
    if found != expected_digest:
        _end_process(f"this process runs {spec} at {found[:12]}, the job was submitted with {expected_digest[:12]}")
    app.digest = expected_digest
    return app


def _end_process(why: str) -> NoReturn:
    print(f"threadlog: {why}; ending this process, a fresh one loads the new code", file=sys.stderr, flush=True)
    time.sleep(EXIT_PAUSE_S)
    os._exit(EXIT_CODE)
