# SPDX-License-Identifier: Apache-2.0
"""Bounds of the wire, each with its reason."""

# The broker's default for a record is 1 MiB; headers and a dead letter's reasons must fit beside the value.
VALUE_BYTES = 1024 * 1024 - 64 * 1024
# Identity of an event: it is hashed, logged and shown.
ATTRIBUTE_BYTES = 512
# Deeper data costs stack in every reader.
DEPTH_LEVELS = 64
# A topic accepts what our largest record needs with its envelope; the journal's also hold the whole state of a thread.
TOPIC_MESSAGE_BYTES = 2 * 1024 * 1024
JOURNAL_MESSAGE_BYTES = 8 * 1024 * 1024
# A dead letter carries the record as it was and why; a compressed record can be far larger than what a topic accepts.
DEAD_LETTER_BYTES = TOPIC_MESSAGE_BYTES - 16 * 1024
# Checked itself before it is used, once; no schema written by hand is as large.
JSON_SCHEMA_BYTES = 64 * 1024
# A few steps for each item of the largest event that the engine takes; the worst record costs some seconds, once.
JSON_STEPS_MAX = 500_000
