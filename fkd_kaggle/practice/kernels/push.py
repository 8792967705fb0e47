"""Pushes of kernels: validation of the request with Kaggle's error messages.

``host`` runs the kernels and limits sessions and GPU hours.
"""

from __future__ import annotations

import re
from typing import Any, Final

import flask
from kagglesdk.kernels.types import kernels_api_service as types

from fkd_kaggle import formatting
from fkd_kaggle.practice import fault_injection
from fkd_kaggle.practice.dataset import SLUG
from fkd_kaggle.practice.kernels.host import (
    MAX_SOURCE_SIZE,
    KernelHost,
    PushRefusedError,
    PushRequest,
)
from fkd_kaggle.practice.wire_format import read_request, refuse, refuse_field, write_response

_MACHINE_SHAPES: Final = (
    "None",
    "NvidiaTeslaT4",
    "NvidiaTeslaT4Highmem",
    "NvidiaTeslaP100",
    "NvidiaL4",
    "NvidiaL4X1",
    "NvidiaTeslaA100",
    "NvidiaH100",
    "NvidiaRtxPro6000",
    "TpuV38",
    "Tpu1VmV38",
    "TpuV5E8",
    "TpuV6E8",
)
"""Machines as of February 2026 (Kaggle/kaggle-cli, docs/kernels.md); "None" has no GPU."""

_REF: Final = re.compile(r"([\w-]+)/([\w-]+)(?:/(\d+))?", re.ASCII)
"""``owner/slug`` or ``owner/slug/version``."""


def save_kernel(kernels: KernelHost) -> flask.Response:
    """Answer SaveKernel: store a version of a kernel and queue its run.

    Raises
    ------
    ErrorResponse
        A phone number would have to be verified.
    """
    request = read_request(types.ApiSaveKernelRequest)
    if len(request.text.encode()) >= MAX_SOURCE_SIZE:
        refuse_field("The kernel source must be less than 1 megabytes in size.")
    if (_wants_gpu(request) or request.enable_internet) and fault_injection.take_fault("phone"):
        refuse(403, "Verify your phone number to use GPUs or the internet in notebooks.")
    answer = types.ApiSaveKernelResponse()
    answer.invalid_competition_sources = [
        one for one in request.competition_data_sources if one != SLUG
    ]
    answer.invalid_dataset_sources = list(request.dataset_data_sources)
    answer.invalid_model_sources = list(request.model_data_sources)
    answer.invalid_kernel_sources = [
        one for one in request.kernel_data_sources if not _is_source(kernels, one)
    ]
    try:
        version = kernels.push(_validate(kernels, request, answer))
    except PushRefusedError as error:
        answer.error = str(error)
        return write_response(answer)
    answer.ref = f"/code/{version.ref}"
    answer.url = f"{flask.request.host_url}code/{version.ref}"
    answer.version_number, answer.kernel_id = version.version, version.kernel_id
    return write_response(answer)


def _validate(kernels: KernelHost, request: Any, answer: Any) -> PushRequest:
    """Return the validated request, without the sources that ``answer`` lists as invalid."""
    if (request.language, request.kernel_type) != ("python", "script"):
        raise PushRefusedError("A practice Kaggle runs Python scripts only")
    if not request.text.strip():
        raise PushRefusedError("The kernel source must not be empty.")
    if request.machine_shape and request.machine_shape not in _MACHINE_SHAPES:
        raise PushRefusedError(f"Invalid machine shape: {request.machine_shape}")
    owner, slug, title = _resolve_name(kernels, request)
    return PushRequest(
        owner=owner,
        slug=slug,
        title=title,
        text=request.text,
        gpu=_wants_gpu(request),
        internet=request.enable_internet,
        private=request.is_private,
        machine_shape=request.machine_shape,
        docker_image=request.docker_image,
        limit=float(max(0, request.session_timeout_seconds)),
        tags=tuple(request.category_ids),
        competitions=_without(request.competition_data_sources, answer.invalid_competition_sources),
        kernels=_without(request.kernel_data_sources, answer.invalid_kernel_sources),
    )


def _resolve_name(kernels: KernelHost, request: Any) -> tuple[str, str, str]:
    """Return owner, slug and title; as on Kaggle, a new kernel's slug is made from its title."""
    if request.id:
        found = [one for one in kernels.versions.all() if one.kernel_id == request.id]
        owner, slug = (found[0].owner, found[0].slug) if found else ("", "")
    else:
        owner, _, slug = request.slug.partition("/")
    # Owner and slug become names of folders.
    if owner.lower() != flask.g.user.lower() or not _REF.fullmatch(f"{owner}/{slug}"):
        raise PushRefusedError("Notebook not found")
    known = kernels.versions.find(owner, slug)
    title = request.new_title or (known.title if known else slug)
    if len(title) < 5:
        raise PushRefusedError("The title must be at least 5 characters long.")
    if known:
        return known.owner, known.slug, title
    slug = formatting.slug(title)
    if not slug or kernels.versions.find(owner, slug):
        raise PushRefusedError(f"The requested title {title!r} is already in use by a notebook.")
    return owner, slug, title


def _wants_gpu(request: Any) -> bool:
    """Tell whether the request is for a GPU; ``machine_shape`` overrides ``enable_gpu``."""
    shape: str = request.machine_shape
    return shape.startswith("Nvidia") if shape else bool(request.enable_gpu)


def _is_source(kernels: KernelHost, ref: str) -> bool:
    """Tell whether ``ref`` names a kernel whose output the user may read."""
    match = _REF.fullmatch(ref)
    if match is None:
        return False
    source = kernels.source(match[1], match[2], int(match[3]) if match[3] else None)
    return source is not None and source.may_be_seen_by(flask.g.user)


def _without(names: list[str], invalid: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for one in names if one not in invalid))
