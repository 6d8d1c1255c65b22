# SPDX-License-Identifier: Apache-2.0
"""Set-up names what a machine lacks and the Debian package that brings it, and makes only what is not made yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops.bootstrap import __main__ as bootstrap
from ops.bootstrap import programs, steps

GOOD = {
    "java": 'openjdk version "17.0.15" 2025-04-15',
    "javac": "javac 17.0.15",
    "mvn": "Apache Maven 3.8.7",
}
JDK, MAVEN = "apt-get install openjdk-17-jdk-headless", "apt-get install maven"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What set-up says of a machine whose programs print this; None: the program is not there."""

    def complaints(**said: str | None) -> list[str]:
        for name, text in {**GOOD, **said}.items():
            (tmp_path / name).unlink(missing_ok=True)
            if text is not None:
                (tmp_path / name).write_text(f"#!/bin/sh\necho '{text}' >&2\n")
                (tmp_path / name).chmod(0o755)
        return programs.missing()

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return complaints


def test_bootstrap_has_nothing_to_say_of_a_good_machine(machine: Callable[..., list[str]]) -> None:
    """Python 3.11, a JDK of 17 and Maven."""
    assert machine() == []


LACKS = {
    "no java": ({"java": None}, "java is missing", JDK),
    "old java": ({"java": 'java version "1.8.0_402"'}, "java 17 or newer is needed; {}/java is 8", JDK),
    "java 11": ({"java": 'openjdk version "11.0.2"'}, "java 17 or newer is needed; {}/java is 11", JDK),
    "broken java": ({"java": "cannot open shared object"}, "{}/java is of no version", JDK),
    "no javac": ({"javac": None}, "javac is missing", JDK),
    "old javac": ({"javac": "javac 16.0.1"}, "javac 17 or newer is needed; {}/javac is 16", JDK),
    "no mvn": ({"mvn": None}, "mvn (Maven) is missing", MAVEN),
    "old mvn": ({"mvn": "Apache Maven 3.3.9"}, "Maven 3.6.3 or newer is needed; {}/mvn is 3.3.9", MAVEN),
    "broken mvn": ({"mvn": "JAVA_HOME is wrong"}, "`mvn --version` prints no version", MAVEN),
}  # fmt: skip


@pytest.mark.parametrize("what", LACKS)
def test_bootstrap_names_what_is_missing_or_old(machine: Callable[..., list[str]], tmp_path: Path, what: str) -> None:
    """One sentence: the program, what was found, the package."""
    said, complaint, package = LACKS[what]
    [sentence] = machine(**said)
    assert complaint.format(tmp_path) in sentence
    assert sentence.endswith(f"On Debian: {package}")


def test_bootstrap_names_a_java_home_without_java(
    machine: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maven would take it from there, whatever is on PATH."""
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert [f"missing in JAVA_HOME ({tmp_path / 'jdk'})" in sentence for sentence in machine()] == [True, True]


def test_bootstrap_names_another_python(machine: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The version that runs, the one that is needed, and its package."""
    monkeypatch.setattr(programs, "sys", SimpleNamespace(version_info=(3, 13, 1)))
    [sentence] = machine()
    assert "Python 3.11 is needed" in sentence
    assert "this is 3.13" in sentence
    assert sentence.endswith("apt-get install python3.11 python3.11-venv")


def test_bootstrap_names_a_missing_venv(machine: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian ships Python without it."""
    import sys

    monkeypatch.setitem(sys.modules, "ensurepip", None)
    [sentence] = machine()
    assert sentence.endswith("apt-get install python3.11-venv")


def test_bootstrap_names_everything_at_once(machine: Callable[..., list[str]]) -> None:
    """A person installs once."""
    assert len(machine(java=None, javac=None, mvn=None)) == 3


class House:
    """A checkout with two steps, the second made from the first's product; `made` says what was."""

    def __init__(self, root: Path) -> None:
        self.root, self.made, self.fails = root, list[str](), ""
        self.source = root / "source"
        self.source.write_text("1")

    def step(self, name: str, *inputs: Path) -> steps.Step:
        def make(say: steps.Say) -> None:
            if name == self.fails:
                raise steps.StepFailed(f"{name} failed")
            self.made.append(name)
            (self.root / name).touch()

        return steps.Step(name, "small", inputs, self.root / name, make)

    def again(self, *names: str) -> tuple[int, list[str]]:
        """Run set-up; its exit code and what it made."""
        self.made.clear()
        return bootstrap.main([*names]), [*self.made]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    house = House(tmp_path)
    monkeypatch.setattr(steps, "ROOT", tmp_path)
    monkeypatch.setattr(steps, "BUILD", tmp_path / "build")
    monkeypatch.setattr(steps, "STEPS", (house.step("first", house.source), house.step("second", tmp_path / "other")))
    monkeypatch.setattr(programs, "missing", list)
    return house


def test_bootstrap_makes_everything_once(house: House) -> None:
    """A second time there is nothing to do, and no program is looked for."""
    assert house.again() == (0, ["first", "second"])
    assert house.again() == (0, [])


def test_bootstrap_goes_on_where_it_stopped(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """What is made stays; the step that failed is tried again, and the last words say how to go on."""
    house.fails = "second"
    assert house.again() == (1, ["first"])
    assert "run it again to continue.\nsecond failed" in capsys.readouterr().out
    house.fails = ""
    assert house.again() == (0, ["second"])


def test_bootstrap_makes_again_what_an_interrupt_cut_off(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product without its stamp is half a product."""

    def cut(say: steps.Say) -> None:
        (house.root / "first").touch()
        raise KeyboardInterrupt

    whole = steps.STEPS
    monkeypatch.setattr(steps, "STEPS", (whole[0]._replace(make=cut), whole[1]))
    with pytest.raises(KeyboardInterrupt):
        house.again()
    monkeypatch.setattr(steps, "STEPS", whole)
    assert house.again() == (0, ["first", "second"])


def test_bootstrap_makes_again_what_has_changed(house: House) -> None:
    """An input that changed, or appeared, or a product that is gone; the other step is left alone."""
    house.again()
    house.source.write_text("2")
    assert house.again() == (0, ["first"])
    (house.root / "other").mkdir()
    (house.root / "other" / "file").touch()
    assert house.again() == (0, ["second"])
    (house.root / "first").unlink()
    assert house.again() == (0, ["first"])


def test_bootstrap_makes_only_the_steps_that_are_named(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none is told with those that are."""
    assert house.again("second") == (0, ["second"])
    assert house.again("third") == (2, [])
    assert "There is no step third; there are first, second." in capsys.readouterr().out


def test_bootstrap_cannot_begin_without_its_programs(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says all of it before it makes anything, but only when there is something to make."""
    monkeypatch.setattr(programs, "missing", lambda: ["java is missing. On Debian: …"])
    assert house.again() == (2, [])
    assert "Set-up cannot begin:\n  - java is missing" in capsys.readouterr().out
    monkeypatch.setattr(programs, "missing", list)
    house.again()
    monkeypatch.setattr(programs, "missing", lambda: ["java is missing"])
    assert house.again() == (0, [])
