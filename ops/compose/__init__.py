# SPDX-License-Identifier: Apache-2.0
"""The local stack as containers: docker-compose.yml is written from the same parts, templates and settings."""
