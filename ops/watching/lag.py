# SPDX-License-Identifier: Apache-2.0
"""Jobs that fall behind what retention leaves of their inputs, told before and after it takes what they have not read.

How far a job is, is what its last checkpoint has committed. A source that wants a record that is gone goes on from the
first that is left, without a word; the job would say so only at its next attempt (`wire.inputs`)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ops.settings import Settings
from ops.watching.alarms import Wrong
from schemas.codec import Codec
from schemas.errors import RegistryUnavailable
from schemas.topics import kafka_name, topic_of
from wire.admin import retentions
from wire.inputs import INPUTS, NEXT, look, sentence
from wire.kafka import offsets_since, progress, read_topic

# Hours pass before retention takes what is near; each look is some twenty requests.
EVERY_S = 30.0
# What has less of its time left is told of: of seven days some seventeen hours.
LEFT = 0.1
# After a rebuild a job reads its inputs from their beginning, and is soon past what is old.
AFTER_S = 60.0
DO = "See why it lags (`threadlog status`), or let the topic be kept for longer (retention.ms) until it has caught up"

Asked = dict[tuple[str, int], tuple[int, int]]  # as below, without the end
Known = dict[tuple[str, int], tuple[int, int, int]]  # by topic and partition: committed, the first that is left, end


@dataclass
class Lag:
    """What the inputs of both jobs say, looked at now and then."""

    settings: Settings
    codec: Codec
    _found: list[Wrong] = field(default_factory=list)
    _due: float = 0.0
    _asked: dict[str, tuple[Asked, str]] = field(default_factory=dict)  # by job: what was behind, what is lost of it

    def wrong(self, now: float) -> list[Wrong]:
        """What is wrong as of the last look that could be taken. Raises KafkaException."""
        if now >= self._due:
            with contextlib.suppress(RegistryUnavailable):  # it is back by the next look, or other alarms tell of that
                self._found = [wrong for job in INPUTS for wrong in self._of_job(job)]
            self._due = now + EVERY_S
        return self._found

    def _of_job(self, job: str) -> Iterator[Wrong]:
        namespace, bootstrap = self.settings.namespace, self.settings.bootstrap
        names = [kafka_name(namespace, topic) for topic in INPUTS[job]]
        known = {of: one for of, one in progress(bootstrap, f"{namespace}.{job}", names).items() if one[0] >= 0}
        behind = {place: one for place, one in known.items() if one[0] < one[1]}
        if behind and (lost := self._lost(job, behind)):
            yield Wrong("deleted", f"{job}: {lost}", NEXT, where=job, fields={"job": job})
        near = [one for name in names for one in self._near(name, {p: k for (n, p), k in known.items() if n == name})]
        if near:
            left_s, topic, partition, offset = min(near)
            more = f" and those of {len(near) - 1} other partitions" if len(near) > 1 else ""
            what = f"The {job} job has not handled {topic} {partition}/{offset}{more}, which retention "
            what += f"deletes in {left_s / 3600:.1f} h" if left_s > 0 else "may delete at any moment"
            places = [{"topic": t, "partition": p, "offset": o, "left_s": round(s)} for s, t, p, o in sorted(near)]
            yield Wrong("retention", what, DO, AFTER_S, job, {"job": job, "places": places})

    def _lost(self, job: str, behind: Known) -> str:
        """What is lost of what was not committed, in words: the log is asked whether it was handled all the same.

        That reads the journal, so only where there is anything new to ask about."""
        asked = {place: (committed, low) for place, (committed, low, _) in behind.items()}
        if job not in self._asked or self._asked[job][0] != asked:
            gaps = look(self.settings.bootstrap, self.settings.namespace, self.codec, job).gaps
            self._asked[job] = asked, sentence(gaps) if gaps else ""
        return self._asked[job][1]

    def _near(self, name: str, known: dict[int, tuple[int, int, int]]) -> list[tuple[float, str, int, int]]:
        """Of the partitions of which the next record to be handled is soon deleted: in how many seconds, and where."""
        bootstrap, now_ms = self.settings.bootstrap, time.time() * 1000
        if all(committed >= end for committed, _, end in known.values()):
            return []
        if (kept_ms := retentions(bootstrap, [name]).get(name, -1)) < 0:
            return []
        young, near = offsets_since(bootstrap, name, int(now_ms - kept_ms * (1 - LEFT))), []
        for partition, (committed, low, _) in known.items():
            if not low <= committed < young[partition]:
                continue
            # Behind the last record of a transaction lies a marker, which nobody handles.
            record = next(read_topic(bootstrap, name, {partition: committed}, {partition}), None)
            if record is not None and record.offset < young[partition]:
                left_s = (record.timestamp_ms + kept_ms - now_ms) / 1000
                near.append((left_s, topic_of(self.settings.namespace, name), partition, record.offset))
        return near
