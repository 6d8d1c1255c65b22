# SPDX-License-Identifier: Apache-2.0
"""Flink's hands: operators, sources and sinks. They translate; what things mean is decided in `threadlog`."""
