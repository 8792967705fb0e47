"""Kaggle's KernelsApiService: status, log, output, cancel, delete, quota.

Translates between the wire format and ``host``, which has the rules. ``push`` answers pushes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import flask
from kagglesdk.kernels.types import kernels_api_service as types
from kagglesdk.kernels.types.kernels_enums import KernelWorkerStatus

from fkd_kaggle.practice import fault_injection
from fkd_kaggle.practice.kernels import push
from fkd_kaggle.practice.kernels.host import WEEKLY_GPU_SECONDS, KernelHost, KernelRunsError
from fkd_kaggle.practice.kernels.sandbox import EXECUTED
from fkd_kaggle.practice.kernels.store import KernelVersion
from fkd_kaggle.practice.wire_format import (
    paginate,
    read_request,
    redirect_to_storage,
    refuse,
    to_datetime,
    write_response,
)

_POLL: Final = 0.1
"""Seconds between two reads of a growing log."""

_LABEL: Final = re.compile(r"v([1-9][0-9]{0,8})", re.ASCII)
"""A version label of Kaggle's API."""

_KEEP_ALIVE: Final = 15.0
"""Seconds without events after which a log stream sends a comment."""


def blueprint(kernels: KernelHost) -> flask.Blueprint:
    """Return the routes of Kaggle's API for kernels, and of their output files."""
    routes = flask.Blueprint("kernels", __name__)
    methods: dict[str, Callable[[], flask.Response]] = {
        "SaveKernel": lambda: push.save_kernel(kernels),
        "GetKernelSessionStatus": lambda: _status(kernels),
        "ListKernelSessionOutput": lambda: _output(kernels),
        "ListKernelFiles": lambda: _files(kernels),
        "DownloadKernelOutput": lambda: _download(kernels),
        "GetKernelSessionLogsStream": lambda: _log_stream(kernels),
        "CancelKernelSession": lambda: _cancel(kernels),
        "DeleteKernel": lambda: _delete(kernels),
        "GetKernel": lambda: _get(kernels),
        "ListKernels": lambda: _list(kernels),
        "GetAcceleratorQuotaStatistics": lambda: _quota(kernels),
    }

    @routes.post("/api/v1/kernels.KernelsApiService/<method>")
    def kernel(method: str) -> flask.Response:
        if method not in methods:
            refuse(501, f"the practice Kaggle does not implement {method}")
        return methods[method]()

    @routes.get("/api/v1/kernels/logs/stream/<owner>/<slug>")
    def log_stream(owner: str, slug: str) -> flask.Response:
        # Kaggle takes the version as a query parameter; in the path it gives 404.
        label = flask.request.args.get("versionLabel", "")
        return _stream(kernels, _find(kernels, owner, slug, _number_of(label)))

    # Kaggle signs these URLs; the practice Kaggle does not.
    @routes.get("/storage/kernels/<int:session>/<path:name>")
    def output_file(session: int, name: str) -> flask.Response:
        version = kernels.versions.session(session)
        path = kernels.versions.output_file(version, name) if version else None
        if path is None:
            refuse(404, "Not found")
        return fault_injection.send_file(path, path.name)

    @routes.get("/storage/notebooks/<int:session>.ipynb")
    def executed_notebook(session: int) -> flask.Response:
        version = kernels.versions.session(session)
        path = kernels.versions.folder(version) / EXECUTED if version else None
        if path is None or not path.is_file():
            refuse(404, "Not found")
        return flask.send_file(path, as_attachment=True, download_name=EXECUTED)

    return routes


def _status(kernels: KernelHost) -> flask.Response:
    version = _requested_version(kernels, read_request(types.ApiGetKernelSessionStatusRequest))
    answer = types.ApiGetKernelSessionStatusResponse()
    answer.status = KernelWorkerStatus[version.status.upper()]
    answer.failure_message = version.failure or None
    return write_response(answer)


def _output(kernels: KernelHost) -> flask.Response:
    request = read_request(types.ApiListKernelSessionOutputRequest)
    version = _requested_version(kernels, request)
    names, token = paginate(kernels.versions.output(version), request)
    answer = types.ApiListKernelSessionOutputResponse()
    answer.files = [_output_item(version, name) for name in names]
    answer.next_page_token = token or None
    answer.log = (
        kernels.versions.log(version) if version.is_finished else ""
    )  # Kaggle has none before
    return write_response(answer)


def _output_item(version: KernelVersion, name: str) -> Any:
    item = types.ApiKernelSessionOutputFile()
    item.file_name = name
    item.url = flask.url_for(
        "kernels.output_file", session=version.session, name=name, _external=True
    )
    return item


def _files(kernels: KernelHost) -> flask.Response:
    request = read_request(types.ApiListKernelFilesRequest)
    version = _requested_version(kernels, request)
    names, token = paginate(kernels.versions.output(version), request)
    answer = types.ApiListKernelFilesResponse()
    answer.files = [_file_item(kernels, version, name) for name in names]
    answer.next_page_token = token or None
    return write_response(answer)


def _file_item(kernels: KernelHost, version: KernelVersion, name: str) -> Any:
    item = types.ApiListKernelFilesItem()
    item.name = name
    path = kernels.versions.output_file(version, name)
    if path is not None:
        item.size = path.stat().st_size
        item.creation_date = to_datetime(path.stat().st_mtime).isoformat() + "Z"
    return item


def _download(kernels: KernelHost) -> flask.Response:
    request = read_request(types.ApiDownloadKernelOutputRequest)
    version = _find(kernels, request.owner_slug, request.kernel_slug, request.version_number)
    if request.file_path not in kernels.versions.output(version):
        refuse(404, "Not found")
    return redirect_to_storage(f"storage/kernels/{version.session}/{request.file_path}")


def _log_stream(kernels: KernelHost) -> flask.Response:
    request = read_request(types.ApiGetKernelSessionLogsStreamRequest)
    if request.kernel_session_id:
        return _stream(kernels, _session(kernels, request.kernel_session_id))
    return _stream(kernels, _requested_version(kernels, request))


def _stream(kernels: KernelHost, version: KernelVersion) -> flask.Response:
    """Return the log: the stored one of a finished kernel, otherwise events as it grows."""
    if version.is_finished:
        return flask.Response(kernels.versions.log(version), mimetype="application/json")
    events = _events(kernels, version)
    return flask.Response(
        fault_injection.cut_events(events),
        mimetype="text/event-stream",
        headers={"Cache-Control": "no-cache", "Connection": "close"},
    )


def _events(kernels: KernelHost, version: KernelVersion) -> Iterator[str]:
    """Yield server-sent events: the lines of the log from its beginning, until the kernel ends."""
    path, position, last_event = kernels.versions.log_file(version), 0, time.monotonic()
    while not kernels.closed:
        current = kernels.versions.session(version.session)
        # Determined before reading, so that the last lines are read.
        finished = current is None or current.is_finished
        lines, position = _new_lines(path, position)
        yield from (f"data: {line}\n\n" for line in lines)
        if finished:
            yield "data: END_OF_LOG\n\n"
            return
        if lines:
            last_event = time.monotonic()
        elif time.monotonic() - last_event > _KEEP_ALIVE:
            yield ": keep-alive\n\n"
            last_event = time.monotonic()
        time.sleep(_POLL)


def _new_lines(path: Any, position: int) -> tuple[list[str], int]:
    """Return the complete lines after a position in bytes, and the position of their end."""
    try:
        with path.open("rb") as log:
            log.seek(position)
            text = log.read()
    except FileNotFoundError:
        return [], position
    complete = text[: text.rfind(b"\n") + 1]
    return complete.decode().splitlines(), position + len(complete)


def _cancel(kernels: KernelHost) -> flask.Response:
    version = _session(kernels, read_request(types.ApiCancelKernelSessionRequest).kernel_session_id)
    if version.is_finished:
        refuse(400, "The session has already ended.")
    kernels.cancel(version)
    return write_response(types.ApiCancelKernelSessionResponse())


def _delete(kernels: KernelHost) -> flask.Response:
    # A deletion has no version (github.com/Kaggle/kaggle-cli/issues/1202).
    request = read_request(types.ApiDeleteKernelRequest)
    version = _find(kernels, request.user_name, request.kernel_slug)
    if version.owner.lower() != flask.g.user.lower():
        refuse(403, "Permission 'kernels.delete' was denied")
    try:
        kernels.delete(version.owner, version.slug)
    except KernelRunsError as error:
        refuse(409, str(error))
    return write_response(types.ApiDeleteKernelResponse())


def _get(kernels: KernelHost) -> flask.Response:
    request = read_request(types.ApiGetKernelRequest)
    version = _requested_version(kernels, request)
    answer = types.ApiGetKernelResponse()
    answer.metadata = _metadata(version)
    answer.blob = types.ApiKernelBlob()
    answer.blob.source = kernels.versions.source(version)
    answer.blob.language, answer.blob.kernel_type = "python", _kernel_type(version)
    answer.blob.slug = version.slug
    return write_response(answer)


def _list(kernels: KernelHost) -> flask.Response:
    request = read_request(types.ApiListKernelsRequest)
    newest = {one.ref: one for one in kernels.versions.all()[::-1]}
    own = [one for one in newest.values() if one.owner == flask.g.user]
    if request.user and request.user != flask.g.user:
        own = []
    if request.competition:
        own = [one for one in own if request.competition in one.competitions]
    own = [one for one in own if request.search.lower() in f"{one.ref} {one.title}".lower()]
    rows, token = paginate(own[::-1], request)
    answer = types.ApiListKernelsResponse()
    answer.kernels = [_metadata(one) for one in rows]
    answer.next_page_token = token
    return write_response(answer)


def _metadata(version: KernelVersion) -> Any:
    answer = types.ApiKernelMetadata()
    answer.id, answer.ref = version.kernel_id, version.ref
    answer.title, answer.slug, answer.author = version.title, version.slug, version.owner
    answer.last_run_time = to_datetime(version.started or version.pushed)
    answer.language, answer.kernel_type = "python", _kernel_type(version)
    answer.is_private = version.private
    answer.enable_gpu, answer.enable_tpu = version.gpu, version.machine_shape.startswith("Tpu")
    answer.enable_internet = version.internet
    answer.category_ids = list(version.tags)
    answer.competition_data_sources = list(version.competitions)
    answer.kernel_data_sources = list(version.kernels)
    answer.current_version_number = version.version
    answer.docker_image, answer.machine_shape = version.docker_image, version.machine_shape
    return answer


def _kernel_type(version: KernelVersion) -> str:
    return "notebook" if version.notebook else "script"


def _quota(kernels: KernelHost) -> flask.Response:
    read_request(types.ApiGetAcceleratorQuotaStatisticsRequest)
    answer = types.ApiGetAcceleratorQuotaStatisticsResponse()
    answer.quota_refresh_time = to_datetime(kernels.week_end())
    body = answer.to_dict()
    # Not by kagglesdk 0.1.37, which drops the days of a duration: 30 hours would become 6.
    body["gpuQuota"] = {
        "timeUsed": f"{kernels.gpu_seconds(flask.g.user):.0f}s",
        "timeReserved": "0s",
        "totalTimeAllowed": f"{WEEKLY_GPU_SECONDS:.0f}s",
        "minimumTimeAllowed": f"{WEEKLY_GPU_SECONDS:.0f}s",
    }
    return flask.jsonify(body)


def _requested_version(kernels: KernelHost, request: Any) -> KernelVersion:
    """Return the version that a request names by its label; without one, the newest."""
    number = _number_of(request.version_label)
    return _find(kernels, request.user_name, request.kernel_slug, number)


def _number_of(label: str) -> int | None:
    """Return the number of a version label, "v3"; None without a label.

    As on Kaggle, a number without "v" gives 404 (github.com/Kaggle/kaggle-cli/pull/1201).
    """
    if not label:
        return None
    match = _LABEL.fullmatch(label)
    if match is None:
        refuse(404, "Not found")
    return int(match[1])


def _find(kernels: KernelHost, owner: str, slug: str, number: int | None = None) -> KernelVersion:
    """Return a version that the user may see; None or 0 for the newest."""
    newest = kernels.versions.find(owner, slug)
    if newest is None or not newest.may_be_seen_by(flask.g.user):
        # Kaggle gives this message for unknown kernels, too.
        refuse(403, "Permission 'kernels.get' was denied")
    version = kernels.versions.find(owner, slug, number) if number else newest
    if version is None:
        refuse(404, "Not found")
    return version


def _session(kernels: KernelHost, session: int) -> KernelVersion:
    """Return the version of one of the user's sessions."""
    version = kernels.versions.session(session)
    if version is None or version.owner != flask.g.user:
        refuse(403, "Permission 'kernelSessions.cancel' was denied")
    return version
