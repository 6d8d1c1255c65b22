# SPDX-License-Identifier: Apache-2.0
"""The programs that must be on the machine before set-up can begin, and the words for those that are not.

Each check answers a sentence that names the program, what was found, and the Debian package that brings it; all
checks run before the first complaint, so that a person installs once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import List, Optional, Tuple

PYTHON = (3, 11)
JAVA_MIN = 17
MAVEN_MIN = (3, 6, 3)
PACKAGES = {
    "python": "python3.11 python3.11-venv",
    "venv": "python3.11-venv",
    "java": "openjdk-17-jdk-headless",
    "javac": "openjdk-17-jdk-headless",
    "mvn": "maven",
}


def java_program(name: str) -> Optional[str]:
    """The path of `java` or `javac`: JAVA_HOME's, as Maven would choose, else the first on PATH."""
    home = os.environ.get("JAVA_HOME")
    if home:
        inside = os.path.join(home, "bin", name)
        return inside if os.access(inside, os.X_OK) else None
    return shutil.which(name)


def _output(command: List[str]) -> str:
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout.decode("utf-8", "replace")


def version_in(text: str) -> Tuple[int, ...]:
    """The first dotted number in what a program prints about itself; () when there is none.

    >>> version_in('openjdk version "17.0.15" 2025-04-15')
    (17, 0, 15)
    """
    found = re.search(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def _python() -> Optional[str]:
    if sys.version_info[:2] == PYTHON:
        return None
    found = "%d.%d" % sys.version_info[:2]
    return _sentence("python", "Python 3.11 is needed (Flink's Python parts are resolved for it); this is " + found)


def _venv() -> Optional[str]:
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return _sentence("venv", "Python's venv module is missing")
    return None


def _java(name: str) -> Optional[str]:
    path = java_program(name)
    if path is None:
        where = " in JAVA_HOME (%s)" % os.environ["JAVA_HOME"] if os.environ.get("JAVA_HOME") else ""
        return _sentence(name, "%s is missing%s" % (name, where))
    version = version_in(_output([path, "-version"]))
    major = version[1] if version[:1] == (1,) and len(version) > 1 else (version or (0,))[0]
    if major < JAVA_MIN:
        return _sentence(name, "%s %d or newer is needed; %s is %s" % (name, JAVA_MIN, path, major or "of no version"))
    return None


def _maven() -> Optional[str]:
    path = shutil.which("mvn")
    if path is None:
        return _sentence("mvn", "mvn (Maven) is missing")
    found = re.search(r"Apache Maven (\d+)\.(\d+)\.(\d+)", _output([path, "--version"]))
    if found is None:
        return _sentence("mvn", "mvn does not run: `mvn --version` prints no version")
    version = tuple(int(part) for part in found.groups())
    if version < MAVEN_MIN:
        return _sentence("mvn", "Maven 3.6.3 or newer is needed; %s is %s" % (path, ".".join(found.groups())))
    return None


def _sentence(program: str, complaint: str) -> str:
    return "%s. On Debian: apt-get install %s" % (complaint, PACKAGES[program])


def missing() -> List[str]:
    """One sentence for each program that is absent or too old; an empty list when set-up can begin."""
    checks = [_python(), _venv(), _java("java"), _java("javac"), _maven()]
    return [sentence for sentence in checks if sentence is not None]
