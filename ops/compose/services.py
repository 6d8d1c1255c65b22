# SPDX-License-Identifier: Apache-2.0
"""docker-compose.yml as data: the local stack's parts, moved to hosts of their own.

Commands, JVM flags, environment and configuration files are those that `threadlog up` would use. Only what names this
machine is changed: paths, and the addresses in `ADDRESSES`, `listeners` and `EVERYWHERE`."""

from __future__ import annotations

import base64
import configparser
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

from ops.bootstrap.programs import java_program
from ops.compose.settings import HOME, STATE, as_environment, of
from ops.settings import PREFIX, Settings
from ops.stack.layout import ROOT, Layout
from ops.stack.parts import Part
from ops.stack.render import render

CLUSTER_ID = base64.urlsafe_b64encode(b"threadlog-docker").decode().rstrip("=")
APP, PORT_BASE, PAYMENTS_URL = PREFIX + "APP", PREFIX + "PORT_BASE", "SUPPORT_DESK_PAYMENTS_URL"
PAYMENTS = STATE / "payments"
# Flink's configuration: between containers no address is this machine's; the web page and the ports are published on
# the host's loopback only. A TaskManager's own address is found out, because there are several.
ADDRESSES: dict[str, str | None] = {
    "jobmanager.bind-host": "0.0.0.0",
    "jobmanager.rpc.address": "jobmanager",
    "rest.address": "jobmanager",
    "rest.bind-address": "0.0.0.0",
    "taskmanager.bind-host": "0.0.0.0",
    "taskmanager.host": None,
}
# The same for what is not a line of Flink's configuration.
EVERYWHERE = {
    "clientPortAddress=127.0.0.1": "clientPortAddress=0.0.0.0",
    "quarkus.http.host=127.0.0.1": "quarkus.http.host=0.0.0.0",
}
# Class archives fit one machine's JVM and jars; an image has none.
ARCHIVE = re.compile(r"-XX:SharedArchiveFile=\S+ -Xshare:auto -Xlog:cds=off ")
# What a part keeps of the state folder.
VOLUMES = {"zookeeper": "zookeeper", "kafka": "kafka", "registry": "registry", "jobmanager": "flink"}
CONFIGS = {"kafka": "kafka.properties", "zookeeper": "zoo.cfg"}
FLINK_CONFIGS = ("config.yaml", "log4j-console.properties")


def lines_of(text: str, separator: str) -> dict[str, str]:
    """A configuration's keys and values; its comments stay in flink-conf/."""
    kept = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in (line.partition(separator) for line in kept)}


def listeners(settings: Settings) -> dict[str, str]:
    """The broker's listeners: one for containers under its own name, one that the host reaches as the local stack's."""
    inside, outside, controller = settings.port(2), settings.port(1), settings.port(3)
    return {
        "listeners": f"PLAINTEXT://0.0.0.0:{inside},OUTSIDE://0.0.0.0:{outside},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://kafka:{inside},OUTSIDE://127.0.0.1:{inside}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }


class Moved:
    """A stack written down in a folder of this machine, and its text as it reads in a container."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.layout = settings, Layout(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kafka-cluster-id").write_text(CLUSTER_ID)
        self.parts = {part.name: part for part in render(settings, self.layout)}
        self._moves = {str(folder): str(STATE), str(ROOT): str(HOME), java_program("java") or "java": "java"}

    def text(self, text: str) -> str:
        """With the container's paths; `$` is doubled, since compose would take it for a variable."""
        for here, there in (self._moves | EVERYWHERE).items():
            text = text.replace(here, there)
        return text.replace("$", "$$")

    def config(self, name: str) -> str:
        """A configuration file's content."""
        text = self.text((self.layout.conf / name).read_text())
        separator = ": " if name == "config.yaml" else "="
        changed: dict[str, str | None] = {}
        if name == "config.yaml":
            changed = ADDRESSES | {"high-availability.zookeeper.quorum": f"zookeeper:{self.settings.port(7)}"}
        elif name == "kafka.properties":
            changed |= listeners(self.settings)
        lines = lines_of(text, separator) | changed
        return "".join(f"{key}{separator}{value}\n" for key, value in lines.items() if value is not None)

    def command(self, part: Part) -> list[str]:
        """What the container runs: what prepares the part, then the part itself in the same process."""
        command = ARCHIVE.sub("", shlex.join(part.command))
        if not part.prepare:
            return [self.text(word) for word in shlex.split(command)]
        prepare = (ARCHIVE.sub("", line) for line in part.prepare)
        return ["sh", "-c", self.text("\n".join([*prepare, f"exec {command}"]))]


def version() -> str:
    """The product's version."""
    parsed = configparser.ConfigParser()
    parsed.read(ROOT / "setup.cfg")
    return parsed["metadata"]["version"]


def _service(**more: Any) -> dict[str, Any]:
    return {"image": f"threadlog:{version()}", "build": {"context": "."}, "restart": "unless-stopped", **more}


def _mounted(*names: str) -> list[dict[str, str]]:
    return [{"source": name, "target": str(STATE / "conf" / name)} for name in names]


def _well(name: str) -> dict[str, Any]:
    """Asked as `threadlog status` asks."""
    test = ["CMD", "python", "-m", "ops.compose.well", name]
    return {"test": test, "interval": "5s", "timeout": "10s", "retries": 24, "start_period": "60s"}


def _part(moved: Moved, part: Part, published: dict[int, int]) -> dict[str, Any]:
    """One part of the stack as a service; `published`: port of the host → port of the container."""
    is_flink = part.name.startswith(("jobmanager", "taskmanager"))
    service = _service(
        command=moved.command(part),
        environment={name: moved.text(value) for name, value in part.environment.items() if name != "PATH"},
        configs=_mounted(*(FLINK_CONFIGS if is_flink else [CONFIGS[part.name]] if part.name in CONFIGS else [])),
        ports=[f"127.0.0.1:{outside}:{inside}" for outside, inside in published.items()],
        volumes=[f"{VOLUMES[part.name]}:{STATE / VOLUMES[part.name]}"] if part.name in VOLUMES else [],
        stop_grace_period=f"{part.stop_wait_s}s",
    )
    if part.name in ("kafka", "zookeeper"):
        service["configs"] += _mounted("log4j-console.properties")
    return {key: value for key, value in service.items() if value not in ([], {})}


def _stack(moved: Moved, settings: Settings) -> dict[str, Any]:
    """The parts of the local stack; the TaskManagers are replicas of one service."""
    services: dict[str, Any] = {}
    outside: dict[str, dict[int, int]] = {"kafka": {settings.port(2): settings.port(1)}, "zookeeper": {}}
    for name in ("zookeeper", "kafka", "registry", "jobmanager"):
        part = moved.parts[name]
        published = outside.get(name, {part.port: part.port} if part.port else {})
        services[name] = _part(moved, part, published)
        services[name] |= {"healthcheck": _well(name)}
        services[name].setdefault("environment", {})[PORT_BASE] = str(settings.port_base)
    manager = _part(moved, moved.parts["taskmanager-1"], {})
    # A container keeps its name as long as it lives: restarted, it replaces what it was at once.
    manager["command"] = [word.replace("taskmanager-1", "$$(hostname)") for word in manager["command"]]
    manager |= {"volumes": services["jobmanager"]["volumes"], "deploy": {"replicas": settings.taskmanagers}}
    manager["environment"] |= {PAYMENTS_URL: f"http://payments:{settings.port(0)}"}
    services["taskmanager"] = manager
    for name in ("jobmanager", "taskmanager"):
        services[name]["depends_on"] = {"zookeeper": {"condition": "service_healthy"}}
    return services


def _jobs(services: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Topics, subjects and both jobs, unless they are there."""
    manager = services["taskmanager"]
    return _service(
        restart="on-failure",
        command=["python", "-m", "ops.compose.start"],
        environment=as_environment(settings)
        | {APP: f"${{{APP}:-{settings.app}}}", PAYMENTS_URL: manager["environment"][PAYMENTS_URL]},
        configs=manager["configs"],
        volumes=[*manager["volumes"], f"jobs:{STATE / 'jobs'}"],
        depends_on={
            **{name: {"condition": "service_healthy"} for name in ("kafka", "registry", "jobmanager")},
            "taskmanager": {"condition": "service_started"},
        },
    )


def _examples(settings: Settings) -> dict[str, Any]:
    """The refund desk's payment service, and its traffic for `docker compose run --rm traffic`."""
    inside = of(settings)
    port = settings.port(0)
    payments = ["python", "-m", "examples.support_desk.payments", "--host", "0.0.0.0", "--port", str(port)]
    traffic = ["python", "-m", "examples.support_desk.traffic", "--bootstrap", inside.bootstrap]
    traffic += ["--registry", inside.registry_url, "--namespace", settings.namespace, "--sent", "/tmp/sent.jsonl"]
    return {
        "payments": _service(
            command=[*payments, "--ledger", str(PAYMENTS / "ledger.jsonl")],
            ports=[f"127.0.0.1:{port}:{port}"],
            volumes=[f"payments:{PAYMENTS}"],
        ),
        "traffic": _service(
            restart="no",
            command=traffic,
            profiles=["traffic"],
            depends_on={"jobs": {"condition": "service_completed_successfully"}},
        ),
    }


def compose(settings: Settings) -> dict[str, Any]:
    """The whole file."""
    with tempfile.TemporaryDirectory(prefix="threadlog-compose-") as folder:
        moved = Moved(settings, Path(folder).resolve() / "state")
        services = _stack(moved, settings)
        names = ("config.yaml", "kafka.properties", "log4j-console.properties", "zoo.cfg")
        configs = {name: {"content": moved.config(name)} for name in names}
    services |= {"jobs": _jobs(services, settings), **_examples(settings)}
    kept = sorted({volume.partition(":")[0] for one in services.values() for volume in one.get("volumes", [])})
    return {"name": "threadlog", "services": services, "configs": configs, "volumes": {name: {} for name in kept}}
