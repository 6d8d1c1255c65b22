# SPDX-License-Identifier: Apache-2.0
"""The signer's Ed25519 keys as files: the private one for its owner's eyes alone, the public one for everybody else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ops.context import Trouble

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def public_path(private: Path) -> Path:
    """Where the public key of a private one lies: beside it, under its name and `.pub`."""
    return private.with_name(f"{private.name}.pub")


def generate(path: Path) -> str:
    """Make a key pair: the private key at `path` with mode 0600, the public one beside it. The public key in hex.

    Raises Trouble rather than write over a file: a key that is lost cannot sign for what it signed before."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for place, content, mode in ((path, private, 0o600), (public_path(path), public, 0o644)):
        try:
            with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
        except FileExistsError:
            raise Trouble(f"{place} is there already; no key is written over.", "Name another file.") from None
        except OSError as error:
            raise Trouble(f"{place} cannot be written: {error.strerror}.") from error
    return hex_of(key)


def load(path: Path) -> Ed25519PrivateKey:
    """The private key in a file. Raises Trouble for a file that others may read, and for one that holds none."""
    try:
        with path.open("rb") as file:
            others = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & _OTHERS
            content = file.read()
    except OSError as error:
        raise Trouble(f"{path} cannot be read: {error.strerror}.", "`threadlog audit keygen` makes a key.") from error
    if others:
        raise Trouble(f"Others than its owner may use {path}.", f"`chmod 600 {path}`, and think about a new key.")
    try:
        key = serialization.load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Trouble(f"{path} holds no private key in PEM without a passphrase: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Trouble(
            f"{path} holds a key of another kind.", "Ed25519 is expected; `threadlog audit keygen` makes one."
        )
    return key


def hex_of(key: Ed25519PrivateKey) -> str:
    """The public key of a private one, 64 hex digits."""
    return key.public_key().public_bytes_raw().hex()


def pem_of(key_hex: str) -> bytes | None:
    """A public key in PEM; None for what is none."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key_hex))
    except ValueError:
        return None
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def verifies(key_hex: str, signature: bytes, signed: bytes) -> bool:
    """Whether a public key, as hex digits, has signed these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key_hex)).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True
