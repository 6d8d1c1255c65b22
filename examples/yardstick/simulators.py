# SPDX-License-Identifier: Apache-2.0
"""The simulators of one task, driven as the leaderboard drives them, and their state as JSON.

    output   a string as it is; a dictionary as JSON if it can be, all else as Python prints it;
             an exception as `Error during execution: ...`
    state    every attribute of every instance: private ones, the state of random generators, the order of dictionaries
             and the identity of shared objects included; of the wall clock, what WALL_CLOCK names is left out

Chance is seeded by the simulators themselves, each instance from its own configuration. Two libraries hold a precision
for the whole process, which one task would leave to another: it is reset before each call. One call at a time."""

from __future__ import annotations

import copy
import datetime
import decimal
import hashlib
import importlib
import inspect
import json
import random
import sys
from collections.abc import Callable
from typing import Any

from examples.yardstick.tasks import Call, Task

WALL_CLOCK = frozenset({("File", "_last_modified")})  # (class, attribute): when GorillaFileSystem wrote a file
MPMATH_DIGITS = 15  # mpmath's own default
BACKENDS = "bfcl_eval.constants.executable_backend_config"


class Simulators:
    """One instance of each simulator that a task involves."""

    def __init__(self, task: Task) -> None:
        backends = importlib.import_module(BACKENDS)
        self.instances: dict[str, Any] = {}
        self._functions: dict[str, Callable[..., Any]] = {}
        for name in task.classes:
            made = getattr(importlib.import_module(backends.CLASS_FILE_PATH_MAPPING[name]), name)()
            if name not in backends.STATELESS_CLASSES:
                made._load_scenario(copy.deepcopy(task.config.get(name, {})), long_context=False)
            self.instances[name] = made
            public = inspect.getmembers(made, predicate=inspect.ismethod)
            self._functions.update({key: method for key, method in public if not key.startswith("_")})

    def call(self, call: Call) -> str:
        """Call the function; its output as text. Whatever it raises is an output too."""
        if "mpmath" in sys.modules:
            sys.modules["mpmath"].mp.dps = MPMATH_DIGITS
        with decimal.localcontext(decimal.Context()):
            try:
                return _text(self._functions[call.function](*copy.deepcopy(call.args), **copy.deepcopy(call.kwargs)))
            except Exception as error:  # the leaderboard's rule: an error is what the model is told
                return f"Error during execution: {error}"

    def state(self) -> Any:
        """The state of all instances as plain JSON; compare it as JSON text, since Python holds 1 and 1.0 for equal."""
        return _snapshot(self.instances, {}, "")

    def copy(self) -> Simulators:
        """An independent copy in the same state."""
        return copy.deepcopy(self)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        try:
            return json.dumps(value)
        except (TypeError, ValueError):
            return str(value)
    return str(value)


def _snapshot(value: Any, seen: dict[int, str], path: str) -> Any:
    """`seen` holds where each object was met first: a second way to it is written as that place, so cycles end."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, random.Random):
        return {"random": hashlib.sha256(repr(value.getstate()).encode()).hexdigest()}
    if id(value) in seen:
        return {"same as": seen[id(value)]}
    if isinstance(value, dict | list) or hasattr(value, "__dict__"):
        seen[id(value)] = path or "/"
    if isinstance(value, dict):
        return {"dict": [[repr(key), _snapshot(one, seen, f"{path}/{key}")] for key, one in value.items()]}
    if isinstance(value, list | tuple):
        return [_snapshot(one, seen, f"{path}/{place}") for place, one in enumerate(value)]
    if isinstance(value, set | frozenset):
        return {"set": sorted(map(repr, value))}
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal):
        return {type(value).__name__: str(value)}
    return _fields(value, seen, path)


def _fields(value: Any, seen: dict[int, str], path: str) -> Any:
    """Raises TypeError for what has no attributes: a state that is not looked into must not pass for equal."""
    name, fields = type(value).__name__, vars(value)
    kept = {key: one for key, one in sorted(fields.items()) if (name, key) not in WALL_CLOCK}
    return {"class": name, "fields": {key: _snapshot(one, seen, f"{path}/{key}") for key, one in kept.items()}}
