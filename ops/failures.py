# SPDX-License-Identifier: Apache-2.0
"""What a command's failure is for a person: from the errors of the floors below to a sentence and a next step.

What is not in the table is a mistake of ours and stays a traceback."""

from __future__ import annotations

import re
import sqlite3
import xmlrpc.client

from confluent_kafka import KafkaException

from ops.context import Trouble
from ops.hints import hints
from ops.http import HttpError
from ops.settings import Settings, SettingsError
from ops.stack.checks import StackFailed
from ops.stack.layout import ROOT, VENV
from ops.stack.submit import SubmitFailed
from schemas.errors import WireError
from threadlog.errors import NewerState
from wire.app_code import AppCodeError
from wire.registry import Incompatible

_UNKNOWN_MODULE = re.compile(r"(\w+)[\w.:]* cannot be imported: ModuleNotFoundError: No module named '(\w+)")


def trouble(error: Exception, settings: Settings | None) -> Trouble | None:
    """The error as a sentence; None for one that only a mistake of ours can have caused."""
    match error:
        case SettingsError():
            return Trouble(str(error))
        case StackFailed():
            return Trouble(str(error), error.hint)
        case AppCodeError():
            return Trouble(f"The app cannot run: {error}.", app_hint(str(error)))
        case SubmitFailed():
            hint = "`threadlog status` tells which jobs run now; the same command can be given again."
            return Trouble(str(error), hint)
        case KafkaException():
            where = settings.bootstrap if settings else "the broker"
            return Trouble(f"Kafka at {where} does not do what is asked: {error.args[0].str()}.", hints(settings).up)
        case NewerState():
            return Trouble(f"{str(error)[:1].upper()}{str(error)[1:]}.", "Its state moves on with that code alone.")
        case Incompatible():
            hint = "Give a new field a default, and leave old ones in: what lies in the log must stay readable."
            return Trouble(f"{error}.", hint)
        case WireError():
            return Trouble(f"{str(error)[:1].upper()}{str(error)[1:]}.", hints(settings).up)
        case sqlite3.Error():
            return Trouble(
                f"The index cannot be used: {error}.", "`threadlog index rebuild` makes it anew from the log."
            )
        case HttpError():
            hint = "Start it with `threadlog up`." if settings is None or settings.is_local else hints(settings).up
            return Trouble(f"The stack does not answer: {error}", hint)
        case xmlrpc.client.Error() | OSError():
            is_local = settings is None or settings.is_local
            hint = "`threadlog status` tells what runs." if is_local else hints(settings).up
            return Trouble(f"That did not work: {error}", hint)
    return None


def app_hint(said: str) -> str:
    """What to do about an app that cannot run, by what is said of it."""
    found = _UNKNOWN_MODULE.search(said)
    if found is not None and found[1] != found[2]:
        return (
            f"Only the app's top-level package is shipped; what else it imports must be installed: "
            f"`{VENV}/bin/pip install -c {ROOT}/requirements.lock PACKAGE`, and on a cluster of your own into the "
            f"Python of each TaskManager."
        )
    if "cannot be imported" in said:
        return "Mend the code, and give the command again."
    if "cannot be copied" in said:
        return "Every file of the app's top-level package is shipped: each must be readable."
    return "Name it as package.module:attribute, with --app, in the folder that its package lies in."
