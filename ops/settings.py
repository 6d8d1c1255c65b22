# SPDX-License-Identifier: Apache-2.0
"""What a person may set, read once into one frozen record.

A value comes from the first place that has it: the command line, the environment (`THREADLOG_PORT_BASE=…`), the file
`threadlog.toml` of the current folder, what the state folder remembers of the stack that lives there, the default.
Every mistake is found before the first is reported, each with its key, its value and what was expected."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "threadlog.toml"
PREFIX = "THREADLOG_"
REMEMBERED = "settings.json"
# Of a local stack: each may take more than a gigabyte.
TASKMANAGERS_MAX = 16


class SettingsError(Exception):
    """One or more settings are wrong; `mistakes` has one sentence for each."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("Settings are wrong:\n" + "\n".join(f"  - {mistake}" for mistake in mistakes))


@dataclass(frozen=True, slots=True)
class Settings:
    """One local stack: where it keeps its state, which ports it takes, how large it is."""

    state_dir: Path = Path(".threadlog")
    namespace: str = "threadlog"
    port_base: int = 19090
    taskmanagers: int = 3
    partitions: int = 8
    parallelism: int = 1
    checkpoint_interval_ms: int = 200
    transaction_timeout_ms: int = 600_000
    app: str = "examples.support_desk.app:app"
    # Copies of each partition: one broker can hold no more than one.
    replication: int = 1
    # A Kafka and a registry that are not the local stack's: host:port, comma-separated, and a URL.
    brokers: str = ""
    registry: str = ""

    def port(self, offset: int) -> int:
        """The port `offset` above the base; the table is in docs/operations.md."""
        return self.port_base + offset

    @property
    def is_local(self) -> bool:
        """True when Kafka and registry are the local stack's."""
        return not self.brokers and not self.registry

    @property
    def bootstrap(self) -> str:
        """Kafka's address, as clients want it."""
        return self.brokers or f"127.0.0.1:{self.port(2)}"

    @property
    def registry_url(self) -> str:
        """The schema registry's Confluent-compatible API."""
        return self.registry or f"http://127.0.0.1:{self.port(4)}/apis/ccompat/v7"

    @property
    def flink_rest(self) -> str:
        """The JobManager's REST API and web page."""
        return f"http://127.0.0.1:{self.port(5)}"


Check = Callable[[Any], str | None]


def _between(low: int, high: int) -> Check:
    def check(value: Any) -> str | None:
        return None if low <= value <= high else f"a whole number from {low} to {high}"

    return check


def _matches(pattern: str, expected: str) -> Check:
    def check(value: Any) -> str | None:
        return None if re.fullmatch(pattern, str(value)) else expected

    return check


CHECKS: dict[str, Check] = {
    "state_dir": _matches(r".+", "a folder"),
    "namespace": _matches(r"[a-z0-9][a-z0-9-]{0,39}", "1 to 40 of a-z, 0-9 and -"),
    # Ten ports from the base on; below the range from which Linux takes ports for outgoing connections.
    "port_base": _between(1024, 32750),
    "taskmanagers": _between(1, TASKMANAGERS_MAX),
    "partitions": _between(1, 256),
    # State is cut into so many parts, for ever. Beside this, no more than there are partitions.
    "parallelism": _between(1, 128),
    "checkpoint_interval_ms": _between(50, 600_000),
    # The local broker allows no more, and neither does any with Kafka's default.
    "transaction_timeout_ms": _between(1_000, 900_000),
    "app": _matches(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", "package.module:attribute"),
    "replication": _between(1, 16),
    "brokers": _matches(r"|[^\s,:]+:\d+(,[^\s,:]+:\d+)*", "host:port, or several with commas between them"),
    "registry": _matches(r"|https?://\S+", "the URL of a Confluent-compatible API"),
}
DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Settings)}


def _converted(key: str, raw: Any) -> Any:
    """The raw value in the type of its default; ValueError says it cannot be."""
    kind = type(DEFAULTS[key])
    if isinstance(raw, bool) or (kind is int and not isinstance(raw, int | str)):
        raise ValueError
    return Path(str(raw)) if isinstance(DEFAULTS[key], Path) else kind(raw)


def _from_file(folder: Path) -> dict[str, Any]:
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{FILE} cannot be read: {error}"]) from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {name[len(PREFIX) :].lower(): value for name, value in environ.items() if name.startswith(PREFIX)}


def remembered(state_dir: Path) -> dict[str, Any]:
    """The settings of the stack that lives in this folder; empty when none was ever started."""
    path = state_dir / REMEMBERED
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise SettingsError([f"{path} cannot be read ({error}); remove it to start with the defaults"]) from error
    if not isinstance(values, dict):
        raise SettingsError([f"{path} holds no settings; remove it to start with the defaults"])
    # Another version of threadlog may have written it and know settings that this one does not.
    return {key: value for key, value in values.items() if key in DEFAULTS}


def remember(settings: Settings) -> None:
    """Leave the settings in the state folder, so that later commands need only be told the folder."""
    _write(settings.state_dir, {key: v for key, v in dataclasses.asdict(settings).items() if key != "state_dir"})


def remember_app(state_dir: Path, app: str) -> None:
    """Note that this app was submitted: the next `up` goes on with it."""
    _write(state_dir, {**remembered(state_dir), "app": app})


def _write(state_dir: Path, values: Mapping[str, Any]) -> None:
    state_dir.mkdir(parents=True, exist_ok=True)
    fresh = state_dir / f"{REMEMBERED}.new"
    fresh.write_text(json.dumps(values, indent=1), encoding="utf-8")
    fresh.replace(state_dir / REMEMBERED)


def changed(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """The settings with what a command's own options say; None = not given. Raises SettingsError."""
    values = {key: ("command line", value) for key, value in given.items() if value is not None}
    return dataclasses.replace(settings, **_check(values))


def check_jobs(settings: Settings) -> None:
    """Raises SettingsError where jobs could not run as they are set: only whoever begins one need know."""
    if (wanted := settings.parallelism) > settings.partitions:
        has = f"expected at most {settings.partitions}, the setting `partitions`: more would have nothing to read"
        raise SettingsError([f"parallelism = {wanted}, {has}"])


def _check(values: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    mistakes, good = [], {}
    for key, (place, raw) in values.items():
        if key not in DEFAULTS:
            mistakes.append(f"{place}: {key} is no setting; there are {', '.join(DEFAULTS)}")
            continue
        try:
            good[key] = _converted(key, raw)
            expected = CHECKS[key](good[key])
        except ValueError:
            expected = "a whole number"
        if expected:
            mistakes.append(f"{place}: {key} = {raw!r}, expected {expected}")
    if mistakes:
        raise SettingsError(mistakes)
    return good


def load(overrides: Mapping[str, Any], environ: Mapping[str, str], folder: Path) -> Settings:
    """Settings from the command line's `overrides` (None = not given), the environment and the files under `folder`."""
    given: dict[str, tuple[str, Any]] = {}
    for place, values in (
        (FILE, _from_file(folder)),
        ("environment", _from_environment(environ)),
        ("command line", {key: value for key, value in overrides.items() if value is not None}),
    ):
        given.update({key: (place, value) for key, value in values.items()})
    state_dir = (folder / Path(str(given.get("state_dir", ("", DEFAULTS["state_dir"]))[1]))).resolve()
    kept = {key: ("state folder", value) for key, value in remembered(state_dir).items()}
    return Settings(**{**_check({**kept, **given}), "state_dir": state_dir})
