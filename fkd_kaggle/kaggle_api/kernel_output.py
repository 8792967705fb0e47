"""Logs and output files of kernels, through the official client.

Every request names the version of the kernel. Clients before 2.2.5 drop the version
(github.com/Kaggle/kaggle-cli/issues/1200), so the SDK is called directly; kagglesdk 0.1.37, which
2.2.4 needs, has the field already.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests
from packaging.version import Version

from fkd_kaggle import files
from fkd_kaggle.kaggle_api import responses
from fkd_kaggle.kaggle_api.client import Client
from fkd_kaggle.kaggle_api.download import download_file, path_below
from fkd_kaggle.kaggle_api.errors import Action
from fkd_kaggle.kaggle_api.kernels import KernelRef, get_status

_PAGE: Final = 100
"""Output files per request."""

_FILE_TIMEOUT: Final = 300
"""Seconds without an answer after which the request of an output file fails."""

_FAILURES_PER_STATUS: Final = 3
"""Failures without a new log line after which the kernel's status is requested, each time."""


@dataclass(frozen=True)
class KernelLogLine:
    """A piece of a kernel's output, usually one line with its newline."""

    text: str
    """The text, with its newline."""
    stream: str
    """"stdout" or "stderr"."""
    seconds: float | None
    """Seconds since the kernel's start."""


def read_log(client: Client, action: Action, ref: KernelRef) -> Iterator[KernelLogLine]:
    """Yield the stored log of a version of a kernel; Kaggle stores it when the session ends."""
    page = next(_output_pages(client, action, ref))
    yield from (_line(event) for event in _events(page.log or ""))


def follow_log(
    client: Client,
    action: Action,
    ref: KernelRef,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Iterator[KernelLogLine]:
    """Yield new log lines of a version of a kernel until the session ends.

    Kaggle closes idle streams every few minutes and repeats the log from its beginning after a
    reconnection. The client's ``kernels logs --follow`` gives up after five reconnections without
    a new line, but a training can be silent for longer, so this function continues while the
    kernel runs, with the growing waits of the retry policy.

    Parameters
    ----------
    client
        The client.
    action
        The operation, for messages.
    ref
        The kernel and its version.
    is_stopped
        Called before each connection; returns whether to end.

    Raises
    ------
    CompetitionError
        Kaggle refuses, or the log cannot be read although the session has ended.
    """
    seen = failures = 0
    policy = client.retry_policy
    while not is_stopped():
        before = seen
        try:
            stream = client.stream(lambda api: api.kernels_logs_stream(_stream_name(ref)))
            for event in _skip(stream, seen):
                seen += 1
                yield _line(event)
            return
        except responses.CLIENT_ERRORS as error:
            if not responses.is_transient(error) or client.is_stopped_practice(error):
                raise client.explain(error, action) from error
            responses.close_answer(error)  # The client leaves the stream's connection open.
            problem = error
        failures = failures + 1 if seen == before else 1
        policy.sleep(policy.wait_without_end(failures, problem))
        if is_stopped() or failures % _FAILURES_PER_STATUS:
            continue
        if get_status(client, action, ref).finished:
            raise client.explain(problem, action) from problem


def download_output(
    client: Client,
    action: Action,
    ref: KernelRef,
    into: Path,
    *,
    keep: bool = False,
    only: Collection[str] | None = None,
) -> list[Path]:
    """Download the output files and the log of a version of a kernel.

    The client's ``kernels_output`` is not used. In 2.2.4 it ignores the version, saves error pages
    as files and holds each file in memory. 2.2.5 does none of these, but it cannot resume without
    a request for every file that is there already, which Kaggle limits (429), and it starts from
    the first file after each transient failure.

    Parameters
    ----------
    client
        The client.
    action
        The operation, for messages.
    ref
        The kernel and its version.
    into
        Folder for the files.
    keep
        Whether to keep existing files instead of downloading them again.
    only
        Names of the files to download, without the log; None for all files and the log.

    Returns
    -------
    list of Path
        The files in ``into``; the log, if there is a log, is the last.

    Raises
    ------
    CompetitionError
        Kaggle refuses or cannot be reached, or a file's name leads outside ``into``.
    """
    paths: list[Path] = []
    log = ""
    for page in _output_pages(client, action, ref):
        log = page.log or log
        for item in page.files or []:
            if only is not None and item.file_name not in only:
                continue
            target = path_below(into, item.file_name)
            if not (keep and target.exists()):
                _fetch_file(client, action, item.url, target)
            paths.append(target)
    if log and only is None:
        paths.append(into / f"{ref.slug}.log")
        files.write_text(paths[-1], log)
    return paths


def _output_pages(client: Client, action: Action, ref: KernelRef) -> Iterator[Any]:
    """Yield the pages of Kaggle's list of output files."""
    from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

    request = ApiListKernelSessionOutputRequest()
    request.page_size = _PAGE
    request.user_name, request.kernel_slug = ref.owner, ref.slug
    if ref.label is not None:
        request.version_label = ref.label

    def one_page(api: Any) -> Any:
        with api.build_kaggle_client() as kaggle:
            return kaggle.kernels.kernels_api_client.list_kernel_session_output(request)

    tokens: set[str] = set()
    while True:
        page = client.request(action, one_page)
        yield page
        if not page.next_page_token or page.next_page_token in tokens:
            return
        tokens.add(page.next_page_token)
        request.page_token = page.next_page_token


def _stream_name(ref: KernelRef) -> str:
    """Return a kernel's version as the client's ``kernels_logs_stream`` takes it.

    Clients before 2.2.5 insert the name into the URL without a change. Kaggle takes the version as
    a query parameter; a version in the URL's path gives 404.
    """
    if not ref.version:
        return ref.kernel
    if Version(importlib.metadata.version("kaggle")) >= Version("2.2.5"):
        return f"{ref.kernel}/{ref.version}"
    return f"{ref.kernel}?versionLabel={ref.label}"


def _fetch_file(client: Client, action: Action, url: str, target: Path) -> None:
    """Download an output file to ``target``."""

    def download(api: Any, staged: Path) -> None:
        response = requests.get(url, stream=True, timeout=_FILE_TIMEOUT)
        response.raise_for_status()
        api.download_file(response, str(staged), None, quiet=True, resume=True)

    download_file(client, action, download, target, check=lambda path: None)


def _skip(events: Iterable[Any], count: int) -> Iterator[Any]:
    """Return the events after the first ``count``."""
    return (event for position, event in enumerate(events) if position >= count)


def _events(text: str) -> Iterator[Any]:
    """Read a stored log: a JSON array, JSON lines, or plain text."""
    try:
        whole = json.loads(text) if text.strip() else []
    except (ValueError, RecursionError):
        whole = [_json_or_text(line) for line in text.splitlines() if line.strip(",[] ")]
    yield from whole if isinstance(whole, list) else [whole]


def _json_or_text(line: str) -> Any:
    """Return the JSON value of a line, or the line as an event."""
    try:
        return json.loads(line.strip().strip(","))
    except (ValueError, RecursionError):
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
