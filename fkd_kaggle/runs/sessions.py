"""Training sessions of a run: sessions.json, one entry for each call of ``train-ensemble``.

An entry tells when, on which machine, with which command and which package versions members were
trained. The file is informative: nothing depends on it, and runs of older versions have none.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Final

from fkd_kaggle import files
from fkd_kaggle.errors import redact
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.settings import __version__

_FILE: Final = "sessions.json"

_PACKAGES: Final = ("keras", "tensorflow", "torch", "jax", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Session:
    """One call that trained members of a run."""

    started: str
    """ISO 8601 in UTC."""
    command: str
    """The command line, without values of options that may contain credentials."""
    machine: str
    """Processor cores, GPUs and operating system in words."""
    versions: dict[str, str]
    """Version by package."""
    seconds: float = 0.0
    """Duration, the blend included; 0 while it runs or if it was killed."""


def describe_session(command: str, cores: int, gpus: int) -> Session:
    """Return a session that starts now on this machine; secrets in the command are redacted.

    Parameters
    ----------
    command
        The command line.
    cores, gpus
        Numbers of processor cores and GPUs in use.
    """
    devices = f"{gpus} GPU{'s' if gpus > 1 else ''}, " if gpus else ""
    machine = (
        f"{devices}{cores} CPU core{'s' if cores > 1 else ''}, {platform.platform(terse=True)}"
    )
    versions = {"fkd-kaggle": __version__, "Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return Session(started, redact(command), machine, versions)


def read_sessions(run: Run) -> list[Session]:
    """Return the sessions of a run, oldest first; none if the file is missing or damaged."""
    try:
        entries: list[dict[str, Any]] = json.loads((run.path / _FILE).read_text(encoding="utf-8"))
        return [Session(**entry) for entry in entries]
    except (OSError, ValueError, TypeError):
        return []


def write_session(run: Run, session: Session) -> None:
    """Store a session; it replaces the stored one with the same start."""
    others = [one for one in read_sessions(run) if one.started != session.started]
    entries = [asdict(one) for one in (*others, session)]
    files.write_json(run.path / _FILE, entries)
