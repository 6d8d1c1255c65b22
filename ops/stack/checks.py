# SPDX-License-Identifier: Apache-2.0
"""What must hold before a stack is touched; whatever does not is refused in a sentence, with a way out."""

from __future__ import annotations

from ops.settings import TASKMANAGERS_MAX, Settings, remembered
from ops.stack.layout import BUILD, OURS, ROOT, VENV, Layout


class StackFailed(Exception):
    """The stack could not be brought to where it was wanted; the message says what failed, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


def check_built() -> None:
    """Raises StackFailed where the programs of a stack are missing."""
    needed = [VENV / "bin" / "supervisord", BUILD / "kafka", BUILD / "registry", BUILD / "flink-lib"]
    absent = [str(path.relative_to(ROOT)) for path in needed if not path.exists()]
    if absent:
        raise StackFailed(f"This checkout is not set up: {', '.join(absent)} is missing.", "Run `make setup`.")


def check_local(settings: Settings) -> None:
    """Raises StackFailed where Kafka or the registry is set to another one than the local stack's."""
    if not settings.is_local:
        raise StackFailed(
            f"Kafka is set to {settings.bootstrap} and the registry to {settings.registry_url}: no local stack.",
            "Unset `brokers` and `registry`, or use `threadlog pack` for a cluster of your own.",
        )


def check_ours(settings: Settings) -> None:
    """Raises StackFailed where no stack was started in the state folder, before anything is made there: whatever jobs
    answer at its ports, those of a stack in containers say, keep their savepoints where this machine has none."""
    check_local(settings)
    if not Layout(settings.state_dir).is_ours:
        raise StackFailed(
            f"{settings.state_dir} holds no stack of its own: jobs that answer at its ports are another's.",
            "`threadlog up` starts one here, --state-dir names another; for containers see docs/operations.md.",
        )


def check_place(layout: Layout) -> None:
    """A stack may begin in a new or empty folder, or go on in its own."""
    if not layout.is_ours and (foreign := sorted({path.name for path in layout.state.glob("*")} - set(OURS))):
        raise StackFailed(
            f"{layout.state} holds other things: {', '.join(foreign[:5])}.", "Give a new folder with --state-dir."
        )


def check_same(settings: Settings, but: str = "") -> None:
    """A stack that runs does not change because `up` is told something else, `but` for one setting."""
    running = {key: was for key, was in remembered(settings.state_dir).items() if key != but}
    other = [f"{key} = {was}, not {now}" for key, was in running.items() if (now := getattr(settings, key)) != was]
    if other:
        hint = "Another app: `threadlog submit --app`. Anything else: `threadlog down`, then `up` again."
        raise StackFailed(f"The stack in {settings.state_dir} runs with {'; '.join(other)}.", hint)


def check_namespace(settings: Settings) -> None:
    """What the folder remembers of jobs is of its own namespace: another one's would go on from their savepoints, and
    do under its name what they had in hand."""
    of = remembered(settings.state_dir).get("namespace", settings.namespace)
    if of != settings.namespace:
        raise StackFailed(
            f"The stack in {settings.state_dir} is of the namespace {of}, not of {settings.namespace}.",
            f"`threadlog up`, then `threadlog --namespace {settings.namespace} start`; or another --state-dir.",
        )


def check_room(settings: Settings, jobs: int) -> None:
    """Raises StackFailed where so many jobs would wait for a slot for ever."""
    if (needed := jobs * settings.parallelism) > settings.taskmanagers:
        raise StackFailed(
            f"{jobs} jobs with parallelism = {settings.parallelism} take {needed} TaskManagers, one for each subtask; "
            f"the stack would have {settings.taskmanagers}.",
            f"`threadlog up --taskmanagers {needed + 1}` has one to spare, too."
            if needed < TASKMANAGERS_MAX
            else f"A local stack has {TASKMANAGERS_MAX} at most: set a smaller parallelism.",
        )
