"""Connection to a Ray cluster, and its devices.

Starts no training. Ray is imported when a cluster is used (extra ``cluster``).
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import fkd_kaggle.workers as this_package
from fkd_kaggle.errors import FkdError
from fkd_kaggle.formatting import one_line
from fkd_kaggle.workers.devices import WORKER_MEMORY, Machine, memory_for

NO_SLOTS: Final = "the cluster has no slots: none of its nodes offers a CPU or a GPU (`ray status`)"

_CONNECT_SECONDS: Final = 5.0


def connect(address: str) -> Any:
    """Connect to a Ray cluster and return the module ``ray``; keep a connection that exists.

    Parameters
    ----------
    address
        "auto" for the cluster of this machine, which is started if there is none; HOST:PORT for
        the cluster that this machine has joined; or ray://HOST:PORT.

    Raises
    ------
    FkdError
        Ray is missing, the address cannot be reached, or versions differ; one line.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL", "minor")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address != "auto":
        _check_reachable(address)
    try:
        import ray
    except ImportError:
        raise FkdError("--cluster needs Ray: pip install 'fkd-kaggle[cluster]'") from None
    if ray.is_initialized():
        return ray
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _init(ray, address)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        raise FkdError(_explain(address, error, ray.__version__)) from None
    finally:
        if main:  # Ray replaces the handler
            signal.signal(signal.SIGTERM, handler)
    return ray


def cluster_devices(address: str) -> Machine:
    """Return the devices of all nodes of a cluster as if they were those of one machine.

    The names of its GPUs are numbers and select nothing; cores count only if there are no GPUs. The
    memory is that of the slots, see :func:`node_slots`.

    Parameters
    ----------
    address
        As for ``connect``; the connection is kept.

    Raises
    ------
    FkdError
        The cluster cannot be used, see ``connect``, or it has no slots.
    """
    nodes = [node_slots(node) for node in connect(address).nodes() if node["Alive"]]
    gpus = sum(count for count, has_gpus in nodes if has_gpus)
    cores = sum(count for count, has_gpus in nodes if not has_gpus)
    if not gpus + cores:
        raise FkdError(NO_SLOTS)
    return Machine(tuple(map(str, range(gpus))), cores, memory_for(cores))


def node_slots(node: Mapping[str, Any]) -> tuple[int, bool]:
    """Return the number of slots of a node, and whether they have a GPU each.

    Parameters
    ----------
    node
        A node as ``ray.nodes`` describes it.

    Returns
    -------
    count : int
        The GPUs of the node. Without GPUs its CPU cores, but no more than the memory allows that
        Ray offers there.
    has_gpus : bool
        Whether the slots have a GPU each.
    """
    resources = node.get("Resources", {})
    if gpus := int(resources.get("GPU", 0)):
        return gpus, True
    cores = int(resources.get("CPU", 0))
    if cores and "memory" in resources:
        cores = min(cores, max(1, int(resources["memory"]) // WORKER_MEMORY))
    return cores, False


def _init(ray: Any, address: str) -> None:
    """Call ray.init; start a cluster on this machine for "auto" if there is none."""
    package = Path(this_package.__file__).parents[1]
    environment = {
        "py_modules": [str(package)],
        "excludes": ["**/__pycache__", "**/*.pyc"],
        "env_vars": {
            "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "tensorflow"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
    }
    if address.startswith("ray://"):
        for name in ("ray.client_builder", "ray._private.runtime_env.packaging"):
            logging.getLogger(name).setLevel(logging.ERROR)  # the client resets that of "ray"
        ray.init(address, runtime_env=environment)
        return
    options = {
        "runtime_env": environment,
        "log_to_driver": False,
        "logging_level": "ERROR",
        "ignore_reinit_error": True,
    }
    if address != "auto":
        ray.init(address, **options)
        return
    try:
        ray.init("auto", **options)
    except ConnectionError:
        ray.init(include_dashboard=False, **options)


def _check_reachable(address: str) -> None:
    """Raise FkdError if nothing answers at HOST:PORT or ray://HOST:PORT."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise FkdError(
            f"--cluster {address!r} is no address: write auto, HOST:PORT or ray://HOST:PORT"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise FkdError(
            f"no Ray cluster answers at {address} ({reason}): start one there with `ray start "
            "--head`, and use the address that it prints"
        ) from None


def _explain(address: str, error: Exception, version: str) -> str:
    """Return one line for an error of ray.init; ``version`` is Ray's version here."""
    text = str(error)
    if "Traceback" in text:  # of the server behind ray://: the last line is the error
        text = text.strip().splitlines()[-1]
    text = one_line(text)[:300] or type(error).__name__
    if "ersion mismatch" in text or "Version" in text:
        return (
            f"the cluster at {address} has other versions of Ray or Python than this machine: "
            f"{text}"
        )
    if "ray[client]" in text or "Ray Client" in text:
        return f"ray:// needs Ray Client: pip install 'ray[client]' ({text})"
    return (
        f"cannot use the Ray cluster at {address} ({text}): does it run Ray {version} and Python "
        f"{platform.python_version()}, as this machine does?"
    )
