"""Generated frontal chest films: a small world in the place of CheXpert.

A film is a sum of attenuations (tissue, lungs, bones, findings) through one tone curve that never
looks at the labels, so a finding changes the pixels of its own part and no others. Lengths are in
units of half the film's height (160 px); x runs from the spine to the film's right, which is the
patient's left, y from the top edge down. The seven drawn findings and their look follow Hansell
et al., "Fleischner Society: Glossary of Terms for Thoracic Imaging", Radiology 246 (2008).
"""

from collections.abc import Callable, Mapping
from math import cos, sin

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter

from patronus.worlds.draw import smooth_noise, spline

HEIGHT, WIDTH = 320, 390
UNIT = HEIGHT / 2

LABELS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion",
    "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion",
    "Pleural Other", "Fracture", "Support Devices",
)
PARTS = ("Cardiomegaly", "Lung Opacity", "Lung Lesion", "Consolidation", "Pneumothorax",
         "Pleural Effusion", "Support Devices")
IN_LUNG = PARTS[1:5]  # heart and fluid hide these; PARTS is also the order of drawing
PREVALENCE = 0.25
UNSURE = 0.05

_LABEL_STREAM, _STATE_STREAM, _FILM_STREAM, _PART_STREAM = range(4)
_BINS = 1024
_Y_RANGE = (-0.6, 2.6)
_Y_GRID = np.linspace(*_Y_RANGE, _BINS, dtype=np.float32)
_KERNEL = np.hanning(61) / np.hanning(61).sum()
_PIXEL_Y, _PIXEL_X = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)


def sample_labels(n: int, seed: int, plant: tuple[str, str, float] | None = None) -> pd.DataFrame:
    """Labels of `n` films, values 1 (present), 0 (absent), -1 (uncertain) or NaN (not mentioned).

    Row i depends on (seed, i) only. `plant` = (a, b, strength): finding b is present exactly when
    a is, or absent exactly when a is, with probability `strength` (0.5: independent). It holds
    before about 5 % of the labels become -1 or NaN, whose films `render` draws by a fair coin.
    "No Finding" is 1 if every drawn finding is 0, 0 if one is 1, and NaN if neither is known.

    Raises: ValueError if `plant` does not name two different PARTS and a strength in [0, 1].
    """
    pair = _checked(plant)
    rows = [_label_row(np.random.default_rng([seed, i, _LABEL_STREAM]), pair) for i in range(n)]
    return pd.DataFrame(np.reshape(rows, (n, len(LABELS))), columns=list(LABELS))


def render(labels_row: Mapping[str, float], seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Film uint8 (320, 390) and parts uint32 (320, 390) of row `index`.

    A finding labelled 1 is drawn, 0 is not, -1 or NaN is by a coin of (seed, index). Body, pose,
    exposure, noise, and each finding's place and size depend on (seed, index) only.
    """
    film = Film(np.random.default_rng([seed, index, _FILM_STREAM]))
    coins = np.random.default_rng([seed, index, _STATE_STREAM]).random(len(PARTS)) < 0.5
    for bit, name in enumerate(PARTS):
        rng = np.random.default_rng([seed, index, _PART_STREAM, bit])
        label = float(labels_row[name])
        if label == 1 or (label != 0 and coins[bit]):
            film.parts[name] = FINDINGS[name](film, rng)
    return film.develop(), film.mask()


def _checked(plant: tuple[str, str, float] | None) -> tuple[int, int, float] | None:
    if plant is None:
        return None
    a, b, strength = plant
    if a not in PARTS or b not in PARTS or a == b or not 0 <= strength <= 1:
        raise ValueError(f"plant={plant!r}: give two different names of {PARTS} and a strength "
                         "from 0 to 1")
    return PARTS.index(a), PARTS.index(b), strength


def _label_row(rng: np.random.Generator, pair: tuple[int, int, float] | None) -> np.ndarray:
    present = rng.random(len(PARTS)) < PREVALENCE
    agree, unsure, unknown = rng.random(), rng.random(len(PARTS)), rng.random(len(LABELS))
    if pair:
        a, b, strength = pair
        present[b] = present[a] == (agree < strength)
    drawn = np.select([unsure < UNSURE / 2, unsure < UNSURE], [-1.0, np.nan], present.astype(float))
    row = np.select([unknown < 0.02, unknown < 0.06], [-1.0, 0.0], np.nan)
    row[[LABELS.index(name) for name in PARTS]] = drawn
    row[0] = 0.0 if (drawn == 1).any() else 1.0 if (drawn == 0).all() else np.nan
    return row


def _ramp(distance: np.ndarray, width: float) -> np.ndarray:
    """Smooth step from 0 to 1 as a signed distance goes from -width/2 to width/2."""
    t = np.clip(distance * (1 / width) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _bump(x: np.ndarray, y: np.ndarray, centre: tuple, radii: tuple) -> np.ndarray:
    """Soft blob with value 1 at its centre and exactly 0 outside its ellipse."""
    u, v = (x - centre[0]) * (1 / radii[0]), (y - centre[1]) * (1 / radii[1])
    return np.square(np.maximum(1 - u * u - v * v, 0))


def _ellipse(x: np.ndarray, y: np.ndarray, centre: tuple, radii: tuple, tilt: float) -> np.ndarray:
    """Approximate signed distance to an ellipse's edge, positive inside."""
    c, s = cos(tilt), sin(tilt)
    dx, dy = x - centre[0], y - centre[1]
    u, v = c / radii[0] * dx + s / radii[0] * dy, c / radii[1] * dy - s / radii[1] * dx
    return min(radii) * (1 - np.sqrt(u * u + v * v))


class Film:
    """One film: its geometry, and the layers `develop` adds up."""

    def __init__(self, rng: np.random.Generator):
        self._pose(rng)
        self._shape(rng)
        self.air = self._lungs()
        self.heart = self._opaque(self._great_vessels())
        self.enlarge(rng.uniform(0.90, 1.03))
        self.vessels = self._vessels(rng)
        self.lung_change = np.zeros((HEIGHT, WIDTH), np.float32)
        self.front = np.zeros((HEIGHT, WIDTH), np.float32)
        self.fluid = np.zeros((HEIGHT, WIDTH), np.float32)
        self.bones = self._bones(rng)
        self.tissue = self._tissue(rng)
        self._film_noise(rng)
        self.parts: dict[str, np.ndarray] = {}

    def _pose(self, rng: np.random.Generator) -> None:
        angle, self.scale = rng.normal(0, 0.02), rng.uniform(0.93, 1.07) * UNIT
        self.turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        self.centre = np.array([WIDTH / 2 + rng.normal(0, 8), HEIGHT / 2 + rng.normal(0, 6)])
        dx, dy = _PIXEL_X - np.float32(self.centre[0]), _PIXEL_Y - np.float32(self.centre[1])
        c, s = np.float32(self.turn[0, 0] / self.scale), np.float32(self.turn[1, 0] / self.scale)
        self.x, self.y = c * dx + s * dy, c * dy - s * dx + 1
        self.span = np.abs(self.x)
        step = (_BINS - 1) / (_Y_RANGE[1] - _Y_RANGE[0])
        self._bin = np.clip((self.y - _Y_RANGE[0]) * step, 0, _BINS - 1).astype(np.int16)

    def _shape(self, rng: np.random.Generator) -> None:
        self.broad = rng.uniform(0.92, 1.08)
        self.apex = rng.uniform(0.27, 0.36)
        right = rng.uniform(1.42, 1.56)
        self.dome = (right, right + rng.uniform(0.0, 0.07))
        self.curve = rng.uniform(0.9, 1.4)
        self.breast = rng.uniform(0.5, 1) * (rng.random() < 0.4)
        self.gain, self.gamma, self.level = (
            rng.uniform(0.86, 1.08), rng.uniform(0.8, 1.3), rng.normal(0, 0.03))

    def pixels(self, points: np.ndarray) -> list[tuple[float, float]]:
        """Film positions (px) of points (n, 2) given in body units."""
        where = (np.asarray(points) - [0, 1]) * self.scale @ self.turn.T + self.centre
        return [tuple(p) for p in where.tolist()]

    def across(self, heights: list[float], widths: list[float]) -> np.ndarray:
        """A half-width given at some heights, smoothed, at every pixel."""
        table = np.interp(_Y_GRID, heights, np.array(widths) * self.broad)
        smooth = np.convolve(np.pad(table, 30, mode="edge"), _KERNEL, mode="valid")
        return smooth.astype(np.float32)[self._bin]

    def lines(self, strokes: list[tuple], blur: float) -> np.ndarray:
        """Layer in [0, 1] of strokes (points (n, 2), width in units, strength in [0, 1])."""
        layer = Image.new("L", (WIDTH, HEIGHT))
        pen = ImageDraw.Draw(layer)
        spots = self.pixels(np.concatenate([points for points, _, _ in strokes]))
        for points, width, strength in strokes:
            line, spots = spots[:len(points)], spots[len(points):]
            pen.line(line, round(255 * strength), max(1, round(width * self.scale)))
        soft = layer.filter(ImageFilter.GaussianBlur(blur))
        return np.asarray(soft, np.float32) / np.float32(255)

    def side(self, sign: int) -> np.ndarray:
        """1 on the half of the film where x has this sign, else 0."""
        return (self.x * sign > 0).astype(np.float32)

    def _lungs(self) -> np.ndarray:
        self.wall = self.across([0.30, 0.40, 0.60, 0.80, 1.10, 1.40, 1.70],
                                [0.46, 0.53, 0.66, 0.75, 0.83, 0.88, 0.89])
        inner = self.across([0.3, 0.45, 0.62, 0.85, 1.1, 1.6], [0.20, 0.14, 0.13, 0.16, 0.17, 0.12])
        self.roof = self.y - self.apex - 2.2 * (self.span - 0.33 * self.broad) ** 2
        dome = np.where(self.x > 0, *np.float32(self.dome[::-1]))
        self.floor = dome + self.curve * (self.span - 0.40 * self.broad) ** 2 - self.y
        edges = (self.wall - self.span, self.span - inner, self.roof, self.floor)
        self.inside = np.minimum.reduce(edges)
        return _ramp(self.inside, 0.025)

    def enlarge(self, scale: float) -> np.ndarray:
        """Draw a heart over the present one; returns its opacity. See `_heart`."""
        heart = self._opaque(self._heart(scale))
        self.heart = np.maximum(self.heart, heart)
        return heart

    def _heart(self, scale: float) -> np.ndarray:
        """Signed distance of the heart; its width over the chest's is about 0.45 times `scale`."""
        b, low = self.broad, self.dome[1] - 0.21
        left = _ellipse(self.x, self.y, (0.115 * b * scale, low),
                        (0.42 * b * scale, 0.30 * scale), 0.6)
        right = _ellipse(self.x, self.y, (-0.06 * b, low - 0.02), (0.23 * b * scale, 0.30), 0)
        return np.maximum(left, right)

    def _great_vessels(self) -> np.ndarray:
        """Signed distance of the aortic knob and the pulmonary trunk."""
        trunk = _ellipse(self.x, self.y, (0.08 * self.broad, 0.93), (0.17, 0.34), -0.15)
        return np.maximum(trunk, _ellipse(self.x, self.y, (0.10 * self.broad, 0.66),
                                          (0.125, 0.11), 0))

    def _opaque(self, distance: np.ndarray) -> np.ndarray:
        return _ramp(distance, 0.035) * _ramp(self.floor + 0.03, 0.05)

    def _vessels(self, rng: np.random.Generator) -> np.ndarray:
        strokes = []
        for sign in (-1, 1):
            for angle in rng.normal(0, 0.09, 13) + np.linspace(-1.25, 1.35, 13):
                strokes += self.branch(rng, (sign * 0.16, rng.normal(0.88, 0.05)), sign, angle)
            strokes += [(np.array([(0.15 * sign, 0.76), (0.22 * sign, 0.88), (0.21 * sign, 1.06)]),
                         0.055, 0.75)]
        return self.lines(strokes, 1.6)

    @staticmethod
    def branch(rng: np.random.Generator, start: tuple, sign: int, angle: float) -> list[tuple]:
        """A vessel that thins outward, with twigs."""
        length, strokes, tip = rng.uniform(0.4, 0.62), [], np.array(start)
        for width, strength in ((0.028, 0.75), (0.018, 0.6), (0.012, 0.5), (0.008, 0.4)):
            angle += rng.normal(0, 0.2)
            step = length / 4 * np.array([sign * np.cos(angle), np.sin(angle)])
            twig = angle + rng.choice([-0.7, 0.7])
            aside = length / 4 * np.array([sign * np.cos(twig), np.sin(twig)])
            strokes += [(np.array([tip, tip + step]), width, strength),
                        (np.array([tip, tip + aside]), width * 0.6, strength * 0.7)]
            tip = tip + step
        return strokes

    def _bones(self, rng: np.random.Generator) -> np.ndarray:
        slope, t = rng.uniform(0.85, 1.15), np.linspace(0, 1, 12)
        back, edge, front = [], [], []
        for sign in (-1, 1):
            for rib in range(9):
                reach = self.broad * np.interp(rib, [0, 1, 3, 8], [0.46, 0.6, 0.78, 0.90])
                top = 0.30 + 0.135 * rib
                bow = top - 0.10 * np.sin(2.2 * t) * slope + 0.24 * t ** 2.6 * (0.5 + 0.08 * rib)
                line = np.stack([sign * (0.07 + (reach - 0.07) * np.sin(1.5 * t)), bow], 1)
                back, edge = back + [(line, 0.062, 0.62)], edge + [(line, 0.040, 0.40)]
                low = top + 0.26 + 0.17 * (1 - t) ** 1.4 * slope
                rim = np.stack([sign * reach * (0.42 + 0.60 * t), low], 1)
                front += [(rim, 0.055, 0.3)] * (rib < 6)
        thorax = 0.15 * self.lines(back + edge, 0.9)
        return thorax + 0.11 * self.lines(front + self._girdle(rng), 1.2) + self._spine()

    def _girdle(self, rng: np.random.Generator) -> list[tuple]:
        """Clavicles, the scapulae's edges and the humeral heads."""
        lift, t = rng.normal(0, 0.025, 2), np.linspace(0, 1, 10)
        strokes = []
        for sign, up in zip((-1, 1), lift, strict=True):
            wave = 0.40 + up - 0.17 * t - 0.035 * np.sin(2 * np.pi * t)
            clavicle = np.stack([sign * (0.09 + 0.86 * t), wave], 1)
            blade = np.array([(0.99, 0.32), (0.86, 0.55), (0.90, 0.85), (1.0, 1.02)]) * [sign, 1]
            arm = np.array([(1.06, 0.34), (1.14, 0.36), (1.2, 0.8)]) * [sign, 1]
            strokes += [(clavicle, 0.085, 0.95), (clavicle, 0.052, 0.70), (blade, 0.05, 0.5),
                        (arm, 0.17, 0.75), (arm, 0.12, 0.6)]
        return strokes

    def _spine(self) -> np.ndarray:
        along = np.cos(_Y_GRID * np.float32(2 * np.pi / 0.155))
        bright = 0.085 - 0.04 * (0.5 + 0.5 * along) ** 3
        process = _ramp(0.03 - self.span, 0.03) * (0.03 * (along < -0.3))[self._bin]
        column = _ramp(0.105 * self.broad - self.span, 0.05)
        return column * (bright[self._bin] + process.astype(np.float32))

    def _tissue(self, rng: np.random.Generator) -> np.ndarray:
        """Attenuation of the body without lungs, bones and heart."""
        outline = self.across([0.0, 0.10, 0.22, 0.34, 0.55, 2.0],
                              [0.33, 0.34, 0.62, 1.08, 1.32, 1.10])
        skin = outline - self.span
        middle = _ramp(self.across([0.2, 0.5, 0.8, 1.2], [0.17, 0.15, 0.19, 0.19]) - self.span, 0.1)
        trachea = _ramp(0.045 - np.abs(self.x - 0.01), 0.05) * _ramp(0.72 - self.y, 0.1)
        belly = _ramp(-self.floor, 0.025)
        bubble = _ramp(_ellipse(self.x, self.y, (0.42 * self.broad, self.dome[1] + 0.15),
                                (0.17, rng.uniform(0.05, 0.09)), 0), 0.05) * rng.uniform(0, 1)
        body = 0.44 + 0.16 * _ramp(skin - 0.18, 0.5) + 0.05 * smooth_noise(rng, HEIGHT, WIDTH, 75)
        body += 0.13 * middle * (1 - 0.5 * belly) - 0.08 * trachea + (0.12 - 0.14 * bubble) * belly
        body += 0.08 * self.breast * _ramp(_ellipse(
            self.span, self.y, (0.56 * self.broad, 1.32), (0.40, 0.34), 0), 0.08)
        return body * _ramp(skin, 0.03)

    def _film_noise(self, rng: np.random.Generator) -> None:
        self.grain = rng.standard_normal((HEIGHT, WIDTH), dtype=np.float32) * np.float32(0.011)
        x = WIDTH - rng.integers(24, 44)
        letter = Image.new("L", (WIDTH, HEIGHT))
        y = rng.integers(12, 40)
        ImageDraw.Draw(letter).line([(x, y), (x, y + 13), (x + 8, y + 13)], 235, 3)
        self.marker = np.asarray(letter, np.float32) / np.float32(255)

    def cover(self) -> np.ndarray:
        """Share of the lung layer that neither heart nor fluid hides."""
        return self.air * (1 - self.heart) * (1 - self.fluid)

    def develop(self) -> np.ndarray:
        """The layers' sum through the tone curve: uint8 (320, 390)."""
        depth = _ramp(self.inside - 0.09, 0.26)
        lung = -0.25 - 0.13 * depth + 0.20 * self.vessels + self.lung_change
        heart = 0.05 * self.heart * self.air + 0.12 * self.fluid * self.air * (1 - self.heart)
        total = self.tissue + self.cover() * lung + heart + self.bones * (self.tissue > 0.2)
        total = np.clip(self.gain * total + self.level, 0.02, 1) ** np.float32(self.gamma)
        shown = np.maximum(total + self.front * (1 - total), self.marker) + self.grain
        return (np.clip(shown, 0, 1) * 255 + 0.5).astype(np.uint8)

    def mask(self) -> np.ndarray:
        """Bit k of each pixel: PARTS[k] is seen there, uint32 (320, 390)."""
        bits, cover = np.zeros((HEIGHT, WIDTH), np.uint32), self.cover()
        for name, alpha in self.parts.items():
            seen = (alpha * cover if name in IN_LUNG else alpha) > 0
            bits |= seen.astype(np.uint32) << np.uint32(PARTS.index(name))
        return bits


def _cardiomegaly(film: Film, rng: np.random.Generator) -> np.ndarray:
    """A heart wider than half the chest."""
    return film.enlarge(rng.uniform(1.32, 1.55))


def _lung_opacity(film: Film, rng: np.random.Generator) -> np.ndarray:
    """Hazy, ill-defined, vessels still seen through it."""
    sign = rng.choice([-1, 1])
    centre = (sign * rng.uniform(0.42, 0.55) * film.broad, rng.uniform(0.75, 1.25))
    blob = _bump(film.x, film.y, centre, (rng.uniform(0.36, 0.46), rng.uniform(0.34, 0.46)))
    cloud = smooth_noise(rng, HEIGHT, WIDTH, 24)
    haze = np.clip(blob * (1.5 + 0.5 * cloud) - 0.04, 0, 1)
    film.lung_change += np.float32(0.24) * haze
    return haze


def _lung_lesion(film: Film, rng: np.random.Generator) -> np.ndarray:
    """A round nodule with a distinct edge."""
    sign, radius = rng.choice([-1, 1]), rng.uniform(0.065, 0.115)
    centre = (sign * rng.uniform(0.36, 0.56) * film.broad, rng.uniform(0.58, 1.12))
    nodule = _ramp(_ellipse(film.x, film.y, centre, (radius, radius * rng.uniform(0.85, 1.1)),
                            rng.uniform(0, 3)), 0.05)
    film.lung_change += np.float32(0.24) * nodule
    return nodule


def _consolidation(film: Film, rng: np.random.Generator) -> np.ndarray:
    """A lobe turned dense up to its fissure, with dark air bronchograms."""
    sign, upper = rng.choice([-1, 1]), rng.random() < 0.5
    fissure = rng.uniform(0.80, 0.9) - 0.12 * (film.span - 0.4)
    lobe = film.y - (fissure + 0.30) if not upper else fissure - film.y
    dense = _ramp(lobe, 0.04) * film.side(sign)
    start = (sign * 0.22, 0.66 if upper else 1.16)
    airways = [stroke for angle in np.linspace(*((-1.0, 0.1) if upper else (-0.1, 0.9)), 4)
               for stroke in film.branch(rng, start, sign, angle)]
    film.lung_change += dense * (0.33 + 0.02 * smooth_noise(rng, HEIGHT, WIDTH, 16)
                                 - 0.16 * film.lines(airways, 1.2)).astype(np.float32)
    return dense


def _pneumothorax(film: Film, rng: np.random.Generator) -> np.ndarray:
    """A black rim without vessels between chest wall and the shrunken lung's thin edge."""
    sign, width = rng.choice([-1, 1]), rng.uniform(0.17, 0.27)
    taper = np.clip((1.75 - film.y) / 1.2, 0.35, 1)
    gap = np.minimum(film.wall - film.span, film.roof * 1.1) - width * taper
    half = film.side(sign) * film.air
    rim, edge = _ramp(-gap, 0.02) * half, _ramp(0.010 - np.abs(gap), 0.014) * half
    film.lung_change += edge * np.float32(0.16) - rim * (
        np.float32(0.13) + np.float32(0.20) * film.vessels + np.maximum(film.lung_change, 0))
    return np.maximum(rim, edge)


def _pleural_effusion(film: Film, rng: np.random.Generator) -> np.ndarray:
    """Fluid that blunts the costophrenic angle, its surface rising to the wall."""
    sign, level = rng.choice([-1, 1]), film.dome[0] - rng.uniform(0.04, 0.22)
    lateral = np.clip(film.span / film.wall, 0, 1)
    surface = level + 0.07 - 0.30 * lateral ** 5
    film.fluid = _ramp(film.y - surface, 0.05) * film.side(sign)
    return film.fluid * film.air * (1 - film.heart)


def _support_devices(film: Film, rng: np.random.Generator) -> np.ndarray:
    """A pacemaker's can under the clavicle and its lead through the vein into the heart."""
    sign = 1 if rng.random() < 0.8 else -1
    x, y = sign * rng.uniform(0.60, 0.72) * film.broad, rng.uniform(0.56, 0.66)
    angle, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.11, 0.135)
    can = _ramp(_ellipse(film.x, film.y, (x, y), (size * 1.15, size), rng.uniform(-0.6, 0.6)), 0.02)
    tip = np.array([0.30 * film.broad, film.dome[1] - 0.10]) + rng.normal(0, 0.02, 2)
    knots = np.array([(x + size * np.cos(angle), y + size * np.sin(angle)),
                      (x - sign * 0.10, y - 0.18), (sign * 0.36, 0.42), (-0.02, 0.50),
                      (-0.13, 0.74), (-0.15, 1.05), (-0.08, 1.25), (0.10, 1.33), tip])
    wire, point = spline(knots, closed=False), np.array([tip - 0.03, tip])
    lead = film.lines([(wire, 0.014, 1.0), (point, 0.03, 1.0)], 0.7)
    circuit = _bump(film.x, film.y, (x + 0.02, y + 0.02), (size * 0.6, size * 0.55))
    device = np.maximum(can * (0.86 - 0.25 * circuit), np.clip(1.15 * lead - 0.05, 0, 0.9))
    film.front = device.astype(np.float32)
    return film.front


FINDINGS: dict[str, Callable[[Film, np.random.Generator], np.ndarray]] = {
    "Cardiomegaly": _cardiomegaly,
    "Lung Opacity": _lung_opacity,
    "Lung Lesion": _lung_lesion,
    "Consolidation": _consolidation,
    "Pneumothorax": _pneumothorax,
    "Pleural Effusion": _pleural_effusion,
    "Support Devices": _support_devices,
}
