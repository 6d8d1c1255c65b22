# SPDX-License-Identifier: Apache-2.0
"""The uids of the jobs as they run, read back from Flink: what a savepoint's state is found by.

Flink knows an operator by 16 bytes, the MurmurHash3 of its uid. REST tells them for the head of each chain, as the ids
of the job's vertices; a checkpoint names every operator. These tests stand before those of test_restore.py, which
renames a source to read the topics anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops import http
from ops.stack import flink
from tests.jobs.uids import EXPECTED
from tests.stack.world import World, wait_until

HEADS = {
    "conversation": {"thread-inputs", "threads"},
    "tools": {"journal", "outbox-gate", "asks-and-results", "tool-queue", "dead-letters-cut"},
}
_64 = 2**64 - 1
_C1, _C2 = 0x87C37B91114253D5, 0x4CF5AD432745937F


def _turned(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _64


def _mixed(value: int) -> int:
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & _64
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & _64
    return value ^ value >> 33


def operator_id(uid: str) -> bytes:
    """What Flink makes of a uid: MurmurHash3, x64, 128 bits, seed 0, over its UTF-8."""
    data, one, two = uid.encode(), 0, 0
    whole = len(data) // 16 * 16
    for at in range(0, len(data) + 1, 16):
        block = data[at : at + 16].ljust(16, b"\0")
        one ^= _turned(int.from_bytes(block[:8], "little") * _C1 & _64, 31) * _C2 & _64
        two_in = _turned(int.from_bytes(block[8:], "little") * _C2 & _64, 33) * _C1 & _64
        if at == whole:  # the rest, which may be empty: zeros change nothing
            two ^= two_in
            break
        one = (_turned(one, 27) + two) * 5 + 0x52DCE729 & _64
        two = (_turned(two ^ two_in, 31) + one) * 5 + 0x38495AB5 & _64
    one, two = one ^ len(data), two ^ len(data)
    one = one + two & _64
    two = two + one & _64
    one, two = _mixed(one), _mixed(two)
    one = one + two & _64
    two = two + one & _64
    return one.to_bytes(8, "little") + two.to_bytes(8, "little")


def rest(world: World, kind: str, path: str = "") -> Any:
    """What REST says of the running job of a kind."""
    return http.call(f"{world.settings.flink_rest}/jobs/{flink.live_jobs(world.settings)[kind].id}{path}")


@pytest.mark.parametrize("kind", HEADS)
def test_uids_of_a_running_job_are_the_heads_of_its_chains(world: World, kind: str) -> None:
    """Each vertex is known by the uid of its first operator, never by an id that Flink generated."""
    world.wait_running()
    assert {vertex["id"] for vertex in rest(world, kind)["vertices"]} == {operator_id(uid).hex() for uid in HEADS[kind]}


@pytest.mark.parametrize("kind", HEADS)
def test_uids_of_a_running_job_are_those_in_its_checkpoint(world: World, kind: str) -> None:
    """A checkpoint of the submitted job names every operator by the uid that the job's file gives it."""
    world.wait_running()
    found: list[bytes] = []

    def taken() -> bool:
        """Whether the newest checkpoint could be read; old ones are removed several times a second."""
        newest = rest(world, kind, "/checkpoints")["latest"]["completed"]
        path = Path(newest["external_path"].removeprefix("file:")) / "_metadata" if newest else Path()
        if newest and path.exists():
            found.append(path.read_bytes())
        return bool(found)

    wait_until("a checkpoint is complete", taken, 60)
    assert [uid for uid in EXPECTED[kind] if operator_id(uid) not in found[-1]] == []
