# SPDX-License-Identifier: Apache-2.0
"""The command line and the local stack: everything around the product that a person runs."""
