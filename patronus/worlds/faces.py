"""Drawn faces with known local parts, in the place of CelebA and FFHQ.

Every attribute in `DRAWN` is one visible local part (hair, glasses, hat, mouth ...). What is not an
attribute (skin tone, pose, light, background, clothes ...) comes from (seed, index) alone, so the
same index with one label changed is the same face with only that part changed.

Shapes are written in face coordinates: x from the middle of the face, y from the top of a 178x218
picture, in pixels of that picture (the frame of CelebA's aligned images).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from patronus.worlds.draw import (
    Canvas,
    Mask,
    blob,
    ellipse,
    grid,
    ribbon,
    smooth_noise,
    spline,
    turn,
)

# the order of CelebA's list_attr_celeba.txt (Liu et al., ICCV 2015)
ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs",
    "Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows",
    "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup",
    "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard",
    "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns",
    "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat",
    "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)
HAIR_COLOURS = {"Black_Hair": (30, 26, 32), "Blond_Hair": (240, 204, 104),
                "Brown_Hair": (122, 70, 34), "Gray_Hair": (184, 186, 194)}
AUBURN = (168, 62, 26)  # hair of a row that names no colour
# share of faces that carry each independent attribute
RATES = {
    "Bangs": 0.35, "Big_Nose": 0.35, "Bushy_Eyebrows": 0.35, "Eyeglasses": 0.35,
    "Heavy_Makeup": 0.3, "Male": 0.5, "Mustache": 0.25, "No_Beard": 0.65, "Pale_Skin": 0.35,
    "Rosy_Cheeks": 0.35, "Smiling": 0.5, "Wavy_Hair": 0.5, "Wearing_Earrings": 0.35,
    "Wearing_Hat": 0.3, "Wearing_Lipstick": 0.4, "Wearing_Necklace": 0.35,
    "Wearing_Necktie": 0.35, "Young": 0.65,
}
DRAWN = tuple(a for a in ATTRIBUTES if a in RATES or a in HAIR_COLOURS or a == "Straight_Hair")
NEGATED = ("No_Beard", "Young")  # shown by a part (beard, wrinkles) where the label is 0
EXCLUSIVE = (tuple(HAIR_COLOURS), ("Straight_Hair", "Wavy_Hair"))

HEIGHT, WIDTH = 218, 178
INK = (44, 26, 22)
SHADE = (90, 30, 14)
MIRROR = np.array([-1.0, 1.0])


def sample_labels(n: int, seed: int, plant: tuple[str, str, float] | None = None,
                  gray: float = 0.0) -> pd.DataFrame:
    """Labels 0/1 of `n` faces, columns `ATTRIBUTES`; what is not drawn is 0 everywhere.

    Row i depends on (seed, i) only. Attributes are independent at the rates of `RATES`, except
    that each face has exactly one hair colour and is either straight- or wavy-haired.
    `plant` = (a, b, strength): b is made equal to a with probability `strength`, otherwise it is
    its opposite (0.5: independent; 1.0: always the same).
    `gray`: share of the faces with Young = 0 whose hair is gray instead of black, brown or blond.
    """
    u = np.random.default_rng([seed, 1]).random((n, len(ATTRIBUTES) + 1))
    labels = pd.DataFrame(0, index=range(n), columns=list(ATTRIBUTES), dtype=np.int64)
    for name, rate in RATES.items():
        labels[name] = (u[:, ATTRIBUTES.index(name)] < rate).astype(np.int64)
    labels["Straight_Hair"] = 1 - labels["Wavy_Hair"]
    kind = np.floor(3 * u[:, ATTRIBUTES.index("Black_Hair")])
    is_gray = (u[:, ATTRIBUTES.index("Gray_Hair")] < gray) & (labels["Young"].to_numpy() == 0)
    for k, name in enumerate(("Black_Hair", "Brown_Hair", "Blond_Hair")):
        labels[name] = ((kind == k) & ~is_gray).astype(np.int64)
    labels["Gray_Hair"] = is_gray.astype(np.int64)
    heir = np.floor(6 * u[:, ATTRIBUTES.index("Blond_Hair")]).astype(int)
    return labels if plant is None else _plant(labels, plant, u[:, -1], heir)


def _plant(labels: pd.DataFrame, plant: tuple[str, str, float], u: np.ndarray,
           heir: np.ndarray) -> pd.DataFrame:
    """Make b equal to a where u < strength; rival number `heir` takes the place that b leaves."""
    a, b, strength = plant
    if not {a, b} <= set(DRAWN) or a == b or not 0 <= strength <= 1:
        raise ValueError(f"plant must be two drawn attributes and a strength in [0, 1]: {plant}")
    if any({a, b} <= set(group) for group in EXCLUSIVE):
        raise ValueError(f"{a} and {b} exclude each other: no correlation can be planted")
    wanted = np.where(u < strength, labels[a], 1 - labels[a])
    change = wanted != labels[b].to_numpy()
    for group in (g for g in EXCLUSIVE if b in g):
        others = [name for name in group if name not in (b, "Gray_Hair")]
        chosen = np.array(others)[heir % len(others)]
        for name in group:
            gain = (wanted == 0) & (chosen == name)
            labels.loc[change, name] = gain[change].astype(np.int64)
    labels.loc[change, b] = wanted[change]
    return labels


def flip(labels_row: Mapping[str, int], name: str) -> dict[str, int]:
    """The row with one label changed; the rest of its exclusive group follows.

    Turning a hair colour or texture on turns its rivals off; turning it off leaves the hair
    without a named colour (auburn) or texture (smooth).
    """
    row = {attribute: int(labels_row[attribute]) for attribute in ATTRIBUTES}
    row[name] = 1 - row[name]
    for group in (g for g in EXCLUSIVE if name in g and row[name]):
        row.update({rival: 0 for rival in group if rival != name})
    return row


@dataclass(frozen=True)
class Look:
    """All that varies from face to face without being an attribute; from (seed, index) alone."""

    skin: float          # 0 light .. 1 dark
    undertone: np.ndarray  # (3,) levels added to the skin
    scale: np.ndarray    # (2,) width and height of the face, about 1
    shift: np.ndarray    # (2,) pixels
    tilt: float          # degrees
    backdrop: np.ndarray  # (2, 3) colours, top and bottom
    light: np.ndarray    # (2,) brightness slope across and down
    clothes: np.ndarray  # (3,) colour
    collar: np.ndarray   # (3,) colour
    iris: np.ndarray     # (3,) colour
    gaze: np.ndarray     # (2,) pixels
    brows: np.ndarray    # (3,) colour
    beard: np.ndarray    # (3,) colour
    lips: np.ndarray     # (3,) colour without lipstick
    hair_light: float    # brightness of the hair, about 1
    hair_end: float      # y where the hair ends
    parting: float       # x of the parting
    years: float         # 0 young .. 1 old, within Young = 1 or Young = 0
    accents: np.ndarray  # (6, 3) colours: hat, tie, necklace, earrings, glasses, make-up
    kinds: np.ndarray    # (6,) in [0, 1): the variant of each of these
    texture: np.ndarray  # (2,) offset into the texture tiles


def vivid(hue: float, value: float = 0.85, saturation: float = 0.8) -> np.ndarray:
    """A colour (3,) in [0, 255] of hue, value and saturation in [0, 1]."""
    ramp = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return 255 * value * (1 - saturation * (1 - ramp))


def pick(rng: np.random.Generator, *colours) -> np.ndarray:
    """One of the colours, slightly varied."""
    return np.array(colours[rng.integers(len(colours))], float) + rng.normal(0, 5, 3)


def accents(rng: np.random.Generator) -> np.ndarray:
    """Colours (6, 3) of hat, tie, necklace, earrings, glasses and make-up."""
    hues = rng.random(2)
    return np.stack([
        vivid(hues[0], 0.8, 0.8), vivid(hues[1], 0.7, 0.85),
        pick(rng, (214, 30, 60), (250, 196, 40), (30, 190, 200)),
        pick(rng, (250, 206, 60), (236, 240, 248), (40, 205, 160)),
        pick(rng, (24, 22, 28), (60, 26, 18), (28, 30, 70)),
        pick(rng, (130, 50, 190), (40, 90, 210), (20, 140, 140)),
    ])


def nuisance(seed: int, index: int) -> Look:
    """The look of face `index`: the same whatever its labels are."""
    rng = np.random.default_rng([seed, 2, index])
    top = vivid(rng.random(), rng.uniform(0.45, 0.95), rng.uniform(0.1, 0.45))
    bottom = (top * rng.uniform(0.5, 1.0) + rng.normal(0, 12, 3)).clip(20, 240)
    return Look(
        skin=rng.random(), undertone=rng.normal(0, 5, 3),
        scale=rng.normal(1, 0.025, 2).clip(0.95, 1.05), shift=rng.normal(0, 2.2, 2).clip(-5, 5),
        tilt=float(np.clip(rng.normal(0, 2.5), -6, 6)),
        backdrop=np.stack([top, bottom]),
        light=rng.uniform(-0.12, 0.12, 2),
        clothes=vivid(rng.random(), rng.uniform(0.25, 0.85), rng.uniform(0.2, 0.7)),
        collar=pick(rng, (244, 244, 246), (214, 226, 244), (250, 236, 220)),
        iris=pick(rng, (70, 42, 24), (60, 110, 160), (70, 120, 70), (120, 84, 40)),
        gaze=rng.uniform(-1, 1, 2) * (3.0, 1.2), brows=pick(rng, (50, 32, 24), (34, 28, 30)),
        beard=pick(rng, (50, 32, 26), (32, 27, 30), (70, 38, 22)),
        lips=pick(rng, (176, 104, 92), (160, 92, 82), (190, 120, 106)),
        hair_light=rng.uniform(0.88, 1.1), hair_end=rng.choice([112.0, 146.0, 186.0]),
        parting=rng.uniform(-24, 24), years=rng.random(), accents=accents(rng),
        kinds=rng.random(6), texture=rng.integers(0, 100, 2))


TILE = 360


@lru_cache(maxsize=1)
def curls() -> np.ndarray:
    """Texture (TILE, TILE) float32 about 1: overlapping ringlets, high frequency."""
    rng = np.random.default_rng(1)
    tile = Image.new("L", (2 * TILE, 2 * TILE), 90)
    pen = ImageDraw.Draw(tile)
    for x, y, size, start in rng.uniform((0, 0, 13, 0), (2 * TILE, 2 * TILE, 19, 360), (2200, 4)):
        for step, level in enumerate((34, 74, 112, 150, 84, 40)):
            r = size * (1 - step / 6)
            pen.arc((x - r, y - r, x + r, y + r), start + 20 * step, start + 290, level, width=4)
    return np.asarray(tile.reduce(2), np.float32) / 80


@lru_cache(maxsize=1)
def strands() -> np.ndarray:
    """Texture (TILE, TILE) float32 about 1: combed vertical strands."""
    rng = np.random.default_rng(2)
    fine = smooth_noise(rng, 8, TILE, 2.2) + smooth_noise(rng, 8, TILE, 7)
    tall = Image.fromarray(fine).resize((TILE, TILE), Image.Resampling.BICUBIC)
    return 1 + 0.13 * np.asarray(tall)


@lru_cache(maxsize=1)
def bristles() -> np.ndarray:
    """Texture (TILE, TILE) float32 about 1: short rough hair."""
    rng = np.random.default_rng(3)
    return 1 + 0.28 * np.clip(smooth_noise(rng, TILE, TILE, 2.0), -2, 2)


def both(points) -> tuple[np.ndarray, np.ndarray]:
    """A shape in face coordinates and its mirror image."""
    return np.asarray(points, float), np.asarray(points, float) * MIRROR


def whole(half) -> np.ndarray:
    """Closed smooth outline from its right half, listed from top to bottom."""
    half = np.asarray(half, float)
    return spline(np.concatenate([half, (half * MIRROR)[::-1]]))


class Face:
    """One picture being drawn: its canvas, its labels and its look."""

    def __init__(self, labels: Mapping[str, int], look: Look, size: tuple[int, int]):
        self.look = look
        self.canvas = Canvas(*size)
        self.zoom = np.array([size[1] / WIDTH, size[0] / HEIGHT])
        self.on = {name: bool(labels[name]) for name in DRAWN}
        about = np.array([0.0, 110.0])
        self.pose = turn(np.diag(look.scale), look.tilt) * self.zoom
        self.origin = (about + look.shift + (WIDTH / 2, 0)) * self.zoom - about @ self.pose

    def bits(self, *names: str) -> int:
        """Bits of those of the named attributes whose part is drawn on this face."""
        return sum(1 << DRAWN.index(n) for n in names if self.on[n] != (n in NEGATED))

    def place(self, points) -> np.ndarray:
        """Face coordinates (N, 2) to pixels: proportions, tilt, shift, picture size."""
        return np.asarray(points, float) @ self.pose + self.origin

    def mask(self, *shapes) -> Mask:
        """Coverage of the union of shapes in face coordinates."""
        ends = np.cumsum([len(shape) for shape in shapes])[:-1]
        return self.canvas.mask(*np.split(self.place(np.concatenate(shapes)), ends))

    def paint(self, shapes, colour, *names: str, **how) -> None:
        """Paint shapes (one or several) that show the named attributes."""
        shapes = shapes if isinstance(shapes, (tuple, list)) else (shapes,)
        self.canvas.paint(self.mask(*shapes), colour, self.bits(*names), **how)

    def shade(self, shapes, opacity: float, *names: str, colour=SHADE) -> None:
        """A translucent stroke: what lies below keeps its parts."""
        self.paint(shapes, colour, *names, opacity=opacity, see_through=True)

    def mark(self, mask: Mask, *names: str) -> None:
        """Say that pixels belong to attributes without painting them."""
        self.canvas.parts[mask.box][mask.alpha > 0] |= np.uint32(self.bits(*names))

    def soft(self, x: float, y: float, rx: float, ry: float, colour, opacity: float,
             *names: str) -> None:
        """A soft translucent spot at a place of the face, and its mirror image."""
        for cx, cy in self.place([(x, y), (-x, y)]):
            spot = blob(self.canvas.height, self.canvas.width, cx, cy,
                        rx * self.zoom[0], ry * self.zoom[1])
            self.canvas.paint(spot, colour, self.bits(*names), opacity, see_through=True)

    @property
    def skin(self) -> np.ndarray:
        """Colour (3,) of the skin."""
        if self.on["Pale_Skin"]:
            return np.array([253, 231, 219]) + 0.3 * self.look.undertone
        light, dark = np.array([236, 184, 142]), np.array([150, 98, 66])
        return light + self.look.skin * (dark - light) + self.look.undertone

    @property
    def hair(self) -> np.ndarray:
        """Colour (3,) of the hair."""
        named = [c for name, c in HAIR_COLOURS.items() if self.on[name]]
        return np.array(named[0] if named else AUBURN) * self.look.hair_light

    @property
    def hair_texture(self) -> np.ndarray:
        """Texture (height, width) of the hair."""
        if self.on["Wavy_Hair"]:
            return self.crop(curls())
        return self.crop(strands()) * self.shine() if self.on["Straight_Hair"] else self.shine()

    def shine(self) -> np.ndarray:
        """Brightness (height, width) of smooth hair: a glossy band round the head."""
        _, y = grid(self.canvas.height, self.canvas.width)
        band = np.exp(-((y / self.zoom[1] - self.look.shift[1] - 47) / 8) ** 2)
        return np.broadcast_to(0.96 + 0.3 * band, self.canvas.parts.shape)

    def crop(self, tile: np.ndarray) -> np.ndarray:
        """The part of a texture tile that lies on this canvas."""
        top, left = self.look.texture
        rows = (np.arange(self.canvas.height) + top) % TILE
        columns = (np.arange(self.canvas.width) + left) % TILE
        return tile[rows][:, columns]


HAIR_NAMES = (*HAIR_COLOURS, "Straight_Hair", "Wavy_Hair")
JAW = {False: [(0, 42), (28, 49), (42, 76), (42, 104), (35, 130), (20, 149), (6, 156)],
       True: [(0, 42), (28, 49), (42, 76), (44, 104), (43, 132), (31, 155), (9, 162)]}
HAIR_OUTLINE = [(0, 33), (26, 36), (46, 53), (53, 80), (54, 106)]


def background(face: Face) -> None:
    """A wall with a gradient."""
    _, y = grid(face.canvas.height, face.canvas.width)
    top, bottom = face.look.backdrop[:, :, None, None]
    face.canvas.planes += top + (bottom - top) * (y / face.canvas.height)


def puffs(outline: np.ndarray, radius: float) -> list[np.ndarray]:
    """Round bumps along an outline: the silhouette of curls."""
    return [ellipse(x, y, radius * (1 + 0.25 * (k % 2)), radius * (1 + 0.25 * (k % 2)), count=14)
            for k, (x, y) in enumerate(outline)]


def along(points: np.ndarray, spacing: float) -> np.ndarray:
    """Points at equal spacing along a line (N, 2)."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    travelled = np.concatenate([[0], np.cumsum(steps)])
    at = np.arange(0, travelled[-1], spacing)
    return np.stack([np.interp(at, travelled, points[:, k]) for k in (0, 1)], axis=1)


def back_hair(face: Face) -> None:
    """The hair behind head and neck."""
    end = face.look.hair_end
    outline = whole([*HAIR_OUTLINE, (53, (106 + end) / 2), (46, end), (30, end + 3)])
    shapes = [outline]
    if face.on["Wavy_Hair"]:
        ring = along(outline, 11)
        shapes += puffs(ring[ring[:, 1] > 56], 8) + puffs(ring[ring[:, 1] <= 56], 6)
    face.paint(shapes, 0.78 * face.hair, *HAIR_NAMES, texture=face.hair_texture)


def clothes(face: Face) -> None:
    """Shoulders and the opening of the collar."""
    body = whole([(0, 172), (34, 177), (66, 187), (86, 206), (100, 240), (50, 250)])
    face.paint(body, face.look.clothes)
    face.shade(both(ribbon([(60, 200), (54, 232)], 3)), 0.3, colour=(0, 0, 0))


def neck(face: Face) -> None:
    """Neck and throat down to the opening of the collar, and the shadow of the chin."""
    wide = 29 if face.on["Male"] else 19
    throat = np.array([(-wide, 130), (wide, 130), (wide, 164), (33, 174), (0, 202), (-33, 174),
                       (-wide, 164)])
    face.paint(throat, 0.93 * face.skin, "Pale_Skin", "Male")
    low = 170 if face.on["Male"] else 166
    face.shade(np.array([(-wide, 140), (wide, 140), (wide, low - 7), (wide / 2, low),
                         (-wide / 2, low), (-wide, low - 7)]), 0.3)


def collar(face: Face) -> None:
    """The two wings of a shirt collar."""
    wing = np.array([(29, 165), (36, 175), (32, 196), (17, 205), (0, 199), (21, 183)])
    face.paint(both(wing), face.look.collar)
    face.shade(both(ribbon([(35, 176), (31, 197), (17, 205), (1, 200)], 1.6)), 0.5, colour=INK)


def necklace(face: Face) -> None:
    """A string of large beads."""
    beads = along(ellipse(0, 163, 31, 30, 14, 168), 11)
    face.paint([ellipse(x, y, 6.8, 6.8, count=16) for x, y in beads], 0.62 * face.look.accents[2],
               "Wearing_Necklace")
    face.paint([ellipse(x - 0.6, y - 0.9, 5.2, 5.2, count=16) for x, y in beads],
               face.look.accents[2], "Wearing_Necklace")


def necktie(face: Face) -> None:
    """A knotted striped tie."""
    colour = face.look.accents[1]
    face.paint(np.array([(-10, 190), (10, 190), (24, 240), (-24, 240)]), colour, "Wearing_Necktie")
    stripes = [ribbon([(-x, y + x / 2), (x, y - x / 2)], 4) for x, y in ((10, 202), (13, 214))]
    face.paint(stripes, np.minimum(255, colour * 0.5 + 130), "Wearing_Necktie")
    face.paint(np.array([(-15, 177), (15, 177), (10, 195), (-10, 195)]), 0.8 * colour,
               "Wearing_Necktie")


def head(face: Face) -> None:
    """The skin of the head with soft modelling."""
    face.paint(whole(JAW[face.on["Male"]]), face.skin, "Pale_Skin")
    face.soft(27, 116, 17, 15, (255, 240, 225), 0.13)
    face.soft(14, 62, 26, 12, (255, 245, 235), 0.12)


def ears(face: Face) -> None:
    """Ears, in front of the hair."""
    face.paint(both(turn(ellipse(45, 101, 7, 12), 8, (45, 101))), 0.95 * face.skin, "Pale_Skin")
    face.shade(both(turn(ellipse(46, 101, 3.2, 7), 8, (46, 101))), 0.25)


def makeup(face: Face) -> None:
    """Coloured lids."""
    lid = spline([(5, 95), (8, 79), (22, 72), (37, 76), (44, 87), (34, 98), (20, 99)])
    face.paint(both(lid), face.look.accents[5], "Heavy_Makeup", opacity=0.9, see_through=True)


def eye_size(face: Face) -> float:
    """Eyes look larger the younger the face."""
    return 1.16 - 0.24 * face.look.years


def eyes(face: Face) -> None:
    """White, iris, pupil, highlight and upper lid of both eyes."""
    k, (gx, gy) = eye_size(face), face.look.gaze
    for x in (-20, 20):
        white = ellipse(x, 93, 10.5 * k, 6.8 * k)
        face.paint(white, (250, 250, 250))
        face.paint(ellipse(x + gx, 93 + gy, 6.3 * k, 6.5 * k), face.look.iris)
        face.paint(ellipse(x + gx, 93 + gy, 3.3 * k, 3.5 * k), (14, 12, 14))
        face.paint(ellipse(x + gx + 2.2, 90.4 + gy, 1.7, 1.7, count=12), (255, 255, 255))
        face.paint(ribbon(ellipse(x, 93.5, 11 * k, 8 * k, 185, 355, 24), 2.6), INK)


def lashes(face: Face) -> None:
    """Long lashes on a woman's eyes; on a man's the same place is bare."""
    k = eye_size(face)
    shapes = both(spline([(12, 93 - 7 * k), (20, 93 - 10.5 * k), (28, 93 - 8.5 * k),
                          (26 + 14 * k, 93 - 9.5 * k), (22 + 11 * k, 93 - 0.5 * k),
                          (28, 93 - 6 * k), (20, 93 - 7.5 * k)]))
    if face.on["Male"]:
        face.mark(face.mask(*shapes), "Male")
    else:
        face.paint(shapes, INK)


def brows(face: Face) -> None:
    """Eyebrows: a thin line, or a thick rough one."""
    bushy = face.on["Bushy_Eyebrows"]
    line = spline([(6, 76), (16, 71), (28, 71.5), (37, 77)], closed=False)
    width = np.linspace(10.5, 7.5, len(line)) if bushy else np.linspace(3.4, 2.0, len(line))
    face.paint(both(ribbon(line, width)), face.look.brows, "Bushy_Eyebrows",
               texture=face.crop(bristles()) if bushy else None)


def nose(face: Face) -> None:
    """A small nose, or a large round one."""
    if face.on["Big_Nose"]:
        bulb = whole([(0, 97), (7, 104), (17, 111), (17, 119), (8, 122)])
        face.shade(bulb, 0.3, "Big_Nose", colour=(200, 40, 20))
        face.shade(ribbon(spline([(-17, 110), (-17, 119), (-8, 123), (0, 124), (8, 123), (17, 119),
                                  (17, 110)], False), 3), 0.55, "Big_Nose")
        face.shade(ellipse(-3, 109, 5, 5), 0.4, "Big_Nose", colour=(255, 245, 235))
    else:
        face.shade(ribbon(spline([(-7, 112), (-6, 117), (0, 119), (6, 117), (7, 112)], False), 2.4),
                   0.5)
    face.shade(both(ellipse(5, 117, 2.4, 1.6)), 0.6)


def cheeks(face: Face) -> None:
    """Rosy cheeks."""
    face.soft(28, 117, 17, 15, (250, 50, 90), 0.85, "Rosy_Cheeks")


def wrinkles(face: Face) -> None:
    """Lines of age on forehead, eyes and cheeks; deeper with the years."""
    depth = 0.5 + 0.3 * face.look.years
    forehead = [ribbon(spline([(-26, y + 2), (-12, y), (0, y + 1.5), (12, y), (26, y + 2)],
                              False), 2.6) for y in (59, 64.5)]
    folds = both(ribbon(spline([(13, 114), (21, 122), (26, 132), (25, 142)], False), 4))
    bags = both(ribbon(ellipse(20, 95, 13, 12, 20, 160, 24), 3.2))
    crow = [s for y in (-5, 0, 5) for s in both(ribbon([(34, 95 + y / 2), (41, 95 + y)], 1.8))]
    for lines in (forehead, folds, bags, crow):
        face.shade(list(lines), depth, "Young")


def beard(face: Face) -> None:
    """A full beard along the jaw."""
    outer = [(44, 96), (46, 122), (43, 138), (32, 160), (8, 170)] if face.on["Male"] else \
            [(43, 96), (44, 118), (38, 138), (23, 156), (7, 165)]
    inner = [(7, 149), (22, 146), (28, 134), (33, 118), (39, 96)]
    right = np.concatenate([spline(outer + [(0, outer[-1][1] + 1)], False),
                            spline([(0, 149.5)] + inner, False)])
    face.paint(both(right), face.look.beard, "No_Beard", texture=face.crop(bristles()))


def jaw_bits(face: Face) -> None:
    """What shows a man below the eyes: the broad jaw."""
    edge = spline([(43, 98), (40, 130), (28, 151), (8, 161), (-5, 161)], closed=False)
    face.mark(face.mask(*both(ribbon(edge, 23))), "Male")


def mustache(face: Face) -> None:
    """A broad mustache."""
    half = spline([(0, 121), (9, 119), (20, 122), (29, 130), (20, 130), (9, 128.5), (0, 128.5)])
    face.paint(both(half), face.look.beard, "Mustache", texture=face.crop(bristles()))


def mouth(face: Face) -> None:
    """A closed mouth, or a wide smile with teeth; lips natural or painted."""
    lips = face.look.lips
    if face.on["Wearing_Lipstick"]:
        lips = np.array([206, 10, 60]) if face.look.kinds[5] < 0.5 else np.array([170, 0, 84])
    if face.on["Smiling"]:
        smile(face, lips)
        return
    face.paint(spline([(-15, 136), (-6, 131.5), (0, 133), (6, 131.5), (15, 136), (7, 141.5),
                       (-7, 141.5)]), lips, "Wearing_Lipstick")
    face.paint(ribbon(spline([(-15, 136), (-6, 136), (0, 136.8), (6, 136), (15, 136)], False), 1.5),
               0.45 * lips, "Wearing_Lipstick")


def smile(face: Face, lips: np.ndarray) -> None:
    """A wide open smile."""
    outer = spline([(-25, 126), (-12, 130.5), (0, 131), (12, 130.5), (25, 126), (18, 142), (0, 149),
                    (-18, 142)])
    face.paint(outer, lips, "Smiling", "Wearing_Lipstick")
    face.paint(spline([(-20, 130), (-10, 133.5), (0, 134), (10, 133.5), (20, 130), (14, 139.5),
                       (0, 144), (-14, 139.5)]), (252, 252, 250), "Smiling")
    face.shade(both(ribbon(ellipse(15, 129, 15, 13, -50, 10, 12), 2.2)), 0.45, "Smiling")


def front_hair(face: Face) -> None:
    """The hair on top of the head, down to the hairline."""
    p = face.look.parting
    hairline = spline([(43, 104), (40, 80), (31 + p / 6, 64), (p, 53), (-31 + p / 6, 64), (-40, 80),
                       (-43, 104)], closed=False)
    right = np.array(HAIR_OUTLINE, float)
    over = spline(np.concatenate([right[:0:-1] * MIRROR, right]), closed=False)
    shapes = [np.concatenate([over, hairline])]
    if face.on["Wavy_Hair"]:
        ring = along(over, 11)
        shapes += puffs(ring[ring[:, 1] > 56], 8) + puffs(ring[ring[:, 1] <= 56], 6)
        shapes += puffs(along(hairline, 9), 4.5)
    face.paint(shapes, face.hair, *HAIR_NAMES, texture=face.hair_texture)


def bangs(face: Face) -> None:
    """A fringe down to the brows."""
    teeth = [(x, 74 if k % 2 else 67) for k, x in enumerate(np.linspace(-38, 38, 12))]
    fringe = np.array([(38, 62), (22, 46), (0, 42), (-22, 46), (-38, 62), *teeth])
    face.paint(fringe, 0.93 * face.hair, "Bangs", *HAIR_NAMES, texture=face.hair_texture)


def earrings(face: Face) -> None:
    """Hoops or drops, in front of the hair."""
    colour = face.look.accents[3]
    if face.look.kinds[3] < 0.5:
        ring = both(np.concatenate([ellipse(49, 125, 10, 13), ellipse(49, 126, 4.8, 7)[::-1]]))
        face.paint(ring, colour, "Wearing_Earrings")
    else:
        face.paint(both(spline([(49, 111), (56, 129), (49, 140), (42, 129)])), colour,
                   "Wearing_Earrings")
        face.paint(both(ellipse(48, 128, 2.5, 4)), np.minimum(255, colour + 50), "Wearing_Earrings")


def sunglasses(look: Look) -> bool:
    """Whether the glasses of this face, where it has some, are sunglasses."""
    return bool(look.kinds[4] > 0.8)


def glasses(face: Face) -> None:
    """Round or square glasses with a thick frame."""
    frame, dark = face.look.accents[4], sunglasses(face.look)
    power = 2.0 if face.look.kinds[4] < 0.4 else 4.0
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    unit = np.stack([np.sign(f(t)) * np.abs(f(t)) ** (2 / power) for f in (np.cos, np.sin)], axis=1)
    outer, lens = unit * (18.5, 16) + (21, 94), unit * (14.5, 12) + (21, 94)
    if dark:
        face.paint(both(outer), frame, "Eyeglasses")
        face.paint(both(lens), (34, 36, 44), "Eyeglasses")
    else:
        face.shade(both(lens), 0.16, "Eyeglasses", colour=(170, 215, 255))
        rims = [np.concatenate([o, o[:1], i[:1], i[::-1]])
                for o, i in zip(both(outer), both(lens), strict=True)]
        face.paint(rims, frame, "Eyeglasses")
    bridge = ribbon([(-5, 91), (0, 89), (5, 91)], 4.5)
    face.paint([bridge, *both(ribbon([(37, 90), (46, 93)], 4.5))], frame, "Eyeglasses")
    face.shade(both(ribbon([(14, 100), (22, 87)], 3)), 0.55, "Eyeglasses", colour=(255, 255, 255))


def hat(face: Face) -> None:
    """A knitted cap, a brimmed hat or a peaked cap; it hides the top of the hair."""
    colour, kind = face.look.accents[0], int(3 * face.look.kinds[0])
    crown = whole([(0, 14), (30, 17), (52, 32), (58, 52), (57, 63), (20, 62)])
    face.paint(crown, colour, "Wearing_Hat")
    if kind == 0:
        knit(face, colour)
    elif kind == 1:
        hatband = np.array([(-58, 46), (58, 46), (58, 56), (-58, 56)])
        face.paint(hatband, 0.45 * colour, "Wearing_Hat")
        face.paint(ellipse(0, 60, 76, 8.5), 0.85 * colour, "Wearing_Hat")
    else:
        peak = spline([(-56, 56), (0, 50), (56, 56), (40, 67), (0, 70), (-40, 67)])
        face.paint(peak, 0.6 * colour, "Wearing_Hat")
        face.paint(ellipse(0, 34, 13, 11), (246, 246, 240), "Wearing_Hat")


def knit(face: Face, colour: np.ndarray) -> None:
    """The turned-up band and the bobble of a knitted cap."""
    band = spline([(-60, 50), (-30, 45), (0, 44), (30, 45), (60, 50), (59, 66), (0, 63), (-59, 66)])
    face.paint(band, np.minimum(255, 0.55 * colour + 90), "Wearing_Hat")
    face.shade([ribbon([(x, 46), (x, 64)], 2) for x in range(-48, 49, 12)], 0.35, colour=(0, 0, 0))
    face.paint(ellipse(0, 13, 11, 10), np.minimum(255, 0.55 * colour + 90), "Wearing_Hat")


def relight(face: Face) -> None:
    """Light from one side, the same whatever the labels are."""
    x, y = grid(face.canvas.height, face.canvas.width)
    across, down = face.look.light
    face.canvas.planes *= (1 + across * (2 * x / face.canvas.width - 1)
                           + down * (2 * y / face.canvas.height - 1))


# back to front: (what draws it, the attribute without which it is left out, that attribute's value)
LAYERS = (
    (background, None, 1), (back_hair, None, 1), (clothes, None, 1), (neck, None, 1),
    (collar, None, 1), (necklace, "Wearing_Necklace", 1), (necktie, "Wearing_Necktie", 1),
    (head, None, 1), (makeup, "Heavy_Makeup", 1), (wrinkles, "Young", 0),
    (cheeks, "Rosy_Cheeks", 1), (eyes, None, 1), (lashes, None, 1), (brows, None, 1),
    (nose, None, 1), (beard, "No_Beard", 0), (mustache, "Mustache", 1), (jaw_bits, "Male", 1),
    (mouth, None, 1), (front_hair, None, 1), (bangs, "Bangs", 1), (ears, None, 1),
    (earrings, "Wearing_Earrings", 1), (hat, "Wearing_Hat", 1), (glasses, "Eyeglasses", 1),
    (relight, None, 1),
)


def render(labels_row: Mapping[str, int], seed: int, index: int,
           size: tuple[int, int] = (HEIGHT, WIDTH)) -> tuple[np.ndarray, np.ndarray]:
    """Draw one face: image uint8 (H, W, 3) and parts uint32 (H, W), `size` = (H, W).

    Bit k of `parts` is set where the pixel visibly shows attribute `DRAWN[k]`: its part in front
    of everything that hides it. It is 0 where the attribute is absent, except for those in
    `NEGATED`, whose part (beard, wrinkles) is drawn and marked where the label is 0.
    """
    face = Face(labels_row, nuisance(seed, index), size)
    for layer, attribute, value in LAYERS:
        if attribute is None or face.on[attribute] == bool(value):
            layer(face)
    return face.canvas.image(), face.canvas.parts


def ffhq_labels(labels_row: Mapping[str, int], seed: int, index: int) -> dict[str, int | str]:
    """Age in years, gender and glasses of a face, as FFHQ's table has them.

    The age shows in the picture: larger eyes for the young (8 to 44 years where Young = 1),
    deeper wrinkles and, with `sample_labels(..., gray=...)`, gray hair for the old (50 to 80).
    """
    look = nuisance(seed, index)
    worn = "Sunglasses" if sunglasses(look) else "ReadingGlasses"
    return {"age": round(8 + 36 * look.years if labels_row["Young"] else 50 + 30 * look.years),
            "gender": "male" if labels_row["Male"] else "female",
            "glasses": worn if labels_row["Eyeglasses"] else "NoGlasses"}
