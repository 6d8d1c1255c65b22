# SPDX-License-Identifier: Apache-2.0
"""The wiring: one job per file, each read as its diagram."""
