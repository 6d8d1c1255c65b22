# SPDX-License-Identifier: Apache-2.0
"""An app: the tools and agents of one product, declared with decorators and checked when they are declared."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from threadlog.errors import AppError
from threadlog.thread import Event, Thread
from threadlog.tools import Declare, Quota, Retry, Tool, ToolCall

P = ParamSpec("P")
R = TypeVar("R")
Handler = Callable[[Thread, Event], Awaitable[None]]
WhileRunning = Literal["enqueue", "reject", "interrupt"]
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True)
class Agent:
    """One version of a handler: begun by events of type `on`; `awaits` lists what else it may wait for."""

    name: str
    on: str
    version: int
    while_running: WhileRunning
    awaits: tuple[str, ...]
    handler: Handler


class App:
    """A named set of tools and agents.

    `tools` by name, `agents` by (name, version); `newest` is what begins a run for an event type.
    """

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise AppError(f"{name!r} is no name for an app: letters, digits, '_', '.', '-'")
        self.name = name
        self.digest = ""  # set by whoever loads the code; written into every journal entry
        self.tools: dict[str, Tool[Any, Any]] = {}
        self.agents: dict[tuple[str, int], Agent] = {}
        self.newest: dict[str, Agent] = {}
        self.awaited: set[str] = set()

    def tool(
        self,
        effect: Literal["read", "keyed"],
        *,
        name: str | None = None,
        key_ttl_s: float = 86_400,
        quota: Quota = Quota(),
        timeout_s: float = 10,
        retry: Retry = Retry(),
        tenant: Callable[[dict[str, Any]], str | None] | None = None,
        blocking: bool | None = None,
    ) -> Declare:
        """Declare a tool. See `threadlog.tools.Tool` for what each option means.

        A function that is no 'async def' is blocking unless it is declared otherwise."""
        if effect not in ("read", "keyed"):
            raise AppError(f"effect={effect!r}: a tool is 'read' (may repeat) or 'keyed' (its callee honours the key)")

        def declare(fn: Callable[Concatenate[ToolCall, P], Awaitable[R] | R]) -> Tool[P, R]:
            tool: Tool[P, R] = Tool(
                name=name or fn.__name__, effect=effect, fn=fn, key_ttl_s=key_ttl_s, quota=quota,
                timeout_s=timeout_s, retry=retry, tenant=tenant,
                blocking=not inspect.iscoroutinefunction(fn) if blocking is None else blocking,
            )  # fmt: skip
            if tool.name in self.tools:
                raise AppError(f"two tools are named {tool.name!r}")
            self.tools[tool.name] = tool
            return tool

        return declare

    def agent(
        self,
        on: str,
        *,
        name: str | None = None,
        version: int = 1,
        while_running: WhileRunning = "enqueue",
        awaits: tuple[str, ...] = (),
    ) -> Callable[[Handler], Handler]:
        """Declare the handler for events of type `on`. Two agents on one type are refused; versions of one are not."""

        def declare(handler: Handler) -> Handler:
            awaited = awaits if isinstance(awaits, str) else tuple(awaits)
            self._add(Agent(name or handler.__name__, on, version, while_running, awaited, handler))
            return handler

        return declare

    def _add(self, agent: Agent) -> None:
        if not inspect.iscoroutinefunction(agent.handler):
            raise AppError(f"agent {agent.name!r} must be an 'async def'")
        try:
            inspect.signature(agent.handler).bind(None, None)
        except TypeError:
            raise AppError(f"agent {agent.name!r} must take a thread and an event, and nothing else") from None
        if isinstance(agent.awaits, str) or not all(isinstance(t, str) and _NAME.fullmatch(t) for t in agent.awaits):
            raise AppError(f"agent {agent.name!r}: awaits={agent.awaits!r} is no tuple of types like ('shop.Paid',)")
        if agent.while_running not in ("enqueue", "reject", "interrupt"):
            raise AppError(
                f"agent {agent.name!r}: while_running={agent.while_running!r} is none of enqueue, reject, interrupt"
            )
        if not 1 <= agent.version < 2**31 or not _NAME.fullmatch(agent.name) or not _NAME.fullmatch(agent.on):
            raise AppError(
                f"agent {agent.name!r}: a name, a type like 'shop.OrderPlaced' and a version from 1 are needed"
            )
        other = self.newest.get(agent.on)
        if other is not None and other.name != agent.name:
            raise AppError(
                f"agents {other.name!r} and {agent.name!r} both handle {agent.on!r}: an event has one handler"
            )
        if (agent.name, agent.version) in self.agents:
            raise AppError(f"agent {agent.name!r} has two handlers of version {agent.version}")
        self.agents[agent.name, agent.version] = agent
        self.awaited.update(agent.awaits)
        if other is None or agent.version > other.version:
            self.newest[agent.on] = agent
