# SPDX-License-Identifier: Apache-2.0
"""Apps to read, run and copy from."""
