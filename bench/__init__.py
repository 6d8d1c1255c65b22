# SPDX-License-Identifier: Apache-2.0
"""Figures: one runnable file each, measured beside a bare job in the same run on the same stack."""
