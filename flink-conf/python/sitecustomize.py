# SPDX-License-Identifier: Apache-2.0
"""First on the PYTHONPATH of TaskManagers, so each interpreter in one begins with this.

PyFlink imports Beam's coders to see whether they are fast, also where functions run inside the TaskManager and nothing
of Beam is used. That is a second of CPU in every process that recovers; without Beam it goes on without it.
"""

import sys

sys.modules["apache_beam"] = None  # type: ignore[assignment]  # an import of it fails at once
