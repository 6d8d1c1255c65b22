# SPDX-License-Identifier: Apache-2.0
"""The real log, signed, exported and verified."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from ops.stack.layout import PYTHON
from tests.stack.world import World, thread_of


def test_audit_bundle_of_the_real_log_is_whole(world: World, tmp_path: Path) -> None:
    """Threads of reads, effects and naps: the bundle's own verifier finds them whole, signed and adding up."""
    events = [world.go(plan) for plan in ("look pay", "both", "nap:0.05 pay", "")]
    world.wait_replied(events)
    threads, key, bundle = {thread_of(event) for event in events}, tmp_path / "key", tmp_path / "bundle"
    world.cli("audit", "keygen", str(key))
    assert {head["thread"] for head in world.cli("audit", "sign", "--key", str(key))} >= threads
    names = [word for thread in threads for word in ("--thread", thread)]
    told = world.cli("audit", "export", *names, "--out", str(bundle), "--key", str(key))
    assert {line["thread"] for line in told[:-1]} == threads and told[-1]["unsigned"] == 0
    command = [str(PYTHON), "-I", str(bundle / "verify.py"), str(bundle), "--key", f"{key}.pub", "--all-signed"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "WHOLE"), done.stdout
    paid = [json.loads(line) for line in (bundle / "records.jsonl").read_text().splitlines()]
    assert {line["thread"] for line in paid} == threads
    page = (bundle / "narrative.html").read_text("utf-8")
    assert all(call["key"] in page for call in world.lines("paid") if call["thread"] in threads)
