# SPDX-License-Identifier: Apache-2.0
"""`python -m ops.compose.well PART`: a container's health check, which asks the part as `threadlog status` does."""

from __future__ import annotations

import sys

from ops.compose.settings import from_environment
from ops.stack.health import checks


def main(name: str) -> int:
    """Exit code 0 when the part does its work; else 1, and what is missing is printed."""
    settings = from_environment()
    complaint = checks(settings)[name](settings)
    print(complaint or "well")
    return 1 if complaint else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
