# SPDX-License-Identifier: Apache-2.0
"""The product on a real broker, registry and Flink cluster, started once for all of these tests."""
