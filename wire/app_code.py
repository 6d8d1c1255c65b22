# SPDX-License-Identifier: Apache-2.0
"""A user's app by its name, `package.module:attribute`, and the digest of its code.

One Python interpreter serves a TaskManager process for its whole life: its modules outlive jobs, restarts and
submissions, so new code submitted to a running TaskManager would silently run as the old. Therefore the digest
belongs to the code *as it was loaded*: `load_app` takes it from the files at the moment of the first import and keeps
it; an operator compares `loaded_digest` with the digest it was submitted with and ends the process on a difference.

The digest covers every file of the app's top-level package, names and bytes; an app in a single module is that one
file. That is what is shipped: a module beside the app's own, which it may import, is loaded once and for all as well.
Caches and hidden files do not count and are not shipped: `IGNORED` is the one rule for both."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from fnmatch import fnmatch
from pathlib import Path

from threadlog import App

IGNORED = ("__pycache__", "*.pyc", ".*")

_loaded: dict[str, tuple[App, str]] = {}


class AppCodeError(Exception):
    """The app cannot be found or is none; the message says what was looked for and what was there."""


def split(spec: str) -> tuple[str, str]:
    """`a.b:app` → (`a.b`, `app`). Raises AppCodeError."""
    module, _, attribute = spec.partition(":")
    if not module or not attribute:
        raise AppCodeError(f"an app is named package.module:attribute; {spec!r} is not")
    return module, attribute


def package_root(spec: str) -> Path:
    """The file or folder of the app's top-level package: `examples` for `examples.support_desk.app`.

    Raises AppCodeError, whatever is wrong: to find a module, Python runs the code of the packages it is in."""
    module, _ = split(spec)
    try:
        found = importlib.util.find_spec(module)
        top = importlib.util.find_spec(module.partition(".")[0])
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise AppCodeError(f"there is no module {module} ({error})") from error
        raise AppCodeError(f"the package of {module} cannot be imported: {type(error).__name__}: {error}") from error
    if found is None or top is None or not found.origin or found.origin in ("built-in", "frozen"):
        raise AppCodeError(f"there is no module {module} with source files")
    folders = list(top.submodule_search_locations or [])
    return Path(folders[0] if folders else str(top.origin))


def files_digest(roots: list[Path]) -> str:
    """A hash over names and bytes of the files below the roots that count; names are relative to each root's folder."""
    sha = hashlib.sha256()
    for root in roots:
        files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        for path in files:
            if not any(fnmatch(part, pattern) for part in path.relative_to(root).parts for pattern in IGNORED):
                sha.update(str(path.relative_to(root.parent)).encode() + b"\0")
                sha.update(hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()


def digest(spec: str) -> str:
    """The digest of the app's code as it lies on disk now."""
    return files_digest([package_root(spec)])


def load_app(spec: str) -> App:
    """The app, imported at the first call and the same object ever after in this process."""
    if spec not in _loaded:
        module, attribute = split(spec)
        taken = digest(spec)
        try:
            app = getattr(importlib.import_module(module), attribute)
        except AttributeError as error:
            raise AppCodeError(f"module {module} has no {attribute}") from error
        if not isinstance(app, App):
            raise AppCodeError(f"{spec} is a {type(app).__name__}, expected a threadlog App")
        _loaded[spec] = (app, taken)
    return _loaded[spec][0]


def loaded_digest(spec: str) -> str:
    """The digest of the code this process runs for the app, loading it if need be."""
    load_app(spec)
    return _loaded[spec][1]
