"""One look for all figures, and the words each must carry on its face.

Sizes are in inches, text in points. Text stays text in the PDF (embedded TrueType); images are
enlarged without smoothing, since a blurred pixel would be a claim the data does not make.
"""

import logging
import textwrap
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython import get_ipython
from IPython.display import Image, display
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from patronus.errors import Problem

COLUMN, TEXT = 3.25, 6.75  # widths of a column and of the page's text
SMALL = 5.5  # the note at a figure's bottom
INK, FAINT = "0.15", "0.4"
PALETTE = sns.color_palette("colorblind").as_hex()
MARK = PALETTE[0]  # blue: boxes, and what belongs to them
OTHER = PALETTE[3]  # vermilion: what stands beside it
HALO = [patheffects.withStroke(linewidth=1.5, foreground="white")]  # keeps a mark on an image seen
SEQUENTIAL = "viridis"  # perceptually uniform, and readable without red and green
GENERATED = " (generated stand-in)"
CAUTION = {"smoke": "plumbing check: too short to learn; says nothing about interpretability"}

SETTINGS = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 7, "axes.titlesize": 7, "axes.labelsize": 7, "figure.titlesize": 8,
    "figure.dpi": 200,
    "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "legend.fontsize": 6.5,
    "text.color": INK, "axes.labelcolor": INK, "axes.titlepad": 3, "axes.labelpad": 3,
    "axes.linewidth": 0.6, "lines.linewidth": 1.0, "patch.linewidth": 0.6,
    "pdf.fonttype": 42, "ps.fonttype": 42, "image.interpolation": "nearest",
    "figure.constrained_layout.use": True, "figure.constrained_layout.h_pad": 0.015,
    "figure.constrained_layout.w_pad": 0.015, "figure.constrained_layout.hspace": 0.0,
    "figure.constrained_layout.wspace": 0.0,
}


def use() -> None:
    """Set the style, whatever the user's own matplotlib settings are."""
    mpl.rcdefaults()
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it doubts our date, 1970
    sns.set_theme(context="paper", style="ticks", palette="colorblind", rc=SETTINGS)


def titled(title: str, generated: bool) -> str:
    """A data set's name as every figure and table writes it."""
    plain = title.removesuffix(GENERATED)
    return plain + GENERATED if generated else plain


def scaled(scale: str) -> str:
    """The scale's name, with what its results may not be taken for."""
    return f"scale {scale} ({CAUTION[scale]})" if scale in CAUTION else f"scale {scale}"


def note(title: str, generated: bool, scale: str, *facts: str) -> str:
    """The small print: data set, what was done, and at which scale."""
    return " · ".join([f"‘{titled(title, generated)}’", *facts, scaled(scale)])


def sign(fig: Figure, text: str) -> None:
    """Write the small print at the bottom of a figure, over its whole width."""
    per_line = int(fig.get_figwidth() * 72 / (0.57 * SMALL))
    fig.supxlabel("\n".join(textwrap.wrap(text, per_line)), x=0.005, ha="left", fontsize=SMALL,
                  color=FAINT, linespacing=1.3)


def show(ax: Axes, image: np.ndarray) -> None:
    """Draw an image, uint8 (C, H, W) with C = 1 or 3, alone in its axes."""
    gray = image.shape[0] == 1
    ax.imshow(image[0] if gray else np.moveaxis(image, 0, -1), vmin=0, vmax=255,
              cmap="gray" if gray else None)
    bare(ax)


def bare(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set_visible(False)


def plain(ax: Axes) -> None:
    """A plot's axes: left and bottom only, short ticks."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(length=2, width=0.6, pad=2)


def frame(ax: Axes, colour: str = MARK) -> None:
    """Outline an image in the colour of the box it was cut from."""
    for side in ax.spines.values():
        side.set(visible=True, color=colour, linewidth=1.0)


def box(ax: Axes, corners: np.ndarray, colour: str = MARK) -> None:
    """Mark pixels [y0, x0, y1, x1) of an image; the pale rim keeps it visible on any ground."""
    y0, x0, y1, x1 = corners
    rim = [patheffects.Stroke(linewidth=2.0, foreground="white"), patheffects.Normal()]
    ax.add_patch(plt.Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, clip_on=False,
                               edgecolor=colour, linewidth=1.0, path_effects=rim))


def cut(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The pixels [y0, x0, y1, x1) of an image (C, H, W)."""
    y0, x0, y1, x1 = corners
    return image[:, y0:y1, x0:x1]


def save(fig: Figure, out: str, name: str) -> None:
    """Write <name>.pdf and <name>.png (200 dpi), the same bytes every time, and show the PNG.

    Raises Problem for a figure that does not say what it was made of (`sign`).
    """
    folder = Path(out)
    if not fig.get_supxlabel():
        raise Problem(f"{name}: the figure is not signed; call style.sign with the data set, n and "
                      "scale before style.save")
    _settle(fig)
    _spare(fig, 600)
    fig.savefig(folder / f"{name}.pdf", dpi=600, metadata={"CreationDate": None})
    _spare(fig, fig.dpi)
    fig.savefig(folder / f"{name}.png", metadata={"Software": None})
    plt.close(fig)
    if get_ipython():  # in its notebook; a script that is run by hand shows nothing
        display(Image(folder / f"{name}.png", width=round(96 * fig.get_figwidth()), alt=name))


def _spare(fig: Figure, dpi: float) -> None:
    """Average where an image has more pixels than dots to show them: thinning would lose lines."""
    for ax in fig.axes:
        dots = ax.get_window_extent().width / fig.dpi * dpi
        for image in ax.images:
            image.set_interpolation("hanning" if dots < image.get_size()[1] else "nearest")


def _settle(fig: Figure) -> None:
    """Lay out once and round: the last digits of the solver's answer differ between runs."""
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    parts = [fig]
    for part in parts:
        parts += part.subfigs
        for text in part.texts:
            text.set_position(np.round(text.get_position(), 6))
    for part in parts[1:]:
        part.bbox_relative.set_points(np.round(part.bbox_relative.get_points(), 6))
    for ax in fig.axes:
        ax.set_position(np.round(ax.get_position(original=True).bounds, 6))
