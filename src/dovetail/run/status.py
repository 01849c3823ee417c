"""How a run stands: alive or ended, what it does, how far it is, and what it has left behind.

Everything is read from model_dir, which it leaves as it is, and no torch is imported for it.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dovetail.errors import DovetailError, nearest
from dovetail.run import event_files, heartbeat, lock, provenance
from dovetail.run.left_behind import Saved, last_evaluations, newer, newest_checkpoint
from dovetail.run.process_identity import Process, alive

Standing = Literal["running", "stuck", "done", "stopped", "failed", "killed", "silent", "unknown"]
FINE = ("running", "stuck", "done", "stopped")
"""Those that are alive, or came to the end that was asked for, its state saved."""

_STUCK_SECS = 60.0
_STUCK_STEPS = 20


@dataclass(frozen=True)
class Status:
    """How a run stands.

    Attributes:
      model_dir: where it is kept.
      standing: "running"; "stuck" (alive, no step for long); "done"; "stopped" (by a signal, its
        state saved); "failed" (an error); "killed" (it is gone and never said that it ended);
        "silent" (no heartbeat for long, from where its process can't be looked at); "unknown" (no
        heartbeat was kept, and the lock tells too little).
      doing: what it said last that it does.
      why: what ended it.
      process: pid, host and more of the process; None if unknown.
      here: whether that is this machine.
      age_secs: since its last sign of life.
      ran_secs: from its start to its last sign of life.
      step, last_step: how far it is, of how many; None if unknown.
      steps_per_sec, examples_per_sec: of the last seconds it told of.
      left_secs: how long it will take yet, where that can be known.
      loss, learning_rate: of the last step.
      checkpoint: the newest one.
      evaluations: name -> step and metrics of the last one; "" is the one without a name.
      goodput: seconds in each phase.
      free_bytes: of the disk that model_dir is on.
      command: the command line.
    """

    model_dir: str
    standing: Standing
    doing: str | None = None
    why: str = ""
    process: dict[str, Any] | None = None
    here: bool = True
    age_secs: float | None = None
    ran_secs: float | None = None
    step: int | None = None
    last_step: int | None = None
    steps_per_sec: float | None = None
    examples_per_sec: float | None = None
    left_secs: float | None = None
    loss: float | str | None = None
    learning_rate: float | None = None
    checkpoint: Saved | None = None
    evaluations: Mapping[str, dict[str, Any]] | None = None
    goodput: Mapping[str, float] | None = None
    free_bytes: int | None = None
    command: list[str] | None = None

    @property
    def fine(self) -> bool:
        """Whether it is alive, or ended as it should."""
        return self.standing in FINE

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {**asdict(self), "fine": self.fine}


def status(model_dir: str | os.PathLike[str], *, now: float | None = None) -> Status:
    """Return how the run in a model_dir stands.

    Args:
      model_dir: of the run; the run may be on another machine that has the same disk.
      now: seconds since 1970; None: by this machine's clock.

    Raises:
      DovetailError: there is no such folder, or nothing of a run in it.

    Example:
      >>> import tempfile
      >>> from dovetail.run.heartbeat import Heartbeat
      >>> folder = tempfile.mkdtemp()
      >>> heartbeat = Heartbeat(folder, every_secs=10)
      >>> heartbeat.beat("training", 3, loss=0.5, last_step=100)
      >>> found = status(folder)
      >>> found.standing, found.step, found.last_step, found.loss
      ('running', 3, 100, 0.5)
      >>> heartbeat.close("done", "max_steps")
      >>> status(folder).standing
      'done'
    """
    folder = Path(model_dir)
    now = time.time() if now is None else now
    beat, holder = heartbeat.read(folder), _holder(folder)
    if beat is not None and holder is not None and holder.started > beat["time"]:
        beat = None  # of a run before
    saved = newest_checkpoint(folder, now)
    if beat is None:
        return _without_heartbeat(folder, saved, holder, now)
    process = _process(beat)
    standing = _standing(beat, process, holder is not None and holder.alive, now)
    alive_now = standing in ("running", "stuck")
    step, last_step, rate = beat.get("step"), beat.get("last_step"), beat.get("steps_per_sec")
    left = None
    if alive_now and rate and last_step is not None and step is not None:
        left = max((last_step - step) / rate - (now - beat["time"]), 0.0)
    return Status(
        model_dir=str(folder),
        standing=standing,
        doing=beat["state"],
        why=beat.get("why", ""),
        process=beat.get("process"),
        here=process is not None and process.host == socket.gethostname(),
        age_secs=max(now - beat["time"], 0.0),
        ran_secs=beat["time"] - beat.get("started", beat["time"]),
        step=step,
        last_step=last_step,
        steps_per_sec=rate,
        examples_per_sec=beat.get("examples_per_sec"),
        left_secs=left,
        loss=beat.get("loss"),
        learning_rate=beat.get("learning_rate"),
        checkpoint=saved,
        evaluations=newer(_told(beat), last_evaluations(folder)),
        goodput=beat.get("goodput"),
        free_bytes=_free(folder),
        command=beat.get("command"),
    )


def _standing(beat: dict[str, Any], process: Process | None, locked: bool, now: float) -> Standing:
    ended: dict[str, Standing] = {"done": "done", "signal": "stopped", "error": "failed"}
    if beat["state"] in ended:
        return ended[beat["state"]]
    lives = None if process is None else alive(process)
    if lives is None and locked:  # the file system tells of locks on other machines
        lives = True
    if lives is False:
        return "killed"
    late = now - beat["time"] > _long(beat)
    if lives is None:
        return "silent" if late else "running"
    return "stuck" if late and beat["state"] in ("training", "saving") else "running"


def _long(beat: dict[str, Any]) -> float:
    """How many seconds without a heartbeat are more than a slow step explains."""
    step_secs = 1 / (beat.get("steps_per_sec") or 1)
    return max(_STUCK_SECS, 3 * beat.get("every_secs", 0), _STUCK_STEPS * step_secs)


def _process(beat: dict[str, Any]) -> Process | None:
    try:
        return Process.from_dict(beat["process"])
    except (KeyError, TypeError, ValueError):
        return None


def _told(beat: dict[str, Any]) -> dict[str, dict[str, Any]]:
    told = beat.get("evaluations") or {}
    return {n: {"step": e["step"], "metrics": e["metrics"]} for n, e in told.items()}


def _without_heartbeat(
    folder: Path, saved: Saved | None, holder: lock.Holder | None, now: float
) -> Status:
    """Say what is known of a run that has not given, or does not keep, a heartbeat."""
    runs = provenance.read(folder)
    if not runs and saved is None and holder is None:
        raise DovetailError(_no_run(folder))
    point = event_files.last_scalars(folder)
    values = point[1] if point is not None else {}
    standing, why = _by_lock(holder)
    return Status(
        model_dir=str(folder),
        standing=standing,
        why=why,
        process=None if holder is None else {"pid": holder.pid, "host": holder.host},
        here=holder is None or holder.host == socket.gethostname(),
        ran_secs=now - holder.started if holder is not None and holder.alive else None,
        step=max((x for x in (point and point[0], saved and saved.step) if x), default=0),
        loss=values.get("loss"),
        learning_rate=values.get("learning_rate"),
        checkpoint=saved,
        evaluations=last_evaluations(folder),
        free_bytes=_free(folder),
        command=runs[-1].get("command") if runs else None,
    )


def _no_run(folder: Path) -> str:
    cure = "Name a model_dir that something was trained in."
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.glob("*/")]
        return f"{folder} is no folder.{nearest(folder.name, beside)} {cure}"
    marks = (heartbeat.FILE, lock.NAME, "checkpoints")
    within = sorted({path.parent for mark in marks for path in folder.glob(f"*/{mark}")})
    if within:
        named = ", ".join(map(str, within[:5])) + (", ..." if len(within) > 5 else "")
        return f"{folder} holds no run itself; there are some in {named}. {cure}"
    return f"{folder} holds no run. {cure}"


def _by_lock(holder: lock.Holder | None) -> tuple[Standing, str]:
    if holder is None:
        return "unknown", "it keeps no heartbeat, so whether it runs is not known"
    if holder.alive:
        return "running", ""
    if holder.ended is not None:
        return "unknown", "it ended by itself; it kept no heartbeat that says how"
    if holder.host == socket.gethostname():
        return "killed", ""
    return "unknown", "it keeps no heartbeat, and it ran on another machine"


def _holder(folder: Path) -> lock.Holder | None:
    try:
        return lock.holder(folder)
    except OSError:  # a lock that may not be looked at
        return None


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
