# SPDX-License-Identifier: Apache-2.0
"""docker-compose.yml and the Dockerfile say what the local stack and its set-up say."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ops.bootstrap import programs, steps
from ops.compose import start
from ops.compose.__main__ import FILE, text
from ops.compose.services import ADDRESSES, ARCHIVE, EVERYWHERE, lines_of, listeners
from ops.compose.settings import HOME, STATE, as_environment, from_environment, of
from ops.settings import Settings
from ops.stack import flink, lifecycle, starting, submit
from ops.stack.layout import FLINK, ROOT, Layout
from ops.stack.parts import Part
from ops.stack.render import render

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
OPERATIONS = ROOT / "docs" / "operations.md"
SETTINGS = Settings()
Json = dict[str, Any]


@pytest.fixture(scope="module")
def file() -> Json:
    """The committed file."""
    loaded: Json = YAML(typ="safe").load(FILE.read_text("utf-8"))
    return loaded


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, dict[str, Part]]:
    """The local stack, written down."""
    layout = Layout(tmp_path_factory.mktemp("local"))
    return layout, {part.name: part for part in render(SETTINGS, layout)}


def words(service: Json) -> list[str]:
    """Every word of a service's command; `$$` is compose's way to write `$`."""
    return shlex.split(" ".join(service["command"][2:] if service["command"][0] == "sh" else service["command"]))


def moved(layout: Layout, text: str) -> str:
    """The local stack's text with the container's paths."""
    return text.replace(str(layout.state), str(STATE)).replace(str(ROOT), str(HOME))


def changed(name: str) -> dict[str, str | None]:
    """What a configuration may have otherwise than the local stack's."""
    quorum = {"high-availability.zookeeper.quorum": f"zookeeper:{SETTINGS.port(7)}"}
    return {
        "config.yaml": ADDRESSES | quorum,
        "kafka.properties": {**listeners(SETTINGS)},
        "zoo.cfg": {"clientPortAddress": "0.0.0.0"},
    }.get(name, {})


def test_compose_file_is_what_would_be_written() -> None:
    """`python -m ops.compose` changes nothing."""
    assert FILE.read_text("utf-8") == text()


def test_compose_file_fits_the_specification() -> None:
    """The compose specification's JSON schema has no complaint."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "ok -- validation done")


@pytest.mark.parametrize("name", ["config.yaml", "kafka.properties", "zoo.cfg", "log4j-console.properties"])
def test_compose_settings_are_the_local_stacks(name: str, file: Json, local: tuple[Layout, dict[str, Part]]) -> None:
    """Every setting of a configuration file is the local stack's, but for the addresses and paths of containers."""
    layout, separator = local[0], ": " if name == "config.yaml" else "="
    expected = lines_of(moved(layout, (layout.conf / name).read_text()), separator) | changed(name)
    found = lines_of(file["configs"][name]["content"].replace("$$", "$"), separator)
    assert found == {key: value for key, value in expected.items() if value is not None}


def test_compose_changes_only_addresses() -> None:
    """Whatever differs from the local stack names a host."""
    hosts = re.compile(r"0\.0\.0\.0|jobmanager|PLAINTEXT")
    every = [value for name in ("config.yaml", "kafka.properties", "zoo.cfg") for value in changed(name).values()]
    assert [v for v in [*every, *EVERYWHERE.values()] if v and not hosts.search(v) and "zookeeper:" not in v] == []


@pytest.mark.parametrize("name", ["zookeeper", "kafka", "registry", "jobmanager", "taskmanager"])
def test_compose_commands_are_the_local_stacks(name: str, file: Json, local: tuple[Layout, dict[str, Part]]) -> None:
    """A container's main process is the local part's: same class, flags and jars."""
    layout, parts = local
    part = parts.get(name) or parts[f"{name}-1"]
    here = (
        ARCHIVE.sub("", shlex.join(part.command)).replace(str(layout.state), str(STATE)).replace(str(ROOT), str(HOME))
    )
    here = here.replace("http.host=127.0.0.1", "http.host=0.0.0.0").replace("taskmanager-1", "$$(hostname)")
    expected = ["java", *shlex.split(here)[1:]]
    assert words(file["services"][name])[-len(expected) :] == expected


@pytest.mark.parametrize("name", ["registry", "jobmanager", "taskmanager"])
def test_compose_environment_is_the_local_stacks(name: str, file: Json, local: tuple[Layout, dict[str, Part]]) -> None:
    """A container is told what the local part is told; the image's own PATH leads to the same Python."""
    layout, parts = local
    part = parts.get(name) or parts[f"{name}-1"]
    told = {key: moved(layout, value) for key, value in part.environment.items()}
    path = told.pop("PATH", "")
    given = file["services"][name]["environment"]
    assert {key: given.get(key) for key in told} == told
    assert not path or f"PATH={path.split(':')[0]}:" in DOCKERFILE


def test_compose_ports_are_the_local_stacks(file: Json) -> None:
    """The host finds broker, registry, Flink and payments where `threadlog` looks for them, on loopback only."""
    published = [port.rsplit(":", 1)[0] for service in file["services"].values() for port in service.get("ports", [])]
    assert sorted(published) == [f"127.0.0.1:{SETTINGS.port(n)}" for n in (0, 2, 4, 5)]


def test_compose_versions_are_the_pinned_ones(file: Json) -> None:
    """Flink, its connector and the registry are those of requirements.lock and the pom."""
    pom = dict(re.findall(r"<(\w+)\.version>([^<]+)<", steps.POM.read_text("utf-8")))
    locked = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE))
    ran = " ".join(word for service in file["services"].values() for word in words(service))
    assert set(re.findall(r"flink-dist-([\w.-]+)\.jar", ran)) == {locked["apache-flink"]}
    assert set(re.findall(r"flink-sql-connector-kafka-([\w.-]+)\.jar", ran)) == {pom["connector"]}
    assert set(re.findall(r"apicurio-registry-app-([\w.]+)-runner\.jar", ran)) == {pom["registry"]}


def test_compose_taskmanagers_and_state(file: Json) -> None:
    """There are as many TaskManagers as `threadlog up` starts, and all of Flink sees one folder of checkpoints."""
    services = file["services"]
    assert services["taskmanager"]["deploy"]["replicas"] == SETTINGS.taskmanagers
    flink_volume, records_volume = f"flink:{STATE}/flink", f"jobs:{STATE}/jobs"
    assert {name: services[name]["volumes"] for name in ("jobmanager", "taskmanager", "jobs")} == {
        "jobmanager": [flink_volume],
        "taskmanager": [flink_volume],
        "jobs": [flink_volume, records_volume],
    }


def test_compose_settings_survive_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container reads from its environment the settings that were written into it."""
    settings = Settings(namespace="other", port_base=20000, taskmanagers=5, partitions=16, checkpoint_interval_ms=500)
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert from_environment() == of(settings)
    assert from_environment().bootstrap == "kafka:20002"


def test_compose_image_brings_the_programs_that_setup_asks_for() -> None:
    """The image installs the Debian packages that set-up names where a program is missing."""
    installed = re.search(r"install -y --no-install-recommends (.*?)\s*\\?\n", DOCKERFILE)
    assert installed is not None
    assert set(installed[1].split()) == {name for names in programs.PACKAGES.values() for name in names.split()}


def test_compose_image_is_set_up_like_a_checkout() -> None:
    """The image runs every step of set-up except the class archives, which need a running stack."""
    ran = re.search(r"-m ops\.bootstrap ([a-z -]+?)\s*\\?\n", DOCKERFILE)
    assert ran is not None
    assert ran[1].split() == [step.name for step in steps.STEPS if step.name != "class-archives"]


def test_compose_image_has_what_its_steps_read() -> None:
    """Everything that a step reads is copied into the image before the step."""
    before = DOCKERFILE.partition("-m ops.bootstrap")[0]
    copied = {Path(name) for line in re.findall(r"^COPY (.+) \S+$", before, re.MULTILINE) for name in line.split()}
    read = {path.relative_to(ROOT) for step in steps.STEPS if step.name in DOCKERFILE for path in step.inputs}
    assert {path for path in read if not any(path == c or c in path.parents for c in copied)} == set()


def test_compose_image_of_an_own_app_is_made_as_root_and_runs_as_ours() -> None:
    """The example in operations.md begins with the image of the services and ends with the last line of ours."""
    [example] = re.findall(r"^```\n(FROM .*?)\n```$", OPERATIONS.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = example.splitlines()
    assert f"image: {lines[0].removeprefix('FROM ')}\n" in FILE.read_text("utf-8")
    assert lines[1] == "USER root"
    assert lines[-1] == DOCKERFILE.splitlines()[-1] == "USER threadlog"


def test_compose_image_has_the_code() -> None:
    """.dockerignore lets in every package, and nothing that is made on this machine."""
    allowed = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {
        "tests",
        "bench",
    }  # they stay in the checkout
    assert packages <= allowed
    assert allowed & {".venv", ".build", ".git", ".threadlog"} == set()
    assert all((ROOT / name).exists() for name in allowed)


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str]]:
    """Job and starting point of what is submitted, where the JobManager knows the tools job and no other."""
    began: list[tuple[str, str]] = []

    def run_job(s: Settings, layout: Layout, app: str, kind: str, folder: Path, point: str, more: Any) -> str:
        began.append((kind, point))
        return "a" * 32

    known = {"tools": flink.Job("tools", "f" * 32, "RESTARTING", {})}
    monkeypatch.setattr(start, "from_environment", lambda: Settings(state_dir=tmp_path))
    monkeypatch.setattr(lifecycle, "ensure_wire", lambda settings, say: None)
    monkeypatch.setattr(flink, "live_jobs", lambda settings: known)
    monkeypatch.setattr(flink, "wait_running", lambda settings, kinds, seconds: [])
    monkeypatch.setattr(start, "pack", lambda layout, spec: (tmp_path, ""))
    monkeypatch.setattr(start, "check", lambda spec, folder: None)
    monkeypatch.setattr(submit, "is_empty", lambda bootstrap, topic: False)
    monkeypatch.setattr(submit, "run_job", run_job)
    monkeypatch.setattr(starting, "ready", lambda s, layout, point, mine, run, say: point)
    return began


def test_compose_submits_only_jobs_that_are_not_there(submitted: list[tuple[str, str]]) -> None:
    """A job that the JobManager recovered is not submitted again: two copies would decide everything twice."""
    start.start({"conversation": "file:///a", "tools": "file:///b"}, lambda line: None)
    assert submitted == [("conversation", "file:///a")]


def test_compose_never_begins_from_nothing_beside_a_journal(submitted: list[tuple[str, str]]) -> None:
    """A job that the JobManager has forgotten is refused where the volume holds nothing of it."""
    with pytest.raises(submit.SubmitFailed, match="agent-decisions is not empty"):
        start.start({}, lambda line: None)
    assert submitted == []


def test_compose_goes_on_from_the_newest_checkpoint_on_the_volume(
    submitted: list[tuple[str, str]], tmp_path: Path
) -> None:
    """What the last start wrote down leads to it."""
    start.start({"conversation": "file:///a"}, lambda line: None)
    checkpoint = Layout(tmp_path).checkpoints / ("a" * 32) / "chk-3"
    checkpoint.mkdir(parents=True)
    (checkpoint / "_metadata").touch()
    start.start({}, lambda line: None)
    assert submitted == [("conversation", "file:///a"), ("conversation", f"file://{checkpoint}")]


def test_compose_goes_on_from_the_savepoint_of_a_flink_stop(submitted: list[tuple[str, str]], tmp_path: Path) -> None:
    """It lies where the recipe has it put, under the name that Flink gives it by the job's id."""
    start.start({"conversation": "file:///a"}, lambda line: None)
    savepoint = Layout(tmp_path).savepoints / "savepoint-aaaaaa-0123456789ab"
    savepoint.mkdir()
    (savepoint / "_metadata").touch()
    start.start({}, lambda line: None)
    assert submitted[1:] == [("conversation", f"file://{savepoint}")]


def test_compose_recipes_name_what_there_is(file: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services, the path of Flink's client in the image, the savepoint folder, and what the jobs container takes."""
    section = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("### Containers")[2].partition("\n## ")[0]
    lines = [shlex.split(line) for line in section.splitlines() if line.startswith("docker compose ")]
    [client] = re.findall(r"`(\S+/bin/flink)`", section)
    assert ROOT / client == FLINK / "bin" / "flink"
    [target] = {words[words.index("--savepointPath") + 1] for words in lines if "--savepointPath" in words}
    assert target == f"file://{Layout(STATE).savepoints}"
    assert {target.rpartition("/")[0].removeprefix("file://")} == {
        volume.partition(":")[2] for volume in file["services"]["jobmanager"]["volumes"]
    }
    named = {"exec": 3, "stop": 3, "run": 4, "logs": 4}
    services = [words[at] for words in lines if (at := named.get(words[2], 0)) and at < len(words)]
    assert services and set(services) <= set(file["services"])
    [given] = [words[words.index("ops.compose.start") + 1 :] for words in lines if "ops.compose.start" in words]
    asked: list[dict[str, str]] = []
    monkeypatch.setattr(start, "start", lambda points, say: asked.append(points))
    start.main(given, standalone_mode=False)
    assert asked == [{"conversation": "URI", "tools": "URI"}]
