# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin: recorded histories as tests, one for each thread.

    pytest --threadlog-histories=histories --threadlog-app=shop.app:app

or in the configuration `threadlog_histories` and `threadlog_app`. Each thread of each `*.jsonl` is decided again by
today's code; a test fails with the first divergence. Nothing is imported of threadlog unless histories are asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from threadlog.entry import Entry

_ADDED = pytest.StashKey[Path]()
_HASH_NOTE = "threadlog: where a set decides the order, histories were made with PYTHONHASHSEED=0; set it here too"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, and their settings."""
    group = parser.getgroup("threadlog", "recorded histories of threadlog agents")
    told = {
        "histories": "Folder or file of histories (threadlog histories export); each thread is a test.",
        "app": "The code that replays them: package.module:attribute.",
    }
    for name, help in told.items():
        group.addoption(f"--threadlog-{name}", default=None, help=help)
        parser.addini(f"threadlog_{name}", help, default="")
    group.addoption(
        "--threadlog-cold", action="store_true", help="Execute every run again from its start at every step."
    )


def _option(config: pytest.Config, name: str) -> str:
    return str(config.getoption(f"--threadlog-{name}") or config.getini(f"threadlog_{name}") or "")


def _histories(config: pytest.Config) -> Path | None:
    """Where the histories lie: from the command line as seen from its folder, in the configuration from the root."""
    if given := config.getoption("--threadlog-histories"):
        return (config.invocation_params.dir / str(given)).resolve()
    named = str(config.getini("threadlog_histories"))
    return (config.rootpath / named).resolve() if named else None


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest collect the histories wherever they lie."""
    where = _histories(config)
    if where is None:
        return
    if not where.exists():
        raise pytest.UsageError(f"threadlog: there are no histories at {where}")
    if not _option(config, "app"):
        raise pytest.UsageError("threadlog: histories of what app? Give --threadlog-app=package.module:attribute")
    named = config.getoption("--threadlog-histories") is not None
    if named or config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args.append(str(where))  # pytest collects once what is named twice
        config.stash[_ADDED] = where


def pytest_report_header(config: pytest.Config) -> str | None:
    """Whether the order of sets may differ from the log's."""
    return _HASH_NOTE if _histories(config) is not None and sys.flags.hash_randomization else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Histories that were asked for and not found would pass for tested. Asked before any test is left out by name."""
    where = config.stash.get(_ADDED, None)
    if where is not None and not session.testsfailed and not any(isinstance(one, HistoryItem) for one in items):
        verb = "is" if where.is_file() else "holds"
        raise pytest.UsageError(
            f"threadlog: {where} {verb} no *.jsonl of histories that pytest collects, so none is tested; `threadlog "
            f"histories export` makes one"
        )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A file of histories."""
    where = _histories(parent.config)
    if where is None or file_path.suffix != ".jsonl" or not file_path.resolve().is_relative_to(where):
        return None
    return HistoriesFile.from_parent(parent, path=file_path)


class HistoriesFile(pytest.File):
    """One file; its threads are read when it is collected."""

    def collect(self) -> Iterator[pytest.Item]:
        """A test for each thread. Raises CollectError for what is no histories file."""
        from ops.context import Trouble
        from ops.replay.histories import Histories
        from schemas.codec import Codec

        histories = Histories(self.path)
        threads: dict[str, list[Entry]] = {}
        try:
            for entry in histories:
                threads.setdefault(entry.thread, []).append(entry)
        except Trouble as error:
            raise self.CollectError(error.message) from error
        codec = Codec(histories)
        for thread, entries in threads.items():
            yield HistoryItem.from_parent(self, name=thread, entries=entries, codec=codec)


class Diverged(Exception):
    """The code decides otherwise than the log, or the file holds no whole history."""


class HistoryItem(pytest.Item):
    """One thread, decided again."""

    def __init__(self, *, entries: list[Entry], codec: Any, **given: Any) -> None:
        super().__init__(**given)
        self._entries, self._codec = entries, codec

    def runtest(self) -> None:
        """Raises Diverged at the first decision that differs."""
        from ops.replay import report
        from ops.replay.work import load_sealed
        from schemas.errors import Unreadable
        from threadlog.live import LiveRuns
        from threadlog.replay import Replay, input_of
        from wire.sealed import sealed

        cold = self.config.getoption("--threadlog-cold")
        replay = Replay(load_sealed(_option(self.config, "app")), live=LiveRuns(0 if cold else 1))
        for entry in self._entries:
            try:
                input = input_of(entry, self._codec.decode)
            except Unreadable as error:
                outcome = replay.unreadable(entry, error)
            else:
                with sealed():
                    outcome = replay.check(entry, input)
            if outcome.divergence is not None:
                raise Diverged("\n".join(report.divergence(outcome.divergence)))
            if outcome.standing in ("void", "repeat"):
                raise Diverged(f"{entry.thread} seq {entry.seq}: it does not continue its thread's chain")
        replay.live.clear()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The difference, without a traceback of ours."""
        from click import ClickException

        if isinstance(excinfo.value, Diverged):
            return str(excinfo.value)
        if isinstance(excinfo.value, ClickException):
            return excinfo.value.format_message()
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The file and the thread."""
        return self.path, None, f"history of {self.name}"
