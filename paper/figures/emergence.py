# %% [markdown]
# # When the prototypes emerge
#
# One sheet for each data set. (a) s_j of the prediction of x₀ at time t, with prototype j raised,
# minus s_j of the image: mean over the test images and the band that holds 95 % of them. The line
# at τ is where the mean first reaches half of its final gain; a prototype that never gains has
# none. In the order they emerge, under the patch that is drawn in the end. (b) The same means
# together, dots at τ. (c) τ against the spectral centroid of these patches, with Spearman's ρ and
# its 95 % interval over prototypes: if coarse patterns come first, ρ is negative. There is no ρ
# (n/a) of fewer than five prototypes, or where all emerge at once. (d) Within a change: of what the
# raised prototypes have changed in the end, the share that is there in the prediction of x₀ at time
# t, of its coarse part (at most four cycles over the image) and of the rest, means over the
# prototypes. Dashed: the same of the difference of two test images, with nothing raised; a
# prototype's own order is what differs from it.

# %% tags=["parameters"]
NEEDS = {
    "explained": {"stage": "explanations", "dataset": "all",
                  "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
                  "files": ["what.npz", "when.npz", "what.json"]},
}

# %%
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import Normalize

from paper import sheets, style
from paper.given import given

name, title, scale, out, inputs = given()

style.use()
COLUMNS = 6
TIME = "denoising time $t$ (steps)"
GAIN = "improvement of $s_j$ (nats)"
CENTROID = "spectral centroid (cycles/pixel)"
SHARE = "share of the final change"


# %%
def coloured(centroid):
    """A colour for each centroid, none so pale that a line of it is lost; gray where unknown."""
    known = centroid[np.isfinite(centroid)]
    low, high = (known.min(), known.max()) if len(known) else (0, 1)
    norm, shades = Normalize(low, high), plt.get_cmap(style.SEQUENTIAL)
    return [shades(0.85 * float(norm(c))) if np.isfinite(c) else style.FAINT for c in centroid]


def curve(ax, when, e, band, colour):
    """Mean and band of one prototype over t, with its tau."""
    ax.fill_between(when["times"], *band, color=colour, alpha=0.25, linewidth=0)
    ax.plot(when["times"], when["improvement"][e].mean(0), color=colour)
    ax.axvline(when["tau"][e], color=style.INK, linewidth=0.6, linestyle=":")
    timeline(ax)


def timeline(ax):
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    ax.set(xlim=(1000, 0), xticks=[1000, 500, 0])
    style.plain(ax)
    for text, side in zip(ax.get_xticklabels(), ("left", "center", "right"), strict=True):
        text.set_horizontalalignment(side)  # the numbers of neighbours must not touch


def panel(above, below, one, e, colour):
    """The patch of one prototype above its curve."""
    what, when = one.what, one.when
    best = what["best"][e]
    sheets.patch(above, what["edited"][e, best], what["boxes"][e, best], colour)
    tau = f"{when['tau'][e]:.0f}" if np.isfinite(when["tau"][e]) else "none"
    above.set_title(f"prototype {when['dims'][e]}\n$\\tau$ = {tau}")
    bands = np.quantile(when["improvement"], [0.025, 0.975], axis=1)
    curve(below, when, e, bands[:, e], colour)
    margin = 0.05 * np.ptp(bands)
    below.set_ylim(bands.min() - margin, bands.max() + margin)


def panels(part, one, order, colours):
    """(a) a row of patches and one of curves for each COLUMNS prototypes, the ticks outside."""
    rows = -(-len(order) // COLUMNS)
    axes = part.subplots(2 * rows, COLUMNS, squeeze=False, height_ratios=[1, 1.1] * rows)
    for k, (above, below) in enumerate(zip(axes[::2].flat, axes[1::2].flat, strict=True)):
        if k < len(order):
            panel(above, below, one, order[k], colours[order[k]])
            first, last = k % COLUMNS == 0, k + COLUMNS >= len(order)
            below.tick_params(labelleft=first, labelbottom=last)
            below.set_ylabel("improvement\nof $s_j$ (nats)" if first else "")
        else:
            above.set_axis_off()
            below.set_axis_off()
    part.supxlabel(TIME, fontsize=7)
    sheets.heading(part, "(a) in the order they emerge")


def together(ax, when, order, colours):
    """(b) all means, with a dot where each has half of its final gain."""
    means = when["improvement"].mean(1)
    for e in order:
        ax.plot(when["times"], means[e], color=colours[e])
        for at in np.flatnonzero(when["times"] == when["tau"][e]):
            ax.plot(when["times"][at], means[e][at], "o", color=colours[e], markersize=3.5,
                    markeredgecolor="white", markeredgewidth=0.5, zorder=3, clip_on=False)
    timeline(ax)
    ax.set(xlabel=TIME, ylabel=GAIN)


def scatter(ax, when, colours):
    """(c) tau against centroid; the colour is the centroid again."""
    ax.scatter(when["tau"], when["centroid"], c=colours, s=16, edgecolors="white", linewidths=0.5,
               clip_on=False, zorder=3)
    timeline(ax)
    ax.set(xlabel=r"$\tau$ (steps)", ylabel=CENTROID, ylim=(0, None))


def arrivals(ax, when):
    """(d) how much of the coarse and of the fine part of a change is there over t."""
    # where nothing changes there is no share
    known = np.isfinite(when["arrived"]).all((1, 2))
    for k, (band, colour) in enumerate((("coarse", style.INK), ("fine", style.OTHER))):
        if known.any():
            ax.plot(when["times"], when["arrived"][known, :, k].mean(0), color=colour, label=band)
        ax.plot(when["times"], when["arrived_images"][:, k], "--", color=colour, linewidth=0.9,
                label=None if k else "two images")
    timeline(ax)
    ax.set(xlabel=TIME, ylabel=SHARE)
    if known.any():
        ax.legend(loc="lower right", frameon=False)


def correlation(when):
    rho = [f"{float(when[key]):.2f}".replace("-", "−") for key in ("rho", "rho_low", "rho_high")]
    return "$\\rho$ = {} [{}, {}]".format(*rho) if np.isfinite(when["rho"]) else "$\\rho$: n/a"


def draw(one):
    when = one.when
    order = np.argsort(-when["tau"], kind="stable")
    colours = coloured(when["centroid"])
    rows = -(-len(order) // COLUMNS)
    fig, (top, bottom) = sheets.parts(sheets.HEAD + 1.85 * rows + 0.35, 2)
    panels(top, one, order, colours)
    axes = bottom.subplots(1, 3, gridspec_kw={"wspace": 0.06})
    together(axes[0], when, order, colours)
    scatter(axes[1], when, colours)
    arrivals(axes[2], when)
    for ax, title in zip(axes, ("(b) means\ntogether",
                                f"(c) coarse patches first?\n{correlation(when)}",
                                "(d) coarse before fine\nin the change?"), strict=True):
        ax.set_title(title, loc="left", fontsize=8, weight="bold")
    sheets.sign(fig, scale, one.about, sheets.steps(one),
                f"n = {when['improvement'].shape[1]} {one.about['split']} images",
                "colour: spectral centroid, dark = coarse, as in (c)")
    return fig


# %%
for one in sheets.each(inputs["explained"]):
    style.save(draw(one), out, f"{name}_{one.about['dataset']}")
