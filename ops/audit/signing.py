# SPDX-License-Identifier: Apache-2.0
"""Follows the journal and signs what is new in it: the head of each thread that has moved since it was last signed.

The signer is a witness: it remembers what it has signed, by its own signatures and in a file of its own. It signs
nothing of a thread whose chain no longer runs through the head that it signed before, and says so: that log was written
anew, or cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from confluent_kafka import KafkaException
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops.audit import heads
from ops.audit.heads import AuditHead
from ops.audit.keys import hex_of
from ops.audit.memory import Memory, Stand
from ops.context import Trouble
from ops.hints import hints
from ops.reading import Journal, name_of, whole_topic
from ops.settings import Settings
from schemas.cloudevents import write_headers
from schemas.codec import Codec
from schemas.errors import WireError
from wire.frames import Record
from wire.kafka import first_offsets, follow
from wire.writing import Writing

JOURNAL, TOPIC, SOURCE = "agent-decisions", "audit-heads", "/threadlog/audit"


@dataclass
class Signer:
    """Reads the whole journal once and then what comes; `sign` may be called at any time between records.

    `contradicted`: threads whose log is no longer what was signed, each with the reason."""

    settings: Settings
    key: Ed25519PrivateKey
    memory: Memory
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    contradicted: dict[str, str] = field(default_factory=dict)
    _stands: dict[str, Stand] = field(default_factory=dict)
    _signed: dict[str, Stand] = field(default_factory=dict)  # ours, the last of each thread
    _told: dict[str, Stand] = field(default_factory=dict)  # the same, as long as nobody else's record came after it
    _moved: set[str] = field(default_factory=set)
    _places: dict[tuple[str, int], int] = field(default_factory=dict)
    _lows: dict[int, int] = field(default_factory=dict)

    @cached_property
    def journal(self) -> Journal:
        """The journal by the reader's rule; what is void in it is not signed."""
        return Journal(self.settings, from_anywhere=True)

    def catch_up(self) -> None:
        """Read what was signed, then the journal to its end. Raises Trouble or RegistryUnavailable."""
        remembered = self.memory.of(self.settings.namespace)
        self._signed = dict(remembered)
        for record in whole_topic(self.settings, TOPIC):
            self._read_head(record)
        self.memory.keep(self.settings.namespace, dict(self._signed.items() - remembered.items()))
        self._lows = first_offsets(self.settings.bootstrap, name_of(self.settings, JOURNAL))
        for record in whole_topic(self.settings, JOURNAL):
            self.take(record)
        for thread, was in self._signed.items():
            now = self._stands.get(thread)
            if now is not None and now.seq < was.seq:
                self._contradict(thread, f"seq {was.seq} was signed, and the log ends at seq {now.seq}")
            elif now is None and not any(self._lows.values()):  # or else retention may have taken it
                self._contradict(thread, f"seq {was.seq} was signed, and the log holds nothing of the thread")

    def _read_head(self, record: Record) -> None:
        head, thread = heads.read(self.journal.codec, record.value), (record.key or b"").decode("utf-8", "replace")
        ours = head is not None and (head.thread, head.namespace) == (thread, self.settings.namespace)
        if head is None or not ours or not head.is_signed_by(hex_of(self.key)):
            self._told.pop(thread, None)  # compaction keeps the last record of a thread alone: that is to be ours
            return
        stood, before = Stand(head.first_seq, head.seq, head.hash, head.time_ms), self._signed.get(thread)
        self._told[thread] = stood
        if before is None or stood.seq >= before.seq:
            self._signed[thread] = stood

    def take(self, record: Record) -> None:
        """The next record of the journal."""
        self._places[record.topic, record.partition] = record.offset
        entry = self.journal.take(record)
        if entry is None:
            return
        before, was = self._stands.get(entry.thread), self._signed.get(entry.thread)
        first_seq = entry.seq if before is None else before.first_seq
        self._stands[entry.thread] = Stand(first_seq, entry.seq, entry.hash, entry.time_ms)
        self._moved.add(entry.thread)
        if was is not None and {entry.seq: entry.hash, entry.seq - 1: entry.prev}.get(was.seq, was.hash) != was.hash:
            self._contradict(entry.thread, f"seq {was.seq} is not the entry that was signed")

    def _contradict(self, thread: str, reason: str) -> None:
        self.contradicted.setdefault(thread, reason)

    def sign(self) -> list[AuditHead]:
        """Sign and write the heads of all threads that have moved; returns them once the broker has them all."""
        news = [t for t in sorted(self._moved) if self._stands[t] != self._told.get(t) and t not in self.contradicted]
        made = [self._head(thread, self._stands[thread]) for thread in news]
        if made:
            _write(self.settings, self.journal.codec, made)
        for thread in news:
            self._signed[thread] = self._told[thread] = self._stands[thread]
        if made:
            self.memory.keep(self.settings.namespace, {thread: self._stands[thread] for thread in news})
        self._moved.clear()
        return made

    def _head(self, thread: str, now: Stand) -> AuditHead:
        head = AuditHead(self.settings.namespace, thread, now.first_seq, now.seq, now.hash, now.time_ms, self.clock())
        return head.signed(self.key)

    def follow(self) -> Iterator[None]:
        """Take what comes, for ever; gives the caller a turn at every record and whenever none came for a moment."""
        for record in follow(self.settings.bootstrap, [name_of(self.settings, JOURNAL)], after=self._places):
            if record is not None:
                self.take(record)
            yield

    def is_outdated(self) -> bool:
        """Whether retention has cut the journal since it was read: threads may begin later than this signer says."""
        return first_offsets(self.settings.bootstrap, name_of(self.settings, JOURNAL)) != self._lows


def rounds(
    settings: Settings, key: Ed25519PrivateKey, memory: Memory, every_s: float, say: Callable[[str], None]
) -> Iterator[tuple[Signer, list[AuditHead]]]:
    """Sign now, and then every so many seconds, for ever: the signer and what it signed in each round.

    What fails in the first round is raised: Trouble, KafkaException, WireError. An outage later is told of, and another
    signer reads the journal anew until that is over: what it has signed, the log and its own file tell it."""
    began = False
    while True:
        signer = Signer(settings, key, memory)
        try:
            for made in _rounds_of(signer, every_s):
                yield signer, made
                began = True
        except (KafkaException, WireError, Trouble) as error:
            if not began:
                raise
            said = error.args[0].str() if isinstance(error, KafkaException) else error
            say(f"Nothing can be signed now: {said}; tried again after {every_s:g} s")
            time.sleep(every_s)


def _rounds_of(signer: Signer, every_s: float) -> Iterator[list[AuditHead]]:
    """What a signer signs in each round, until retention has cut the journal, whose new beginning another reads."""
    signer.catch_up()
    yield signer.sign()
    due = time.monotonic() + every_s
    for _ in signer.follow():
        if time.monotonic() < due:
            continue
        if signer.is_outdated():
            return
        yield signer.sign()
        due = time.monotonic() + every_s


def _write(settings: Settings, codec: Codec, made: list[AuditHead]) -> None:
    """Write heads to their topic. Raises Trouble for what the broker has not acknowledged."""
    topic = name_of(settings, TOPIC)
    try:
        with Writing(settings.bootstrap) as to:
            for head in made:
                value = head.encode(codec)
                headers = write_headers(
                    id=f"{head.thread}/{head.seq}/{head.signed_ms}", source=SOURCE, type=heads.NAME,
                    thread=head.thread, time_ms=head.signed_ms, value=value,
                )  # fmt: skip
                to.send(topic, value, head.thread.encode(), headers)
    except KafkaException as error:
        said = f"Not all of {len(made)} heads were acknowledged by {settings.bootstrap}: {error.args[0].str()}."
        hint = f"Sign again: what is written twice does no harm. {hints(settings).up}"
        raise Trouble(said, hint) from error
