"""Pushes of kernels: validation of the request with Kaggle's error messages.

``host`` runs the kernels and limits sessions and GPU hours.
"""

from __future__ import annotations

import importlib.util
import json
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

_MACHINE_SHAPE: Final = re.compile(r"None|Gpu|Nvidia[A-Za-z0-9]+|Tpu[A-Za-z0-9]+", re.ASCII)
"""Names of machines: "None" has no GPU. Kaggle adds and retires names."""

_RETIRED: Final = {
    "nvidiateslap100": "NvidiaTeslaT4",
    "tpuv38": "TpuV5E8",
    "tpu1vmv38": "TpuV5E8",
    "tpuv232": "None",
    "tpuv2256": "None",
}
"""Retired machine in lower case → the machine that Kaggle uses instead, without a message
(Kaggle/kaggle-cli 2.2.5, verified in November 2026)."""

_NOTEBOOK_PACKAGES: Final = ("nbclient", "nbformat", "ipykernel")
"""Packages that execute notebooks; Kaggle's image has them."""

_IMAGE: Final = re.compile(r"gcr\.io/[a-z0-9/_-]+@sha256:[0-9a-f]{64}", re.ASCII)
"""An image of Kaggle's, as kagglesdk documents it."""

_REF: Final = re.compile(r"([\w-]+)/([\w-]+)(?:/(\d+))?", re.ASCII)
"""``owner/slug`` or ``owner/slug/version``."""

_LONGEST_TITLE: Final = 100
"""Characters of a title."""

_LONGEST_NAME: Final = 100
"""Characters of an owner or a slug, which become names of folders."""


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
    if request.language != "python" or request.kernel_type not in ("script", "notebook"):
        raise PushRefusedError("A practice Kaggle runs Python scripts and notebooks only")
    if not request.text.strip():
        raise PushRefusedError("The kernel source must not be empty.")
    if request.machine_shape and not _MACHINE_SHAPE.fullmatch(request.machine_shape):
        raise PushRefusedError(f"Invalid machine shape: {request.machine_shape}")
    if request.docker_image and not _IMAGE.fullmatch(request.docker_image):
        raise PushRefusedError(f"Invalid docker image: {request.docker_image}")
    notebook = request.kernel_type == "notebook"
    if notebook:
        _check_notebook(request.text)
        missing = [name for name in _NOTEBOOK_PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise PushRefusedError(
                f"A practice Kaggle needs {', '.join(missing)} to run notebooks: "
                "pip install 'fkd-kaggle[notebook]'"
            )
    owner, slug, title = _resolve_name(kernels, request)
    return PushRequest(
        owner=owner,
        slug=slug,
        title=title,
        text=request.text,
        gpu=_wants_gpu(request),
        internet=request.enable_internet,
        private=request.is_private,
        machine_shape=_RETIRED.get(request.machine_shape.lower(), request.machine_shape),
        docker_image=request.docker_image,
        keeps_image=request.docker_image_pinning_type == "original",
        notebook=notebook,
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
    if len(request.slug) > 2 * _LONGEST_NAME or len(owner) > _LONGEST_NAME:
        refuse_field("The slug is too long.")
    # Owner and slug become names of folders.
    if owner.lower() != flask.g.user.lower() or not _REF.fullmatch(f"{owner}/{slug}"):
        raise PushRefusedError("Notebook not found")
    known = kernels.versions.find(owner, slug)
    title = request.new_title or (known.title if known else slug)
    if len(title) < 5:
        raise PushRefusedError("The title must be at least 5 characters long.")
    if len(title) > _LONGEST_TITLE:
        refuse_field(f"The title must be at most {_LONGEST_TITLE} characters long.")
    if known:
        return known.owner, known.slug, title
    slug = formatting.slug(title)
    if not slug or kernels.versions.find(owner, slug):
        raise PushRefusedError(f"The requested title {title!r} is already in use by a notebook.")
    return owner, slug, title


def _wants_gpu(request: Any) -> bool:
    """Tell whether the request is for a GPU; ``machine_shape`` overrides ``enable_gpu``."""
    shape = _RETIRED.get(request.machine_shape.lower(), request.machine_shape)
    return shape.startswith(("Nvidia", "Gpu")) if shape else bool(request.enable_gpu)


def _check_notebook(text: str) -> None:
    """Check that a text is a notebook with cells.

    Raises
    ------
    PushRefusedError
        It is not.
    """
    try:
        cells = json.loads(text)["cells"]
        whole = all(isinstance(cell["source"], str) for cell in cells)
    except (ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise PushRefusedError("The notebook is not valid JSON of a Jupyter notebook.")


def _is_source(kernels: KernelHost, ref: str) -> bool:
    """Tell whether ``ref`` names a kernel whose output the user may read."""
    match = _REF.fullmatch(ref)
    if match is None:
        return False
    source = kernels.source(match[1], match[2], int(match[3]) if match[3] else None)
    return source is not None and source.may_be_seen_by(flask.g.user)


def _without(names: list[str], invalid: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for one in names if one not in invalid))
