# SPDX-License-Identifier: Apache-2.0
"""`python -m ops.compose`: write docker-compose.yml from the local stack's parts, templates and default settings."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from ops.compose.services import compose
from ops.settings import Settings
from ops.stack.layout import ROOT

FILE = ROOT / "docker-compose.yml"
HEAD = """\
# SPDX-License-Identifier: Apache-2.0
# Written by `python -m ops.compose` from the parts, templates and settings of the local stack; a test compares. Edit
# those, not this. The reason of each setting stands beside it in flink-conf/. What differs from `threadlog up`: paths,
# host names, and that a TaskManager is named for its container. Ports are published on this machine's loopback only:
# nothing here asks who you are.
#
#     docker compose up -d --build             the stack and both jobs; `threadlog send`, `tail`, `show` find it
#     docker compose run --rm traffic          conversations for the refund desk
#     docker compose up -d --scale taskmanager=5
#
# Docker Compose 2.23.1 or newer, for configurations that stand in the file.
# Checked without a container engine, by tests: the compose specification's schema; every setting, port and version
# against the local stack's, and the broker's against a running broker. NOT tried: building the image and running it.
"""


def _in_blocks(value: Any) -> Any:
    """The same, with every text of several lines as a block."""
    if isinstance(value, dict):
        return {key: _in_blocks(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_in_blocks(inner) for inner in value]
    return LiteralScalarString(value) if isinstance(value, str) and "\n" in value else value


def text() -> str:
    """The file as it has to be."""
    yaml = YAML()
    yaml.width = 100_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    body = io.StringIO()
    yaml.dump(_in_blocks(compose(Settings())), body)
    return HEAD + body.getvalue()


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
