"""The checks of ``fkd-kaggle doctor``: what this machine has, and what to do about each problem.

Each check yields findings. What it cannot read, import or connect to is a finding, not an error.
Credentials are located, never shown.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from fkd_kaggle.errors import FkdError, NoteWarning, explain_os_error, redact
from fkd_kaggle.formatting import first_line
from fkd_kaggle.settings import __version__

State = Literal["ok", "note", "problem"]

_PACKAGES: Final = ("keras", "tensorflow", "numpy", "kaggle")

_MIN_FREE: Final = 2e9
"""Bytes. The data with its cache take 0.4 GB, a run of `winning` 0.5 GB."""

_MIN_TEMPORARY: Final = 1e8

_TROUBLESHOOTING: Final = "see docs/troubleshooting.md"
"""Remedy for errors whose own message says what to do."""


@dataclass(frozen=True)
class Finding:
    """The result of a check."""

    name: str
    state: State
    text: str
    remedy: str = ""
    """What to do; empty for "ok"."""


def diagnose(data_dir: Path, runs_dir: Path, *, offline: bool) -> Iterator[Finding]:
    """Yield the findings of all checks.

    Parameters
    ----------
    data_dir, runs_dir
        Folders of the competition's files and of the runs.
    offline
        Whether to skip the checks that contact Kaggle.
    """
    yield from check_versions()
    yield from check_devices()
    yield from check_memory()
    yield from check_disk((data_dir, runs_dir))
    yield from check_data(data_dir)
    yield from check_kaggle(offline=offline)
    yield from check_practice()


def check_versions() -> Iterator[Finding]:
    """Check Python, this package, and the packages that matter most."""
    python, system = sys.version.split()[0], platform.platform(terse=True)
    if (3, 11) <= sys.version_info < (3, 14):
        yield Finding("python", "ok", f"{python} on {system}")
    else:
        text = f"{python} on {system} is not tested"
        yield Finding("python", "problem", text, "use Python 3.11, 3.12 or 3.13")
    versions = [f"fkd-kaggle {__version__}"]
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding("packages", "problem", f"{name} is missing", f"pip install {name}")
    yield Finding("packages", "ok", ", ".join(versions))


def check_devices() -> Iterator[Finding]:
    """Check that Keras and its backend can be imported, and list GPUs and cores.

    The backend is that of ``backend.use_default_backend``, which must be called before.
    """
    from fkd_kaggle.nn import backend, keras_settings
    from fkd_kaggle.workers import devices

    name = os.environ.get("KERAS_BACKEND", keras_settings.BACKENDS[0])
    try:
        with backend.suppress_stderr():
            keras_settings.import_keras()
    except Exception as error:  # a damaged installation raises anything
        text = f"Keras with the backend {name} cannot be imported: {_line(error)}"
        yield Finding("backend", "problem", text, f"pip install --force-reinstall keras {name}")
        return
    yield Finding("backend", "ok", name)
    try:
        hint = devices.unseen_gpus_hint()
        with warnings.catch_warnings(action="ignore", category=NoteWarning):
            machine = devices.inspect_machine()
    except Exception as error:
        text = f"{name} cannot list the devices: {_line(error)}"
        yield Finding("devices", "problem", text, f"pip install --force-reinstall {name}")
        return
    if hint is not None:
        problem, remedy = hint.split(": ", 1)
        yield Finding("GPUs", "problem", problem, remedy)
    elif machine.gpus:
        yield Finding("GPUs", "ok", f"{len(machine.gpus)}: {', '.join(machine.gpus)}")
    else:
        yield Finding("GPUs", "ok", "none; training uses the CPU")
    count = len(machine.slots(sys.maxsize))
    networks = "1 network is" if count == 1 else f"{count} networks are"
    cores = "1 core" if machine.cores == 1 else f"{machine.cores} cores"
    text = f"{cores}; by default {networks} trained at a time"
    yield Finding("CPU", "ok", text)


def check_memory() -> Iterator[Finding]:
    """Check that the memory that this process may use is enough for one worker."""
    from fkd_kaggle.workers import devices

    memory, least = devices.usable_memory(), devices.memory_for(1)
    text = f"{memory / 1e9:.1f} GB"
    if memory == devices.UNKNOWN_MEMORY:
        yield Finding("memory", "ok", "the system does not report it")
    elif memory < least:
        text = f"{text}; training needs about {least / 1e9:g} GB"
        remedy = "use a larger machine, or train on Kaggle: fkd-kaggle submit --via kernel"
        yield Finding("memory", "note", text, remedy)
    else:
        yield Finding("memory", "ok", text)


def check_disk(folders: tuple[Path, ...]) -> Iterator[Finding]:
    """Check free space and permission of the folders that commands write to."""
    other = "set TMPDIR to a folder on another disk"
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError as error:
        yield Finding("disk", "problem", _line(error), f"free some space, or {other}")
    else:
        yield from _check_folder(temporary, _MIN_TEMPORARY, other)
    other = "use --data-dir and --runs-dir on another disk"
    for folder in dict.fromkeys(map(_existing, folders)):
        yield from _check_folder(folder, _MIN_FREE, other)


def _check_folder(folder: Path, least: float, other: str) -> Iterator[Finding]:
    """Check one folder.

    Parameters
    ----------
    folder
        The folder.
    least
        Bytes that should be free.
    other
        How to use another folder.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        remedy = f"make {folder} readable, or {other}"
        yield Finding("disk", "problem", explain_os_error(error), remedy)
        return
    text = f"{free / 1e9:.1f} GB free in {folder}"
    if not os.access(folder, os.W_OK | os.X_OK):
        remedy = f"make it writable (chmod u+w {folder}), or {other}"
        yield Finding("disk", "problem", f"{folder} cannot be written", remedy)
    elif free < least:
        text = f"{text}; {least / 1e9:g} GB are needed"
        yield Finding("disk", "problem", text, f"free some space, or {other}")
    else:
        yield Finding("disk", "ok", text)


def check_data(data_dir: Path) -> Iterator[Finding]:
    """Check whether the competition's files are there."""
    from fkd_kaggle import pipeline

    try:
        is_fetched = pipeline.is_fetched(data_dir)
    except OSError as error:
        remedy = f"make {data_dir} readable, or use --data-dir"
        yield Finding("data", "problem", _line(error), remedy)
        return
    if is_fetched:
        yield Finding("data", "ok", f"{data_dir} contains the competition's files")
    else:
        text = f"{data_dir} does not contain the competition's files"
        yield Finding("data", "note", text, "fkd-kaggle fetch")


def check_kaggle(*, offline: bool) -> Iterator[Finding]:
    """Check where credentials come from, and whether Kaggle answers and accepts them."""
    from fkd_kaggle.kaggle_api.competition import Competition
    from fkd_kaggle.kaggle_api.retry import RetryPolicy

    yield from _file_permissions()
    try:
        if offline:
            yield Finding("credentials", "ok", _describe_credentials())
            yield Finding("connection", "note", "not checked (--offline)", "omit --offline")
            return
        competition = Competition.open(retry_policy=RetryPolicy(attempts=1))
    except (FkdError, OSError, ValueError, RuntimeError) as error:
        yield Finding("credentials", "problem", _line(error), _TROUBLESHOOTING)
        return
    where = competition.practice_url or "Kaggle"
    yield Finding("credentials", "ok", f"{competition.credentials_source}, for {where}")
    try:
        left = competition.submissions_left()
    except (FkdError, OSError) as error:
        yield Finding("connection", "problem", _line(error), _TROUBLESHOOTING)
        return
    text = "answers" if left is None else f"answers; submissions left today: {left}"
    yield Finding("connection", "ok", f"{where} {text}")


def check_practice() -> Iterator[Finding]:
    """Check whether a practice Kaggle runs here, and whether kernels can be isolated."""
    from fkd_kaggle.practice.kernels.sandbox import is_isolated
    from fkd_kaggle.practice.server import PORT

    with socket.socket() as probe:
        probe.settimeout(1)
        running = probe.connect_ex(("127.0.0.1", PORT)) == 0
    state = "in use: a practice Kaggle, or another program" if running else "free"
    yield Finding("practice Kaggle", "ok", f"port {PORT} is {state}")
    try:
        isolated = is_isolated()
    except OSError as error:  # no temporary folder
        yield Finding("practice kernels", "note", _line(error), "run only kernels that you trust")
        return
    if isolated:
        yield Finding("practice kernels", "ok", "are isolated from this machine (namespaces)")
    else:
        text = "this system does not allow namespaces: kernels are not isolated"
        yield Finding("practice kernels", "note", text, "run only kernels that you trust")


def _describe_credentials() -> str:
    """Return where the credentials come from and whom they are for; sends no request.

    The official client sends an access token to Kaggle when it authenticates.

    Raises
    ------
    CompetitionError
        There are no credentials, they cannot be read, or the environment selects no Kaggle.
    """
    from fkd_kaggle.kaggle_api import credentials, endpoint, errors
    from fkd_kaggle.kaggle_api.competition import Competition

    if endpoint.practice_url() is not None:
        competition = Competition.open()  # a practice Kaggle is not contacted
        return f"{competition.credentials_source}, for {competition.practice_url}"
    found = credentials.find_credentials()
    if found is None:
        raise errors.missing_credentials_error()
    return f"{found.source}, for Kaggle"


def _file_permissions() -> Iterator[Finding]:
    """Check that files with credentials are readable by the user only."""
    from fkd_kaggle.kaggle_api.credentials import credential_files

    try:
        paths = credential_files()
    except (FkdError, RuntimeError):
        return  # ``Competition.open`` raises the same error
    for path in paths:
        try:
            shared = os.name != "nt" and path.stat().st_mode & 0o077
        except OSError:
            continue
        if shared:
            yield Finding("credentials", "note", f"others can read {path}", f"chmod 600 {path}")


def _line(error: Exception) -> str:
    """Return an error as one line without secrets."""
    text = explain_os_error(error) if isinstance(error, OSError) else str(error)
    return first_line(redact(text)) or type(error).__name__


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists and can be found."""
    for each in (folder.absolute(), *folder.absolute().parents):
        with suppress(OSError):  # no permission, below a folder of another user
            if each.exists():
                return each
    return folder
