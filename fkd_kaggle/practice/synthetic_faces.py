"""Synthetic faces with exact keypoints, drawn from random parameters.

A parametric face (head, hair, brows, eyes, nose, mouth, sometimes glasses) is drawn with signed
distances, so that edges are smooth and keypoints are exact to a fraction of a pixel. Writes no
files; ``synthetic_dataset`` makes a competition of these faces.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from fkd_kaggle.keypoints import IMAGE_SIZE, NUM_KEYPOINTS, index

_BATCH: Final = 64
"""Faces drawn at the same time."""


def draw_faces(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw faces.

    Parameters
    ----------
    count
        Number of faces N.
    seed
        Random seed.

    Returns
    -------
    images
        (N, 96, 96) uint8, grey.
    keypoints
        (N, 15, 2) float32 pixels, exact, all inside the image.
    """
    rng = np.random.default_rng(seed)
    images = np.empty((count, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    keypoints = np.empty((count, NUM_KEYPOINTS, 2), np.float32)
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        parameters = _draw_parameters(rng, size)
        images[start : start + size], keypoints[start : start + size] = _draw(rng, parameters)
    return images, keypoints


def _draw_parameters(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Draw the random parameters of B faces: name → (B, 1, 1), lengths in pixels."""

    def between(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)

    return {
        "eye_x": between(14.5, 18.5), "eye_y": between(-3, 1), "eye_w": between(5.2, 7.2),
        "eye_h": between(1.8, 3.8), "brow_y": between(-13, -9), "brow_tilt": between(-2.5, 2),
        "brow_in": between(7, 10), "brow_out": between(9, 13), "brow_thick": between(0.8, 2.0),
        "nose_y": between(17, 23), "nose_w": between(4, 7), "mouth_y": between(32, 38),
        "mouth_w": between(9, 15), "smile": between(-3, 1.5), "lip_top": between(1.5, 3.5),
        "lip_low": between(2, 6), "gaze": between(-1.5, 1.5), "head_w": between(31, 39),
        "head_h": between(43, 52), "hair": between(6, 14), "yaw": between(-5, 5),
        "angle": rng.normal(0, 0.12, (count, 1, 1)).clip(-0.35, 0.35).astype(np.float32),
        "zoom": between(0.85, 1.12), "x": 47.5 + rng.normal(0, 2.5, (count, 1, 1)).clip(-6, 6),
        "y": 35 + rng.normal(0, 2.5, (count, 1, 1)).clip(-6, 6),
        "skin": between(95, 205), "back": between(10, 240), "hair_grey": between(10, 120),
        "light": between(-0.35, 0.35), "lip_grey": between(0.5, 0.8),
        "glasses": (rng.uniform(size=(count, 1, 1)) < 0.15).astype(np.float32),
        "blur": between(0.6, 1.3), "noise": between(0, 7),
    }  # fmt: skip


def _points(f: dict[str, np.ndarray]) -> np.ndarray:
    """Return (B, 15, 2) keypoints in face coordinates, the origin between the eyes."""
    eye, out, inn = f["eye_x"], f["eye_x"] + f["eye_w"], f["eye_x"] - f["eye_w"]
    brow_in, brow_out = eye - f["brow_in"], eye + f["brow_out"]
    mouth = f["mouth_y"]
    zero = np.zeros_like(eye)
    # Points nearer to the camera move more when the head turns.
    near, nose, lips = f["yaw"] * 0.8, f["yaw"] * 1.6, f["yaw"] * 1.1
    positions = [
        (eye + near, f["eye_y"]), (-eye + near, f["eye_y"]),
        (inn + near, f["eye_y"]), (out + near, f["eye_y"]),
        (-inn + near, f["eye_y"]), (-out + near, f["eye_y"]),
        (brow_in + near, f["brow_y"]), (brow_out + near, f["brow_y"] + f["brow_tilt"]),
        (-brow_in + near, f["brow_y"]), (-brow_out + near, f["brow_y"] + f["brow_tilt"]),
        (zero + nose, f["nose_y"]),
        (f["mouth_w"] + lips, mouth + f["smile"]), (-f["mouth_w"] + lips, mouth + f["smile"]),
        (zero + lips, mouth - f["lip_top"]), (zero + lips, mouth + f["lip_low"]),
    ]  # fmt: skip
    return np.stack([np.stack([x[:, 0, 0], y[:, 0, 0]], -1) for x, y in positions], 1)


def _draw(rng: np.random.Generator, f: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return (B, 96, 96) uint8 images and (B, 15, 2) float32 keypoints in image pixels."""
    cos, sin, zoom = np.cos(f["angle"]), np.sin(f["angle"]), f["zoom"]
    row, column = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE].astype(np.float32)
    dx, dy = (column[None] - f["x"]) / zoom, (row[None] - f["y"]) / zoom
    x, y = cos * dx + sin * dy, -sin * dx + cos * dy
    image = _paint(f, x, y, zoom)
    shade = 1 + f["light"] * (column[None] - IMAGE_SIZE / 2) / IMAGE_SIZE
    image = image * shade + f["noise"] * rng.normal(size=image.shape).astype(np.float32)
    local = _points(f)
    px = zoom[:, 0] * (cos[:, 0] * local[..., 0] - sin[:, 0] * local[..., 1]) + f["x"][:, 0]
    py = zoom[:, 0] * (sin[:, 0] * local[..., 0] + cos[:, 0] * local[..., 1]) + f["y"][:, 0]
    points = np.clip(np.stack([px, py], -1), 0, IMAGE_SIZE - 1)
    return np.clip(image, 0, 255).astype(np.uint8), points.astype(np.float32)


class _Canvas:
    """Grey values of images that are being painted.

    Parameters
    ----------
    grey
        Background, broadcast to (B, 96, 96).
    x, y
        (B, 96, 96) face coordinates of the pixels.
    soft
        Width of edges in face coordinates, broadcast to (B, 96, 96).
    """

    def __init__(self, grey: np.ndarray, x: np.ndarray, y: np.ndarray, soft: np.ndarray) -> None:
        self.grey, self.x, self.y, self.soft = np.broadcast_to(grey, x.shape), x, y, soft

    def paint(self, distance: np.ndarray, grey: np.ndarray | float, where: Any = 1.0) -> None:
        """Paint the pixels with a negative signed ``distance``, (B, 96, 96), with a soft edge."""
        cover = where / (1 + np.exp(np.clip(4 * distance / self.soft, -30, 30)))
        self.grey = self.grey + cover * (grey - self.grey)

    def ellipse(self, cx: Any, cy: Any, w: Any, h: Any) -> np.ndarray:
        """Return the approximate signed distance to an ellipse with half axes ``w`` and ``h``."""
        return (np.hypot((self.x - cx) / w, (self.y - cy) / h) - 1) * np.minimum(w, h)

    def stroke(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the distance to the segment from ``a`` to ``b``, both (B, 2, 1, 1)."""
        ux, uy = b[:, 0] - a[:, 0], b[:, 1] - a[:, 1]
        dx, dy = self.x - a[:, 0], self.y - a[:, 1]
        along = np.clip((dx * ux + dy * uy) / (ux**2 + uy**2), 0, 1)
        return np.hypot(dx - along * ux, dy - along * uy)


def _paint(f: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray, zoom: np.ndarray) -> np.ndarray:
    """Return (B, 96, 96) float32 grey values at face coordinates ``x``, ``y``."""
    canvas = _Canvas(f["back"], x, y, f["blur"] / zoom)
    points = _points(f)[:, :, :, None, None]  # (B, 15, 2, 1, 1)
    _paint_head(canvas, f)
    for side in ("left", "right"):
        names = (f"{side}_eye_center", f"{side}_eyebrow_inner_end", f"{side}_eyebrow_outer_end")
        _paint_eye(canvas, f, points, *index(*names))
    _paint_nose(canvas, f, *points[:, index("nose_tip")[0]].swapaxes(0, 1))
    _paint_mouth(canvas, f, points[:, index("mouth_center_top_lip")[0], 0])
    return canvas.grey


def _paint_head(canvas: _Canvas, f: dict[str, np.ndarray]) -> None:
    skin, middle = f["skin"], f["yaw"] * 0.3
    hair = canvas.ellipse(0, 10, f["head_w"] + f["hair"] * 0.6, f["head_h"] + f["hair"])
    canvas.paint(hair, f["hair_grey"])
    canvas.paint(np.maximum(np.abs(canvas.x) - 17, 40 - canvas.y), skin * 0.8)  # neck
    head = canvas.ellipse(middle, 16, f["head_w"], f["head_h"])
    canvas.paint(head, skin)
    canvas.paint(np.maximum(head, canvas.y + 24), f["hair_grey"])  # fringe


def _paint_eye(
    canvas: _Canvas, f: dict[str, np.ndarray], points: np.ndarray, eye: int, inner: int, outer: int
) -> None:
    """Paint an eye and its brow; ``eye``, ``inner`` and ``outer`` are positions of keypoints."""
    cx, cy = points[:, eye, 0], points[:, eye, 1]
    dx, dy = canvas.x - cx, canvas.y - cy
    canvas.paint(canvas.ellipse(cx, cy - 1, f["eye_w"] + 2, f["eye_h"] + 3), f["skin"] * 0.86)
    # The corners of the lens-shaped white are keypoints.
    lens = np.abs(dy) - f["eye_h"] * (1 - (dx / f["eye_w"]) ** 2)
    lens = np.maximum(lens, np.abs(dx) - f["eye_w"])
    canvas.paint(lens - 0.6, 35.0)
    canvas.paint(lens, np.minimum(f["skin"] + 70, 245))
    iris = np.hypot(dx - f["gaze"] * 0.5, dy) - f["eye_w"] * 0.42
    canvas.paint(np.maximum(iris, lens), 30.0)
    brow = canvas.stroke(points[:, inner], points[:, outer]) - f["brow_thick"]
    canvas.paint(brow, np.minimum(f["hair_grey"], f["skin"] * 0.55))
    rim = np.abs(canvas.ellipse(cx, cy, f["eye_w"] + 4, f["eye_h"] + 5)) - 0.5
    canvas.paint(rim, 25.0, where=f["glasses"])


def _paint_nose(canvas: _Canvas, f: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> None:
    skin, dx, dy = f["skin"], canvas.x - x, canvas.y - y
    side = np.abs(dx - f["nose_w"] * 0.55) - 1.2
    canvas.paint(np.maximum(side, np.abs(canvas.y - y / 2) - y / 2), skin * 0.88)
    canvas.paint(np.hypot(dx / 1.4, dy) - 2.2, np.minimum(skin * 1.18, 250))
    for sign in (-1, 1):
        nostril = np.hypot(dx - sign * f["nose_w"] * 0.6, (dy - 2.8) * 1.3) - 1.3
        canvas.paint(nostril, skin * 0.4)


def _paint_mouth(canvas: _Canvas, f: dict[str, np.ndarray], middle: np.ndarray) -> None:
    """Paint two lips, which meet in a line through the corners of the mouth."""
    across = (canvas.x - middle) / f["mouth_w"]
    below = canvas.y - f["mouth_y"] - f["smile"] * across**2
    bend = 1 - across**2
    beside = np.abs(canvas.x - middle) - f["mouth_w"]
    upper = np.maximum(-below - f["lip_top"] * bend, below)
    lower = np.maximum(below - f["lip_low"] * bend, -below)
    grey = f["lip_grey"]
    canvas.paint(np.maximum(upper, beside), f["skin"] * grey)
    canvas.paint(np.maximum(lower, beside), f["skin"] * np.minimum(grey + 0.12, 0.9))
    canvas.paint(np.maximum(np.abs(below) - 0.5, beside), f["skin"] * 0.3)
