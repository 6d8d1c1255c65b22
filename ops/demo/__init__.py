# SPDX-License-Identifier: Apache-2.0
"""The demo: a payment service under the knife, kills chosen by what the ledger shows, and when it is over."""
