"""Requests about kernels through the official client: push, source, status, stop, quota.

``kernel_output`` reads logs and output files. The package ``kernel`` builds the kernels and uses
their output.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api import errors, responses
from fkd_kaggle.kaggle_api.client import Client
from fkd_kaggle.kaggle_api.errors import Action


@dataclass(frozen=True)
class KernelRef:
    """A kernel, or one version of it."""

    kernel: str
    """"owner/slug"."""
    version: int = 0
    """Kaggle's number of the version; 0 for the newest version."""

    @property
    def owner(self) -> str:
        """Return the kernel's owner."""
        return self.kernel.partition("/")[0]

    @property
    def slug(self) -> str:
        """Return the kernel's slug."""
        return self.kernel.partition("/")[2]

    @property
    def label(self) -> str | None:
        """Return the version as Kaggle's API expects it; None for the newest version.

        The API answers 404 to a number without "v" (github.com/Kaggle/kaggle-cli/pull/1201).
        """
        return f"v{self.version}" if self.version else None

    def __str__(self) -> str:
        return f"{self.kernel}, version {self.version}," if self.version else self.kernel


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
    """A version of a kernel as Kaggle stores it."""

    version: int
    """Kaggle's number of the newest version; 0 if unknown."""
    source: str
    """The text of the script or of the notebook."""
    docker_image: str = ""
    """The image in which the version runs, as "repository@sha256:…"; empty if unknown."""


@dataclass(frozen=True)
class KernelStatus:
    """The status of a version of a kernel."""

    state: str
    """Kaggle's name in lower case: queued, running, complete, error, cancel_requested, …; a name
    that this version of the client does not know is kept."""
    message: str
    """Kaggle's message about a failure; empty if there is none."""

    @property
    def finished(self) -> bool:
        """Return whether the kernel has ended."""
        return self.state in ("complete", "error", "cancel_acknowledged")


def push_kernel(client: Client, action: Action, folder: Path, timeout: int) -> KernelVersion:
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
        Seconds after which Kaggle ends the session. Always sent: the API cannot stop a session.

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
        lambda api: api.kernels_push(str(folder), timeout=str(timeout)),
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


def get_kernel(client: Client, action: Action, ref: KernelRef) -> StoredKernel | None:
    """Return a version of a kernel as Kaggle stores it; None if it is not visible.

    Parameters
    ----------
    client
        The client.
    action
        The operation, for messages.
    ref
        The kernel; without a version, the newest version is returned.
    """

    def get(api: Any) -> StoredKernel:
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest

        request = _about(ApiGetKernelRequest(), ref)
        with api.build_kaggle_client() as kaggle:
            answer = kaggle.kernels.kernels_api_client.get_kernel(request)
        return StoredKernel(
            answer.metadata.current_version_number or 0,
            (answer.blob.source or "") if answer.blob is not None else "",
            answer.metadata.docker_image or "",
        )

    try:
        return client.request(action, get)
    except CompetitionError as error:
        # Kaggle answers 403 both for a name that does not exist and for another user's kernel.
        if error.status in (403, 404):
            return None
        raise


def get_status(client: Client, action: Action, ref: KernelRef) -> KernelStatus:
    """Return the status of a version of a kernel; without a version, of the newest version.

    The client's ``kernels_status`` is not used: version 2.2.4 ignores the kernel's version.
    """

    def get(api: Any) -> KernelStatus:
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelSessionStatusRequest

        request = _about(ApiGetKernelSessionStatusRequest(), ref)
        with api.build_kaggle_client() as kaggle:
            answer = kaggle.kernels.kernels_api_client.get_kernel_session_status(request)
        state = getattr(answer.status, "name", None) or "unknown"
        return KernelStatus(state.lower(), answer.failure_message or "")

    return client.request(action, get)


def find_by_title(client: Client, action: Action, title: str) -> list[str]:
    """Return the user's kernels ("owner/slug") with a title, the last run first."""
    listed = client.request(
        action,
        lambda api: api.kernels_list(mine=True, search=title, sort_by="dateRun", page_size=20),
    )
    return [
        one.ref.removeprefix("/code/").strip("/")
        for one in listed or ()
        if one is not None and one.title == title and one.ref
    ]


def stop_kernel(client: Client, action: Action, ref: KernelRef, session_id: int | None) -> None:
    """Stop a kernel's session.

    Kaggle's API requires the number of the session, and no request returns this number
    (github.com/Kaggle/kaggle-cli/issues/1172, /issues/1169, /issues/1063; verified in November
    2026 with kagglesdk 0.1.38).

    Parameters
    ----------
    client
        The client.
    action
        The operation, for messages.
    ref
        The kernel.
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
            "Kaggle's API cannot stop a kernel by its name: open "
            f"{site}/code/{ref.kernel} and cancel the run there, or stop its session under “View "
            "Active Events” at the bottom left of kaggle.com"
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


def _about(request: Any, ref: KernelRef) -> Any:
    """Set the kernel and the version of a request, and return the request."""
    request.user_name, request.kernel_slug = ref.owner, ref.slug
    if ref.label is not None:
        request.version_label = ref.label
    return request
