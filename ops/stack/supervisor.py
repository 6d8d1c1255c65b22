# SPDX-License-Identifier: Apache-2.0
"""The one parent of all parts: supervisord, spoken to over its unix socket."""

from __future__ import annotations

import subprocess
import time
import xmlrpc.client
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from ops.stack import processes
from ops.stack.layout import VENV, Layout

START_S = 15
NOT_RUNNING = 70  # supervisor's fault code of a stop that had nothing to stop


class Supervisor:
    """One stack's supervisor. Every method raises OSError when it does not answer."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @property
    def _rpc(self) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self.layout.socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def is_running(self) -> bool:
        """True when it answers on its socket."""
        try:
            return bool(self._rpc.getState()["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.Error):
            return False

    def start(self) -> None:
        """Start the supervisor, which starts every part; returns when it answers."""
        command = [str(VENV / "bin" / "supervisord"), "-c", str(self.layout.supervisor_conf)]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        until = time.monotonic() + START_S
        while not self.is_running():
            if done.returncode or time.monotonic() > until:
                raise OSError(f"the supervisor does not start: {done.stderr.strip() or done.stdout.strip()}")
            time.sleep(0.05)

    def info(self) -> dict[str, dict[str, Any]]:
        """The supervisor's record of each part, by name."""
        return {record["name"]: record for record in self._rpc.getAllProcessInfo()}

    def stop(self, names: list[str]) -> None:
        """Ask the parts to stop, all at once, and wait until they have."""
        for name in names:
            try:
                self._rpc.stopProcess(name, False)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != NOT_RUNNING:
                    raise
        while any(record["statename"] == "STOPPING" for name, record in self.info().items() if name in names):
            time.sleep(0.1)
        for name in names:
            processes.forget(self.layout, name)

    def begin(self, names: list[str]) -> None:
        """Start stopped parts, all at once, without waiting."""
        for name in names:
            self._rpc.startProcess(name, False)

    def read_again(self) -> tuple[list[str], list[str]]:
        """Take over its changed configuration: what is new in it begins, what is gone is stopped. The names of both."""
        [[added, _, removed]] = self._rpc.reloadConfig()
        self.stop(removed)
        for name in removed:
            self._rpc.removeProcessGroup(name)
        for name in added:
            self._rpc.addProcessGroup(name)
        return added, removed

    def shut_down(self) -> None:
        """Stop the supervisor and what it still runs."""
        process = processes.supervisor(self.layout)
        self._rpc.shutdown()
        if process is not None:
            processes.wait_gone([process], 60)
