"""The file formats of exported runs: how each is written, and the runtime that reads it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from fkd_kaggle.errors import FkdError, unknown_name

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Format:
    """A file format."""

    name: str
    file: str
    """Name of the file, or of the folder of a SavedModel, in the export folder."""
    write: Callable[[keras.Model, Path], None]
    """Writes a model of ``graph.build_graph`` to a path."""
    writer_modules: tuple[str, ...]
    """Modules that are needed to write the format, besides TensorFlow."""
    extra: str
    """The package's extra that installs them and the runtime; empty without one."""
    runtime: str
    """What reads the file, as pip names it."""
    runtime_module: str
    example: str
    """Template of the functions ``load`` and ``version`` of example.py."""

    def check_installed(self) -> None:
        """Refuse a format whose packages are missing.

        Raises
        ------
        FkdError
            Names the command that installs them.
        """
        modules = (*self.writer_modules, self.runtime_module)
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            raise FkdError(
                f"the format {self.name} needs {', '.join(missing)}: "
                f"pip install 'fkd-kaggle[{self.extra}]'"
            )


def find_format(name: str) -> Format:
    """Return a format by its name.

    Raises
    ------
    FkdError
        The name is unknown.
    """
    if name not in FORMATS:
        raise FkdError(unknown_name("format", name, tuple(FORMATS)))
    return FORMATS[name]


def _write_onnx(model: keras.Model, path: Path) -> None:
    """Write an ONNX file whose input is ``images`` and whose output is ``points``."""
    import warnings

    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore", FutureWarning)  # from Keras' patch of tf2onnx
        model.export(path, format="onnx", verbose=False, opset_version=17)
    import onnx

    graph = onnx.load(path)
    (output,) = graph.graph.output
    for node in graph.graph.node:
        node.output[:] = ["points" if name == output.name else name for name in node.output]
        node.input[:] = ["points" if name == output.name else name for name in node.input]
    output.name = "points"
    for value in (*graph.graph.input, output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


def _write_litert(model: keras.Model, path: Path) -> None:
    """Write a LiteRT file that needs built-in operators only."""
    import tensorflow as tf

    # Keras also allows TensorFlow's operators, with which ai-edge-litert refuses the file.
    builtins = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    model.export(path, format="litert", verbose=False, target_spec=builtins)


def _write_saved_model(model: keras.Model, path: Path) -> None:
    """Write a SavedModel folder."""
    model.export(path, format="tf_saved_model", verbose=False)


def _write_keras(model: keras.Model, path: Path) -> None:
    """Write a .keras file, which contains Keras' own layers and operations only."""
    model.save(path)


def _write_openvino(model: keras.Model, path: Path) -> None:
    """Write OpenVINO's .xml and .bin, with float32 weights."""
    import tempfile

    import openvino

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        converted = openvino.convert_model(folder)
    # Keras' own export halves the precision of the weights, which moves points by 0.01 px.
    openvino.save_model(converted, path, compress_to_fp16=False)


_ONNX = '''def load(threads=0):
    """Return a function (N, 96, 96) uint8 -> (N, 15, 2) float32 pixels."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # 0: all cores
    model = onnxruntime.InferenceSession(
        str(HERE / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    return lambda faces: model.run(["points"], {"images": faces})[0]


def version():
    import onnxruntime

    return "onnxruntime " + onnxruntime.__version__
'''

_LITERT = '''def load(threads=0):
    """Return a function (N, 96, 96) uint8 -> (N, 15, 2) float32 pixels."""
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(str(HERE / "model.tflite"), num_threads=threads or os.cpu_count())
    source = model.get_input_details()[0]["index"]
    target = model.get_output_details()[0]["index"]
    size = None

    def predict(faces):
        nonlocal size
        if len(faces) != size:
            # Prepare the model for another number of faces.
            size = len(faces)
            model.resize_tensor_input(source, [size, 96, 96])
            model.allocate_tensors()
        model.set_tensor(source, faces)
        model.invoke()
        return model.get_tensor(target)

    return predict


def version():
    from importlib.metadata import version

    return "ai-edge-litert " + version("ai-edge-litert")
'''

_SAVED_MODEL = '''def load(threads=0):
    """Return a function (N, 96, 96) uint8 -> (N, 15, 2) float32 pixels."""
    import tensorflow as tf

    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    model = tf.saved_model.load(str(HERE / "saved_model"))
    return lambda faces: model.serve(tf.constant(faces)).numpy()


def version():
    import tensorflow as tf

    return "tensorflow " + tf.__version__
'''

_KERAS = '''def load(threads=0):
    """Return a function (N, 96, 96) uint8 -> (N, 15, 2) float32 pixels."""
    import keras

    if threads and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    model = keras.saving.load_model(HERE / "model.keras", compile=False)
    return lambda faces: np.asarray(keras.ops.convert_to_numpy(model.predict_on_batch(faces)))


def version():
    import keras

    return "keras " + keras.__version__
'''

_OPENVINO = '''def load(threads=0):
    """Return a function (N, 96, 96) uint8 -> (N, 15, 2) float32 pixels."""
    import openvino

    # Without this hint OpenVINO rounds to bfloat16 on new processors: errors of many pixels.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    model = openvino.Core().compile_model(HERE / "model.xml", "CPU", settings)
    return lambda faces: model([faces])[0]


def version():
    import openvino

    return "openvino " + openvino.__version__
'''

FORMATS: dict[str, Format] = {
    format_.name: format_
    for format_ in (
        Format(
            "onnx",
            "model.onnx",
            _write_onnx,
            ("onnx", "tf2onnx"),
            "onnx",
            "onnxruntime",
            "onnxruntime",
            _ONNX,
        ),
        Format(
            "litert",
            "model.tflite",
            _write_litert,
            (),
            "litert",
            "ai-edge-litert",
            "ai_edge_litert",
            _LITERT,
        ),
        Format(
            "saved-model",
            "saved_model",
            _write_saved_model,
            (),
            "",
            "tensorflow",
            "tensorflow",
            _SAVED_MODEL,
        ),
        Format("keras", "model.keras", _write_keras, (), "", "keras", "keras", _KERAS),
        Format(
            "openvino",
            "model.xml",
            _write_openvino,
            (),
            "openvino",
            "openvino",
            "openvino",
            _OPENVINO,
        ),
    )
}
"""The formats by name."""
