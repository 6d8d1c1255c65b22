# SPDX-License-Identifier: Apache-2.0
"""The wire: topics, schemas, envelope and codec. Pure: nothing here opens a socket or reads a clock."""
