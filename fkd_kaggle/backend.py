"""Starting Keras: quietly, late, and in the precision the device is good at."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def start(precision: str) -> str:
    """Import Keras and its backend, set the dtype policy and return its name.

    Parameters
    ----------
    precision
        "auto", "float32", "bfloat16" or "float16". "auto" is bfloat16 where the CPU multiplies it
        natively or the GPU is Ampere or later, mixed float16 on older GPUs such as Kaggle's T4,
        and float32 elsewhere.
    """
    # TensorFlow's C++ side greets with a page of log lines on file descriptor 2, past all settings.
    with _hushed():
        import keras

        keras.ops.zeros(1)
        if precision == "auto":
            precision = _native_precision()
    policy = precision if precision == "float32" else f"mixed_{precision}"
    keras.config.set_dtype_policy(policy)
    return policy


def has_gpu() -> bool:
    """Say whether the backend computes on a GPU."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return any(device.platform == "gpu" for device in jax.devices())
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    return False


def compiles() -> bool:
    """Say whether to compile steps with XLA: on GPUs and with JAX, which knows nothing else.

    On a CPU oneDNN's kernels are faster than XLA's for these networks (EXPERIMENTS.md).
    """
    import keras

    return keras.backend.backend() == "jax" or has_gpu()


def _native_precision() -> str:
    import keras

    if has_gpu():
        return "bfloat16" if _compute_capability() >= 8 else "float16"
    if keras.backend.backend() == "jax":
        return "float32"  # XLA's CPU code converts bfloat16 back and forth
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(errors="ignore") if cpuinfo.exists() else ""
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def _compute_capability() -> float:
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return float(getattr(jax.devices()[0], "compute_capability", 0) or 0)
    import tensorflow as tf

    detail = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return float(detail.get("compute_capability", (0, 0))[0])


@contextmanager
def _hushed() -> Iterator[None]:
    """Send file descriptor 2 to nowhere for a while; exceptions still pass."""
    if os.environ.get("FKD_VERBOSE"):
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
