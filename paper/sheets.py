"""What figures made of images share: opening what a stage stored, rows of images, the small print.

A sheet is drawn once for each data set. Its images all have one size, so that its height follows
from its rows; heights and widths are inches.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from paper import style
from patronus.files import load_json

LABEL = 0.22  # what stands left of a row
LINE = 0.13  # a line of text above images
FOOT = 0.2  # the small print
HEAD = 0.2  # a part's own title
GAP = 0.15  # between blocks of images, in widths of an image


def part_names(about: dict) -> list[str]:
    """The parts of a stage's `about` as a reader knows them: "No Beard = 0" is a beard."""
    return [part.get("name", part["output"]).replace("_", " ") + " = 0" * part["negated"]
            for part in about["parts"]]


class Arrays(dict):
    """The arrays of an .npz file by name, each read when first asked for and then kept."""

    def __init__(self, path: str | Path):
        super().__init__()
        self.file = np.load(path)

    def __missing__(self, key: str) -> np.ndarray:
        return self.setdefault(key, self.file[key])


def found(files: Sequence[str]) -> SimpleNamespace:
    """What one folder holds: its .npz and .npy under their names, its .json as `about`."""
    opened = {}
    for path in map(Path, files):
        if path.suffix == ".json":
            opened["about"] = load_json(path)
        elif path.suffix == ".npz":
            opened[path.stem] = Arrays(path)
        else:
            opened[path.stem] = np.load(path, mmap_mode="r")
    return SimpleNamespace(**opened)


def each(files: Sequence[str]) -> Iterator[SimpleNamespace]:
    """The same for each folder in turn, of a need that several data sets or methods meet."""
    for _, beside in itertools.groupby(files, key=lambda path: Path(path).parent):
        yield found(list(beside))


def height(rows: int, columns: int, lines: float = 0, width: float = style.TEXT) -> float:
    """Of `rows` rows of images, `columns` of which fill `width`, and `lines` lines of text."""
    return rows * (width - LABEL) / columns + lines * LINE


def parts(*heights: float) -> tuple[Figure, list[SubFigure]]:
    """A figure as wide as the text, cut into parts of these heights."""
    fig = plt.figure(figsize=(style.TEXT, sum(heights) + FOOT))
    return fig, list(np.atleast_1d(fig.subfigures(len(heights), 1, height_ratios=heights)))


def grid(part: Figure | SubFigure, rows: int, columns: int, **keywords: object) -> np.ndarray:
    """Empty axes (rows, columns): what is not drawn upon stays blank."""
    axes = part.subplots(rows, columns, squeeze=False, **keywords)
    for ax in axes.flat:
        style.bare(ax)
    return axes


def blocks(part: Figure | SubFigure, rows: int, count: int, wide: int) -> np.ndarray:
    """Empty axes (rows * count, wide): in each row `count` blocks with a gap between them."""
    ratios = ([1] * wide + [GAP]) * count
    axes = grid(part, rows, len(ratios) - 1, width_ratios=ratios[:-1])
    gaps = range(wide, len(ratios) - 1, wide + 1)
    return np.delete(axes, gaps, axis=1).reshape(rows * count, wide)


def row(axes: Sequence[Axes], images: Sequence[np.ndarray], label: str = "",
        titles: Sequence[str] = ()) -> None:
    """Images (n, C, H, W) side by side, a label left of the first, titles above them."""
    for ax, image in zip(axes, images, strict=False):
        style.show(ax, image)
    axes[0].set_ylabel(label)
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title)


def heading(part: Figure | SubFigure, text: str) -> None:
    part.suptitle(text, x=0.005, ha="left", weight="bold")


def patch(ax: Axes, image: np.ndarray, corners: np.ndarray, colour: str = style.MARK) -> None:
    """The pixels of a box, enlarged, in a frame of the box's colour."""
    style.show(ax, style.cut(image, corners))
    style.frame(ax, colour)


def numbers(values: Sequence[float], form: str = "g") -> list[str]:
    return [format(value, form) for value in values]


def trained(about: dict) -> tuple[str, str]:
    """Which model, and how long it was trained: what no figure may leave out."""
    return (f"{about['method']}, seed {about['seed']}",
            f"trained for {about['steps']:,} steps ({about['images_seen']:,} images seen)")


def sign(fig: Figure, scale: str, abouts: dict | Sequence[dict], *facts: str) -> None:
    """The small print of a figure on one data set or several."""
    first, *others = [abouts] if isinstance(abouts, dict) else abouts
    more = [text for about in others
            for text in (f"‘{style.titled(about['title'], about['generated'])}’", *trained(about))]
    style.sign(fig, style.note(first["title"], first["generated"], scale,
                               *trained(first), *more, *facts))


def swept(one: SimpleNamespace, e: int) -> tuple[np.ndarray, str]:
    """The e-th extrapolation: the image and its edits, and the dimension with its own s_j."""
    what, edits = one.what, one.edits
    dim = edits["sweep_dims"][e]
    p = list(what["order"]).index(dim)
    own = what["before"][p, what["best"][p]]
    return (np.concatenate([edits["sweep_source"][e, None], edits["sweep"][e]]),
            f"$j$ = {dim}\n$s_j$ = {own:.2f}")


def between(one: SimpleNamespace, p: int) -> np.ndarray:
    """The p-th interpolation with the two images it goes between at its ends."""
    a, b = one.edits["pair_sources"][p, :, None]
    return np.concatenate([a, one.edits["pair"][p], b])


def weights(one: SimpleNamespace) -> list[str]:
    """What stands above an interpolation."""
    steps = one.edits["pair"].shape[1]
    return ["$a$", *numbers(np.linspace(0, 1, steps), ".3g"), "$b$"]


def levels(one: SimpleNamespace) -> list[str]:
    """What stands above an extrapolation."""
    return ["$x_0$", *numbers(one.edits["sweep_values"], ".1f")]


def steps(one: SimpleNamespace) -> str:
    return f"{one.about['ddim_steps']} steps of DDIM"


def mosaic(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (n, C, H, W) as one (C, H', W'), `columns` in a row, white between and after them."""
    _, channels, height, width = images.shape
    gap = -(-width // 32)
    rows = -(-len(images) // columns)
    sheet = np.full((rows * columns, channels, height + gap, width + gap), 255, np.uint8)
    sheet[:len(images), :, :height, :width] = images
    sheet = sheet.reshape(rows, columns, *sheet.shape[1:]).transpose(2, 0, 3, 1, 4)
    whole = sheet.reshape(channels, rows * (height + gap), columns * (width + gap))
    return whole[:, :-gap, :-gap]
