"""Generated objects and animals: a small world in the place of CIFAR-10.

32x32 RGB, the official ten classes, each in one of two views, on a background of its own kind
(sky, sea, road, meadow, wood, room). Shapes are written facing right in pixels of the picture and
then scaled, moved and flipped; colours are RGB, 0 to 255.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from patronus.worlds.draw import Canvas, ellipse, ribbon, smooth_noise, spline, turn

SIZE = 32
MIDDLE = SIZE / 2

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PARTS = ("body", "head", "neck", "ears", "eyes", "snout", "beak", "mouth", "whiskers", "antlers",
         "mane", "legs", "tail", "wings", "belly", "markings", "windows", "wheels", "lamps",
         "bumper", "engine", "hull", "cabin", "cargo", "funnel", "mast", "sail")

PAINTS = ((200, 30, 34), (28, 70, 170), (236, 236, 238), (30, 32, 38), (240, 186, 30),
          (40, 120, 70), (150, 156, 164), (226, 110, 30), (90, 170, 210))
FURS = {"cat": ((222, 138, 60), (120, 118, 116), (38, 36, 38), (232, 224, 212), (150, 116, 84)),
        "dog": ((196, 146, 84), (104, 66, 40), (240, 234, 222), (52, 44, 42), (214, 178, 128)),
        "horse": ((126, 68, 34), (78, 44, 26), (40, 34, 34), (228, 222, 214), (164, 102, 54))}
INK, GLASS, PINK = (20, 18, 22), (70, 100, 124), (226, 130, 130)

_LABEL_STREAM, _IMAGE_STREAM = range(2)
_Y, _X = np.mgrid[:SIZE, :SIZE].astype(np.float32)


def sample_labels(n: int, seed: int, plant: tuple | None = None) -> pd.DataFrame:
    """One column `class`, uniform over 0..9; row i depends on (seed, i) only.

    Raises: ValueError if `plant` is given: a single class column has no pair to correlate.
    """
    if plant is not None:
        raise ValueError(f"plant={plant!r}: objects have one class and no pair of attributes")
    draws = [np.random.default_rng([seed, i, _LABEL_STREAM]).integers(10) for i in range(n)]
    return pd.DataFrame({"class": np.array(draws, dtype=np.int64)})


def render(labels_row: Mapping[str, int], seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 (32, 32, 3) and parts uint32 (32, 32) of row `index`."""
    scene = Scene(np.random.default_rng([seed, index, _IMAGE_STREAM]))
    DRAW[int(labels_row["class"])](scene, scene.rng)
    scene.expose()
    return scene.image(), scene.parts


class Scene(Canvas):
    """A canvas with a pose, light and a background."""

    def __init__(self, rng: np.random.Generator):
        super().__init__(SIZE, SIZE)
        self.rng = rng
        self.scale = rng.uniform(0.88, 1.08) * np.array([rng.choice([-1, 1]), 1])
        self.shift = rng.normal(0, 0.9, 2)
        self.angle = rng.normal(0, 2)
        light = 1.12 - 0.22 * _Y / SIZE + 0.05 * smooth_noise(rng, SIZE, SIZE, 7)
        self.light = light + 0.03 * rng.standard_normal((SIZE, SIZE)).astype(np.float32)

    def tint(self, colour: tuple, spread: float = 10) -> np.ndarray:
        """A colour near this one, RGB in [0, 255]."""
        return np.clip(np.asarray(colour) + self.rng.normal(0, spread)
                       + self.rng.normal(0, spread / 2, 3), 8, 250)

    def put(self, points: np.ndarray, colour: np.ndarray, part: str | None) -> None:
        """Paint a closed outline, given facing right, as this part (None: scenery)."""
        placed = turn(np.asarray(points) - MIDDLE, self.angle) * self.scale + MIDDLE + self.shift
        bits = 0 if part is None else 1 << PARTS.index(part)
        self.paint(self.mask(placed), colour, bits, texture=self.light)

    def line(self, points: list, width: float | list, colour: np.ndarray,
             part: str | None) -> None:
        self.put(ribbon(np.asarray(points, float), width), colour, part)

    def fill(self, colour: np.ndarray, top: float = 0) -> None:
        """Scenery below a height: a colour (3,) or a texture (3, 32, 32)."""
        edge = np.clip(_Y[:, :1] + 1 - top, 0, 1)
        layer = np.clip(colour, 0, 255).reshape(3, *np.shape(colour)[1:] or (1, 1))
        self.planes += (layer - self.planes) * edge

    def expose(self) -> None:
        """Contrast, brightness and grain of the photograph."""
        grain = self.rng.standard_normal(self.planes.shape, dtype=np.float32)
        gain, lift = self.rng.uniform(0.85, 1.08), self.rng.normal(0, 7)
        self.planes = (self.planes - 128) * np.float32(gain) + 128 + lift + 4 * grain


def _ground(scene: Scene, colour: tuple, depth: float, cell: float) -> np.ndarray:
    """A textured surface (3, 32, 32): tufts, gravel or leaves of a size."""
    bumps = smooth_noise(scene.rng, SIZE, SIZE, cell) + 0.6 * smooth_noise(scene.rng, SIZE, SIZE, 1)
    return scene.tint(colour, 14)[:, None, None] + (depth * bumps)[None]


def _sky(scene: Scene) -> None:
    """Blue to pale, sometimes dusk or overcast, with clouds."""
    top = np.array(((70, 130, 210), (110, 160, 220), (170, 180, 192), (236, 170, 120)))
    deep = scene.tint(top[scene.rng.choice(4, p=[0.4, 0.35, 0.17, 0.08])])[:, None, None]
    pale = deep + (245 - deep) * (0.15 + 0.6 * _Y / SIZE)
    clouds = np.clip(0.45 * smooth_noise(scene.rng, SIZE, SIZE, 9), 0, 0.8)
    scene.fill(pale + (246 - pale) * clouds)


def _sea(scene: Scene, top: float) -> None:
    water = scene.tint(((40, 84, 130), (44, 110, 120), (84, 104, 122))[scene.rng.integers(3)])
    waves = smooth_noise(scene.rng, SIZE, 8, 2).repeat(4, axis=1)
    scene.fill(water[:, None, None] + 15 * waves + 0.9 * (_Y - top), top)


def _street(scene: Scene, top: float) -> None:
    """Sky or house front, a verge, and asphalt."""
    _sky(scene)
    if scene.rng.random() < 0.5:
        scene.fill(_ground(scene, (150, 120, 100), 10, 3), scene.rng.uniform(0, 6))
    else:
        scene.fill(_ground(scene, (66, 104, 58), 18, 2.5), top - scene.rng.uniform(5, 11))
    scene.fill(_ground(scene, (112, 112, 114), 6, 2), top)
    if scene.rng.random() < 0.5:
        scene.fill(scene.tint((214, 210, 196)), top + 6)
        scene.fill(_ground(scene, (104, 104, 106), 6, 2), top + 7)


def _meadow(scene: Scene, top: float) -> None:
    """Sky, a line of trees, and grass, straw or sand."""
    _sky(scene)
    scene.fill(_ground(scene, (56, 84, 50), 20, 3), top - scene.rng.uniform(3, 12))
    earth = ((98, 140, 62), (170, 154, 92), (126, 132, 70))[scene.rng.integers(3)]
    scene.fill(_ground(scene, earth, 13, 2), top)


def _wood(scene: Scene, top: float) -> None:
    """Dark foliage with trunks, and the forest's floor or snow."""
    scene.fill(_ground(scene, (60, 88, 50), 22, 3))
    for x in scene.rng.uniform(0, SIZE, 3):
        trunk = np.abs(_X - x) < scene.rng.uniform(0.8, 1.8)
        scene.planes += (np.array([66.0, 50, 40])[:, None, None] - scene.planes) * (0.75 * trunk)
    floor = ((112, 122, 62), (146, 112, 70), (222, 226, 232))[scene.rng.integers(3)]
    scene.fill(_ground(scene, floor, 13, 2), top)


def _room(scene: Scene) -> None:
    """A wall with a soft gradient and a floor, carpet or cushion."""
    walls = ((198, 180, 156), (128, 140, 156), (170, 96, 84), (92, 110, 92), (214, 212, 206))
    wall = scene.tint(walls[scene.rng.integers(len(walls))], 14)[:, None, None]
    scene.fill(wall + scene.rng.normal(0, 1.2) * (_X - MIDDLE))
    scene.fill(_ground(scene, walls[scene.rng.integers(len(walls))], 7, 3),
               scene.rng.uniform(20, 27))


def _airplane(scene: Scene, rng: np.random.Generator) -> None:
    _sky(scene)
    if rng.random() < 0.2:
        _sea(scene, rng.uniform(26, 29))
    paint = scene.tint(((238, 240, 244), (206, 210, 218), (160, 166, 178))[rng.integers(3)], 6)
    accent = scene.tint(PAINTS[rng.integers(len(PAINTS))])
    if rng.random() < 0.6:
        scene.angle = rng.uniform(-20, 8)
        _airliner(scene, rng, paint, accent)
    else:
        scene.angle = rng.uniform(-60, 60)
        _airplane_from_below(scene, paint, accent)


def _airliner(scene: Scene, rng: np.random.Generator, paint: np.ndarray,
              accent: np.ndarray) -> None:
    thick = rng.uniform(2.0, 2.7)
    scene.put([(15, 15), (20, 15.2), (14.5, 9), (11.5, 9)], paint * 0.72, "wings")
    scene.put([(2.4, 15.4), (7.4, 15.2), (4.4, 7.6), (1.6, 7.6)], accent, "tail")
    scene.put(spline([(1.8, 14.8), (9, 16 - thick), (25, 16 - thick), (30.2, 16.4),
                      (25, 16 + thick * 0.85), (10, 16 + thick * 0.8)], steps=5), paint, "body")
    scene.put([(2, 14.9), (6, 15.2), (3, 17.8), (0.6, 17.8)], paint * 0.75, "tail")
    scene.line([(8, 15.4), (25, 15.4)], 0.9, np.array(INK) + 40, "windows")
    scene.put([(26.6, 14.6), (28.4, 15.1), (28.6, 15.9), (26.6, 15.8)], np.array(INK), "windows")
    scene.put([(14, 17), (19.6, 16.8), (11.2, 24.4), (8.0, 24.4)], paint * 0.62, "wings")
    scene.put(ellipse(15.8, 20.4, 2.2, 1.15, count=16), accent * 0.8, "engine")


def _airplane_from_below(scene: Scene, paint: np.ndarray, accent: np.ndarray) -> None:
    for sign in (-1, 1):
        flip = np.array([sign, 1])
        wing = np.array([(1, 12.5), (14, 19), (14, 21.2), (1, 18.5)]) * flip + [MIDDLE, 0]
        tail = np.array([(0.6, 25.5), (5, 28.6), (5, 30), (0.6, 28.8)]) * flip + [MIDDLE, 0]
        scene.put(wing, paint * 0.78, "wings")
        scene.put(tail, accent, "tail")
        scene.put(ellipse(MIDDLE + 5.4 * sign, 15.4, 1, 2, count=14), accent * 0.7, "engine")
    scene.put(spline([(16, 1.5), (18, 5), (18, 22), (16.6, 30.5), (15.4, 30.5), (14, 22), (14, 5)],
                     steps=4), paint, "body")
    scene.put([(15, 4), (17, 4), (17.4, 5.6), (14.6, 5.6)], np.array(INK), "windows")


def _wheel(scene: Scene, x: float, y: float, radius: float) -> None:
    scene.put(ellipse(x, y, radius, radius, count=20), np.array(INK) + 8, "wheels")
    scene.put(ellipse(x, y, radius * 0.5, radius * 0.5, count=14), np.array((176, 178, 184)),
              "wheels")


def _automobile(scene: Scene, rng: np.random.Generator) -> None:
    _street(scene, rng.uniform(19, 22))
    paint = scene.tint(PAINTS[rng.integers(len(PAINTS))])
    (_car_side if rng.random() < 0.6 else _car_front)(scene, rng, paint)


def _car_side(scene: Scene, rng: np.random.Generator, paint: np.ndarray) -> None:
    roof, back = rng.uniform(8.6, 11.2), rng.uniform(2.6, 7)
    scene.put(ellipse(16, 26, 15, 1.3, count=20), np.array((44, 44, 46)), None)
    scene.put(spline([(back - 1, 16.8), (back + 3, roof + 0.2), (12, roof - 0.4), (18, roof),
                      (24, 16.4), (16, 18.5)], steps=5), paint * 0.92, "cabin")
    scene.put([(back + 1.8, 15.6), (back + 4, roof + 1.5), (12.4, roof + 1.3), (12.4, 15.6)],
              np.array(GLASS), "windows")
    scene.put([(13.8, 15.6), (13.8, roof + 1.3), (17.6, roof + 1.6), (21.6, 15.6)],
              np.array(GLASS), "windows")
    scene.put(spline([(1, 18), (2.6, 15.9), (12, 15.4), (23, 15.6), (30, 17.6), (31, 20.5),
                      (30.4, 23.6), (16, 24), (1.4, 23.4)], steps=5), paint, "body")
    scene.line([(2, 22.6), (30, 22.8)], 1.0, paint * 0.6, "bumper")
    scene.line([(13.1, 16.4), (13.1, 22)], 0.4, paint * 0.6, "body")
    scene.put(ellipse(29.4, 18.8, 1.1, 0.9, count=12), np.array((250, 244, 200)), "lamps")
    scene.put(ellipse(1.9, 18.4, 0.8, 1.0, count=12), np.array((196, 20, 20)), "lamps")
    for x in (7.6, 24.2):
        _wheel(scene, x, 23.4, 3.2)


def _car_front(scene: Scene, rng: np.random.Generator, paint: np.ndarray) -> None:
    roof, half = rng.uniform(6, 8.5), rng.uniform(11, 13)
    for sign in (-1, 1):
        scene.put(np.array([(half - 4.5, 21), (half - 0.3, 21), (half - 0.3, 28), (half - 4.5, 28)])
                  * [sign, 1] + [MIDDLE, 0], np.array(INK), "wheels")
    scene.put(_both([(half - 4.8, roof), (half - 1.6, 15), (half, 17)]), paint * 0.9, "cabin")
    scene.put(_both([(half - 5.6, roof + 1.3), (half - 3.1, 14.2)]), np.array(GLASS), "windows")
    scene.put(_both([(half - 2, 14.6), (half, 17), (half + 0.2, 24), (half - 1, 25.4)]), paint,
              "body")
    scene.put(_both([(5.4, 19), (5.0, 21.6)]), np.array(INK) + 14, "bumper")
    scene.put(_both([(half, 23), (half - 0.6, 25)]), paint * 0.55, "bumper")
    for sign in (-1, 1):
        scene.put(ellipse(MIDDLE + sign * (half - 2.8), 19.6, 2.0, 1.5, count=16),
                  np.array((252, 248, 214)), "lamps")


def _both(points: list[tuple[float, float]]) -> np.ndarray:
    """Closed symmetric outline from its right half, x from the picture's middle."""
    right = np.asarray(points, float)
    return np.concatenate([right, right[::-1] * [-1, 1]]) + [MIDDLE, 0]


def _truck(scene: Scene, rng: np.random.Generator) -> None:
    _street(scene, rng.uniform(21, 24))
    paint = scene.tint(PAINTS[rng.integers(len(PAINTS))])
    (_lorry if rng.random() < 0.65 else _dumper)(scene, rng, paint)
    scene.line([(1.5, 23.6), (29.5, 23.8)], 1.6, np.array((46, 46, 50)), "bumper")
    for x in (4.8, 10.6, 26.0):
        _wheel(scene, x, 25.2, 2.9)


def _cab(scene: Scene, paint: np.ndarray, top: float) -> None:
    scene.put([(21.6, top), (27.2, top), (29.4, top + 6), (30.6, top + 7.4), (30.8, 24),
               (21.6, 24)], paint, "cabin")
    scene.put([(23.2, top + 1.5), (26.4, top + 1.5), (28.2, top + 6), (23.2, top + 6)],
              np.array(GLASS), "windows")
    scene.put(ellipse(29.9, 20.6, 0.9, 1.1, count=12), np.array((250, 240, 190)), "lamps")


def _lorry(scene: Scene, rng: np.random.Generator, paint: np.ndarray) -> None:
    top = rng.uniform(4.2, 7.5)
    box = scene.tint(((236, 236, 234), (200, 204, 210), tuple(paint))[rng.integers(3)])
    scene.put([(0.8, top), (20.4, top), (20.4, 23), (0.8, 23)], box, "cargo")
    scene.line([(0.8, top + 0.5), (20.4, top + 0.5)], 1, box * 0.7, "cargo")
    if rng.random() < 0.6:
        scene.put([(1, 13), (20.3, 11.5), (20.3, 14.6), (1, 16.4)],
                  scene.tint(PAINTS[rng.integers(len(PAINTS))]), "markings")
    _cab(scene, paint, rng.uniform(9.5, 12))


def _dumper(scene: Scene, rng: np.random.Generator, paint: np.ndarray) -> None:
    scene.put(spline([(2.5, 14), (7, 9.6), (12, 8.4), (18, 11), (19.6, 14)], steps=4),
              scene.tint((124, 92, 62)), "cargo")
    scene.put([(0.4, 12), (20.8, 13), (20, 22.8), (3.8, 22.8)], paint * 0.88, "cargo")
    for x in (6, 10.5, 15):
        scene.line([(x, 13), (x + 0.4, 22.4)], 0.8, paint * 0.62, "cargo")
    _cab(scene, paint, rng.uniform(7.5, 9.5))


def _ship(scene: Scene, rng: np.random.Generator) -> None:
    _sky(scene)
    _sea(scene, rng.uniform(17, 20))
    hull = scene.tint(((30, 38, 60), (150, 34, 30), (236, 236, 236), (60, 64, 70))[rng.integers(4)])
    (_steamer if rng.random() < 0.6 else _sailboat)(scene, rng, hull)
    foam = np.array((226, 234, 240))
    scene.line([(1.5, 25.4), (9, 25), (16, 25.6), (24, 25), (30, 25.5)], 0.9, foam, None)


def _steamer(scene: Scene, rng: np.random.Generator, hull: np.ndarray) -> None:
    white = scene.tint((236, 236, 234), 6)
    for x in (11, 16)[:rng.integers(1, 3)]:
        scene.put([(x, 6), (x + 3, 6), (x + 2.8, 13), (x - 0.4, 13)],
                  scene.tint(PAINTS[rng.integers(len(PAINTS))]), "funnel")
        scene.line([(x, 6.6), (x + 3, 6.6)], 1.2, np.array(INK), "funnel")
    scene.line([(23, 5), (23, 16)], 0.7, np.array((90, 84, 80)), "mast")
    scene.put([(8, 11.4), (20, 11.4), (21, 14.4), (7.6, 14.4)], white * 0.94, "cabin")
    scene.put([(4.6, 14), (23.4, 14), (24.6, 18.6), (4, 18.6)], white, "cabin")
    for y in (12.9, 16.2):
        for x in np.arange(7.5 if y > 14 else 9.5, 23 if y > 14 else 20, 2.2):
            scene.put(ellipse(x, y, 0.65, 0.65, count=10), np.array(GLASS) * 0.7, "windows")
    scene.put([(1.2, 17.6), (24, 18.6), (31.2, 16.8), (27.6, 25.4), (3.2, 25.4)], hull, "hull")
    scene.put([(2.6, 23.4), (28.4, 23.4), (27.6, 25.4), (3.2, 25.4)],
              np.array((134, 34, 30)), "hull")


def _sailboat(scene: Scene, rng: np.random.Generator, hull: np.ndarray) -> None:
    cloth = scene.tint(((244, 242, 236), (206, 60, 46), (236, 206, 140))[rng.integers(3)], 6)
    scene.line([(15, 1.4), (15, 21)], 0.9, np.array((96, 72, 50)), "mast")
    scene.put(spline([(14.4, 2.4), (14.4, 18.8), (4.4, 18.8), (9.5, 11)], steps=4), cloth, "sail")
    scene.put([(15.8, 3.4), (26.4, 18.4), (15.8, 19.2)], cloth * 0.86, "sail")
    scene.put(spline([(3, 20), (16, 20.9), (28.6, 19.6), (25, 25.4), (7, 25.6)], steps=4), hull,
              "hull")
    scene.line([(4, 21.2), (27, 21)], 0.8, scene.tint((220, 190, 130)), "hull")


def _bird(scene: Scene, rng: np.random.Generator) -> None:
    colours = ((60, 110, 190), (190, 60, 44), (124, 92, 64), (226, 190, 50), (64, 66, 74),
               (226, 226, 226))
    coat = scene.tint(colours[rng.integers(len(colours))])
    belly = scene.tint(((238, 226, 204), (222, 150, 84), (240, 240, 236))[rng.integers(3)])
    if rng.random() < 0.65:
        (_sky if rng.random() < 0.5 else lambda s: _wood(s, 40))(scene)
        _perched(scene, rng, coat, belly)
    else:
        _sky(scene)
        scene.angle = rng.uniform(-18, 12)
        _flying(scene, coat, belly)


def _bird_head(scene: Scene, x: float, y: float, radius: float, coat: np.ndarray) -> None:
    root = x + radius * 0.7
    scene.put([(root, y - 0.9), (x + radius + 3.4, y + 0.5), (root, y + 1.3)],
              scene.tint((232, 160, 40)), "beak")
    scene.put(ellipse(x, y, radius, radius, count=22), coat, "head")
    scene.put(ellipse(x + radius * 0.35, y - 0.5, 0.85, 0.85, count=12), np.array(INK), "eyes")


def _perched(scene: Scene, rng: np.random.Generator, coat: np.ndarray, belly: np.ndarray) -> None:
    scene.line([(-2, 27.6), (12, 27), (34, 28.2)], rng.uniform(1.4, 2.4), scene.tint((92, 66, 46)),
               None)
    for x in (15, 18.4):
        scene.line([(x, 22), (x + 0.6, 27)], 0.9, np.array((120, 84, 50)), "legs")
    scene.put([(11, 17), (8.6, 21), (0.8, 27), (2.6, 29), (10, 24)], coat * 0.72, "tail")
    scene.put(spline([(20, 7), (24, 11), (23, 19), (17, 24), (10.5, 21.5), (11.5, 15)], steps=5),
              coat, "body")
    scene.put(spline([(22, 11), (23.4, 15), (21.4, 21), (16.4, 23.4), (17.6, 17)], steps=5), belly,
              "belly")
    scene.put(spline([(17.6, 12.4), (18.6, 16), (14, 21), (6.6, 23.6), (11, 16)], steps=5),
              coat * 0.66, "wings")
    _bird_head(scene, 21, 8, rng.uniform(3.8, 4.8), coat)


def _flying(scene: Scene, coat: np.ndarray, belly: np.ndarray) -> None:
    scene.put(spline([(18, 16), (14, 9), (6, 3), (8.6, 10), (12, 17)], steps=4), coat * 0.62,
              "wings")
    scene.put([(8, 17), (1, 15.4), (0.6, 18), (1.6, 20.4), (9, 19.6)], coat * 0.75, "tail")
    scene.put(spline([(6.6, 18), (14, 15), (23, 14.6), (24.6, 17), (20, 20.4), (13, 21)], steps=4),
              coat, "body")
    scene.put(spline([(10, 19.4), (17, 18.6), (23, 18), (19, 20.6), (13, 21)], steps=4), belly,
              "belly")
    scene.put(spline([(13, 16.4), (15.4, 8), (23, 1), (22.4, 9), (20, 16.2)], steps=4), coat * 0.82,
              "wings")
    _bird_head(scene, 24.6, 15.2, 2.8, coat)


def _cat(scene: Scene, rng: np.random.Generator) -> None:
    _room(scene)
    fur = scene.tint(FURS["cat"][rng.integers(5)])
    if rng.random() < 0.5:
        scene.scale = scene.scale * 0.98
        _cat_face(scene, rng, fur, 16, 17.5, 10.5)
    else:
        scene.line([(22, 28), (28, 26), (29, 19), (26.6, 15)], [3, 2.6, 2.2, 1.6], fur * 0.8,
                   "tail")
        scene.put(spline([(12, 14), (20, 14), (24, 23), (23.5, 30.5), (8.5, 30.5), (8, 23)],
                         steps=5), fur * 0.92, "body")
        scene.put(ellipse(16, 23, 3.4, 5.5, count=24), fur + 0.5 * (245 - fur), "belly")
        for x in (12.6, 19.4):
            scene.put(ellipse(x, 29.4, 2.4, 1.8, count=18), fur, "legs")
        _cat_face(scene, rng, fur, 16, 10.4, 6.9)


def _cat_face(scene: Scene, rng: np.random.Generator, fur: np.ndarray, x: float, y: float,
              r: float) -> None:
    def at(points: list) -> np.ndarray:
        return np.asarray(points) * r + [x, y]
    for sign in (-1, 1):
        flip = np.array([sign, 1])
        scene.put(at(np.array([(0.25, -0.7), (0.82, -1.42), (1.0, -0.25)]) * flip), fur * 0.85,
                  "ears")
        scene.put(at(np.array([(0.48, -0.75), (0.78, -1.12), (0.87, -0.45)]) * flip),
                  np.array(PINK), "ears")
    scene.put(ellipse(x, y, r, r * 0.86), fur, "head")
    if rng.random() < 0.6:
        for k in (-0.26, 0, 0.26):
            scene.line(at([(k, -0.84), (k * 0.7, -0.42)]), 0.11 * r, fur * 0.55, "markings")
    scene.put(ellipse(x, y + 0.42 * r, 0.48 * r, 0.34 * r, count=24), fur + 0.6 * (248 - fur),
              "snout")
    iris = scene.tint(((176, 196, 60), (226, 176, 50), (96, 168, 190))[rng.integers(3)])
    for sign in (-1, 1):
        eye = x + sign * 0.42 * r
        scene.put(ellipse(eye, y - 0.08 * r, 0.23 * r, 0.2 * r, count=18), iris, "eyes")
        scene.put(ellipse(eye, y - 0.08 * r, 0.09 * r, 0.19 * r, count=14), np.array(INK), "eyes")
        for lift in (-0.06, 0.16):
            scene.line(at(np.array([(0.4, 0.4), (1.15, 0.36 + lift)]) * [sign, 1]), 0.35,
                       np.array((244, 244, 240)), "whiskers")
    scene.put(at([(-0.14, 0.22), (0.14, 0.22), (0, 0.4)]), np.array(PINK) * 0.8, "snout")
    scene.line(at([(-0.2, 0.58), (0, 0.48), (0.2, 0.58)]), 0.06 * r, fur * 0.4, "mouth")


def _dog(scene: Scene, rng: np.random.Generator) -> None:
    fur = scene.tint(FURS["dog"][rng.integers(5)])
    if rng.random() < 0.55:
        (_room if rng.random() < 0.5 else lambda s: _meadow(s, 14))(scene)
        _dog_face(scene, rng, fur)
    else:
        _meadow(scene, rng.uniform(15, 20))
        _quadruped(scene, fur, back=14.5, belly=20.6, leg=2.3, foot=28.6, rump=6.5, chest=21.5)
        scene.line([(7, 16), (3.2, 12.5), (2.4, 8)], [2.2, 1.8, 1.0], fur, "tail")
        scene.line([(20.5, 16), (24, 10.8)], [6, 4.6], fur, "neck")
        scene.put(spline([(21.4, 7), (25.5, 6), (28, 9), (31, 10.6), (30.6, 12.8), (25, 13.6),
                          (21.6, 11.6)], steps=4), fur, "head")
        scene.put(ellipse(30.7, 10.8, 0.95, 0.9, count=12), np.array(INK), "snout")
        scene.put(ellipse(26.6, 8.8, 0.75, 0.75, count=10), np.array(INK), "eyes")
        scene.put(spline([(21.6, 6.4), (24, 7), (23.4, 12.4), (20.4, 13.4)], steps=4), fur * 0.62,
                  "ears")


def _dog_face(scene: Scene, rng: np.random.Generator, fur: np.ndarray) -> None:
    pale = fur + 0.55 * (248 - fur)
    scene.put(spline([(9, 24), (23, 24), (27, 34), (5, 34)], steps=4), fur * 0.85, "body")
    scene.put(ellipse(16, 14.5, 8.6, 9.4), fur, "head")
    if rng.random() < 0.5:
        scene.put(_both([(1.6, 5.6), (2.0, 14), (3, 20)]), pale, "markings")
    droop = rng.uniform(16, 20)
    for sign in (-1, 1):
        ear = np.array([(4.6, 5.6), (8.6, 5.4), (11.8, 11), (11.2, droop), (8.6, droop + 1.6),
                        (7.2, 12)]) * [sign, 1] + [MIDDLE, 0]
        scene.put(spline(ear, steps=4), fur * 0.58, "ears")
        scene.put(ellipse(16 + sign * 3.7, 12.6, 1.35, 1.45, count=16), np.array(INK), "eyes")
        scene.put(ellipse(16 + sign * 3.4, 12.1, 0.45, 0.45, count=10), np.array((245, 245, 245)),
                  "eyes")
    scene.put(ellipse(16, 20, 5.4, 4.8, count=30), pale, "snout")
    if rng.random() < 0.55:
        scene.put(spline([(14.4, 22.6), (17.6, 22.6), (17.6, 26.6), (16, 27.8), (14.4, 26.6)],
                         steps=4), np.array((226, 96, 110)), "mouth")
    scene.line([(12.6, 22), (16, 22.8), (19.4, 22)], 0.8, fur * 0.35, "mouth")
    scene.put(ellipse(16, 17.6, 2.4, 1.7, count=20), np.array(INK), "snout")


def _quadruped(scene: Scene, fur: np.ndarray, back: float, belly: float, leg: float, foot: float,
               rump: float, chest: float) -> None:
    """Trunk and four legs of an animal seen from the side, from `rump` to `chest`."""
    for x, far in ((rump + 3.2, 1), (chest - 3.2, 1), (rump + 1, 0), (chest - 0.8, 0)):
        step = scene.rng.normal(0, 1.0)
        knee = (x + step * 0.3, 0.5 * (belly + foot))
        scene.line([(x, belly - 2.4), knee, (x + step, foot)], [leg * 1.6, leg, leg * 0.75],
                   fur * (0.62 if far else 0.88), "legs")
        scene.line([(x + step, foot - 0.7), (x + step, foot + 0.4)], leg, fur * 0.4, "legs")
    middle = 0.5 * (rump + chest)
    scene.put(spline([(rump - 1, back + 2.5), (rump + 1.5, back), (middle, back + 0.6),
                      (chest, back - 0.4), (chest + 1.4, back + 3), (chest - 0.6, belly),
                      (middle, belly - 0.4), (rump + 1, belly)], steps=5), fur, "body")


def _deer(scene: Scene, rng: np.random.Generator) -> None:
    (_wood if rng.random() < 0.6 else _meadow)(scene, rng.uniform(19, 23))
    fur = scene.tint(((172, 112, 64), (150, 104, 70), (190, 134, 84))[rng.integers(3)])
    _quadruped(scene, fur, back=14.6, belly=20, leg=1.35, foot=30, rump=6.6, chest=19)
    scene.put(ellipse(5.6, 16.4, 1.2, 2.1, count=16), np.array((244, 238, 226)), "tail")
    scene.put(ellipse(12.6, 19.6, 5, 1.1, count=18), np.array((226, 204, 172)), "belly")
    if rng.random() < 0.5:
        for x, y in rng.uniform((8, 15.4), (17.5, 18.2), (6, 2)):
            scene.put(ellipse(x, y, 0.6, 0.6, count=8), np.array((240, 226, 200)), "markings")
    scene.line([(18.4, 17), (21.2, 12.4), (22.4, 9.4)], [5, 3.3, 2.8], fur, "neck")
    _antlers(scene, rng.uniform(0.8, 1.05))
    scene.put(spline([(20, 8), (22.4, 6.8), (25.6, 8.6), (28.2, 10.8), (27.4, 12.2), (23, 11.4)],
                     steps=4), fur, "head")
    scene.put(ellipse(27.6, 11.3, 0.8, 0.7, count=10), np.array(INK), "snout")
    scene.put(ellipse(24, 8.9, 0.65, 0.65, count=10), np.array(INK), "eyes")
    scene.put([(20.8, 8.4), (16.8, 6.6), (17.8, 9.2)], fur * 0.7, "ears")


def _antlers(scene: Scene, tall: float) -> None:
    bone = scene.tint((222, 202, 164), 8)
    for lean in (-1, 1):
        beam = np.array([(0, 0), (1.2 * lean, -2.6), (3.6 * lean, -4.4), (4 * lean, -7.6)])
        tines = [[(1.2 * lean, -2.6), (-0.8 * lean, -5)], [(3.6 * lean, -4.4), (1.7 * lean, -7.2)]]
        for stroke in (beam, *map(np.array, tines)):
            scene.line(stroke * tall + [21.8, 7.8], 0.95, bone, "antlers")


def _horse(scene: Scene, rng: np.random.Generator) -> None:
    _meadow(scene, rng.uniform(17, 22))
    fur = scene.tint(FURS["horse"][rng.integers(5)])
    hair = fur * 0.4 if rng.random() < 0.7 else fur + 0.7 * (240 - fur)
    _quadruped(scene, fur, back=12.4, belly=20.6, leg=1.9, foot=29.6, rump=6, chest=20.4)
    scene.put(spline([(6, 12.6), (3, 14), (1.4, 20), (2, 25.4), (4, 22), (5.4, 16)], steps=4), hair,
              "tail")
    scene.line([(18.6, 15.4), (21.6, 9.6), (23.6, 5.6)], [8.4, 5.6, 4], fur, "neck")
    scene.put(spline([(17.2, 12.4), (18.4, 7.4), (22, 2.6), (23.6, 4), (21, 8.4), (19, 13.6)],
                     steps=4), hair, "mane")
    scene.put(spline([(21.8, 4.6), (24.4, 3.2), (27, 6), (30, 10), (29.4, 12.2), (27.4, 12.2),
                      (23.6, 8.6)], steps=4), fur, "head")
    scene.put(ellipse(28.7, 11.2, 1.4, 1.2, count=14), fur * 0.5, "snout")
    scene.put(ellipse(25, 6, 0.75, 0.75, count=10), np.array(INK), "eyes")
    scene.put([(22.6, 4.4), (23, 1.2), (24.6, 3.8)], fur * 0.8, "ears")
    if rng.random() < 0.4:
        scene.line([(25.4, 4.6), (28.2, 8.8)], 0.9, np.array((244, 240, 234)), "markings")


def _frog(scene: Scene, rng: np.random.Generator) -> None:
    floors = ((96, 76, 54), (70, 96, 96), (84, 112, 62), (170, 150, 120))
    scene.fill(_ground(scene, floors[rng.integers(4)], 16, 3))
    greens = ((96, 160, 50), (60, 120, 50), (140, 168, 60), (122, 112, 60))
    skin = scene.tint(greens[rng.integers(4)])
    if rng.random() < 0.4:
        scene.fill(_ground(scene, (60, 120, 70), 8, 4), rng.uniform(22, 26))
    (_frog_front if rng.random() < 0.6 else _frog_side)(scene, rng, skin)


def _frog_front(scene: Scene, rng: np.random.Generator, skin: np.ndarray) -> None:
    for sign in (-1, 1):
        flip = np.array([sign, 1])
        thigh = np.array([(5, 19), (10.6, 16.4), (14, 21), (12.4, 27), (6, 27.6)])
        scene.put(spline(thigh * flip + [MIDDLE, 0], steps=4), skin * 0.74, "legs")
        for toe in (-2, 0.2, 2.4):
            digit = np.array([(11, 26.6), (12 + toe, 29.4)]) * flip + [MIDDLE, 0]
            scene.line(digit, 1.2, skin * 0.8, "legs")
    scene.put(ellipse(16, 20, 9, 8.2), skin, "body")
    scene.put(ellipse(16, 23.4, 6, 4.9, count=30), scene.tint((222, 224, 164)), "belly")
    scene.put(ellipse(16, 14.6, 9.6, 6.0), skin * 1.06, "head")
    for sign in (-1, 1):
        flip = np.array([sign, 1])
        arm = np.array([(5.6, 21), (6.6, 25.5), (5.4, 29)]) * flip + [MIDDLE, 0]
        scene.line(arm, [2.8, 2.2, 2.6], skin * 0.88, "legs")
        scene.put(ellipse(16 + sign * 5.8, 8.8, 3.2, 3.1, count=22), skin * 1.05, "eyes")
        scene.put(ellipse(16 + sign * 6, 8.6, 2.2, 2.1, count=18), np.array((238, 206, 80)), "eyes")
        scene.put(ellipse(16 + sign * 6, 8.6, 1.5, 0.85, count=14), np.array(INK), "eyes")
    scene.line([(7.6, 15.2), (11.5, 17.2), (16, 17.8), (20.5, 17.2), (24.4, 15.2)], 0.95,
               skin * 0.3, "mouth")


def _frog_side(scene: Scene, rng: np.random.Generator, skin: np.ndarray) -> None:
    scene.put(spline([(3, 25), (7, 16.4), (16, 10.4), (24, 9.4), (30, 13.4), (30.2, 16), (25, 20.4),
                      (18, 25.6), (8, 27)], steps=5), skin, "body")
    scene.put(spline([(30, 15.4), (25.4, 19.8), (18.6, 25.4), (14, 25), (20, 19.4), (26, 16.4)],
                     steps=4), scene.tint((220, 222, 166)), "belly")
    for x, y in rng.uniform((8, 14.5), (19, 20), (6, 2)):
        scene.put(ellipse(x, y, 1.1, 0.9, count=10), skin * 0.5, "markings")
    scene.line([(21, 20), (22.8, 24.4), (24.6, 28.6)], [3.2, 2.4, 2.2], skin * 0.8, "legs")
    scene.put(spline([(3, 21.4), (9, 18), (14.6, 20.6), (11, 26), (4, 27.6)], steps=4), skin * 0.76,
              "legs")
    scene.line([(4, 27), (10, 28.6), (17, 28.8)], [2.6, 2, 2.4], skin * 0.82, "legs")
    scene.put(ellipse(24, 9.2, 3.1, 3.0, count=22), skin * 1.08, "eyes")
    scene.put(ellipse(24.4, 8.9, 2.0, 1.9, count=16), np.array((238, 206, 80)), "eyes")
    scene.put(ellipse(24.5, 8.9, 1.4, 0.8, count=12), np.array(INK), "eyes")
    scene.line([(30, 14.6), (26.6, 15.6), (22.6, 15.4)], 0.85, skin * 0.32, "mouth")


DRAW: tuple[Callable[[Scene, np.random.Generator], None], ...] = (
    _airplane, _automobile, _bird, _cat, _deer, _dog, _frog, _horse, _ship, _truck)
