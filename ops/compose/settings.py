# SPDX-License-Identifier: Apache-2.0
"""The settings of a stack in containers, where every part is a host of its own, named as its service."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

from ops.settings import PREFIX, Settings, load

# Where the image has the checkout, and where the volumes are mounted.
HOME = Path("/opt/threadlog")
STATE = Path("/var/lib/threadlog")


@dataclass(frozen=True, slots=True)
class ComposeSettings(Settings):
    """The same ports as the local stack's, on other hosts."""

    @property
    def bootstrap(self) -> str:
        """Kafka's address inside the network."""
        return f"kafka:{self.port(2)}"

    @property
    def registry_url(self) -> str:
        """The registry's address inside the network."""
        return f"http://registry:{self.port(4)}/apis/ccompat/v7"

    @property
    def flink_rest(self) -> str:
        """The JobManager's address inside the network."""
        return f"http://jobmanager:{self.port(5)}"


def of(settings: Settings) -> ComposeSettings:
    """These settings, in containers."""
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    return ComposeSettings(**values | {"state_dir": STATE})


def as_environment(settings: Settings) -> dict[str, str]:
    """What a container is told, so that `from_environment` gives the same settings there."""
    names = (field.name for field in dataclasses.fields(settings) if field.name != "state_dir")
    return {PREFIX + name.upper(): str(value) for name in names if (value := getattr(settings, name)) != ""}


def from_environment() -> ComposeSettings:
    """The settings that a container was told. Raises SettingsError."""
    return of(load({"state_dir": STATE}, os.environ, HOME))
