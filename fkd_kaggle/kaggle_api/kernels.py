"""Requests about kernels through the official client: push, status, log, output, stop.

The package ``kernel`` builds the kernels and uses their output.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import requests

from fkd_kaggle import files
from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api import errors, responses
from fkd_kaggle.kaggle_api.client import Client
from fkd_kaggle.kaggle_api.download import download_file
from fkd_kaggle.kaggle_api.errors import Action

_PAGE: Final = 100
"""Output files per request."""

_RECONNECT_LIMIT: Final = 5
"""Reconnections without a new log line after which the kernel's status is requested."""


@dataclass(frozen=True)
class KernelVersion:
    """A pushed version of a kernel."""

    kernel: str
    """"owner/name"."""
    version: int
    """Kaggle's number of the version."""
    url: str
    """Address of the kernel's page."""
    refused: tuple[str, ...]
    """Inputs and tags that Kaggle does not know; the kernel runs without them."""


@dataclass(frozen=True)
class StoredKernel:
    """The newest version of a kernel as Kaggle stores it."""

    version: int
    """Kaggle's number of the version; 0 if unknown."""
    source: str
    """The text of the script."""


@dataclass(frozen=True)
class KernelStatus:
    """The status of a kernel's newest version."""

    state: str
    """Kaggle's name in lower case: queued, running, complete, error, cancel_requested, …"""
    message: str
    """Kaggle's message about a failure; empty if there is none."""

    @property
    def finished(self) -> bool:
        """Return whether the kernel has ended."""
        return self.state in ("complete", "error", "cancel_acknowledged")


@dataclass(frozen=True)
class KernelLogLine:
    """A piece of a kernel's output, usually one line with its newline."""

    text: str
    """The text, with its newline."""
    stream: str
    """"stdout" or "stderr"."""
    seconds: float | None
    """Seconds since the kernel's start."""


def push_kernel(client: Client, action: Action, folder: Path, timeout: int | None) -> KernelVersion:
    """Push the kernel in ``folder``.

    A push is repeated only after status 429, when Kaggle has not accepted the push, because each
    push starts the kernel and uses GPU quota.

    Parameters
    ----------
    client
        The client.
    action
        The operation, for messages.
    folder
        Folder with the kernel's script and its metadata.
    timeout
        Seconds after which Kaggle ends the session; None for Kaggle's limit.

    Returns
    -------
    KernelVersion
        The pushed version.

    Raises
    ------
    GpuSessionsTakenError
        Kaggle already runs the highest allowed number of GPU sessions.
    CompetitionError
        Kaggle refuses the kernel or cannot be reached.
    """
    answer = client.request(
        action,
        lambda api: api.kernels_push(str(folder), timeout=str(timeout) if timeout else None),
        retry=lambda error: responses.http_status(error) == 429,
    )
    if answer.error:
        raise errors.push_refused_error(answer.error)
    refused = (
        *(answer.invalid_competition_sources or ()),
        *(answer.invalid_dataset_sources or ()),
        *(answer.invalid_kernel_sources or ()),
        *(answer.invalid_model_sources or ()),
        *(answer.invalid_tags or ()),
    )
    kernel = answer.ref.removeprefix("/code/").strip("/")
    return KernelVersion(kernel, answer.version_number or 0, answer.url, refused)


def get_kernel(client: Client, action: Action) -> StoredKernel | None:
    """Return the newest version of the kernel ``action.kernel``; None if it is not visible."""

    def get(api: Any) -> Any:
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest

        request = ApiGetKernelRequest()
        request.user_name, request.kernel_slug, _ = api.parse_kernel_string(action.kernel)
        with api.build_kaggle_client() as kaggle:
            return kaggle.kernels.kernels_api_client.get_kernel(request)

    try:
        answer = client.request(action, get)
    except CompetitionError as error:
        # Kaggle answers 403 both for a name that does not exist and for another user's kernel.
        if error.status in (403, 404):
            return None
        raise
    return StoredKernel(answer.metadata.current_version_number or 0, answer.blob.source or "")


def get_status(client: Client, action: Action) -> KernelStatus:
    """Return the status of the kernel ``action.kernel``."""
    answer = client.request(action, lambda api: api.kernels_status(action.kernel))
    return KernelStatus(answer.status.name.lower(), answer.failure_message or "")


def read_log(client: Client, action: Action) -> Iterator[KernelLogLine]:
    """Yield the stored log of the kernel ``action.kernel``."""
    text = client.request(action, lambda api: api.kernels_logs(action.kernel))
    yield from (_line(event) for event in _events(text))


def follow_log(client: Client, action: Action) -> Iterator[KernelLogLine]:
    """Yield new log lines of the kernel ``action.kernel`` until the kernel ends.

    Kaggle closes idle streams every few minutes and repeats the log from its beginning after a
    reconnection. The client's ``kernels logs --follow`` gives up after five reconnections without
    a new line, but a training can be silent for longer, so this function continues while the
    kernel runs.
    """
    seen = failures = 0
    while True:
        before = seen
        try:
            client.point()
            for event in _skip(client.api.kernels_logs_stream(action.kernel), seen):
                seen += 1
                yield _line(event)
            return
        except responses.CLIENT_ERRORS as error:
            if not responses.is_transient(error):
                raise client.explain(error, action) from error
            problem = error
        failures = failures + 1 if seen == before else 0
        if failures >= _RECONNECT_LIMIT and get_status(client, action).finished:
            raise client.explain(problem, action) from problem
        client.retry_policy.sleep(client.retry_policy.first_wait)


def download_output(
    client: Client, action: Action, into: Path, *, keep: bool = False
) -> list[Path]:
    """Download the output files and the log of the kernel ``action.kernel``.

    The client's ``kernels_output`` is not used: in version 2.2.4 it saves error pages as files
    (github.com/Kaggle/kaggle-cli/pull/1176) and holds each file in memory.

    Parameters
    ----------
    client
        The client.
    action
        The operation, for messages.
    into
        Folder for the files.
    keep
        Whether to keep existing files instead of downloading them again.

    Returns
    -------
    list of Path
        The files in ``into``; the log, if there is a log, is the last.
    """
    assert action.kernel is not None
    paths: list[Path] = []
    log = ""
    for page in _output_pages(client, action):
        log = page.log or log
        for item in page.files or []:
            target = into / _safe(item.file_name)
            if not (keep and target.exists()):
                _fetch_file(client, action, item.url, target)
            paths.append(target)
    if log:
        paths.append(into / f"{action.kernel.split('/')[-1]}.log")
        files.write_text(paths[-1], log)
    return paths


def stop_kernel(client: Client, action: Action, session_id: int | None) -> None:
    """Stop a kernel's session.

    Kaggle's API requires the number of the session, but gives no way to find this number yet
    (github.com/Kaggle/kaggle-cli/pull/1170).

    Parameters
    ----------
    client
        The client.
    action
        The operation, for messages.
    session_id
        Number of the session; None if unknown.

    Raises
    ------
    CompetitionError
        The number is unknown (the message names the page to stop the kernel), or Kaggle refuses.
    """
    if session_id is None:
        site = client.practice_url or "https://www.kaggle.com"
        raise CompetitionError(
            "Kaggle's API cannot stop a kernel by its name yet: open "
            f"{site}/code/{action.kernel} and cancel the run there"
        )

    def cancel(api: Any) -> Any:
        from kagglesdk.kernels.types.kernels_api_service import ApiCancelKernelSessionRequest

        request = ApiCancelKernelSessionRequest()
        request.kernel_session_id = session_id
        with api.build_kaggle_client() as kaggle:
            return kaggle.kernels.kernels_api_client.cancel_kernel_session(request)

    answer = client.request(action, cancel)
    if answer.error_message:
        raise CompetitionError(f"Kaggle does not stop the kernel: {answer.error_message}")


def gpu_hours_left(client: Client, action: Action) -> float | None:
    """Return the GPU hours left this week; None if unknown."""
    quota = client.request(action, lambda api: api.quota_view()).gpu_quota
    if quota is None or quota.total_time_allowed is None:
        return None
    used = sum(
        part.total_seconds() for part in (quota.time_used, quota.time_reserved) if part is not None
    )
    return max(0.0, (quota.total_time_allowed.total_seconds() - used) / 3600)


def _output_pages(client: Client, action: Action) -> Iterator[Any]:
    """Yield the pages of Kaggle's list of output files."""
    from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

    request = ApiListKernelSessionOutputRequest()
    request.page_size = _PAGE

    def one_page(api: Any) -> Any:
        request.user_name, request.kernel_slug, _ = api.parse_kernel_string(action.kernel)
        with api.build_kaggle_client() as kaggle:
            return kaggle.kernels.kernels_api_client.list_kernel_session_output(request)

    while True:
        page = client.request(action, one_page)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _fetch_file(client: Client, action: Action, url: str, target: Path) -> None:
    """Download an output file to ``target``."""

    def download(api: Any, staged: Path) -> None:
        response = requests.get(url, stream=True)
        response.raise_for_status()
        api.download_file(response, str(staged), None, quiet=True, resume=True)

    download_file(client, action, download, target, check=lambda path: None)


def _safe(name: str) -> PurePosixPath:
    """Return a file name as a path; refuse a path outside the output folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise CompetitionError(f"the kernel's output has a file name outside its folder: {name!r}")
    return path


def _skip(events: Iterable[Any], count: int) -> Iterator[Any]:
    """Return the events after the first ``count``."""
    return (event for position, event in enumerate(events) if position >= count)


def _events(text: str) -> Iterator[Any]:
    """Read a stored log: a JSON array, JSON lines, or plain text."""
    try:
        whole = json.loads(text) if text.strip() else []
    except ValueError:
        whole = [_json_or_text(line) for line in text.splitlines() if line.strip(",[] ")]
    yield from whole if isinstance(whole, list) else [whole]


def _json_or_text(line: str) -> Any:
    """Return the JSON value of a line, or the line as an event."""
    try:
        return json.loads(line.strip().strip(","))
    except ValueError:
        return {"data": line + "\n"}


def _line(event: Any) -> KernelLogLine:
    """Return the log line of an event."""
    if not isinstance(event, Mapping):
        return KernelLogLine(str(event), "stdout", None)
    seconds = event.get("time")
    return KernelLogLine(
        text=str(event.get("data", "")),
        stream=str(event.get("stream_name", "stdout")),
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
    )
