# SPDX-License-Identifier: Apache-2.0
"""The code of a job with a mechanism cut out of it, to submit by hand: what fails then is what it is there for."""

from __future__ import annotations

import shutil
from pathlib import Path

from ops.settings import Settings
from ops.stack.layout import layout_of
from ops.stack.submit import pack

Cut = tuple[str, str, str]  # a file, what is in it once, and what comes in its place


def cut(settings: Settings, name: str, *cuts: Cut) -> Path:
    """A copy, under a name, of the code that is submitted: the folder that was packed is every namespace's."""
    layout = layout_of(settings)
    folder, _ = pack(layout, settings.app)
    copy = shutil.copytree(folder, layout.state / "code" / name, dirs_exist_ok=True)
    for file, old, new in cuts:
        code = (copy / file).read_text()
        assert code.count(old) == 1, f"{file} holds {code.count(old)} of what is to be cut out: {old}"
        (copy / file).write_text(code.replace(old, new))
    return copy
