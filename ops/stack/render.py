# SPDX-License-Identifier: Apache-2.0
"""Write a stack down: configuration files from flink-conf/, a start script per part, the supervisor's configuration.

Everything that will run can be read in the state folder, and each start script can be run by hand."""

from __future__ import annotations

import base64
import resource
import shlex
import shutil
import string
import uuid
from pathlib import Path

from ops.settings import Settings
from ops.stack.layout import FLINK, PYTHON, ROOT, SUPERVISOR_NAME, Layout
from ops.stack.parts import Part, all_parts

TEMPLATES = ROOT / "flink-conf"
# RocksDB and Kafka keep many files open; the supervisor passes its own limit on to its children.
FILES_MAX = 65536

SUPERVISOR = """\
[unix_http_server]
file={socket}
chmod=0700

[supervisord]
logfile={logs}/supervisor.log
logfile_maxbytes=5MB
logfile_backups=1
pidfile={run}/supervisor.pid
directory={state}
childlogdir={logs}
{name}
minfds={files}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
# A part that dies young is started again after 1, 2, 3 ... seconds, forty times (about a quarter of an hour); one that
# lived longer than startsecs is started again at once, and its count begins anew.
PROGRAM = """
[program:{name}]
command=/bin/sh {script}
autostart=true
autorestart=true
startsecs={starts_s}
startretries=40
stopwaitsecs={stop_wait_s}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=3
"""
SCRIPT = """\
#!/bin/sh
# Written by `threadlog up`; starts {name} in the foreground.
cd {state}
{exports}
{died}
# The start time beside the pid tells this process from a later one that was given the same number.
echo "$$ $(cut -d' ' -f22 /proc/$$/stat)" > {run}/{name}.pid
{respite}
{prepare}
date +%s >> {run}/{name}.starts
exec {command}
"""


def placeholders(settings: Settings, layout: Layout) -> dict[str, str]:
    """What the templates' ${...} stand for."""
    return {
        "state": str(layout.state),
        "tmp": str(layout.tmp),
        "python": str(PYTHON),
        "namespace": settings.namespace,
        "partitions": str(settings.partitions),
        "checkpoint_interval_ms": str(settings.checkpoint_interval_ms),
        "kafka_port": str(settings.port(2)),
        "controller_port": str(settings.port(3)),
        "rest_port": str(settings.port(5)),
        "jobmanager_port": str(settings.port(6)),
        "zookeeper_port": str(settings.port(7)),
        "blob_port": str(settings.port(8)),
    }


def fill(template: str, values: dict[str, str]) -> str:
    """The template with its placeholders filled; other `$` (in log patterns, in comments) stay as they are."""
    return string.Template(template).safe_substitute(values)


def cluster_id(layout: Layout) -> str:
    """Kafka's id of this cluster, drawn once."""
    path = layout.state / "kafka-cluster-id"
    if not path.is_file():
        path.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
    return path.read_text()


def _script(part: Part, layout: Layout) -> str:
    pid = shlex.quote(str(layout.run / f"{part.name}.pid"))
    exports = (f"export {name}={shlex.quote(value)}" for name, value in sorted(part.environment.items()))
    return SCRIPT.format(
        name=part.name,
        state=shlex.quote(str(layout.state)),
        run=shlex.quote(str(layout.run)),
        exports="\n".join(exports),
        # Who stops a part takes this file away.
        died=f"[ -f {pid} ] && died=yes" if part.respite_s else "",
        respite=f'[ -z "$died" ] || sleep {part.respite_s}' if part.respite_s else "",
        prepare="\n".join(part.prepare),
        command=shlex.join(part.command),
    )


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")


def _supervisor(parts: list[Part], layout: Layout) -> str:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = FILES_MAX if hard == resource.RLIM_INFINITY else min(FILES_MAX, hard)
    folders = {name: _escaped(getattr(layout, name)) for name in ("socket", "logs", "run", "state")}
    programs = (
        PROGRAM.format(
            name=part.name,
            script=shlex.quote(_escaped(layout.run / f"{part.name}.sh")),
            log=_escaped(layout.logs / f"{part.name}.log"),
            stop_wait_s=part.stop_wait_s,
            starts_s=4 + part.respite_s,
        )
        for part in parts
    )
    return SUPERVISOR.format(name=SUPERVISOR_NAME, files=files, **folders) + "".join(programs)


def render(settings: Settings, layout: Layout) -> list[Part]:
    """Write all files of the stack and return its parts."""
    layout.make()
    values = placeholders(settings, layout)
    for shipped in (FLINK / "conf").glob("log*"):
        shutil.copy(shipped, layout.conf / shipped.name)
    for template in filter(Path.is_file, TEMPLATES.iterdir()):
        (layout.conf / template.name).write_text(fill(template.read_text(), values))
    parts = all_parts(settings, layout, cluster_id(layout))
    for part in parts:
        # Replaced, not rewritten: a shell may be reading the one before.
        (fresh := layout.run / f"{part.name}.new").write_text(_script(part, layout))
        fresh.replace(layout.run / f"{part.name}.sh")
    layout.supervisor_conf.write_text(_supervisor(parts, layout))
    return parts
