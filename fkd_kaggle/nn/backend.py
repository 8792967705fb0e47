"""Start of Keras, precision, and settings that depend on backend and device.

The settings are XLA, steps per execution, distribution over several devices and loss scale.
"""

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

from fkd_kaggle.nn import keras_settings

LOGICAL_CPUS: Final = "FKD_LOGICAL_CPUS"
"""Environment variable: number of logical devices to split TensorFlow's CPU into, for tests."""

_VERBOSE: Final = "FKD_VERBOSE"
"""Environment variable: if set, log lines of the backend are not suppressed."""

_strategy: Any = None

_without_xla = False


def use_default_backend() -> None:
    """Select TensorFlow unless the user chose another backend; see ``keras_settings.prepare``.

    Must be called before Keras is imported; has no effect afterwards.
    """
    keras_settings.prepare()


def start_keras(precision: str, *, together: bool = False) -> str:
    """Import Keras and its backend, set the dtype policy and return its name.

    Parameters
    ----------
    precision
        "auto", "float32", "bfloat16" or "float16". "auto" is mixed bfloat16 on CPUs with native
        support and on GPUs from Ampere on, mixed float16 on older GPUs with tensor cores, such as
        Kaggle's T4, and float32 elsewhere.
    together
        Whether each network is trained on all visible devices, each with a part of the batch
        (TensorFlow's MirroredStrategy), instead of on one device.

    Returns
    -------
    The name of the dtype policy, such as "mixed_bfloat16".
    """
    global _strategy
    # TensorFlow's C++ code writes log lines to file descriptor 2 regardless of its log settings.
    with suppress_stderr():
        keras_settings.import_keras()
        import keras

        keras_settings.apply()
        if together:
            _strategy = _mirrored_strategy()
        keras.ops.zeros(1)
        if precision == "auto":
            precision = _native_precision()
    if not os.environ.get(_VERBOSE):
        # TensorFlow warns when an ensemble compiles the same functions for each network.
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    policy = precision if precision == "float32" else f"mixed_{precision}"
    keras.config.set_dtype_policy(policy)
    return policy


def has_gpu() -> bool:
    """Return whether the backend computes on a GPU."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return any(device.platform == "gpu" for device in jax.devices())
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    return False


def uses_cpu() -> bool:
    """Return whether the backend computes on the CPU, where float32 products are exact."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return bool(jax.default_backend() == "cpu")
    return not has_gpu()


def sees_gpus() -> bool:
    """Return whether the backend can use the machine's GPUs, without reserving their memory.

    On a machine with a GPU, TensorFlow may be installed without the CUDA libraries.
    """
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return True  # the query would make JAX reserve GPU memory
    with suppress_stderr():
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))


def uses_xla() -> bool:
    """Return whether to compile training steps with XLA: on GPUs, and always with JAX.

    On CPUs oneDNN's kernels are faster for these networks (docs/experiments.md), and XLA cannot
    compile a step whose gradients are summed over several devices. Compiled functions must not
    contain TensorFlow's image transformation (see ``nn.warp.warp_images``). If XLA does not work in
    this installation, a warning is issued and the result is False.
    """
    import keras

    if _strategy is not None or _without_xla:
        return False
    if keras.backend.backend() == "tensorflow":
        return has_gpu() and _xla_works()
    return keras.backend.backend() == "jax"


def disable_xla(error: Exception) -> bool:
    """Stop using XLA after a failed first step; return whether a retry may succeed.

    A retry is pointless with JAX, which requires XLA, and if memory was exhausted.

    Parameters
    ----------
    error
        The exception of the failed step.
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


def measure_speed(seconds: float = 0.5) -> float:
    """Return how many convolutions of a batch of faces this process can compute per second.

    Compares devices of a cluster. The fastest convolution counts, because other programs make
    single convolutions slow. Takes a little longer than ``seconds``.
    """
    from time import perf_counter

    from keras import ops

    # On a busy CPU, only a short computation has a chance to be undisturbed.
    faces = ops.ones((256, 48, 48, 16) if has_gpu() else (4, 24, 24, 16))
    kernel = ops.ones((3, 3, 16, 16))

    def convolve() -> float:
        began = perf_counter()
        ops.convert_to_numpy(ops.sum(ops.conv(faces, kernel, padding="same")))
        return perf_counter() - began

    convolve()
    end = perf_counter() + seconds
    fastest = convolve()
    while perf_counter() < end:
        fastest = min(fastest, convolve())
    return 1 / max(fastest, 1e-9)


def steps_per_execution() -> int:
    """Return the number of training steps per call of the compiled function.

    A GPU finishes a small batch before Python has sent the next batch. On a CPU, one step per call
    makes Ctrl-C take effect sooner.
    """
    return 8 if has_gpu() else 1


@functools.cache
def _xla_works() -> bool:
    """Return whether XLA compiles an exponential, which needs CUDA's libdevice, as losses do."""
    import tensorflow as tf

    try:
        with suppress_stderr():
            tf.function(tf.exp, jit_compile=True)(tf.zeros(4))
    except tf.errors.OpError as error:
        warnings.warn(f"XLA does not compile here, training goes without: {error}", stacklevel=2)
        return False
    return True


def is_distributed() -> bool:
    """Return whether a network is trained on several devices (``start_keras``, ``together``)."""
    return _strategy is not None


def distribution_scope() -> AbstractContextManager[Any]:
    """Return the scope in which networks and optimizers must be created."""
    return nullcontext() if _strategy is None else _strategy.scope()


def replica_loss_share(loss: Any) -> Any:
    """Return the mean loss divided by the number of devices, because gradients are summed."""
    return loss if _strategy is None else loss / _strategy.num_replicas_in_sync


def fixed_loss_scale() -> float | None:
    """Return the loss scale for float16 on several devices; None elsewhere.

    Keras' ``LossScaleOptimizer`` (3.15) adapts the scale to overflows of the gradients of the first
    device only, so that infinite gradients of other devices reach the weights. The fixed scale is
    about 1/30 of the scale that Keras finds for these networks.
    """
    import keras

    if _strategy is None or keras.config.dtype_policy().compute_dtype != "float16":
        return None
    return 256.0


def _mirrored_strategy() -> Any:
    """Return a MirroredStrategy over GPUs or logical CPUs; None if there is only one."""
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
    """Return the fastest precision of the device."""
    import keras

    if has_gpu():
        capability = _compute_capability()
        return "bfloat16" if capability >= 8 else "float16" if capability >= 7 else "float32"
    if keras.backend.backend() == "jax":
        return "float32"  # on CPUs, XLA converts bfloat16 to float32 and back
    return "bfloat16" if has_fast_bfloat16() else "float32"


def has_fast_bfloat16() -> bool:
    """Return whether the CPU of this machine computes convolutions faster in bfloat16."""
    cpuinfo = Path("/proc/cpuinfo")
    return computes_bfloat16_faster(cpuinfo.read_text(errors="ignore") if cpuinfo.exists() else "")


def computes_bfloat16_faster(cpuinfo: str) -> bool:
    """Return whether a CPU computes convolutions faster in bfloat16 than in float32.

    ``avx512_bf16`` was faster on an AMD EPYC. On an Intel Xeon without AMX, networks trained 1.2 to
    1.6 times as fast in float32 (docs/experiments.md).

    Parameters
    ----------
    cpuinfo
        Content of ``/proc/cpuinfo``; empty if unknown.
    """
    words = set(cpuinfo.split())
    return "amx_bf16" in words or ("avx512_bf16" in words and "GenuineIntel" not in words)


def _compute_capability() -> float:
    """Return the CUDA compute capability of the first GPU; 0 if unknown."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return float(getattr(jax.devices()[0], "compute_capability", 0) or 0)
    import tensorflow as tf

    detail = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return float(detail.get("compute_capability", (0, 0))[0])


@contextmanager
def suppress_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to the null device within the context."""
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
