# SPDX-License-Identifier: Apache-2.0
"""A signed head: somebody who holds a key states where a thread's chain stood, at what time.

The chain alone shows that entries belong together; whoever can write the whole log can also write another chain. A
head that was signed in time fixes its entry and, through the chain, all before it."""

from __future__ import annotations

from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import asdict, replace

from ops.audit import keys
from schemas.codec import Codec
from schemas.errors import Unreadable
from threadlog.canonical import framed

NAME = "threadlog.AuditHead"
_KIND = "threadlog.AuditHead/1"


class AuditHead(msgspec.Struct, frozen=True):
    """One signed head. Fields as in the schema `threadlog.AuditHead`."""

    namespace: str
    thread: str
    first_seq: int
    seq: int
    hash: str
    time_ms: int
    signed_ms: int
    key: str = ""
    signature: bytes = b""

    def signed_bytes(self) -> bytes:
        """What the signature is over: each part preceded by its length, so that no two heads have the same bytes."""
        numbers = (self.first_seq, self.seq), (self.time_ms, self.signed_ms)
        parts = [_KIND, self.namespace, self.thread, *map(str, numbers[0]), self.hash, *map(str, numbers[1])]
        return framed(*parts)

    def signed(self, key: Ed25519PrivateKey) -> AuditHead:
        """The same head with a signature and the key that made it."""
        return replace(self, key=keys.hex_of(key), signature=key.sign(self.signed_bytes()))

    def is_signed_by(self, key_hex: str) -> bool:
        """Whether its signature is of this key."""
        return self.key == key_hex and keys.verifies(key_hex, self.signature, self.signed_bytes())

    def encode(self, codec: Codec) -> bytes:
        """Its bytes for the log."""
        return codec.encode(NAME, asdict(self))


def read(codec: Codec, value: bytes | None) -> AuditHead | None:
    """The head in a record's value, whoever signed it; None where there is none."""
    try:
        type, _, data = codec.decode(value)
        return msgspec.convert(data, AuditHead) if type == NAME else None
    except (Unreadable, msgspec.ValidationError):
        return None


def as_dict(head: AuditHead) -> dict[str, Any]:
    """The head as plain JSON, its signature in hex."""
    return {**asdict(head), "signature": head.signature.hex()}
