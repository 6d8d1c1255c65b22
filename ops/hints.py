# SPDX-License-Identifier: Apache-2.0
"""What to do next, where that depends on whose cluster it is: the local stack's, or one's own.

Below this floor nobody knows: what a job's `main()` prints names both ways."""

from __future__ import annotations

from dataclasses import dataclass

from ops.settings import Settings


@dataclass(frozen=True)
class Hints:
    """Clauses without a full stop, but for `up`. `again`: the conversation tries to begin, and may not."""

    up: str
    start: str
    again: str
    rebuild: str
    broker: str
    registry: str


LOCAL = Hints(
    up="Is the stack up? `threadlog status`.",
    start="`threadlog status` tells whether it runs, `threadlog start` starts it",
    again="`threadlog start --take-over`",
    rebuild="`threadlog watch --heal` makes the state anew, or `threadlog stop` and `threadlog start --rebuild`",
    broker="Its supervisor starts it again; `threadlog logs kafka` tells why it does not come",
    registry="Its supervisor starts it again; `threadlog logs registry` tells why it does not come",
)
_CATCH_UP = "`threadlog pack --job catchup` prints how to make its state anew"
OWN = Hints(
    up="Is it up? The settings `brokers` and `registry` say where it is looked for.",
    start="Flink's page tells whether it runs, `threadlog pack` prints how to start it",
    again=_CATCH_UP,
    rebuild=f"`flink stop` the conversation; {_CATCH_UP}",
    broker="Whoever runs it knows why; `brokers` says where it is looked for",
    registry="Whoever runs it knows why; `registry` says where it is looked for",
)


def hints(settings: Settings | None) -> Hints:
    """Those that lead somewhere with these settings."""
    return LOCAL if settings is None or settings.is_local else OWN
