# SPDX-License-Identifier: Apache-2.0
"""Real input: the multi-turn tasks of the Berkeley Function-Calling Leaderboard, run durably and executed directly.

A task is a thread, its user turns are events, its ground-truth calls are what a scripted agent decides, its simulators
are a tool service with a ledger. What comes out under kills must be what the simulators give without any of this."""
