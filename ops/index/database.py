# SPDX-License-Identifier: Apache-2.0
"""The file of the index: made, locked for who writes, opened read-only by who asks.

One process brings it up to date at a time; others wait for it. Readers wait for nobody (write-ahead log), and a process
that dies in the middle leaves the last transaction as it was.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import click

from ops.context import Trouble
from ops.index.tables import TABLES, VERSION
from ops.settings import Settings

FOLDER, FILE = "index", "journal.db"
_CACHE_KIB = 256 * 1024
_MAPPED_BYTES = 0x7FFF0000  # the most that SQLite maps: a query of a new process reads without copying
REBUILD = "`threadlog index rebuild` makes it anew from the log."


def path_of(settings: Settings) -> Path:
    """Where the index of these settings lies: one of each namespace, for a branch is asked beside its original."""
    return settings.state_dir / FOLDER / settings.namespace / FILE


def remove_older(settings: Settings) -> None:
    """Remove what an older version left, which had one index for whatever namespace was asked last."""
    for name in (FILE, f"{FILE}-wal", f"{FILE}-shm", "lock"):
        path = settings.state_dir / FOLDER / name
        if path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection. Raises Trouble where there is no index, or one that is none."""
    if not path.exists():
        raise Trouble("There is no index yet.", "Any query without --no-refresh makes it.")
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)) as db:
        db.execute(f"PRAGMA mmap_size={_MAPPED_BYTES}")
        try:
            version = meta(db).get("version")
        except sqlite3.DatabaseError as error:
            raise Trouble(f"{path} is no index: {error}.", REBUILD) from error
        if version != str(VERSION):
            raise Trouble(f"The index is of version {version}, expected {VERSION}.", REBUILD)
        yield db


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else writes the index meanwhile. The lock goes with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            click.echo("Another process brings the index up to date; waiting for it.", err=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that may write, for who holds the lock; the file is made anew where it is none of this version."""
    db = _opened(path)
    if db is None:
        remove(path)
        db = _connected(path)
        with transaction(db):
            for statement in TABLES:
                db.execute(statement)
            db.execute("INSERT INTO meta VALUES ('version', ?)", (str(VERSION),))
    with closing(db):
        yield db


def remove(path: Path) -> None:
    """Remove the index, for who holds the lock. Its newest part goes first: without it the rest is an older index."""
    for suffix in ("-wal", "-shm", ""):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def meta(db: sqlite3.Connection) -> dict[str, str]:
    """What the index says of itself: version, identity of the log, namespace, when it was brought up to date."""
    return dict(db.execute("SELECT name, value FROM meta"))


def _opened(path: Path) -> sqlite3.Connection | None:
    if not path.exists():
        return None
    with suppress(sqlite3.DatabaseError):
        db = _connected(path)
        if meta(db).get("version") == str(VERSION):
            return db
        db.close()
    return None


def _connected(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, isolation_level=None)
    db.execute("PRAGMA page_size=8192")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")  # a lost last transaction is read from the log again
    db.execute("PRAGMA secure_delete=OFF")
    db.execute("PRAGMA wal_autocheckpoint=8000")
    db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    return db
