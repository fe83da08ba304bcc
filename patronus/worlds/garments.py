"""Generated garments: a small world in the place of Fashion-MNIST.

28x28 gray, light on black, the official ten classes. Tops and bags are seen from the front, shoes
from the side with the toe to the left, as in the official set. Lengths are pixels, tones 0 to 255.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from patronus.worlds.draw import Canvas, ellipse, ribbon, smooth_noise, spline

SIZE = 28
MIDDLE = SIZE / 2

LABELS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
          "Bag", "Ankle boot")
PARTS = ("body", "sleeves", "cuffs", "neckline", "collar", "hood", "buttons", "zip", "pocket",
         "print", "pattern", "waistband", "legs", "skirt", "straps", "upper", "sole", "heel",
         "laces", "toe cap", "shaft", "panel", "handle", "flap", "clasp")

_LABEL_STREAM, _IMAGE_STREAM = range(2)


def sample_labels(n: int, seed: int, plant: tuple | None = None) -> pd.DataFrame:
    """One column `class`, uniform over 0..9; row i depends on (seed, i) only.

    Raises: ValueError if `plant` is given: a single class column has no pair to correlate.
    """
    if plant is not None:
        raise ValueError(f"plant={plant!r}: garments have one class and no pair of attributes")
    draws = [np.random.default_rng([seed, i, _LABEL_STREAM]).integers(10) for i in range(n)]
    return pd.DataFrame({"class": np.array(draws, dtype=np.int64)})


def render(labels_row: Mapping[str, int], seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 (28, 28) and parts uint32 (28, 28) of row `index`."""
    cloth = Cloth(np.random.default_rng([seed, index, _IMAGE_STREAM]))
    DRAW[int(labels_row["class"])](cloth, cloth.rng)
    return cloth.image()[..., 0], cloth.parts


def mirror(points: list[tuple[float, float]]) -> np.ndarray:
    """Closed outline (2n, 2) from its right half, given from top to bottom about x = 0."""
    right = np.asarray(points, float)
    return np.concatenate([right, right[::-1] * [-1, 1]]) + [MIDDLE, 0]


class Cloth(Canvas):
    """A canvas with a pose, a tone and a fabric."""

    def __init__(self, rng: np.random.Generator):
        super().__init__(SIZE, SIZE, 1)
        self.rng = rng
        self.stretch = rng.uniform(0.94, 1.03, 2)
        self.shift = rng.normal(0, 0.3, 2)
        self.tone = float(np.clip(255 - 200 * rng.beta(1.2, 2.2), 60, 250))
        self.light = rng.choice([0.45, 0.6, 1.35]) if self.tone < 185 else rng.uniform(0.4, 0.72)
        self.fabric = self._fabric(rng)
        self.extra: tuple[str, ...] = ()

    def _fabric(self, rng: np.random.Generator) -> np.ndarray:
        """Folds, grain and shade: a factor about 1 for every pixel."""
        folds = smooth_noise(rng, SIZE, SIZE, 5) * rng.uniform(0.01, 0.05)
        grain = rng.standard_normal((SIZE, SIZE)) * rng.choice([0.01, 0.03, 0.07])
        across = ((np.arange(SIZE) - MIDDLE) / MIDDLE) ** 2
        return (1.03 - 0.14 * across + folds + grain).astype(np.float32)

    def weave(self, *kinds: str) -> None:
        """Print one of these patterns ("plain" for none) on the fabric."""
        kind, depth = self.rng.choice(kinds), self.rng.uniform(0.25, 0.6)
        if kind != "plain":
            self.extra = ("pattern",)
            self.fabric *= (1 - depth * PATTERNS[kind](self.rng)).astype(np.float32)

    def put(self, points: np.ndarray, tone: float, *parts: str, plain: bool = False) -> None:
        """Paint a closed outline with a tone (a share of the garment's) as these parts."""
        placed = (points - MIDDLE) * self.stretch + MIDDLE + self.shift
        names = parts if plain else (*parts, *self.extra)
        bits = sum(1 << PARTS.index(name) for name in names)
        shade = min(self.tone * tone, 252.0)
        self.paint(self.mask(placed), shade, bits, texture=None if plain else self.fabric)

    def trim(self, points: np.ndarray, *parts: str, width: float = 0.0, tone: float = 0.0) -> None:
        """Paint a detail in the contrasting tone; with `width`, a line along the points."""
        self.put(ribbon(points, width) if width else points, tone or self.light, *parts, plain=True)

    def erase(self, points: np.ndarray) -> None:
        self.put(points, 0, plain=True)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    period, axis = rng.uniform(2.6, 6), np.arange(SIZE)[:, None]
    wave = (np.sin(2 * np.pi * (axis / period + rng.random())) > rng.uniform(-0.3, 0.5))
    return np.broadcast_to(wave, (SIZE, SIZE)).astype(float)


def _checks(rng: np.random.Generator) -> np.ndarray:
    lines = _stripes(rng)
    return 0.55 * (lines + lines.T)


def _dots(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] * (2 * np.pi / rng.uniform(3.2, 4.5))
    return np.clip(np.sin(x) * np.sin(y) * 2, 0, 1)


def _flowers(rng: np.random.Generator) -> np.ndarray:
    return (smooth_noise(rng, SIZE, SIZE, 1.5) > 0.5).astype(float)


PATTERNS = {"stripes": _stripes, "checks": _checks, "dots": _dots, "flowers": _flowers,
            "pinstripes": lambda rng: _stripes(rng).T}


def _sleeves(cloth: Cloth, shoulder: float, end: tuple[float, float], wide: float,
             top: float, armpit: float, cuff: float = 0.0, tone: float = 0.9) -> None:
    """Both sleeves: from the shoulder (half-width, top) to the hand at `end`."""
    x, y = end
    along = np.array([x - shoulder, y - top])
    out = np.array([along[1], -along[0]]) / np.hypot(*along) * wide
    for sign in (-1, 1):
        def side(points: list, sign: int = sign) -> np.ndarray:
            return np.asarray(points) * [sign, 1] + [MIDDLE, 0]
        outer, inner = end + 0.45 * out, end - 0.55 * out
        sleeve = [(shoulder - 1.5, top - 0.6), (shoulder + 0.4, top + 0.2),
                  (shoulder + 0.22 * along[0] + 0.55 * out[0], top + 0.22 * along[1]),
                  outer, inner, (shoulder - 0.6, armpit)]
        cloth.put(side(sleeve), tone, "sleeves")
        if cuff:
            back = along / np.hypot(*along) * cuff
            cloth.trim(side([outer, inner, inner - back, outer - back]), "cuffs", tone=tone * 0.78)


def _torso(cloth: Cloth, neck: float, shoulder: float, chest: float, waist: float, hem: float,
           bottom: float, armpit: float = 9.0) -> None:
    cloth.put(mirror([(neck, 1.6), (shoulder, 3.2), (chest, armpit), (waist, 17), (hem, bottom),
                      (hem * 0.5, bottom + 0.35)]), 1, "body")


def _neckline(cloth: Cloth, half: float, depth: float, vee: bool) -> None:
    """The opening: the garment's dark inside at the back, a rib around it."""
    low = [(half * 0.55, 1.2 + depth * 0.8), (0.2, 1.4 + depth)] if not vee else \
        [(0.2, 2.2 + depth * 1.4)]
    rim = mirror([(half + 0.5, 1.0), *[(x + 0.3, y + 0.9) for x, y in low]])
    cloth.trim(rim, "neckline", tone=0.72)
    cloth.erase(mirror([(half, 0.2), *low]))
    cloth.trim(mirror([(half * 0.9, 1.2), (half * 0.5, 1.9), (0.1, 2.1)]), "neckline", tone=0.4)


def _print(cloth: Cloth, rng: np.random.Generator) -> None:
    """A motif on the chest: letters, a block, or a badge."""
    kind, y = rng.integers(3), rng.uniform(9, 12.5)
    if kind == 0:
        for x in np.arange(-3.2, 3.3, 1.6):
            cloth.trim(np.array([(x, y), (x + 0.2, y + 2.6)]) + [MIDDLE, 0], "print",
                       width=rng.uniform(0.7, 1.2))
    elif kind == 1:
        half, tall = rng.uniform(1.8, 3.6), rng.uniform(2.5, 6)
        cloth.trim(mirror([(half, y), (half, y + tall)]), "print")
    else:
        radius = rng.uniform(1.6, 3)
        cloth.trim(ellipse(MIDDLE, y + 2, radius, radius), "print")


def _t_shirt(cloth: Cloth, rng: np.random.Generator) -> None:
    cloth.weave("plain", "plain", "plain", "stripes", "flowers")
    shoulder, chest = rng.uniform(7.2, 8.6), rng.uniform(5.9, 7.2)
    reach = rng.uniform(6.6, 9.8)
    _sleeves(cloth, shoulder, (shoulder + 3.6 - 0.25 * (reach - 6), reach + 1.2), 4.0, 3.2, 9.2)
    _torso(cloth, 3, shoulder, chest, chest - rng.uniform(0, 0.9), chest + rng.uniform(-0.3, 0.8),
           rng.uniform(25.5, 27.3))
    _neckline(cloth, rng.uniform(2.6, 3.6), rng.uniform(1.2, 2.8), rng.random() < 0.25)
    if rng.random() < 0.45 and not cloth.extra:
        _print(cloth, rng)


def _pullover(cloth: Cloth, rng: np.random.Generator) -> None:
    cloth.weave("plain", "plain", "stripes", "dots")
    shoulder, chest = rng.uniform(7.0, 8.0), rng.uniform(6.1, 7.0)
    bottom = rng.uniform(24.2, 26.3)
    _sleeves(cloth, shoulder, (rng.uniform(10.8, 12.0), rng.uniform(25, 27)), 3.6, 3.4, 10, 2.0,
             0.92)
    _torso(cloth, 3, shoulder, chest, chest - 0.2, chest - 0.2, bottom, 10)
    cloth.trim(mirror([(chest - 0.2, bottom - 1.8), (chest - 0.5, bottom + 0.3)]), "waistband",
               tone=0.75)
    if rng.random() < 0.3:
        cloth.trim(mirror([(2.0, 0.6), (4.2, 2.6), (3.2, 5.4), (0.3, 6.4)]), "hood", tone=0.8)
        cloth.trim(mirror([(1.9, 1.4), (2.3, 3.2), (0.2, 5.0)]), "hood", tone=0.4)
        cloth.trim(mirror([(3.4, 17.5), (4.6, 21.8), (3.6, 22.4)]), "pocket", tone=0.82)
    else:
        _neckline(cloth, rng.uniform(2.2, 3.2), rng.uniform(0.8, 1.6), rng.random() < 0.25)
    if rng.random() < 0.35 and not cloth.extra:
        _print(cloth, rng)


def _dress(cloth: Cloth, rng: np.random.Generator) -> None:
    cloth.weave("plain", "plain", "plain", "flowers", "dots", "stripes")
    shoulder, waist = rng.uniform(3.8, 4.9), rng.uniform(2.6, 3.6)
    hem, at = rng.uniform(4.0, 7.6), rng.uniform(10.5, 13.5)
    kind = rng.integers(3)
    if kind:
        end = (shoulder + 2.2, 8.0) if kind == 1 else (shoulder + 2.6, rng.uniform(14, 18))
        _sleeves(cloth, shoulder, end, 2.3, 2.6, 7.5, tone=0.86)
    cloth.put(mirror([(waist, at - 0.4), (waist + 0.45 * (hem - waist), at + 5), (hem, 26.8),
                      (hem * 0.5, 27.6)]), 1, "skirt")
    cloth.put(mirror([(2.2, 1.0), (shoulder, 2.2), (shoulder - 0.5, 6.5), (waist, at + 0.2)]),
              0.97, "body")
    vee = bool(kind == 0) or rng.random() < 0.3
    cloth.erase(mirror([(2.3 if kind else 2.9, 0), (1.4, 3.0), (0.2, 5.2 if vee else 3.4)]))
    for x in rng.uniform(-0.8, 0.8, 4) * hem:
        cloth.trim(np.array([(x * waist / hem, at + 3), (x * 0.95, 26.3)]) + [MIDDLE, 0], "skirt",
                   width=0.35, tone=0.8)
    if rng.random() < 0.55:
        cloth.trim(mirror([(waist + 0.1, at - 0.8), (waist + 0.1, at + 0.5)]), "waistband")


def _coat(cloth: Cloth, rng: np.random.Generator) -> None:
    cloth.weave("plain", "plain", "plain", "plain", "checks")
    shoulder, chest = rng.uniform(7.6, 8.6), rng.uniform(6.8, 7.6)
    _sleeves(cloth, shoulder, (rng.uniform(11.2, 12.2), rng.uniform(23.5, 25.5)), 4.0, 3.4, 10,
             1.4 if rng.random() < 0.5 else 0, 0.85)
    _torso(cloth, 3, shoulder, chest, chest - rng.uniform(0.2, 1.3), chest + rng.uniform(-0.2, 0.9),
           rng.uniform(26.6, 27.6), 10)
    cloth.trim(mirror([(2.6, 0.4), (0.6, 6.0)]), "neckline", tone=0.3)
    for sign in (-1, 1):
        lapel = np.array([(2.2, 0.4), (3.6, 1.4), (4.4, 5.6), (2.9, 6.2), (0.3, 11), (0.5, 5.5)])
        cloth.trim(lapel * [sign, 1] + [MIDDLE, 0], "collar", tone=0.76)
        pocket = np.array([(2.4, 17.6), (5.2, 17.0), (5.3, 18.3), (2.5, 18.9)])
        cloth.trim(pocket * [sign, 1] + [MIDDLE, 0], "pocket", tone=0.7)
    cloth.trim(np.array([(MIDDLE, 9.5), (MIDDLE, 27.4)]), "zip", width=0.8, tone=0.32)
    if rng.random() < 0.65:
        _buttons(cloth, np.arange(11.5, 25, rng.uniform(3.4, 4.2)),
                 (-1.9, 1.9) if rng.random() < 0.5 else (1.5,), 0.85)


def _buttons(cloth: Cloth, heights: np.ndarray, columns: tuple, radius: float) -> None:
    for y in heights:
        for x in columns:
            cloth.trim(ellipse(MIDDLE + x, y, radius, radius, count=12), "buttons")


def _shirt(cloth: Cloth, rng: np.random.Generator) -> None:
    cloth.weave("plain", "plain", "checks", "checks", "pinstripes", "flowers")
    shoulder, chest = rng.uniform(7.0, 8.0), rng.uniform(5.9, 6.8)
    if rng.random() < 0.7:
        _sleeves(cloth, shoulder, (rng.uniform(10.2, 11.2), rng.uniform(22.5, 25)), 3.0, 3.2, 9.5,
                 1.6)
    else:
        _sleeves(cloth, shoulder, (shoulder + 3.1, rng.uniform(9.5, 11.5)), 3.9, 3.2, 9.2)
    _torso(cloth, 2.6, shoulder, chest, chest - rng.uniform(0.1, 0.7), chest + 0.2,
           rng.uniform(25.2, 26.4), 9.5)
    cloth.trim(mirror([(0.95, 4), (0.95, 26.2)]), "body", tone=1.08)
    cloth.trim(mirror([(2.0, 0.9), (0.2, 4.4)]), "neckline", tone=0.25)
    for sign in (-1, 1):
        wing = np.array([(2.1, 0.3), (3.3, 1.5), (3.0, 5.2), (0.3, 4.2)])
        cloth.trim(wing * [sign, 1] + [MIDDLE, 0], "collar", tone=1.12 if cloth.extra else 0.8)
    _buttons(cloth, np.arange(6.2, 25.5, rng.uniform(2.9, 3.5)), (0,), 0.62)
    if rng.random() < 0.5:
        cloth.trim(np.array([(2, 9.5), (4.9, 9.5), (4.9, 13), (3.4, 13.8), (2, 13)]) + [MIDDLE, 0],
                   "pocket", tone=0.82)


def _trouser(cloth: Cloth, rng: np.random.Generator) -> None:
    cloth.weave("plain", "plain", "plain", "plain", "checks", "pinstripes")
    hip, ankle = rng.uniform(4.4, 6.0), rng.uniform(1.5, 3.1)
    apart, crotch = rng.uniform(0.6, 2.2), rng.uniform(8.5, 11)
    for sign in (-1, 1):
        x = apart + ankle
        leg = np.array([(0, 1.4), (hip - 0.6, 1.4), (hip, 7), (0.5 * (hip + x + ankle), 16),
                        (x + ankle * 0.7, 27.4), (x - ankle * 0.9, 27.4),
                        (0.5 * apart + 0.3, 17), (0.15, crotch)])
        cloth.put(leg * [sign, 1] + [MIDDLE, 0], 1, "legs")
        crease = np.array([(0.55 * hip, 8), (x, 26.5)]) * [sign, 1] + [MIDDLE, 0]
        cloth.trim(crease, "legs", width=0.5, tone=0.86)
        pocket = np.array([(hip - 1.8, 3), (hip - 0.5, 6)]) * [sign, 1] + [MIDDLE, 0]
        cloth.trim(pocket, "pocket", width=0.6, tone=0.6)
    cloth.trim(mirror([(hip - 0.6, 0.8), (hip - 0.5, 2.5)]), "waistband")
    cloth.trim(np.array([(MIDDLE, 2.5), (MIDDLE, crotch - 1.5)]), "zip", width=0.5, tone=0.6)


def _sole(cloth: Cloth, top: float, thick: float, tone: float, toe: float = 0.8) -> None:
    cloth.trim(np.array([(toe, top), (14, top + 0.2), (27, top), (27, top + thick),
                         (2.2, top + thick), (toe + 0.1, top + thick - 0.8)]), "sole", tone=tone)


def _sneaker(cloth: Cloth, rng: np.random.Generator) -> None:
    cloth.shift[1] += rng.normal(1.0, 0.7)
    high, thick = rng.uniform(8.0, 10.2), rng.uniform(1.4, 2.4)
    outline = [(1.0, 18.6), (1.4, 16.6), (4.5, 14.9), (9, 13.4), (13.5, high + 0.6),
               (16.2, high - 0.4), (18.5, high + 1.4), (22, high + 1.6), (25.4, high - 0.2),
               (26.4, high + 2), (26.2, 15), (26.8, 18.6)]
    cloth.put(spline(outline, closed=False, steps=5), 1, "upper")
    _sole(cloth, 18.0, thick, rng.choice([1.6, 0.35]) if cloth.tone < 170 else
          rng.choice([0.4, 1.1]))
    if rng.random() < 0.6:
        cap = np.array([(1.0, 18.2), (1.6, 16.5), (4.8, 15.0), (6.2, 16.4), (6.4, 18.2)])
        cloth.trim(cap, "toe cap", tone=0.7)
    for k in range(4):
        x, y = 9.6 + 1.7 * k, 13.5 - (13.5 - high) * 0.27 * k
        cloth.trim(np.array([(x - 0.6, y - 0.3), (x + 1.5, y + 2.1)]), "laces", width=0.75)
    if rng.random() < 0.7:
        swoosh = np.array([(10.5, 17.2), (14.5, 17), (19, 15), (23, 12.6)])
        for lift in ((0,) if rng.random() < 0.5 else (0, -2.2)):
            cloth.trim(ribbon(swoosh + [0, lift], [0.4, 1.5, 1.1, 0.4]), "panel")
    cloth.trim(np.array([(24.3, high + 0.6), (26.2, high + 1.2), (26.5, 16), (24.6, 15.4)]),
               "panel", tone=0.68)


def _sandal(cloth: Cloth, rng: np.random.Generator) -> None:
    cloth.tone = min(cloth.tone, 225)
    (_heeled if rng.random() < 0.4 else _flat)(cloth, rng)


def _heeled(cloth: Cloth, rng: np.random.Generator) -> None:
    rise, wide = rng.uniform(6, 10), rng.uniform(1.0, 1.8)
    back = 24 - rise
    foot = spline([(1.5, 23.6), (7, 23.8), (12, 22), (18, back + 1.8), (24.5, back)],
                  closed=False, steps=5)
    cloth.put(ribbon(foot, 1.7), 0.85, "sole")
    cloth.put(np.array([(22.5, back), (25.3, back - 0.2), (25.0, 25), (23.9 - wide * 0.4, 25)]),
              0.8, "heel")
    toes = ellipse(6.4, 23.6, 3.6, rng.uniform(4, 6), 200, 340, 12)
    ankle = ellipse(21.8, back - 4, rng.uniform(3, 4), 2.0, 0, 360, 20)
    cloth.put(ribbon(toes, wide + 0.5), 1, "straps")
    cloth.put(ribbon(ankle, wide * 0.8), 1, "straps")
    cloth.put(ribbon(np.array([(24.9, back + 0.5), (25.3, back - 4)]), wide), 1, "straps")
    if rng.random() < 0.5:
        cloth.put(ribbon(np.array([(8.5, 19.5), (18.3, back - 3.6)]), wide * 0.8), 1, "straps")


def _flat(cloth: Cloth, rng: np.random.Generator) -> None:
    low, thick = rng.uniform(17.5, 20), rng.uniform(1.3, 2.8)
    wedge = rng.choice([0, rng.uniform(1, 3)])
    cloth.put(spline([(1, low), (9, low + 0.3), (18, low - 0.3 - wedge * 0.7), (26.8, low - wedge),
                      (27, low + thick), (2, low + thick)], steps=4), 0.7, "sole")
    count, wide = rng.integers(2, 4), rng.uniform(1.3, 2.5)
    for k in range(count):
        x = 6.5 + 5.2 * k
        tall = rng.uniform(4.5, 6) + 0.7 * k
        arch = ellipse(x, low - wedge * k / 4 + 0.4, rng.uniform(2.6, 3.6), tall, 180, 360, 14)
        cloth.put(ribbon(arch, wide), 1, "straps")
    if rng.random() < 0.7:
        loop = spline([(25.8, low - wedge), (26.3, low - wedge - 5), (22, low - wedge - 6.4),
                       (17.5, low - wedge - 4.5)], closed=False, steps=5)
        cloth.put(ribbon(loop, wide * 0.75), 0.95, "straps")
        cloth.trim(ellipse(21.5, low - wedge - 6.1, 1, 1, count=12), "clasp")


def _bag(cloth: Cloth, rng: np.random.Generator) -> None:
    cloth.weave("plain", "plain", "plain", "checks", "flowers")
    top, low = rng.uniform(10, 14), rng.uniform(24, 27)
    wide, taper = rng.uniform(9.5, 12.5), rng.uniform(-2.2, 1.8)
    _handle(cloth, rng, top, wide - max(taper, 0))
    shape = mirror([(wide - taper - 1, top), (wide - taper * 0.8, top + 1), (wide, low - 1.3),
                    (wide - 1.2, low)])
    cloth.put(shape, 1, "body")
    if rng.random() < 0.5:
        drop = rng.uniform(4, 7)
        cloth.trim(mirror([(wide - taper - 0.6, top - 0.2), (wide - taper - 0.4, top + drop - 2),
                           (2.5, top + drop)]), "flap", tone=0.76)
        cloth.trim(mirror([(1.3, top + drop - 1.6), (1.3, top + drop + 1.2)]), "clasp")
    else:
        cloth.trim(np.array([(-wide + taper + 1.5, top + 1.8), (wide - taper - 1.5, top + 1.8)])
                   + [MIDDLE, 0], "zip", width=0.8, tone=0.45)
        if rng.random() < 0.6:
            cloth.trim(mirror([(wide - 4, top + 5), (wide - 4, low - 2)]), "pocket", tone=0.82)
    cloth.trim(np.array([(2.2 - wide, low - 0.7), (wide - 2.2, low - 0.7)]) + [MIDDLE, 0], "body",
               width=0.7, tone=0.7)


def _handle(cloth: Cloth, rng: np.random.Generator, top: float, wide: float) -> None:
    """A grip, two grips, or a long shoulder strap."""
    thick, tall = rng.uniform(1.0, 1.8), rng.uniform(6, top - 2.2)
    kind = rng.integers(3)
    half = min(wide - 0.8, rng.uniform(7, 10)) if kind == 2 else rng.uniform(3.6, 6)
    if kind == 1:
        behind = ellipse(MIDDLE + 0.8, top + 0.6, half, tall + 1, 180, 360, 20)
        cloth.put(ribbon(behind, thick), 0.55, "handle")
    reach = top - 1.8 if kind == 2 else tall
    cloth.put(ribbon(ellipse(MIDDLE, top + 0.6, half, reach, 180, 360, 20), thick), 0.85, "handle")


def _ankle_boot(cloth: Cloth, rng: np.random.Generator) -> None:
    high, back = rng.uniform(2.5, 6.5), rng.uniform(24.8, 26)
    front, heel = rng.uniform(12.5, 15), rng.uniform(1.6, 4.5)
    base = 24.8 - 0.55 * heel
    toe = [(1.2, 24.4), (1.5, 21.9), (5, 19.9), (9.5, 18.2), (front - 0.4, 14.5)]
    cloth.put(np.concatenate([spline(toe, closed=False, steps=5), [
        (front, high), (back, high - 0.3), (back - 0.6, 13), (back + 0.4, 18),
        (back + 0.2, base + 1), (15, base + 1)]]), 1, "upper")
    cloth.put(np.array([(front, high), (back, high - 0.3), (back - 0.5, 12.5),
                        (front + 0.1, 12.8)]), 0.93, "shaft")
    tone = 0.35 if cloth.tone > 110 else 1.6
    cloth.trim(np.array([(0.8, 23.8), (9, 24.2), (15, base + 0.4), (back + 0.5, base),
                         (back + 0.4, base + 1.3), (15, base + 1.6), (9, 25.6), (1.2, 25.4)]),
               "sole", tone=tone)
    cloth.trim(np.array([(back - 5.5, base + 1), (back + 0.5, base + 1), (back + 0.2, 26.6),
                         (back - 5.0, 26.6)]), "heel", tone=tone)
    kind = rng.integers(3)
    if kind == 0:
        gore = spline([(front + 4, high + 0.6), (front + 8, high + 0.6), (front + 7.2, 12.5),
                       (front + 5.2, 12.5)], steps=4)
        cloth.trim(gore, "panel", tone=0.5)
    elif kind == 1:
        for k in range(6):
            y = high + 1.6 + (17.2 - high) * k / 6
            x = front if y < 14 else front - (y - 14) * 1.1
            cloth.trim(np.array([(x - 0.5, y), (x + 2.6, y + 0.9)]), "laces", width=0.8)
    else:
        cloth.trim(np.array([(front + 6, high + 1), (front + 6.6, base - 1)]), "zip", width=0.7)
    rim = np.array([(front, high + 0.5), (back - 0.3, high + 0.2)])
    cloth.trim(rim, "cuffs", width=0.9, tone=0.72)


DRAW: tuple[Callable[[Cloth, np.random.Generator], None], ...] = (
    _t_shirt, _trouser, _pullover, _dress, _coat, _sandal, _shirt, _sneaker, _bag, _ankle_boot)
