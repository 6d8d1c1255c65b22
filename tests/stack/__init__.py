# SPDX-License-Identifier: Apache-2.0
"""The product on a real broker, registry and Flink cluster, started once for all of these tests."""

import pytest

pytest.register_assert_rewrite("tests.stack.laws", "tests.stack.world", "tests.stack.follower", "tests.wire.contracts")
