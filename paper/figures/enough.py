# %% [markdown]
# # How many images, how many steps
#
# (a) Each measure of random choices of n of its N test images (of generated ones for the distances
# of features): median, and band from 5 to 95 % of the choices, widened as for other images. The
# last mark is all N, its band that of N/2 narrowed by the square root of 2. A number of images is
# enough (triangle) from where on the band is narrower than a twentieth of the distance between the
# value and chance (the two gray lines), and the median no farther than that from the value of all;
# where none is, ~ says how many would be, were the band to go on narrowing as a mean's does.
# (b) The same interventions, on few images and dimensions, with 3 to 50 steps of DDIM. Gray: as
# wide as the 95 % interval over images that the measure has at 50 steps; a number of steps is
# enough (triangle) from where on the value lies within it. "not told": no interval, or at chance.

# %% tags=["parameters"]
NEEDS = {
    "spread": {"stage": "spread", "dataset": ["celeba", "ffhq", "*"],
               "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
               "files": ["spread.json"]},
    "steps": {"stage": "steps", "dataset": ["celeba", "ffhq", "*"],
              "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
              "files": ["record.json"]},
}

# %%
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator, NullLocator

from paper import sheets, style
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

style.use()
about = load_json(inputs["spread"][0])
asked = Path(inputs["steps"][0]).with_name("steps.json")
other = load_json(asked) if asked.is_file() else {"measures": [], "reasons": {}}
HEADLINE = (
    ("causal_success", "max"), ("fidelity", "inverted"), ("realised", "inverted"),
    ("selectivity", "inverted"), ("locality", "inverted"), ("pointing", "inverted"),
    ("change_area", "inverted"), ("truth_energy", "best"), ("truth_hit", "best"),
    ("truth_iou", "best"), ("sensitivity", "slope"), ("conditioning", "test"),
    ("latent_score", "test"), ("tad_held_out", "test"), ("dci_informativeness", "test"),
    ("psnr", "random"), ("ssim", "random"), ("fd_cls", "test"), ("rfd_cls", "test"),
    ("kd_cls", "test"))
STILL = ("truth_hit", "truth_iou")  # of images as they are: no step changes them
COLUMNS, HIGH = 5, 1.08


def chosen(measures):
    """The entries of the headline measures that have a value, in their order."""
    known = {(one["measure"], one["variant"]): one for one in measures}
    return [known[key] for key in HEADLINE if key in known]


by_images = chosen(about["measures"])
by_steps = chosen([one for one in other["measures"] if one["measure"] not in STILL])
titles = {(one["measure"], one["variant"]): one["title"] for one in about["measures"]}
rows = [max(1, -(-len(some) // COLUMNS)) for some in (by_images, by_steps)]
fig, parts = sheets.parts(*(HIGH * count + 0.4 for count in rows))


# %%
def panels(part, heading, entries, count, unit):
    """A panel for each entry; what is left stays blank."""
    axes = part.subplots(count, COLUMNS, squeeze=False).ravel()
    sheets.heading(part, heading)
    part.supxlabel(unit, fontsize=7)
    for ax in axes[len(entries):]:
        ax.axis("off")
    return zip(axes, entries, strict=False)


def finish(ax, one, n, unit):
    """What all panels share: title, ticks, and the triangle where it is enough."""
    enough = one["enough"]
    found = f"{enough:,} {unit}" if enough else "not told"
    if one.get("needed"):
        found = f"~{one['needed']:,} {unit}"
    ax.set_title(f"{titles[one['measure'], one['variant']]}\n{found}", fontsize=6.3)
    ax.set_xscale("log")
    ax.set_xticks(n, [str(x) for x in n], rotation=90 if n[-1] > 99 else 0)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(MaxNLocator(3))
    style.plain(ax)
    if enough:
        ax.plot(enough, 0, "^", color=style.OTHER, markersize=4, clip_on=False,
                transform=ax.get_xaxis_transform(), zorder=3)


# %%
for ax, one in panels(parts[0], "(a) number of images", by_images, rows[0], "images n"):
    for side in (-0.5, 0.5):
        ax.axhline(one["value"] + side * about["narrow"] * one["scale"], color="0.6",
                   linewidth=0.6, zorder=0)
    ax.fill_between(one["n"], one["low"], one["high"], color=style.MARK, alpha=0.25, linewidth=0)
    ax.plot(one["n"], one["middle"], color=style.MARK, marker="o", markersize=2)
    finish(ax, one, one["n"], "images")

# %%
for ax, one in panels(parts[1], "(b) number of steps", by_steps, rows[1], "steps of DDIM"):
    if one["half"]:
        ax.axhspan(one["value"][-1] - one["half"], one["value"][-1] + one["half"], color="0.88",
                   linewidth=0, zorder=0)
    ax.plot(one["steps"], one["value"], color=style.MARK, marker="o", markersize=2)
    finish(ax, one, one["steps"], "steps")

# %%
absent = [key for key in HEADLINE if key not in titles]
repeats = np.unique([one["repeats"] for one in about["measures"]])
facts = [f"(a) {' or '.join(map(str, repeats))} choices of {about['split']} images for each n, "
         f"interventions with {about['ddim_steps']} steps"]
facts += [f"without a value: {', '.join(' '.join(key) for key in absent)}"] if absent else []
facts += [f"(b) {other['images']} images, {other['dims']} dimensions, set to "
          f"{', '.join(other['kinds'])}"] if by_steps else ["(b) the method cannot be asked"]
sheets.sign(fig, scale, about, *facts)
style.save(fig, out, name)
