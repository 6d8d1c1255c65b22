# SPDX-License-Identifier: Apache-2.0
"""Set-up of a fresh checkout, with the standard library only: nothing else is installed yet."""
