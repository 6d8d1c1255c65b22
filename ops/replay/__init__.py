# SPDX-License-Identifier: Apache-2.0
"""Replay, histories and forks: the journal against today's code."""
