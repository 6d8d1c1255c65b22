# SPDX-License-Identifier: Apache-2.0
"""The parts of the stack as data: what each runs, on which ports, with which environment.

Java is started directly, not through Flink's shell scripts: those start two more JVMs each to read the configuration,
which doubles the time of a start and of a recovery. The memory sizes they would compute are written out in
config.yaml, and this module turns them into the JVM's flags."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace

from ops.bootstrap.programs import java_program
from ops.bootstrap.steps import NATIVE
from ops.settings import Settings
from ops.stack import archives
from ops.stack.flink import JOBS
from ops.stack.layout import BUILD, FLINK, FLINK_LIB, ROOT, VENV, Layout

# Services that only coordinate need neither the optimising compiler nor parallel collectors; on two cores that is
# a good part of the start.
LIGHT = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# The optimising compiler begins after ten times as many calls as by default. Otherwise it takes a third of the CPU
# while a TaskManager starts or takes over a task; under load most of the work is Python.
PATIENT = (
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=6000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=400000",
)
# Where a JVM finds libraries, which are few. Before them comes RocksDB's, which it would take out of its jar each time.
LIBRARIES = "/usr/java/packages/lib:/usr/lib64:/lib64:/lib:/usr/lib"
# Where there is a spare TaskManager, one that died lets it take over first: its own start takes seconds of both cores.
# If the spare is taken, by a replay or by another death, it is so much longer until somebody takes over.
RESPITE_S = 6
# Below `high-availability.storageDir`: the results of jobs that have ended, and of applications, until somebody has
# tidied up behind them.
RESULTS = "*-result-store/*/*_DIRTY.json"
REGISTRY_JAR = "apicurio-registry-app-2.6.13.Final-runner.jar"


@dataclass(frozen=True)
class Part:
    """One process. `prepare` are shell lines run before it; `ports` says what each port is for."""

    name: str
    command: tuple[str, ...]
    ports: dict[str, int] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    prepare: tuple[str, ...] = ()
    # Seconds between the polite signal and the hard one.
    stop_wait_s: int = 15
    # Seconds that it waits after a death of its own, before it begins again.
    respite_s: int = 0

    @property
    def port(self) -> int | None:
        """The port that clients use."""
        return next(iter(self.ports.values()), None)


def flat_yaml(text: str) -> dict[str, str]:
    """The keys and values of a configuration that has one `key: value` per line."""
    pairs = (line.split(": ", 1) for line in text.splitlines() if ": " in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def mebibytes(text: str) -> int:
    """`128m` → 128; the template uses no other unit.

    Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+)m", text)
    if found is None:
        raise ValueError(f"expected a size such as 128m, found {text!r}")
    return int(found.group(1))


def _java() -> str:
    return java_program("java") or "java"


def flink_classpath() -> str:
    """Flink's jars as its own scripts order them: the distribution last."""
    jars = sorted(FLINK_LIB.glob("*.jar"))
    return ":".join(str(jar) for jar in sorted(jars, key=lambda jar: jar.name.startswith("flink-dist")))


def flink_environment(layout: Layout) -> dict[str, str]:
    """What Flink's processes and its command line client must find, so that Python is ours everywhere."""
    return {
        "FLINK_HOME": str(FLINK),
        "FLINK_CONF_DIR": str(layout.conf),
        "FLINK_LIB_DIR": str(FLINK_LIB),
        "FLINK_PLUGINS_DIR": str(FLINK / "plugins"),
        "FLINK_OPT_DIR": str(FLINK / "opt"),
        "FLINK_LOG_DIR": str(layout.logs),
        "FLINK_PID_DIR": str(layout.run),
        "PATH": f"{VENV / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(ROOT),
    }


def _flink(layout: Layout, log: str, jvm: tuple[str, ...], main: str, *arguments: str) -> tuple[str, ...]:
    conf = flat_yaml((layout.conf / "config.yaml").read_text())
    logging = f"file:{layout.conf / 'log4j-console.properties'}"
    return (
        _java(),
        *jvm,
        *shlex.split(conf["env.java.opts.all"]),
        f"-Dlog.file={layout.logs / log}.log",
        f"-Dlog4j.configurationFile={logging}",
        "-classpath",
        flink_classpath(),
        main,
        "--configDir",
        str(layout.conf),
        *arguments,
    )


def zookeeper(settings: Settings, layout: Layout) -> Part:
    """Keeps the list of jobs and their checkpoints while no JobManager lives."""
    command = (
        _java(),
        *LIGHT,
        *archives.flags(layout, "zookeeper"),
        "-Xmx96m",
        "-Dzookeeper.preAllocSize=4096",
        f"-Dlog4j.configurationFile=file:{layout.conf / 'log4j-console.properties'}",
        "-classpath",
        flink_classpath(),
        "org.apache.flink.shaded.zookeeper3.org.apache.zookeeper.server.quorum.QuorumPeerMain",
        str(layout.conf / "zoo.cfg"),
    )
    return Part("zookeeper", command, {"clients": settings.port(7)})


def kafka(settings: Settings, layout: Layout, cluster_id: str) -> Part:
    """The broker; its storage is formatted at the first start."""
    archive = () if layout.is_training else archives.flags(layout, "kafka")
    java = f"{shlex.join([_java(), *LIGHT, *archive])} -classpath {shlex.quote(str(BUILD / 'kafka'))}/'*'"
    conf = shlex.quote(str(layout.conf / "kafka.properties"))
    meta = shlex.quote(str(layout.state / "kafka" / "meta.properties"))
    command = (
        _java(),
        *archives.flags(layout, "kafka"),
        "-Xmx512m",
        "-Xms128m",
        "-XX:+UseSerialGC",
        f"-Dlog4j2.configurationFile=file:{layout.conf / 'log4j-console.properties'}",
        "-classpath",
        f"{BUILD / 'kafka'}/*",
        "kafka.Kafka",
        str(layout.conf / "kafka.properties"),
    )
    formatting = f"[ -f {meta} ] || {java} kafka.tools.StorageTool format --cluster-id={cluster_id} -c {conf} || exit 1"
    ports = {"clients": settings.port(2), "controller": settings.port(3)}
    return Part("kafka", command, ports, prepare=(formatting,), stop_wait_s=30)


def registry(settings: Settings, layout: Layout) -> Part:
    """The schema registry, with its database in a file."""
    command = (
        _java(),
        *LIGHT,
        *archives.flags(layout, "registry"),
        "-Xmx256m",
        "-Dquarkus.http.host=127.0.0.1",
        f"-Dquarkus.http.port={settings.port(4)}",
        "-jar",
        str(BUILD / "registry" / REGISTRY_JAR),
    )
    # WRITE_DELAY=0: an acknowledged schema is on disk; by default it may be lost with the process.
    database = f"jdbc:h2:file:{layout.state / 'registry' / 'db'};WRITE_DELAY=0"
    return Part("registry", command, {"HTTP": settings.port(4)}, {"REGISTRY_DATASOURCE_URL": database})


def jobmanager(settings: Settings, layout: Layout) -> Part:
    """Flink's JobManager as a session cluster."""
    conf = flat_yaml((layout.conf / "config.yaml").read_text())
    heap = mebibytes(conf["jobmanager.memory.heap.size"])
    metaspace = mebibytes(conf["jobmanager.memory.jvm-metaspace.size"])
    flags = (*LIGHT, *archives.flags(layout, "jobmanager"), f"-Xmx{heap}m", f"-Xms{heap}m")
    flags += (f"-XX:MaxMetaspaceSize={metaspace}m",)
    main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
    ports = {"REST": settings.port(5), "RPC": settings.port(6), "blobs": settings.port(8)}
    command = _flink(layout, "jobmanager", flags, main)
    # Flink 2.3 does not start on what a predecessor left that died behind the end of a job; there seldom is any.
    left = f"{shlex.quote(str(layout.ha))}/{RESULTS}"
    finishing = f"{shlex.quote(str(VENV / 'bin' / 'python'))} -m ops.stack.endings {shlex.quote(str(layout.conf))}"
    prepare = f"if ls {left} >/dev/null 2>&1; then {finishing} || exit 1; fi"
    return Part("jobmanager", command, ports, flink_environment(layout), (prepare,))


def taskmanager(settings: Settings, layout: Layout, number: int) -> Part:
    """A TaskManager with one slot. Its name is its resource id: a restarted one replaces the dead one at once."""
    name = f"taskmanager-{number}"
    conf = flat_yaml((layout.conf / "config.yaml").read_text())

    def size(*keys: str) -> int:
        return sum(mebibytes(conf[f"taskmanager.memory.{key}"]) for key in keys)

    heap = size("framework.heap.size", "task.heap.size")
    direct = size("framework.off-heap.size", "task.off-heap.size", "network.max")
    # They load the same classes: one of them writes the archive of all.
    archive = archives.flags(layout, "taskmanager") if number == 1 or not layout.is_training else ()
    flags = (
        "-XX:+UseG1GC",
        *PATIENT,
        f"-Djava.library.path={NATIVE}:{LIBRARIES}",
        *archive,
        f"-Xmx{heap}m",
        f"-Xms{heap}m",
        f"-XX:MaxDirectMemorySize={direct}m",
        f"-XX:MaxMetaspaceSize={size('jvm-metaspace.size')}m",
    )
    main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
    tmp = layout.tmp / name
    own = ("-D", f"taskmanager.resource-id={name}", "-D", f"io.tmp.dirs={tmp}")
    command = _flink(layout, name, flags, main, *own)
    # What a killed predecessor left there is in the checkpoint too.
    fresh = f"rm -rf {shlex.quote(str(tmp))} && mkdir -p {shlex.quote(str(tmp))}"
    environment = flink_environment(layout)
    environment["PYTHONPATH"] = f"{ROOT / 'flink-conf' / 'python'}:{environment['PYTHONPATH']}"
    respite_s = RESPITE_S if settings.taskmanagers > len(JOBS) * settings.parallelism else 0
    return Part(name, command, {}, environment, (fresh,), respite_s=respite_s)


def all_parts(settings: Settings, layout: Layout, cluster_id: str) -> list[Part]:
    """Every part, in the order in which a person wants to read them."""
    managers = [taskmanager(settings, layout, number) for number in range(1, settings.taskmanagers + 1)]
    parts = [
        zookeeper(settings, layout),
        kafka(settings, layout, cluster_id),
        registry(settings, layout),
        jobmanager(settings, layout),
        *managers,
    ]
    patience = archives.TRAINING_STOP_S if layout.is_training else 0
    return [replace(part, stop_wait_s=max(part.stop_wait_s, patience)) for part in parts]
