"""Drawing helpers of the generated worlds: anti-aliased shapes, textures, and who owns a pixel.

Coordinates are pixels, x to the right and y down, (0, 0) the top left corner of the picture.
Points are float arrays (N, 2) of (x, y); colours are three numbers in [0, 255]; masks are
in [0, 1].
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLE = 4  # sub-pixels per pixel and axis: coverage in steps of 1/16


class Mask(NamedTuple):
    """Coverage `alpha` (h, w) float32 in [0, 1] of the window `box` (rows, columns) of a canvas."""

    alpha: np.ndarray
    box: tuple[slice, slice]


def ellipse(cx: float, cy: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0,
            count: int = 48) -> np.ndarray:
    """Points (count, 2) on an ellipse from angle `start` to `stop` (degrees, clockwise from +x)."""
    angle = np.radians(np.linspace(start, stop, count))
    return np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], axis=1)


def spline(points, closed: bool = True, steps: int = 8) -> np.ndarray:
    """Catmull-Rom curve through `points` (N, 2), with `steps` samples between two neighbours."""
    p = np.asarray(points, float)
    if closed:
        a, b, c, d = (np.roll(p, shift, axis=0) for shift in (1, 0, -1, -2))
    else:
        padded = np.concatenate([p[:1], p, p[-1:]])
        a, b, c, d = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (q[:, None] for q in (a, b, c, d))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
                   + (3 * b - a - 3 * c + d) * t**3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-1:]])


def ribbon(points, width) -> np.ndarray:
    """Outline (2N, 2) of a line along `points` (N, 2); `width` in pixels, one number or (N,)."""
    p = np.asarray(points, float)
    along = np.gradient(p, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    half = 0.5 * np.broadcast_to(width, len(p))[:, None] * normal
    return np.concatenate([p + half, (p - half)[::-1]])


def turn(points, degrees: float, about=(0.0, 0.0)) -> np.ndarray:
    """Points (N, 2) turned clockwise by `degrees` about a point."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (np.asarray(points, float) - about) @ np.array([[c, s], [-s, c]]) + about


def smooth_noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise (height, width) float32 of mean 0, spread about 1, bumps of `cell` pixels."""
    rows, columns = int(np.ceil(height / cell)) + 2, int(np.ceil(width / cell)) + 2
    grid = Image.fromarray(rng.standard_normal((rows, columns)).astype(np.float32))
    window = (0.5, 0.5, 0.5 + width / cell, 0.5 + height / cell)
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC, box=window))


@cache
def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres: x (1, width) and y (height, 1), float32."""
    x = np.arange(width, dtype=np.float32) + 0.5
    y = np.arange(height, dtype=np.float32) + 0.5
    return x[None], y[:, None]


def blob(height: int, width: int, cx: float, cy: float, rx: float, ry: float) -> Mask:
    """A soft spot (1 - r^2)^2, exactly 0 outside the ellipse of radii rx, ry."""
    rows = slice(max(0, int(cy - ry)), max(0, min(height, int(cy + ry) + 2)))
    columns = slice(max(0, int(cx - rx)), max(0, min(width, int(cx + rx) + 2)))
    x, y = grid(height, width)
    r2 = ((x[:, columns] - cx) / rx) ** 2 + ((y[rows] - cy) / ry) ** 2
    return Mask(np.maximum(0, 1 - r2) ** 2, (rows, columns))


class Canvas:
    """A picture under construction.

    `planes` is float32 (channels, height, width) in [0, 255]; `parts` is uint32 (height, width):
    bit k is set where the pixel visibly belongs to part k.
    """

    def __init__(self, height: int, width: int, channels: int = 3):
        self.height, self.width = height, width
        self.planes = np.zeros((channels, height, width), np.float32)
        self.parts = np.zeros((height, width), np.uint32)

    def mask(self, *shapes) -> Mask:
        """Coverage of the union of closed shapes, each a point array (N, 2); may be empty."""
        points = np.concatenate(shapes)
        left, top = np.maximum(np.floor(points.min(axis=0)).astype(int) - 1, 0)
        right, bottom = np.ceil(points.max(axis=0)).astype(int) + 2
        right, bottom = max(left, min(right, self.width)), max(top, min(bottom, self.height))
        box = (slice(top, bottom), slice(left, right))
        if right == left or bottom == top:
            return Mask(np.zeros((bottom - top, right - left), np.float32), box)
        fine = Image.new("L", ((right - left) * SUPERSAMPLE, (bottom - top) * SUPERSAMPLE))
        pen = ImageDraw.Draw(fine)
        for shape in shapes:
            pen.polygon(((shape - (left, top)) * SUPERSAMPLE).ravel().tolist(), fill=255)
        return Mask(np.asarray(fine.reduce(SUPERSAMPLE), np.float32) / 255, box)

    def paint(self, mask: Mask, colour, bits: int = 0, opacity: float = 1.0,
              see_through: bool = False, texture: np.ndarray | None = None) -> None:
        """Lay a colour over the mask.

        `texture` (height, width of the canvas) multiplies the colour. `bits` are added to `parts`
        where the layer is noticeable, and what lies below loses its bits where an opaque layer
        hides it; with `see_through` it keeps them.
        """
        tint = np.asarray(colour, np.float32).reshape(-1, 1, 1)
        if texture is not None:
            tint = tint * texture[mask.box]
        window = self.planes[(slice(None), *mask.box)]
        window += (tint - window) * (mask.alpha * opacity)
        parts = self.parts[mask.box]
        if not see_through:
            parts[mask.alpha > 0.97] = 0
        parts[mask.alpha * opacity > (0.03 if see_through else 0.1)] |= np.uint32(bits)

    def image(self) -> np.ndarray:
        """The picture, uint8 (height, width, channels)."""
        levels = np.clip(np.rint(self.planes), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(levels.transpose(1, 2, 0))
