"""The framework as a drawing: boxes, arrows and real arrays on a canvas measured in inches.

Figures 1 and 2 share it. Lengths and positions are inches, y upwards, so that one number means the
same everywhere and gaps stay even; text is in points and does not scale.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine

from paper import style

LINE = 0.8  # of every outline and arrow, points
FINE = 0.35  # between cells
COLOURS = (style.PALETTE[0], style.PALETTE[1], style.PALETTE[2])
PALE, MIDDLE = "0.93", "0.82"  # fills of what has no colour of its own
GAP = 0.06  # between an arrow and what it joins
LEVELS = 4  # of the U-Net (patronus.md section 1, item 3)
FINEST = 12  # a larger grid of features is drawn with fewer cells
HEADINGS = {"image": "image $x_0$", "encoder": "encoder", "features": "features $z$",
            "prototypes": "prototypes", "maps": "similarity", "code": "code $s$",
            "denoiser": r"denoiser $\varepsilon_\theta$"}


@dataclass(frozen=True)
class Shown:
    """What the drawing shows of one image: three prototypes, and the whole code.

    image and noised, noise (C, H, W) uint8: x0, x_t and x_T of it; boxes (3, 4) pixels y0, x0, y1,
    x1; maps (3, h, w) activation at every position; names (3,) numbers of the prototypes; code (P,)
    activations by prototype; at (3,) where in the code these three are; count: m.
    """

    image: np.ndarray
    noised: np.ndarray
    noise: np.ndarray
    boxes: np.ndarray
    maps: np.ndarray
    names: np.ndarray
    code: np.ndarray
    at: np.ndarray
    count: int


def sheet(height: float) -> Figure:
    """A figure as wide as the text in which axes stay where they are placed."""
    return plt.figure(figsize=(style.TEXT, height), layout=PlaceHolderLayoutEngine(True, True))


def place(fig: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Axes by their lower left corner and size in inches."""
    across, up = fig.get_size_inches()
    return fig.add_axes((x / across, y / up, width / across, height / up))


def write(fig: Figure, x: float, y: float, words: str, **how) -> None:
    """Text around a point of the figure."""
    across, up = fig.get_size_inches()
    fig.text(x / across, y / up, words, **{"ha": "center", "va": "center", "fontsize": 7, **how})


def title(fig: Figure, x: float, y: float, words: str) -> None:
    """A panel's title, from x to the right."""
    write(fig, x, y, words, ha="left", weight="bold", fontsize=8)


def canvas(fig: Figure, bottom: float, height: float) -> Axes:
    """Axes without a frame over the whole width, 1 unit = 1 inch."""
    width = fig.get_figwidth()
    ax = place(fig, 0, bottom, width, height)
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    return ax


def text(ax: Axes, x: float, y: float, words: str, **how) -> None:
    ax.text(x, y, words, **{"ha": "center", "va": "center", "fontsize": 7, **how})


def arrow(ax: Axes, *points: tuple[float, float], colour: str = style.INK,
          head: bool = True) -> None:
    """A line through the points with a head at its end."""
    ax.plot(*zip(*points[:-1], _before(*points[-2:], 0.05 * head), strict=True), color=colour,
            lw=LINE, solid_capstyle="butt", solid_joinstyle="miter")
    if head:
        ax.annotate("", points[-1], points[-2], annotation_clip=False,
                    arrowprops={"arrowstyle": "-|>,head_length=0.4,head_width=0.2", "color": colour,
                                "lw": 0, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10})


def _before(start: tuple[float, float], end: tuple[float, float], gap: float) -> np.ndarray:
    """The point `gap` inches before `end`, so that a line never shows beside its head."""
    way = np.subtract(end, start)
    return end - way / np.hypot(*way) * gap


def polygon(ax: Axes, points, fill, line: float = LINE) -> None:
    ax.add_patch(plt.Polygon(points, facecolor=fill, edgecolor=style.INK, linewidth=line,
                             joinstyle="miter"))


def rectangle(ax: Axes, x: float, y: float, width: float, height: float, fill,
              line: float = LINE) -> None:
    """A rectangle by its lower left corner."""
    polygon(ax, [(x, y), (x + width, y), (x + width, y + height), (x, y + height)], fill, line)


def picture(ax: Axes, image: np.ndarray, x: float, y: float, side: float, colour: str = style.INK,
            cmap=None) -> None:
    """An image uint8 (C, H, W), or values (h, w) with a colour map, in a square with an outline."""
    if cmap is None:
        image, cmap = (image[0], "gray") if len(image) == 1 else (np.moveaxis(image, 0, -1), None)
    ax.imshow(image, extent=(x, x + side, y, y + side), cmap=cmap, aspect="auto", zorder=1)
    ax.add_patch(plt.Rectangle((x, y), side, side, fill=False, edgecolor=colour, linewidth=LINE))


def boxed(ax: Axes, shown: Shown, x: float, y: float, side: float) -> None:
    """The image with its three boxes."""
    picture(ax, shown.image, x, y, side)
    inch = side / shown.image.shape[-1]
    for (y0, x0, y1, x1), colour in zip(shown.boxes, COLOURS, strict=False):
        for width, edge in ((2.0, "white"), (1.0, colour)):
            ax.add_patch(plt.Rectangle((x + x0 * inch, y + side - y1 * inch), (x1 - x0) * inch,
                                       (y1 - y0) * inch, fill=False, edgecolor=edge,
                                       linewidth=width))


def tints(colour: str) -> LinearSegmentedColormap:
    """White to a colour."""
    return LinearSegmentedColormap.from_list("", ["white", colour, 0.45 * np.array(to_rgb(colour))])


def tensor(ax: Axes, shown: Shown, x: float, y: float, side: float, depth: float) -> None:
    """Features as a block of cells; the cells nearest to the prototypes carry their colours.

    x, y: lower left corner of the front; the depth goes right and up.
    """
    grid, cells = shown.maps.shape[1], min(shown.maps.shape[1], FINEST)
    right, top, cell = x + side, y + side, side / cells
    rectangle(ax, x, y, side, side, PALE)
    back = right + depth, top + depth
    polygon(ax, [(x, top), (right, top), back, (x + depth, back[1])], "0.97")
    polygon(ax, [(right, y), (right, top), back, (back[0], y + depth)], MIDDLE)
    for colour, (row, column) in zip(COLOURS, peaks(shown.maps), strict=False):
        across, down = column * cells // grid, row * cells // grid
        rectangle(ax, x + across * cell, top - (down + 1) * cell, cell, cell, colour, FINE)
    for a in np.linspace(0, side, cells + 1)[1:-1]:
        fine(ax, (x + a, y), (x + a, top), (x + a + depth, top + depth))
        fine(ax, (x, y + a), (right, y + a), (right + depth, y + a + depth))
    for a in np.linspace(0, depth, 5)[1:-1]:
        fine(ax, (x + a, top + a), (right + a, top + a), (right + a, y + a))


def fine(ax: Axes, *points: tuple[float, float]) -> None:
    """A line between cells."""
    ax.plot(*zip(*points, strict=True), color=style.INK, lw=FINE)


def peaks(maps: np.ndarray) -> list[tuple[int, int]]:
    """Row and column of the largest activation of each map (P, h, w)."""
    return [np.unravel_index(one.argmax(), one.shape) for one in maps]


def vector(ax: Axes, x: float, y: float, width: float, height: float, colour: str,
           cells: int = 7) -> None:
    """A vector as a column of cells in tints of one colour, centred at height y."""
    shades = tints(colour)(0.15 + 0.5 * np.abs(np.sin(np.arange(1, cells + 1) * 2.4)))
    for k, shade in enumerate(shades):
        rectangle(ax, x, y - height / 2 + k * height / cells, width, height / cells, shade, FINE)
    ax.add_patch(plt.Rectangle((x, y - height / 2), width, height, fill=False, edgecolor=colour,
                               linewidth=1.2))


def heat(ax: Axes, values: np.ndarray, x: float, y: float, side: float, colour: str) -> None:
    """An activation map from white (its least) to the colour, its peak ringed."""
    picture(ax, values.astype(float), x, y, side, colour, tints(colour))
    (row, column), = peaks(values[None])
    cell = side / len(values)
    centre = (x + (column + 0.5) * cell, y + side - (row + 0.5) * cell)
    for width, edge in ((2.2, "white"), (LINE, style.INK)):
        ax.add_patch(plt.Circle(centre, 0.045, fill=False, edgecolor=edge, linewidth=width))


def bars(ax: Axes, shown: Shown, x: float, low: float, high: float, width: float) -> np.ndarray:
    """The code as horizontal bars from x to the right; returns the heights of the three."""
    edges = np.linspace(high, low, len(shown.code) + 1)
    middle, thick = (edges[1:] + edges[:-1]) / 2, 0.72 * (edges[0] - edges[1])
    colours = np.full(len(shown.code), "0.7", dtype=object)
    colours[shown.at] = COLOURS[:len(shown.at)]
    ax.barh(middle, width * shown.code / shown.code.max(), thick, left=x, color=colours.tolist())
    ax.plot([x, x], [low - 0.03, high + 0.03], color=style.INK, lw=LINE)
    return middle[shown.at]


def unet(ax: Axes, x: float, y: float, width: float, height: float) -> None:
    """A U of boxes with its skip connections; x, y: lower left corner."""
    step = height / (LEVELS + 1)
    thick, wide = 0.62 * step, 0.23 * width
    for level in range(LEVELS):
        shift, low = level * 0.07 * width, y + height - (level + 1) * step + (step - thick) / 2
        left, right = x + shift, x + width - shift - wide
        ax.plot([left + wide, right], [low + thick / 2] * 2, color=style.INK, lw=LINE,
                ls=(0, (2, 1.5)))
        for at, shift in ((left, 0.07), (right, -0.07)):
            rectangle(ax, at, low, wide, thick, MIDDLE)
            across = at + wide / 2 + shift * width / 2
            ax.plot([across] * 2, [low, low - step + thick], color=style.INK, lw=LINE)
    shift = LEVELS * 0.07 * width
    rectangle(ax, x + shift, y + (step - thick) / 2, width - 2 * shift, thick, MIDDLE)


def container(ax: Axes, x: float, y: float, width: float, height: float) -> None:
    ax.add_patch(plt.Rectangle((x, y), width, height, facecolor=PALE, edgecolor=style.INK,
                               linewidth=LINE, joinstyle="round", zorder=0.5))


def framework(ax: Axes, shown: Shown, low: float, high: float) -> dict[str, float]:
    """Draw the whole model between the heights low and high of a canvas `style.TEXT` wide.

    Returns the middle of each part from left to right, for `caption`.
    """
    centres: dict[str, float] = {}
    x = _encoded(ax, shown, 0.05, low, high, centres)
    x, ends = _compared(ax, shown, x, low, high, centres)
    x = _collected(ax, shown, x, low, high, ends, centres)
    denoiser(ax, shown, x, low, style.TEXT - 0.05 - x, high - low)
    centres["denoiser"] = (x + style.TEXT - 0.05) / 2
    return centres


def caption(ax: Axes, centres: dict[str, float], y: float, words: dict[str, str], **how) -> None:
    """Words above or below the parts of the drawing, on one line."""
    for part, word in words.items():
        text(ax, centres[part], y, word, **how)


def _encoded(ax: Axes, shown: Shown, x: float, low: float, high: float, centres: dict) -> float:
    """Image, encoder, features; returns where they end."""
    mid, side, wide = (low + high) / 2, min(0.95, 0.72 * (high - low)), 0.44
    front, depth = 0.72 * side, 0.2 * side
    boxed(ax, shown, x, mid - side / 2, side)
    centres["image"] = x + side / 2
    x = _join(ax, x + side, mid)
    polygon(ax, [(x, mid - 0.5 * side), (x + wide, mid - 0.3 * side), (x + wide, mid + 0.3 * side),
                 (x, mid + 0.5 * side)], MIDDLE)
    text(ax, x + wide / 2, mid, "$f$", fontsize=9)
    centres["encoder"] = x + wide / 2
    x = _join(ax, x + wide, mid)
    tensor(ax, shown, x, mid - (front + depth) / 2, front, depth)
    centres["features"] = x + (front + depth) / 2
    return x + front + depth


def _compared(ax: Axes, shown: Shown, x: float, low: float, high: float,
              centres: dict) -> tuple[float, list[tuple[float, float]]]:
    """Prototypes and activation maps, one row each; returns where s begins and the rows' ends."""
    pitch = (high - low) / 3.45
    rows = np.array([high - 0.5 * pitch, high - 1.5 * pitch, low + 0.5 * pitch])
    mid, side, bus, strip, maps = (low + high) / 2, 0.84 * pitch, x + 0.14, x + 0.56, x + 0.92
    arrow(ax, (x + GAP / 2, mid), (bus, mid), head=False)
    arrow(ax, (bus, rows[0]), (bus, rows[-1]), head=False)
    for j, y, values, colour in zip(shown.names, rows, shown.maps, COLOURS, strict=False):
        arrow(ax, (bus, y), (strip - 0.24, y))
        text(ax, strip - 0.03, y, f"$p_{{{j}}}$", ha="right")
        vector(ax, strip, y, 0.12, 0.76 * pitch, colour)
        arrow(ax, (strip + 0.12 + GAP / 2, y), (maps - GAP / 2, y))
        heat(ax, values, maps, y - side / 2, side, colour)
    for at in (strip + 0.06, maps + side / 2):
        text(ax, at, (rows[1] + rows[2]) / 2, "⋮", fontsize=8)
    centres |= {"prototypes": strip - 0.02, "maps": maps + side / 2}
    return maps + side + 0.4, [(maps + side, y) for y in rows]


def _collected(ax: Axes, shown: Shown, x: float, low: float, high: float, ends: list,
               centres: dict) -> float:
    """The code, each of the three maps joined to its entry; returns where the denoiser begins."""
    wide = 0.5
    heights = bars(ax, shown, x, low, high, wide)
    for (start, y), end, colour in zip(ends, heights, COLOURS, strict=False):
        turn = start + 0.55 * (x - start)
        text(ax, start + 0.05, y + (0.06 if end < y else -0.06), "min$_i$", fontsize=6, ha="left")
        arrow(ax, (start + GAP / 2, y), (turn, y), (turn + 0.06, end), (x - GAP / 2, end),
              colour=colour)
    centres["code"] = x + wide / 2
    return _join(ax, x + wide, (low + high) / 2)


def _join(ax: Axes, x: float, y: float, length: float = 0.24) -> float:
    """An arrow to the right from x; returns where the next part begins."""
    arrow(ax, (x + GAP, y), (x + length - GAP / 2, y))
    return x + length


def denoiser(ax: Axes, shown: Shown, x: float, low: float, width: float, tall: float) -> None:
    """x_t and t in from above, the noise out; s comes from the left."""
    side = 0.25 * tall
    height = tall - side - 0.2
    top, above = low + height, low + tall - side
    container(ax, x, low, width, height)
    unet(ax, x + 0.1, low + 0.06, width - 0.2, height - 0.12)
    left, right = x, x + width - side
    picture(ax, shown.noised, left, above, side)
    picture(ax, shown.noise, right, above, side)
    middle, centre = x + width / 2, above + side / 2
    rectangle(ax, middle - 0.09, centre - 0.09, 0.18, 0.18, "white")
    text(ax, middle, centre, "$t$")
    for at, bottom in ((left + side / 2, above), (middle, centre - 0.09)):
        arrow(ax, (at, bottom - GAP / 2), (at, top + GAP / 2))
    arrow(ax, (right + side / 2, top + GAP / 2), (right + side / 2, above - GAP / 2))
    beside = (top + above) / 2
    text(ax, left + side / 2 + 0.06, beside, "$x_t$", ha="left")
    text(ax, right + side / 2 - 0.06, beside, r"$\hat{\varepsilon}$", ha="right")


def of_image(i: int, where, what, edits) -> Shown:
    """Image i of the stage "explanations", with three prototypes that fire strongly in it."""
    share = where["activation"][i] / what["requested"]
    chosen = apart(where["boxes"][i], np.argsort(-share, kind="stable"))
    by_number = np.argsort(where["dims"])
    at = np.flatnonzero(np.isin(by_number, chosen))
    chosen, noised = by_number[at], edits["noised"][i]
    return Shown(where["images"][i], noised[len(noised) // 6], noised[-1],
                 where["boxes"][i, chosen], where["maps"][i, chosen], where["dims"][chosen],
                 where["activation"][i, by_number], at, len(what["v_max"]))


def apart(boxes: np.ndarray, order: np.ndarray, count: int = 3) -> np.ndarray:
    """The first `count` of `order` whose boxes overlap by less than half; fewer where it must."""
    kept: list[int] = []
    for p in order:
        if len(kept) < count and all(overlap(boxes[p], boxes[k]) < 0.5 for k in kept):
            kept.append(p)
    rest = [p for p in order if p not in kept]
    return np.array((kept + rest)[:count])


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection of two boxes y0, x0, y1, x1 over the smaller of their areas."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return np.prod(sides.clip(0)) / min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2]))
