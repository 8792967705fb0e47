"""Speed, size and error of exported runs and of other landmark tools, in one table.

    python tests/benchmarks/landmarks.py RUN --data-dir DATA --photos PHOTOS \
        [--export FOLDER ...] [--mediapipe PYTHON] [--dlib PYTHON]

Each tool runs in a process of its own, with one and with two CPU threads. Exports (made with
``fkd-kaggle export``) and ``predict`` get 96×96 crops; the other tools get the photo around the
face (the annotated box, enlarged by half), because they find faces themselves. Every tool's points
are compared with the annotations of PHOTOS (CVAT) for the points that it has, after the mean offset
of each of its points is removed, because tools define points differently. The unit of the error is
the pixel of the 96×96 crop. Photos on which a tool finds no face are counted and left out of its
error.

MediaPipe 0.10.21 (with numpy < 2) and dlib-bin with face-recognition-models each need an
environment of their own; PYTHON is the interpreter of that environment.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fkd_kaggle.keypoints import KEYPOINT_NAMES
from fkd_kaggle.photos.annotations.cvat import read_cvat
from fkd_kaggle.photos.crops import Crop, crop_around
from fkd_kaggle.photos.images import read_photo, to_grey
from fkd_kaggle.photos.mean_face import load_mean_face
from fkd_kaggle.runs.folder import find_run

WORKER = r"""
import json, os, sys, time
started = time.perf_counter()
tool, data, result, threads, extra = sys.argv[1:6]
threads = int(threads)
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", GLOG_minloglevel="3", OMP_NUM_THREADS=str(threads))
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
import numpy as np
stored = np.load(data, allow_pickle=False)
crops = stored["crops"]
photos = [stored["photo%d" % i] for i in range(len(crops))]
FIVE = [0, 1, 10, 11, 12]
if tool == "export":
    sys.path.insert(0, extra)
    import example
    model = example.load(threads)
    one = lambda i: model(crops[i:i + 1])[0]
    many, columns = model, list(range(15))
elif tool == "predict":
    import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    from pathlib import Path
    from fkd_kaggle.ensemble.prediction import Predictor
    from fkd_kaggle.runs.folder import Run
    model = Predictor(Run.open(Path(extra)))
    one = lambda i: model(crops[i:i + 1])[0]
    many, columns = model, list(range(15))
elif tool == "mtcnn":
    import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    from fkd_kaggle.photos.detection import detect_upright_faces
    def one(i):
        faces = detect_upright_faces(photos[i])
        return faces[0].points if faces else None
    many, columns = None, FIVE
elif tool == "mediapipe":
    import mediapipe
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, refine_landmarks=True)
    vertices = json.loads(extra)
    def one(i):
        found = mesh.process(photos[i]).multi_face_landmarks
        if not found:
            return None
        all_ = np.array([(v.x, v.y) for v in found[0].landmark])
        size = photos[i].shape[1::-1]
        return np.array([all_[v].mean(0) for v in vertices]) * size - 0.5
    many, columns = None, list(range(15))
elif tool == "dlib":
    import dlib, face_recognition_models
    shape = dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())
    detector = dlib.get_frontal_face_detector()
    groups = [[42,43,44,45,46,47], [36,37,38,39,40,41], [42], [45], [39], [36], [22], [26], [21],
              [17], [30], [54], [48], [51], [57]]
    def one(i):
        faces = detector(photos[i], 1)
        if not faces:
            return None
        best = max(faces, key=lambda r: r.area())
        parts = np.array([(p.x, p.y) for p in shape(photos[i], best).parts()], float)
        return np.array([parts[g].mean(0) for g in groups])
    many, columns = None, list(range(15))
first = one(0)
start_up = time.perf_counter() - started
points = np.full((len(crops), 15, 2), np.nan)
for i in range(len(crops)):
    found = one(i)
    if found is not None:
        points[i][columns] = found
def clock(call, repeats):
    wall, cpu = [], []
    for n in range(repeats):
        a, b = time.perf_counter(), time.process_time()
        call(n)
        wall.append(time.perf_counter() - a); cpu.append(time.process_time() - b)
    return 1000 * float(np.median(wall)), 1000 * float(np.median(cpu))
repeats = int(os.environ.get("FKD_BENCHMARK_REPEATS", "200"))
wall, cpu = clock(lambda n: one(n % len(crops)), repeats if many else min(repeats, 60))
batch = None
if many:
    faces = np.resize(crops, (64, 96, 96))
    many(faces)
    batch = clock(lambda n: many(faces), 5)[0] / 64
memory = [int(l.split()[1]) // 1024 for l in open("/proc/self/status") if l.startswith("VmHWM")]
np.savez(result, points=points, facts=json.dumps(dict(
    ms=wall, cpu=cpu, batch=batch, start=start_up, memory=memory[0] if memory else None)))
"""


def load_faces(
    run_name: str, runs_dir: Path, photos: Path
) -> tuple[dict[str, np.ndarray], list[Crop], np.ndarray]:
    """Return the worker's data, the crops, and the sets of annotated points.

    Returns
    -------
    data
        Arrays by name: crops (N, 96, 96) and a photo around each face.
    crops
        The crop of each face, from crop pixels to photo pixels.
    labels
        (N, 15, 2) photo pixels, points in the order of the annotation file.
    """
    mean_face = load_mean_face(find_run(run_name, runs_dir))
    arrays: dict[str, np.ndarray] = {}
    crops: list[Crop] = []
    images, labels, corners = [], [], []
    for photo in read_cvat(photos / "annotations.xml").photos:
        path = photos / "images" / photo.name
        pixels = read_photo(path if path.exists() else photos / photo.name)
        for points in photo.faces:
            crop = crop_around(points, mean_face)
            low, high = points.min(0), points.max(0)
            margin = 0.5 * (high - low).max()
            left, top = np.maximum(low - margin, 0).astype(int)
            right, bottom = (high + margin).astype(int) + 1
            arrays[f"photo{len(crops)}"] = np.ascontiguousarray(pixels[top:bottom, left:right])
            corners.append((left, top))
            crops.append(crop)
            labels.append(points)
            images.append(crop.extract(to_grey(pixels)))
    arrays["crops"] = np.stack(images)
    arrays["corners"] = np.array(corners)
    return arrays, crops, np.stack(labels)


def order_labels(labels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return labels in the order of the keypoints, by optimal assignment to (N, 15, 2) points."""
    from scipy.optimize import linear_sum_assignment

    ordered = np.empty_like(labels)
    for index, (points, expected) in enumerate(zip(labels, reference, strict=True)):
        distances = np.linalg.norm(expected[:, None] - points[None], axis=-1)
        _, columns = linear_sum_assignment(distances)
        ordered[index] = points[columns]
    return ordered


def measure(
    python: str, tool: str, extra: str, data: Path, threads: int
) -> tuple[dict[str, Any], np.ndarray] | str:
    """Return what a tool's process measured, or why it failed."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.npz")
        worker = Path(folder, "worker.py")
        worker.write_text(WORKER)
        own = python == sys.executable
        environment = {
            key: value for key, value in os.environ.items() if own or key != "PYTHONPATH"
        }
        if tool == "export":
            environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            [python, "-B", str(worker), tool, str(data), str(result), str(threads), extra],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["failed"])[-1]
        with np.load(result) as stored:
            return json.loads(str(stored["facts"])), stored["points"]


def error_pixels(
    points: np.ndarray, labels: np.ndarray, scales: np.ndarray
) -> tuple[float, float, int]:
    """Return the RMSE per coordinate on a tool's points, on its five points, and missed faces."""
    differences = (points - labels) / scales[:, None, None]
    found = np.isfinite(differences).any((1, 2))
    differences = differences - np.nanmean(differences[found], 0)
    five = differences[:, [KEYPOINT_NAMES.index(name) for name in FIVE]]
    every = float(np.sqrt(np.nanmean(np.square(differences))))
    return every, float(np.sqrt(np.nanmean(np.square(five)))), int((~found).sum())


FIVE = (
    "left_eye_center",
    "right_eye_center",
    "nose_tip",
    "mouth_left_corner",
    "mouth_right_corner",
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--export", type=Path, action="append", default=[])
    parser.add_argument("--mediapipe", metavar="PYTHON")
    parser.add_argument("--dlib", metavar="PYTHON")
    parser.add_argument("--threads", type=int, action="append")
    options = parser.parse_args()
    arrays, crops, labels = load_faces(options.run, options.runs_dir, options.photos)
    scales = np.array([crop.scale for crop in crops])
    mean = load_mean_face(find_run(options.run, options.runs_dir))
    from fkd_kaggle.photos.mediapipe import _VERTICES

    vertices = json.dumps([list(_VERTICES[name]) for name in KEYPOINT_NAMES])
    own = sys.executable
    run_path = str(find_run(options.run, options.runs_dir).path.resolve())
    tools = [(f"export {path.name}", own, "export", str(path.resolve())) for path in options.export]
    if options.mediapipe:
        tools.append(("MediaPipe", options.mediapipe, "mediapipe", vertices))
    if options.dlib:
        tools.append(("dlib 68 points", options.dlib, "dlib", ""))
    tools += [("predict (Keras)", own, "predict", run_path), ("MTCNN", own, "mtcnn", "")]
    print(
        "| tool | threads | ms per face | CPU ms | ms, batch 64 | MB | start-up s | memory MiB "
        "| RMSE | RMSE, 5 points | missed |\n" + "|---" * 11 + "|"
    )
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "faces.npz")
        np.savez(data, **arrays)  # type: ignore[arg-type]
        ordered = None
        for name, python, tool, extra in tools:
            for threads in options.threads or (1, 2):
                measured = measure(python, tool, extra, data, threads)
                if isinstance(measured, str):
                    print(f"| {name} | {threads} | failed: {measured} |")
                    continue
                facts, points = measured
                if tool in ("export", "predict"):
                    in_photo = [c.to_photo(p) for c, p in zip(crops, points, strict=True)]
                    points = np.array(in_photo)
                else:
                    points = points + arrays["corners"][:, None]
                if ordered is None:
                    # The annotations name no points: the first tool's points order them.
                    ordered = order_labels(labels, points)
                every, five, missed = error_pixels(points, ordered, scales)
                size = "–"
                if tool == "export":
                    facts_file = json.loads((Path(extra) / "check.json").read_text())
                    size = f"{facts_file['bytes'] / 1e6:.1f}"
                batch = "–" if facts["batch"] is None else f"{facts['batch']:.2f}"
                print(
                    f"| {name} | {threads} | {facts['ms']:.2f} | {facts['cpu']:.2f} | {batch} | "
                    f"{size} | {facts['start']:.2f} | {facts['memory']} | {every:.3f} | "
                    f"{five:.3f} | {missed} |",
                    flush=True,
                )
    print(f"{len(crops)} faces; mean face radius {mean.radius:.1f} px; unit: pixels of the crop")


if __name__ == "__main__":
    main()
