# SPDX-License-Identifier: Apache-2.0
"""The registry in memory, which tests use, keeps the contract of the real one."""

from __future__ import annotations

import pytest

from schemas.codec import FixedSchemas
from tests.wire.contracts import Registering, RegistryContract


class TestRegistryInMemory(RegistryContract):
    @pytest.fixture
    def source(self) -> Registering:
        return FixedSchemas()

    @pytest.fixture
    def again(self, source: Registering) -> Registering:
        return source
