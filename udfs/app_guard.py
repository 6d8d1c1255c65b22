# SPDX-License-Identifier: Apache-2.0
"""The app as an operator may run it, or no operator at all.

One interpreter serves a TaskManager for its whole life: a job that was submitted with new code would silently run the
modules that an older job has loaded. So digests travel in the job graph, of the app's code and of ours, and are
compared when an operator opens; on a difference the process ends itself, and whoever supervises TaskManagers brings a
fresh interpreter.

The interpreter also outlives the folder that its modules came from: Flink unpacks the code anew for each attempt of a
job and removes it afterwards. What was not read by then is gone, so ours is read whole when the first operator opens,
and the packages of the app are pointed at the newest folder, in which later imports find their modules.
"""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import sys
import time
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import NoReturn

from schemas.codec import OURS, our_proto, our_schema
from threadlog import App
from wire.app_code import files_digest, load_app, loaded_digest, split

PACKAGES = ("schemas", "threadlog", "wire", "udfs")
# A TaskManager that cannot get better must not be restarted as fast as the machine can.
EXIT_PAUSE_S = 1.0
EXIT_CODE = 70


def _own_digest() -> str:
    roots = [Path(str(spec.origin)).parent for name in PACKAGES if (spec := importlib.util.find_spec(name)) is not None]
    return files_digest(roots)


# Taken when this module is first imported: like every other module it may be older than what lies on the disk now.
OWN_DIGEST = _own_digest()


class OwnCode:
    """The code of ours that a job was submitted with. Made where the job is built, opened where it runs."""

    def __init__(self) -> None:
        self.own_digest = OWN_DIGEST

    def check(self) -> None:
        """Does not return where this process runs other code than what was submitted."""
        if self.own_digest != OWN_DIGEST:
            _end_process(
                f"this process runs threadlog at {OWN_DIGEST[:12]}, the job was submitted with {self.own_digest[:12]}"
            )
        keep_ours()


class AppCode(OwnCode):
    """Names an app and the code it was submitted with, ours and its own."""

    def __init__(self, spec: str, digest: str) -> None:
        super().__init__()
        self.spec, self.digest = spec, digest

    def load(self) -> App:
        """The loaded app; does not return where this process runs other code than what was submitted.

        Raises RuntimeError without PYTHONHASHSEED=0: the order of a set would differ from one process to the next, and
        with it what an agent asks for."""
        if sys.flags.hash_randomization:
            raise RuntimeError("PYTHONHASHSEED is not 0: set it in the environment that starts the TaskManagers")
        self.check()
        app = load_app(self.spec)
        found = loaded_digest(self.spec)
        if found != self.digest:
            _end_process(
                f"this process runs {self.spec} at {found[:12]}, the job was submitted with {self.digest[:12]}"
            )
        app.digest = self.digest
        mend_paths(split(self.spec)[0].partition(".")[0])
        return app


@cache
def keep_ours() -> None:
    """Import every module of ours and read every schema, while their files are there."""
    for name in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            importlib.import_module(module.name)
    for name in OURS:
        our_schema(f"threadlog.{name}")
    our_proto()


def mend_paths(package: str) -> None:
    """Let the loaded packages from `package` down look for further modules where the code lies now."""
    for name in sorted(name for name in sys.modules if name == package or name.startswith(f"{package}.")):
        module = sys.modules[name]
        if not hasattr(module, "__path__") or any(Path(path).is_dir() for path in module.__path__):
            continue
        parent = sys.modules.get(name.rpartition(".")[0])
        found = PathFinder.find_spec(name, None if parent is None else list(parent.__path__))
        if found is not None and found.submodule_search_locations:
            module.__path__ = list(found.submodule_search_locations)


def _end_process(why: str) -> NoReturn:
    print(f"threadlog: {why}; ending this process, a fresh one loads the new code", file=sys.stderr, flush=True)
    time.sleep(EXIT_PAUSE_S)
    os._exit(EXIT_CODE)
