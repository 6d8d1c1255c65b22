# SPDX-License-Identifier: Apache-2.0
"""The index: the journal as tables of an embedded database, a cache that is rebuilt from the log at any time."""
