# SPDX-License-Identifier: Apache-2.0
"""`threadlog audit`: evidence for people who need not take our word."""

from __future__ import annotations

import contextlib
import hashlib
import time
from pathlib import Path
from typing import Any

import click

from ops.audit import bundle, keys, verify
from ops.audit.collect import Collected, collect
from ops.audit.heads import as_dict
from ops.audit.memory import Memory
from ops.audit.selection import Selection
from ops.audit.signing import Signer, rounds
from ops.audit.words import counted
from ops.context import Context, Trouble, pass_context
from ops.replay.moments import moment_option
from ops.voids import VOIDS_SHOWN

_FILE = click.Path(path_type=Path)


@click.group("audit")
def command() -> None:
    """Sign what the journal holds, and export it so that others can verify it without us."""


@command.command("keygen")
@click.argument("file", type=_FILE)
@pass_context
def keygen(ctx: Context, file: Path) -> None:
    """Make an Ed25519 key: the private one in FILE, which only you can read, the public one in FILE.pub."""
    public = keys.generate(file)
    ctx.say(f"Private key: {file}. Who has it signs in your name: keep it from those who run the stack.")
    ctx.say(f"Public key:  {keys.public_path(file)}, {public}")
    ctx.say("Publish the public key where readers find it without you: one that comes with a bundle proves nothing.")
    ctx.emit(private=str(file), public=str(keys.public_path(file)), key=public)


@command.command("sign")
@click.option("--key", "key_file", type=_FILE, required=True, help="The private key, from `threadlog audit keygen`.")
@click.option("--every", type=click.FloatRange(min=0.1), help="Go on, and sign every so many seconds, until Ctrl-C.")
@pass_context
def sign(ctx: Context, key_file: Path, every: float | None) -> None:
    """Sign the head of each thread that has moved since it was last signed."""
    told = set[tuple[str, str]]()
    with contextlib.suppress(KeyboardInterrupt):
        key, memory = keys.load(key_file), Memory.beside(key_file)
        for signer, made in rounds(ctx.settings, key, memory, every or 0, ctx.say):
            for head in made:
                ctx.emit(**as_dict(head))
            if made or every is None:
                ctx.say(f"{counted(len(made), 'head')} signed.")
            _tell_faults(ctx, signer, told)
            if every is None:
                break
    if told:
        raise Trouble(
            f"Not signed, for the log is not what it should be: {counted(len(told), 'fault')}, told above.",
            "docs/audit.md says what they mean.",
        )


def _tell_faults(ctx: Context, signer: Signer, told: set[tuple[str, str]]) -> None:
    """What is wrong with the log, each fault once."""
    faults = list(signer.contradicted.items())
    faults += [(v.thread, f"void at {v.partition}/{v.offset}: {v.reason}") for v in signer.journal.voids]
    for thread, reason in faults:
        if (thread, reason) not in told:
            ctx.say(f"NOT SIGNED  {thread!r}: {reason}")
            ctx.emit(not_signed=thread, reason=reason)
            told.add((thread, reason))


def _names(_: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> frozenset[str]:
    """Names as text; a shell hands over whatever bytes it is given."""
    for text in texts:
        if text.encode("utf-8", "replace").decode() != text:
            raise click.BadParameter(f"{text!r} is not UTF-8")
    return frozenset(texts)


@command.command("export")
@click.option("--thread", "threads", multiple=True, callback=_names, help="This thread; may be given again.")
@click.option("--actor", "actors", multiple=True, callback=_names, help="With an input from this source or person.")
@click.option("--tool", "tools", multiple=True, callback=_names, help="With a call of this tool.")
@click.option(
    "--from", "from_ms", callback=moment_option, metavar="TIME", help="Only from then on: 2026-01-31T09:00Z, 36h."
)
@click.option("--to", "to_ms", callback=moment_option, metavar="TIME", help="Only before then.")
@click.option("--out", type=_FILE, required=True, help="The folder to make.")
@click.option("--key", "key_file", type=_FILE, help="Also sign the bundle as a whole with this private key.")
@pass_context
def export(ctx: Context, /, out: Path, key_file: Path | None, **asked: Any) -> None:
    """Write all there is about the threads that match into a folder that can be verified without us.

    Values of one option are alternatives; several options must all be met, in the time that is given. Threads are
    exported whole; the narrative marks what matched.
    """
    selection = Selection(**asked)
    key = keys.load(key_file) if key_file else None
    if out.exists():
        raise Trouble(f"{out} is there already.", "A bundle is written into a new folder.")
    found = collect(ctx.settings, selection)
    manifest = bundle.write(found, out, time.time_ns() // 1_000_000, key)
    _tell_bundle(ctx, found, out, manifest, sealed=key is not None)


_NOT_SEALED = (
    "The bundle is not signed: by whoever can change its manifest too, threads and the tail behind a last signed head "
    "can be left out, and headers, places and broker's times of records changed, unseen. --key KEY signs it."
)


def _tell_bundle(ctx: Context, found: Collected, out: Path, manifest: dict[str, Any], sealed: bool) -> None:
    for thread in manifest["threads"]:
        ctx.emit(**{**thread, "marked": len(thread["marked"])})
    entries = sum(len(story.entries) for story in found.stories)
    unsigned = [s for s in found.stories if s.signed_seq < s.last_seq or s.signed_first_seq < s.first_seq]
    verifier = hashlib.sha256(Path(verify.__file__).read_bytes()).hexdigest()
    ctx.say(f"{counted(len(found.stories), 'thread')}, {entries:,} entries: {out}")
    journal = ctx.settings.namespace
    ctx.say(f"Read {out / 'narrative.html'}; verify with: python verify.py {out} --key PUBKEY --journal {journal}")
    ctx.say(f"Give your readers the public key and verify.py (SHA-256 {verifier}) by another way than the bundle.")
    counts = {"threads": len(found.stories), "entries": entries, "unsigned": len(unsigned)}
    ctx.emit(bundle=str(out), **counts, verifier=verifier, sealed=sealed)
    if not sealed:
        ctx.say(_NOT_SEALED)
    if unsigned:
        ctx.say(
            f"Not signed as they stand: {counted(len(unsigned), 'thread')}. `threadlog audit sign`, then export again."
        )
    voids = [void for story in found.stories for _, void in story.voids]
    if voids:
        told = "\n".join(f"  {v.thread} at {v.partition}/{v.offset}: {v.reason}" for v in voids[:VOIDS_SHOWN])
        raise Trouble(
            f"The journal is broken; the bundle tells of what does not count, {counted(len(voids), 'record')}:\n{told}",
            "docs/operations.md says what that means and what to do.",
        )
