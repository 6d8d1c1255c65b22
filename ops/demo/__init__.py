# SPDX-License-Identifier: Apache-2.0
"""The demo: traffic, kills and the checker around a local stack."""
