# SPDX-License-Identifier: Apache-2.0
"""The code that runs is a copy: the product's packages and the app's, in a folder named by their digest.

So an edit in the checkout changes nothing until it is submitted, and what is submitted can be tried before anything is
stopped for it. The digest that TaskManagers compare is taken from the copy: that is what they will load."""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

from ops.stack.layout import PYTHON, ROOT, Layout
from wire.app_code import IGNORED, AppCodeError, files_digest, package_root, split

PACKAGES = ("schemas", "threadlog", "wire", "udfs", "jobs")
IMPORT_S = 60
# Of stderr the last line is what went wrong, in one sentence, of stdout the agents' versions; the app may print before.
PROBE = """
import os, sys, traceback
from wire.app_code import AppCodeError, load_app
try:
    app = load_app(sys.argv[1])
    print("\\n" + " ".join(f"{name}/{version}" for name, version in sorted(app.agents)), flush=True)
except AppCodeError as error:
    sys.exit(str(error))
except BaseException as error:
    own = (os.path.join(os.getcwd(), "wire"), "<", os.path.dirname(os.__file__))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(own)]
    place = "".join(f" ({os.path.relpath(frame.filename)}:{frame.lineno})" for frame in frames[-1:])
    sys.exit(f"{sys.argv[1]} cannot be imported: {type(error).__name__}: {error}{place}".replace("\\n", " "))
"""


def _importable(spec: str) -> Path:
    """The folder or file of the app's top-level package, which is what must be importable on a TaskManager."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # an installed program does not look there by itself
    try:
        return package_root(spec)
    except AppCodeError as error:
        raise AppCodeError(f"{error}; looked for in {here} and among the installed packages") from error


def _copy(roots: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for root in roots:
        if root.is_dir():
            shutil.copytree(root, folder / root.name, ignore=shutil.ignore_patterns(*IGNORED))
        else:
            shutil.copy(root, folder / root.name)


def pack(layout: Layout, spec: str) -> tuple[Path, str]:
    """Copy the code that will run into the state folder; the folder and its digest. Raises AppCodeError."""
    app = _importable(spec)
    roots = [ROOT / name for name in PACKAGES]
    roots += [] if app in roots else [app]
    fresh = layout.state / "code" / f"new.{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        _copy(roots, fresh)
    except OSError as error:  # shutil's own is one of these, with a list of all that went wrong
        shutil.rmtree(fresh, ignore_errors=True)
        raise AppCodeError(f"the code of {spec} cannot be copied: {error}") from error
    code = files_digest(sorted(fresh.iterdir()))[:16]
    folder = fresh.with_name(code)
    if folder.is_dir():
        shutil.rmtree(fresh)
    else:
        # Unpacked anew for each attempt of a job: whoever takes over from a killed process would have to compile it.
        compileall.compile_dir(fresh, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        try:
            fresh.replace(folder)
        except OSError:  # another has packed the same meanwhile
            shutil.rmtree(fresh)
            if not folder.is_dir():
                raise
    return folder, code


def app_digest(spec: str, folder: Path) -> str:
    """The digest of the app's code in a packed folder, as `wire.app_code.digest` finds it on a TaskManager."""
    package = folder / split(spec)[0].partition(".")[0]
    return files_digest([package if package.is_dir() else package.with_suffix(".py")])


def check(spec: str, folder: Path) -> frozenset[str]:
    """Import the app from the packed folder in a process of its own; its agents' versions, as NAME/VERSION.

    Raises AppCodeError when that is not an app.
    What it imports beside its package must be installed: nothing else is on its path, as on a TaskManager."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [str(PYTHON), "-c", PROBE, spec],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=IMPORT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AppCodeError(f"{spec} cannot be imported: that did not end within {IMPORT_S} s") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise AppCodeError(said[-1] if said else f"{spec} cannot be imported: its process ended ({done.returncode})")
    return frozenset(done.stdout.splitlines()[-1].split())
