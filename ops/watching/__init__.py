# SPDX-License-Identifier: Apache-2.0
"""What `threadlog watch` looks at, a part per file: each tells what is wrong now, and `alarms` when to say so."""
