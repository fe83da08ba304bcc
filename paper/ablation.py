"""What the ablation figures share: a panel for each measure, a mark for each training seed."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from paper import style
from paper.table import COLUMNS

MEASURES = (("tad",), ("captured",), ("latent_score",), ("fid", "fd_cls"), ("rfid", "rfd_cls"))
REFERENCES = ("untrained_modern", "untrained")  # of the recipe of the models shown, else any
REFERENCE_COLOUR = "0.55"


class Row(NamedTuple):
    """One row of panels: what is varied, and the methods in order with what they are set to."""

    title: str
    settings: list[tuple[str, str]]  # (label, method)


def keys(measured: pd.DataFrame) -> list[str]:
    """The measures shown: FID where the study has it, else FD-cls in its place."""
    have = set(measured.loc[measured["value"].notna(), "measure"])
    return [next((key for key in choice if key in have), choice[-1]) for choice in MEASURES]


def by_seed(measured: pd.DataFrame, method: str, key: str) -> np.ndarray:
    """A method's values on the test split, one for each training seed; empty where n/a."""
    rows = measured[(measured["method"] == method) & (measured["measure"] == key)
                    & (measured["variant"] == "test")]
    return rows.sort_values("seed")["value"].dropna().to_numpy()


def unit(measured: pd.DataFrame, key: str) -> str:
    """The unit that the stage gave a measure."""
    units = measured.loc[(measured["measure"] == key) & measured["value"].notna(), "unit"]
    return units.iloc[0] if len(units) else ""


def reference(measured: pd.DataFrame) -> str | None:
    """The method with a random encoder, if the study has one."""
    return next((method for method in REFERENCES if method in set(measured["method"])), None)


def panels(fig: Figure, rows: list[Row], measured: pd.DataFrame) -> None:
    """Draw a row of panels for each `Row`; `measured` is table.csv of one data set."""
    shown, control = keys(measured), reference(measured)
    axes = fig.subplots(len(rows), len(shown), squeeze=False)
    for row, line in zip(rows, axes, strict=True):
        for key, ax in zip(shown, line, strict=True):
            panel(ax, row.settings, measured, key, control)
        for ax in line:
            ax.set_xlabel(row.title)
    for key, ax in zip(shown, axes[0], strict=True):
        ax.set_title(COLUMNS[key].title)
    legend(fig, control)


def panel(ax: Axes, settings: list[tuple[str, str]], measured: pd.DataFrame, key: str,
          control: str | None) -> None:
    """One measure against the settings, and the untrained control behind them."""
    found = [by_seed(measured, method, key) for _, method in settings]
    for x, values in enumerate(found):
        ax.plot(np.full(len(values), x), values, "o", ms=3.2, mew=0.5, mec="white",
                color=style.MARK, zorder=3)
    ax.plot([values.mean() if len(values) else np.nan for values in found], color=style.MARK,
            zorder=2)
    untrained = by_seed(measured, control, key) if control else np.empty(0)
    if len(untrained):
        ax.axhspan(untrained.min(), untrained.max(), color=REFERENCE_COLOUR, alpha=0.25, lw=0)
        ax.axhline(untrained.mean(), color=REFERENCE_COLOUR, ls=(0, (4, 2)), lw=0.9)
    ax.set_xticks(range(len(settings)), [label for label, _ in settings])
    ax.set_xlim(-0.4, len(settings) - 0.6)
    ax.set_ylabel(unit(measured, key), fontsize=5.5, labelpad=1)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.tick_params(length=2, pad=2)
    ax.margins(y=0.15)
    if not sum(map(len, [*found, untrained])):  # no attributes, for one
        ax.text(0.5, 0.5, "n/a", transform=ax.transAxes, ha="center", va="center")
        ax.set_yticks([])


def legend(fig: Figure, control: str | None) -> None:
    marks = [Line2D([], [], marker="o", ms=3.2, ls="", color=style.MARK, label="one training seed"),
             Line2D([], [], color=style.MARK, label="their mean")]
    if control:
        marks += [Line2D([], [], color=REFERENCE_COLOUR, ls=(0, (4, 2)), lw=0.9,
                         label="untrained encoder, mean"),
                  Patch(color=REFERENCE_COLOUR, alpha=0.25, lw=0, label="and range over seeds")]
    fig.legend(handles=marks, loc="outside upper right", ncols=len(marks), frameon=False,
               borderpad=0.1, handlelength=1.6)


def facts(measured: pd.DataFrame, methods: list[str]) -> list[str]:
    """For the small print: how many models, what they have seen, and n of each measure."""
    ours = measured[measured["method"].isin(methods) & (measured["variant"] == "test")]
    models = ours[["method", "seed"]].drop_duplicates()
    return [f"{len(methods)} settings, {len(models)} models (seeds "
            f"{', '.join(map(str, sorted(models['seed'].unique())))})",
            f"{_range(ours['images_seen'])} images seen by each", *_sizes(ours)]


def _sizes(ours: pd.DataFrame) -> list[str]:
    """n by measure, those of equal n together."""
    sizes: dict[str, list[str]] = {}
    for key in keys(ours):
        n = ours.loc[ours["measure"] == key, "n"].dropna()
        if len(n):
            sizes.setdefault(_range(n), []).append(COLUMNS[key].title[:-2])
    return [f"n = {n} ({', '.join(names)})" for n, names in sizes.items()]


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
