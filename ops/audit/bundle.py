# SPDX-License-Identifier: Apache-2.0
"""A bundle: a folder that holds all that its verification needs, except the key that the verifier must be given.

manifest.json   what was asked for, which threads, and the SHA-256 of every other file
manifest.sig    with a key: Ed25519 over the manifest, so over every file
records.jsonl   the journal's records of the threads, each with its bytes as the log holds them
heads.jsonl     the signed heads of these threads, as the log holds them
void.jsonl      records under these threads that do not count, and why
schemas/        every schema that the bytes are read with, by its id
keys/           the public keys that the heads name
narrative.html  for people
verify.py       the verifier
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops.audit import verify
from ops.audit.collect import Collected, Story
from ops.audit.keys import hex_of, pem_of
from ops.audit.narrative import page
from ops.context import Trouble
from threadlog.canonical import framed
from wire.frames import Record

FORMAT = "threadlog-audit/1"
SUFFIXES = {"AVRO": "avsc", "JSON": "json", "PROTOBUF": "proto"}


def write(found: Collected, folder: Path, exported_ms: int, key: Ed25519PrivateKey | None = None) -> dict[str, Any]:
    """Write a bundle into a new folder; its manifest. Raises Trouble where the folder cannot be made."""
    files = _files(found, exported_ms)
    manifest = {
        "format": FORMAT, "namespace": found.settings.namespace, "exported_ms": exported_ms,
        "selection": found.selection.as_dict(), "threads": [_listed(story) for story in found.stories],
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }  # fmt: skip
    files["manifest.json"] = json.dumps(manifest, ensure_ascii=False, indent=1).encode()
    if key is not None:
        signature = key.sign(framed("threadlog.AuditManifest/1", files["manifest.json"]))
        files["manifest.sig"] = json.dumps({"key": hex_of(key), "signature": signature.hex()}).encode()
    try:
        folder.mkdir(parents=True)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    except FileExistsError:
        raise Trouble(f"{folder} is there already.", "A bundle is written into a new folder.") from None
    except OSError as error:
        raise Trouble(f"{folder} cannot be written: {error.strerror}.") from error
    return manifest


def _files(found: Collected, exported_ms: int) -> dict[str, bytes]:
    stories = found.stories
    files = {
        "records.jsonl": _lines(_line(r, s, seq=entry.seq) for s in stories for r, entry in s.entries),
        "heads.jsonl": _lines(_line(r, s, seq=h.seq if h else 0) for s in stories for r, h in s.heads),
        "void.jsonl": _lines(_line(r, s, reason=void.reason) for s in stories for r, void in s.voids),
        "narrative.html": page(found, exported_ms).encode(),
        "verify.py": Path(verify.__file__).read_bytes(),
    }
    for id, schema in found.schemas.items():
        files[f"schemas/{id}.{SUFFIXES[schema.kind]}"] = schema.text.encode()
    for key in {head.key for story in stories for _, head in story.heads if head is not None}:
        if (pem := pem_of(key)) is not None:
            files[f"keys/{bytes.fromhex(key).hex()}.pem"] = pem
    return files


def _listed(story: Story) -> dict[str, Any]:
    return {
        "thread": story.thread, "first_seq": story.first_seq, "last_seq": story.last_seq,
        "last_hash": story.entries[-1][1].hash if story.entries else "", "signed_seq": story.signed_seq,
        "marked": sorted(story.marked), "void": len(story.voids),
    }  # fmt: skip


def _line(record: Record, story: Story, **more: Any) -> dict[str, Any]:
    return {
        "thread": story.thread, **more, "partition": record.partition, "offset": record.offset,
        "timestamp_ms": record.timestamp_ms, "key": _base64(record.key), "value": _base64(record.value),
        "headers": [[name, _base64(value)] for name, value in record.headers],
    }  # fmt: skip


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode("ascii")


def _lines(lines: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
