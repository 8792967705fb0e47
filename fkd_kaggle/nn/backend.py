"""Starting Keras: quietly, late, and in the precision the device is good at."""

from __future__ import annotations

import functools
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

LOGICAL_CPUS: Final = "FKD_LOGICAL_CPUS"
"""Variable that splits TensorFlow's CPU into so many devices, to try out training on several."""

_VERBOSE: Final = "FKD_VERBOSE"

_strategy: Any = None

_without_xla = False


def start_keras(precision: str, *, together: bool = False) -> str:
    """Import Keras and its backend, set the dtype policy and return its name.

    Parameters
    ----------
    precision
        "auto", "float32", "bfloat16" or "float16". "auto" is bfloat16 where the CPU multiplies it
        natively or the GPU is Ampere or later, mixed float16 on GPUs with tensor cores for that
        alone, such as Kaggle's T4, and float32 elsewhere.
    together
        Whether networks are trained on all visible devices together, each with a part of the
        batch (TensorFlow's MirroredStrategy); on one otherwise.
    """
    global _strategy
    # TensorFlow's C++ side greets with a page of log lines on file descriptor 2, past all settings.
    with suppress_stderr():
        import keras

        if together:
            _strategy = _mirrored_strategy()
        keras.ops.zeros(1)
        if precision == "auto":
            precision = _native_precision()
    if not os.environ.get(_VERBOSE):
        # An ensemble compiles the same functions for each network; TensorFlow warns of that.
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
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


def uses_cpu() -> bool:
    """Say whether the backend computes on the CPU, which multiplies float32 as float32."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return bool(jax.default_backend() == "cpu")
    return not has_gpu()


def sees_gpus() -> bool:
    """Say whether the backend can compute on the machine's GPUs; takes none of them.

    Many a laptop has a GPU and a TensorFlow that lacks the libraries for it.
    """
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return True  # to ask JAX is to have it take a GPU's memory
    with suppress_stderr():
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))


def uses_xla() -> bool:
    """Say whether to compile steps with XLA: on GPUs and with JAX, which knows nothing else.

    On a CPU oneDNN's kernels are faster than XLA's for these networks (EXPERIMENTS.md), and XLA
    cannot compile a step whose gradients are summed over several devices. What it compiles must
    be made of operations it has: no image transformation of TensorFlow's (see ``views.warp``).
    Where TensorFlow comes without the parts of CUDA that XLA needs, a warning says that training
    goes on without it.
    """
    import keras

    if _strategy is not None or _without_xla:
        return False
    if keras.backend.backend() == "tensorflow":
        return has_gpu() and _xla_works()
    return keras.backend.backend() == "jax"


def disable_xla(error: Exception) -> bool:
    """Compile nothing with XLA any more; say whether that may help.

    For when a first step fails: TensorFlow can do without XLA, JAX cannot. Memory that is too
    small is not XLA's fault.
    """
    global _without_xla
    import keras

    if keras.backend.backend() != "tensorflow" or not uses_xla():
        return False
    import tensorflow as tf

    if isinstance(error, tf.errors.ResourceExhaustedError):
        return False
    line = str(error).strip().split("\n", 1)[0]
    warnings.warn(f"XLA failed, training goes on without it: {line}", stacklevel=2)
    _without_xla = True
    return True


def steps_per_execution() -> int:
    """Return how many training steps one call of the compiled function should take.

    A GPU is done with a small batch before Python has sent the next. A CPU is not, and one step
    at a time is heard sooner when Ctrl-C is pressed.
    """
    return 8 if has_gpu() else 1


@functools.cache
def _xla_works() -> bool:
    """Say whether XLA compiles here; the exponential needs CUDA's libdevice, as losses do."""
    import tensorflow as tf

    try:
        with suppress_stderr():
            tf.function(tf.exp, jit_compile=True)(tf.zeros(4))
    except tf.errors.OpError as error:
        warnings.warn(f"XLA does not compile here, training goes without: {error}", stacklevel=2)
        return False
    return True


def is_distributed() -> bool:
    """Say whether one network is trained on several devices; see ``start``'s ``together``."""
    return _strategy is not None


def distribution_scope() -> AbstractContextManager[Any]:
    """Return the scope in which what is trained must be made; see ``start``'s ``together``."""
    return nullcontext() if _strategy is None else _strategy.scope()


def replica_loss_share(loss: Any) -> Any:
    """Return one device's part of a mean loss: gradients are summed over the devices."""
    return loss if _strategy is None else loss / _strategy.num_replicas_in_sync


def fixed_loss_scale() -> float | None:
    """Return what to multiply losses by in float16 on several devices; None elsewhere.

    Keras finds a factor as it trains, by halving it where gradients overflow; but it looks at the
    first device's gradients only, and lets the others' infinities into the weights (Keras 3.15,
    ``LossScaleOptimizer``). This one is a thirtieth of what it finds for our networks.
    """
    import keras

    if _strategy is None or keras.config.dtype_policy().compute_dtype != "float16":
        return None
    return 256.0


def _mirrored_strategy() -> Any:
    """Return a MirroredStrategy over the GPUs, or the logical CPUs; None where there is one."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    if logical := int(os.environ.get(LOGICAL_CPUS, "0")):
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(logical)]
        tf.config.set_logical_device_configuration(cpu, parts)
    devices = tf.config.list_logical_devices("CPU" if logical else "GPU")
    if len(devices) < 2:
        return None
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _native_precision() -> str:
    import keras

    if has_gpu():
        capability = _compute_capability()
        return "bfloat16" if capability >= 8 else "float16" if capability >= 7 else "float32"
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
def suppress_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere for a while; exceptions still pass."""
    if os.environ.get(_VERBOSE):
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
