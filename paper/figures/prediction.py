# %% [markdown]
# # Does what the network predicts decide when prototypes emerge?
#
# The same model, data, seed and length of training, once with a network that predicts v and once
# with one that predicts the noise, as the paper's does. Above: the prediction of x₀ during one
# reconstruction. Below: s_j of the prediction of x₀ at time t, with prototype j raised, minus s_j
# of the image (mean over test images), as a share of what it gains in the end; a line for each
# prototype, the thick one their median. Early in the chain a predicted noise is divided by a signal
# of 0.006, so the prediction of x₀ is mostly noise there, and an encoder finds nothing in it.

# %% tags=["parameters"]
NEEDS = {
    "v": {"stage": "explanations", "dataset": ["celeba"], "method": ["patronus_modern"],
          "seed": [0], "files": ["when.npz", "what.json"]},
    "eps": {"stage": "explanations", "dataset": ["celeba"], "method": ["eps_modern"],
            "seed": [0], "files": ["when.npz", "what.json"]},
}

# %%
import numpy as np

from paper import sheets, style
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

style.use()
TITLES = {"v": "(a) predicts v", "eps": "(b) predicts the noise"}
fig, rows = sheets.parts(0.62, 0.62, 2.1)
axes = rows[-1].subplots(1, 2, sharey=True)

# %%
abouts, facts = [], []
for part, ax, key in zip(rows, axes, TITLES, strict=False):
    when, about = np.load(inputs[key][0]), load_json(inputs[key][1])
    strip, times = when["strip"][0], when["strip_times"]
    titles = [f"$t$ = {t}" for t in times]
    sheets.row(part.subplots(1, len(strip)), strip, TITLES[key].split()[-1], titles)
    gain = when["improvement"].mean(1)
    share = gain / np.where(gain[:, -1:] > 0, gain[:, -1:], np.nan)
    ax.plot(when["times"], share.T, color=style.MARK, linewidth=0.5, alpha=0.5)
    ax.plot(when["times"], np.nanmedian(share, axis=0), color=style.MARK, linewidth=1.8)
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    ax.set(xlim=(1000, 0), ylim=(-1, 1.5), xlabel="denoising time $t$ (steps)")
    ax.set_title(TITLES[key], loc="left", fontsize=8, weight="bold")
    style.plain(ax)
    abouts.append(about)
    facts.append(f"{key}: n = {when['improvement'].shape[1]}, {len(share)} prototypes of largest "
                 f"spread, of which {int((gain[:, -1] > 0).sum())} gain")
axes[0].set_ylabel("share of the final improvement of $s_j$")

# %%
sheets.sign(fig, scale, abouts, *facts, f"{abouts[0]['ddim_steps']} steps of DDIM")
style.save(fig, out, name)
