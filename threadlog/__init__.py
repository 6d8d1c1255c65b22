# SPDX-License-Identifier: Apache-2.0
"""threadlog: durable agents on a log. Here are the pure engine and the API that agents and tools are written in."""

from threadlog.app import App
from threadlog.errors import (
    AppError,
    CallError,
    CallRejected,
    InDoubt,
    LimitError,
    Retryable,
    ToolError,
    ToolFailed,
    ToolRefused,
    WaitTimeout,
)  # fmt: skip
from threadlog.requests import gather, sleep
from threadlog.thread import Event, Thread
from threadlog.tools import Quota, Retry, ToolCall

__all__ = [
    "App", "AppError", "CallError", "CallRejected", "Event", "InDoubt", "LimitError", "Quota", "Retry", "Retryable",
    "Thread", "ToolCall", "ToolError", "ToolFailed", "ToolRefused", "WaitTimeout", "gather", "sleep",
]  # fmt: skip
