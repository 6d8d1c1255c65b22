# SPDX-License-Identifier: Apache-2.0
"""The demo's payment service.

Examples are started as processes and never imported: the product does not depend on them."""

from __future__ import annotations

import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from ops import http
from ops.settings import Settings
from ops.stack import health, processes
from ops.stack.layout import PYTHON, ROOT, Layout

START_S = 15


def url(settings: Settings) -> str:
    """Where the service listens."""
    return f"http://127.0.0.1:{settings.port(0)}"


@dataclass
class Payments:
    """The payment service's process. After a kill it goes on from its ledger; it outlives the demo, until `down`."""

    settings: Settings
    ledger: Path
    seed: int
    dedup_off: bool
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it and wait until it answers. Raises OSError with a sentence."""
        port = self.settings.port(0)
        if health.listens(port):
            raise OSError(f"port {port}, the payment service's, is taken by another program")
        command = [PYTHON, "-m", "examples.support_desk.payments", "--port", port, "--ledger", self.ledger]
        command += ["--seed", self.seed, *(["--dedup-off"] if self.dedup_off else [])]
        log_path = self.ledger.parent / "payments.log"
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + START_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise OSError(f"the payment service does not start on {url(self.settings)}; read {log_path}")
            time.sleep(0.1)
        processes.note(Layout(self.settings.state_dir), "payments", self.process.pid)

    def _answers(self) -> bool:
        try:
            http.call(f"{url(self.settings)}/health", timeout_s=1)
        except http.HttpError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL; it is gone when this returns."""
        if self.process is None:
            raise OSError("the payment service was never started")
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
