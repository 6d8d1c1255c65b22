# SPDX-License-Identifier: Apache-2.0
"""Does a part do its work? Each check answers nothing when it does, else what is missing, in a few words."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from ops import http
from ops.settings import Settings

Check = Callable[[Settings], str | None]
POLL_S = 0.2


def _connects(port: int, say: bytes = b"") -> str | None:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.settimeout(1)
            connection.sendall(say)
            return None if not say or connection.recv(16) else "does not answer"
    except OSError:
        return f"does not listen on port {port}"


def listens(port: int) -> bool:
    """Whether anything listens on this machine's port."""
    return _connects(port) is None


def _answers(url: str) -> str | None:
    try:
        http.call(url, timeout_s=2)
    except http.HttpError as error:
        return f"does not answer ({error.status or error.text})"
    return None


def zookeeper(settings: Settings) -> str | None:
    """ZooKeeper answers its `srvr` command once it serves requests."""
    return _connects(settings.port(7), b"srvr")


def kafka(settings: Settings) -> str | None:
    """The broker answers a metadata request."""
    complaint = _connects(settings.port(2))
    if complaint:
        return complaint
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    # Its own log lines about a broker that is not up yet would only frighten.
    client = AdminClient({"bootstrap.servers": settings.bootstrap, "log_level": 0, "socket.timeout.ms": 2000})
    try:
        return None if client.list_topics(timeout=2).brokers else "knows no broker"
    except KafkaException as error:
        return str(error.args[0].str())


def registry(settings: Settings) -> str | None:
    """The registry lists its subjects."""
    return _answers(f"{settings.registry_url}/subjects")


def jobmanager(settings: Settings) -> str | None:
    """The JobManager leads and lists its jobs: those it recovered are in the list from the first answer on."""
    return _answers(f"{settings.flink_rest}/jobs/overview")


def taskmanager(name: str) -> Check:
    """The check that the TaskManager of that name is registered."""

    def check(settings: Settings) -> str | None:
        try:
            listed = http.call(f"{settings.flink_rest}/taskmanagers", timeout_s=2)["taskmanagers"]
        except http.HttpError:
            return "waits for the JobManager"
        return None if name in {one["id"] for one in listed} else "is not registered"

    return check


SERVICES: dict[str, Check] = {"zookeeper": zookeeper, "kafka": kafka, "registry": registry, "jobmanager": jobmanager}


def checks(settings: Settings) -> dict[str, Check]:
    """One check per part."""
    managers = [f"taskmanager-{number}" for number in range(1, settings.taskmanagers + 1)]
    return {**SERVICES, **{name: taskmanager(name) for name in managers}}


def wait_unregistered(settings: Settings, names: list[str], seconds: float) -> None:
    """Wait until the JobManager has noticed that these TaskManagers are gone, or until the time is over."""
    until = time.monotonic() + seconds
    while any(taskmanager(name)(settings) is None for name in names) and time.monotonic() < until:
        time.sleep(POLL_S)


def _until_well(check: Check, settings: Settings, until: float) -> str | None:
    while (complaint := check(settings)) and time.monotonic() < until:
        time.sleep(POLL_S)
    return complaint


def wait(settings: Settings, names: list[str], seconds: float) -> Iterator[tuple[str, str | None]]:
    """Check the parts side by side; yields (name, None) when one is well, (name, complaint) when the time is over."""
    until = time.monotonic() + seconds
    # By name, not by the settings: what runs may have been started with other numbers.
    known = {name: SERVICES.get(name) or taskmanager(name) for name in names}
    with ThreadPoolExecutor(len(names) or 1) as pool:
        asked = {pool.submit(_until_well, known[name], settings, until): name for name in names}
        for future in as_completed(asked):
            yield asked[future], future.result()
