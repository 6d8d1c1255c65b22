# SPDX-License-Identifier: Apache-2.0
"""One module per command: `ops/commands/NAME.py` holds the click command `command`; the file is its registration."""
