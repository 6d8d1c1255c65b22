# SPDX-License-Identifier: Apache-2.0
"""JSON over HTTP to the parts of the stack, never through a proxy: they all listen on this machine."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class HttpError(Exception):
    """The other side answered with an error, or not at all (`status` 0)."""

    def __init__(self, url: str, status: int, text: str) -> None:
        self.url, self.status, self.text = url, status, text
        super().__init__(f"{url}: {status} {text[:500]}" if status else f"{url}: {text[:500]}")


def call(url: str, body: Any = None, method: str | None = None, timeout_s: float = 10) -> Any:
    """GET, or POST when there is a body; the decoded JSON of the answer, None when it is empty."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with _OPENER.open(request, timeout=timeout_s) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise HttpError(url, error.code, error.read().decode("utf-8", "replace")) from error
    except (OSError, ValueError) as error:
        raise HttpError(url, 0, str(getattr(error, "reason", error))) from error
    return json.loads(text) if text else None
