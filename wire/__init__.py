# SPDX-License-Identifier: Apache-2.0
"""The few clients that talk to Kafka and the registry outside Flink."""
