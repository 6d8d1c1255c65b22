# SPDX-License-Identifier: Apache-2.0
"""The steps of set-up as data: what each makes, from what, how big it is, and how.

A step leaves a stamp in .build/stamps with a digest of its inputs; a step whose stamp matches and whose product is
there is skipped without starting a program, so a warm set-up is a few file reads. A step that was interrupted has no
stamp and runs again: pip, Maven and javac all continue from what they have."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Callable, List, NamedTuple, Sequence

from ops.bootstrap.programs import java_program

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / ".build"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
FLINK = VENV / "lib" / "python3.11" / "site-packages" / "pyflink"
FLINK_LIB = BUILD / "flink-lib"
ARCHIVES = BUILD / "class-archives"
NATIVE = BUILD / "native"
HERE = Path(__file__).resolve()
POM = ROOT / "ops" / "bootstrap" / "pom.xml"
JAVA_SOURCES = ROOT / "connector" / "src" / "main" / "java"
JAR = FLINK_LIB / "threadlog-connector.jar"

Say = Callable[[str], None]


class StepFailed(Exception):
    """A step did not end well; the message says which command, with what exit code."""


class Step(NamedTuple):
    """One thing that set-up makes. `inputs` are files; `product` must exist for the step to count as done."""

    name: str
    size: str
    inputs: Sequence[Path]
    product: Path
    make: Callable[[Say], None]


def digest(step: Step) -> str:
    """A hash over the step's name and the contents of its inputs, folders walked in order."""
    sha = hashlib.sha256(step.name.encode())
    for given in step.inputs:
        files = sorted(path for path in given.rglob("*") if path.is_file()) if given.is_dir() else [given]
        for path in files:
            sha.update(str(path.relative_to(ROOT)).encode() + b"\0")
            sha.update(path.read_bytes() if path.is_file() else b"absent")
    return sha.hexdigest()


def stamp(step: Step) -> Path:
    """Where the step's digest is kept once it is done."""
    return BUILD / "stamps" / step.name


def is_done(step: Step) -> bool:
    """True when the product is there and was made from these very inputs."""
    path = stamp(step)
    return step.product.exists() and path.is_file() and path.read_text() == digest(step)


def run(step: Step, say: Say) -> None:
    """Make the product and leave the stamp; the stamp comes last, so an interrupted step runs again."""
    stamp(step).parent.mkdir(parents=True, exist_ok=True)
    stamp(step).unlink(missing_ok=True)
    step.make(say)
    stamp(step).write_text(digest(step))


def _follow(command: List[str], say: Say, pick: Callable[[str], str]) -> None:
    """Run a command and pass on what `pick` makes of each line; its last lines are shown if it fails."""
    last: List[str] = []
    with subprocess.Popen(
        command, cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        for raw in process.stdout:
            line = raw.decode("utf-8", "replace").rstrip()
            last = ([*last, line])[-25:]
            said = pick(line)
            if said:
                say("    " + said)
    if process.returncode != 0:
        detail = "\n".join("    | " + line for line in last if line)
        raise StepFailed("%s\n`%s` ended with code %d" % (detail, " ".join(command[:6]), process.returncode))


def _pip_line(line: str) -> str:
    found = re.match(r"\s*Downloading (?:\S*/)?(\S+) \(([^)]*)\)", line)
    if found:
        return "%s (%s)" % found.groups()
    return line.strip() if re.match(r"\s*(Building wheel|Installing collected)", line) else ""


def _maven_line(line: str) -> str:
    found = re.search(r"Downloaded from .*/([^/\s]+\.(?:jar|gz)) \(([^)]*) at", line)
    if found:
        return "%s (%s)" % found.groups()
    return line.strip() if "ERROR" in line else ""


def _python_packages(say: Say) -> None:
    pip = [str(PYTHON), "-m", "pip", "--version"]
    if not PYTHON.exists() or subprocess.run(pip, capture_output=True, check=False).returncode:
        _follow([sys.executable, "-m", "venv", "--clear", str(VENV)], say, lambda line: line)
    # --no-deps: the lock is complete, and a resolver that sees less than the whole would move Flink's pins.
    command = [str(PYTHON), "-m", "pip", "install", "--no-deps", "--no-input", "--progress-bar", "off"]
    _follow([*command, "-r", str(ROOT / "requirements.lock")], say, lambda line: _pip_line(line)[:110])
    # A plain path entry, so that folders added later are found without another install.
    editable = ["--no-build-isolation", "--config-settings", "editable_mode=compat", "-e", str(ROOT)]
    _follow(command + editable, say, lambda line: "")


def _maven(*executions: str) -> Callable[[Say], None]:
    def make(say: Say) -> None:
        goals = ["dependency:" + execution for execution in executions]
        _follow(["mvn", "-B", "-f", str(POM), "-Dbuild.dir=" + str(BUILD), *goals], say, _maven_line)

    return make


def _flink_lib(say: Say) -> None:
    """Links, not copies: Flink's scripts and JVMs follow them, and 300 MB stay where they are."""
    FLINK_LIB.mkdir(parents=True, exist_ok=True)
    for old in FLINK_LIB.glob("*.jar"):
        if old != JAR:
            old.unlink()
    jars = [*(FLINK / "lib").glob("*.jar"), *(FLINK / "opt").glob("flink-python-*.jar")]
    # The connector comes without zstd: one record that a producer compressed with it would stop the job for good.
    jars += (BUILD / "kafka").glob("zstd-jni-*.jar")
    for jar in [*jars, *(BUILD / "connector").glob("*.jar")]:
        (FLINK_LIB / jar.name).symlink_to(jar)
    say("    %d jars" % len(list(FLINK_LIB.glob("*.jar"))))
    _native()


def _native() -> None:
    """RocksDB's library, out of its jar once instead of at every start; on a machine that it has none for, nothing."""
    NATIVE.mkdir(exist_ok=True)
    kind = {"x86_64": "linux64", "aarch64": "linux-aarch64"}.get(platform.machine(), "none")
    with zipfile.ZipFile(next(FLINK_LIB.glob("flink-dist-*.jar"))) as jar:
        for name in set(jar.namelist()) & {"librocksdbjni-%s.so" % kind}:
            jar.extract(name, str(NATIVE))


def _connector_jar(say: Say) -> None:
    sources = sorted(str(path) for path in JAVA_SOURCES.rglob("*.java"))
    if not sources:
        say("    no Java sources yet")
        return
    classes = BUILD / "classes"
    shutil.rmtree(classes, ignore_errors=True)
    classes.mkdir(parents=True)
    javac = java_program("javac") or "javac"
    options = ["--release", "11", "-proc:none", "-classpath", str(FLINK_LIB / "*"), "-d", str(classes)]
    _follow([javac, *options, *sources], say, lambda line: line)
    # `jar` stands beside `javac`; a jar is written aside and renamed, since running JVMs may hold the old one open.
    fresh = BUILD / "threadlog-connector.jar.new"
    jar = java_program("jar") or "jar"
    _follow([jar, "--create", "--file", str(fresh), "-C", str(classes), "."], say, lambda line: line)
    os.replace(str(fresh), str(JAR))


def _class_archives(say: Say) -> None:
    _follow([str(PYTHON), "-m", "ops.stack.archives"], say, lambda line: line.strip()[:110])


STEPS = (
    Step(
        "python-packages",
        "about 90 packages with Flink 2.3.0, 400 MB to fetch, 1 GB installed",
        (ROOT / "requirements.lock", ROOT / "setup.cfg", ROOT / "pyproject.toml"),
        VENV / "bin" / "threadlog",
        _python_packages,
    ),
    Step("kafka", "Kafka 4.2.0, 45 jars, 43 MB", (POM,), BUILD / "kafka", _maven("copy-dependencies@kafka")),
    Step("registry", "Apicurio schema registry 2.6.13, 142 MB", (POM,), BUILD / "registry", _maven("unpack@registry")),
    Step("connector", "Flink's Kafka connector 5.0.0, 11 MB", (POM,), BUILD / "connector", _maven("copy@connector")),
    Step("flink-lib", "Flink's jars in one folder", (ROOT / "requirements.lock", POM, HERE), FLINK_LIB, _flink_lib),
    Step(
        "connector-jar",
        "our Java classes",
        (JAVA_SOURCES, POM),
        JAR if JAVA_SOURCES.is_dir() else FLINK_LIB,
        _connector_jar,
    ),
    Step(
        "class-archives",
        "starting the stack once, so that later starts take half as long, 400 MB",
        (ROOT / "requirements.lock", POM, JAVA_SOURCES, HERE),
        ARCHIVES,
        _class_archives,
    ),
)
