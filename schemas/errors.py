# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with bytes, sorted by who must act.

WireError
├── Unreadable            the producer: the record is data for the dead-letter topic, the job goes on
├── UnknownSchema         the registry itself says 404; the codec turns it into Unreadable
└── RegistryUnavailable   the operator of the registry: try again, never a dead letter
"""

from __future__ import annotations


class WireError(Exception):
    """The root of the errors of this floor."""


class Unreadable(WireError):
    """A record that cannot be read. `code` is stable and short; `message` says what was found and what was expected."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class UnknownSchema(WireError):
    """The registry knows no schema of this id or name."""


class RegistryUnavailable(WireError):
    """The registry gave no answer."""
