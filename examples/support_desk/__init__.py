# SPDX-License-Identifier: Apache-2.0
"""A refund desk: an app, the payment service it depends on, traffic for it, and a checker that trusts neither."""
