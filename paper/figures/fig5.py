# %% [markdown]
# # The prototypes as a tool: finding a shortcut, and when patterns emerge
#
# (a) A model trained on faces whose hair is tied to the smile. Test images from dark to light hair;
# below them their reconstructions, and the same with the prototype that tells black or blond hair
# best (highest AUROC on training codes) raised to its largest activation. Bars and numbers: the
# probability of a smile by an independent classifier, trained without the tie. Where the smile
# changes with the hair, a shortcut is found. The images are random, none is chosen.
# (b) Emergence: s_j of the prediction of x₀ at time t, with prototype j raised, minus s_j of the
# image. Lines are means over the test images, bands hold 95 % of them, dots mark τ, where half of
# the final gain is reached. Five prototypes, evenly from the first to the last to emerge; beside
# the curves, from left to right in that order, the image x₀, the edited image x′ with the patch
# nearest to the prototype, and the patch. ρ: rank correlation of τ with the mean spatial frequency
# of the patches over all prototypes followed (95 % interval over them); negative where low
# frequencies come first.

# %% tags=["parameters"]
NEEDS = {
    "hair": {"stage": "interventions", "dataset": ["celeba_hair"],
             "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
             "files": ["interventions.npz", "interventions.json"]},
    "faces": {"stage": "explanations", "dataset": ["celeba"],
              "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
              "files": ["what.npz", "when.npz", "what.json"]},
}

# %%
import numpy as np

from paper import diagram, sheets, style
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

style.use()
hair, biased = np.load(inputs["hair"][0]), load_json(inputs["hair"][1])
what, when, about = *map(np.load, inputs["faces"][:2]), load_json(inputs["faces"][2])
outputs = biased["outputs"]
SHADES = [key for key in ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair") if key in outputs]
ADDED = {"black hair": "Black_Hair", "blond hair": "Blond_Hair"}
COLOURS = [style.PALETTE[k] for k in (0, 1, 2, 4, 5)]


# %%
def shade(labels):
    """Rank of an image's hair from dark to light; last where no colour is labelled."""
    found = np.flatnonzero(labels[[outputs.index(key) for key in SHADES]] == 1)
    return found[0] if len(found) else len(SHADES)


smile = outputs.index("Smiling")
labels = hair["labels"][:len(hair["show_images"])]
shades = np.array([shade(one) for one in labels])
order = np.argsort(shades, kind="stable")
edited = hair["probabilities"][list(hair["kinds"]).index("max"), ..., smile]
rows = [("$x_0$", hair["show_images"], None),
        ("reconstruction", hair["show_recon"], hair["probabilities_recon"][0, :, smile])]
for words, key in ADDED.items():
    at = hair["best_at"][outputs.index(key)]
    if at >= 0:
        rows.append((f"+ {words}\nprototype {hair['dims'][at]}", hair["show_edited"][at],
                     edited[at]))

# %%
LEFT, GAP, UNDER = 0.42, 0.05, 0.15  # inches: row labels, between columns, below a picture
SIDE = min((style.TEXT - LEFT - 0.02) / len(order) - GAP, 0.95)
BELOW = 2.62  # height of (b) and the signature
fig = diagram.sheet(BELOW + 0.42 + len(rows) * (SIDE + UNDER))
top = fig.get_figheight()
diagram.title(fig, 0.03, top - 0.1, "(a) shortcut matrix: hair and smile")
for r, (words, images, chance) in enumerate(rows):
    y = top - 0.36 - SIDE - r * (SIDE + UNDER)
    diagram.write(fig, 0.19, y + SIDE / 2, words, rotation=90)
    if chance is not None:
        diagram.write(fig, LEFT - 0.03, y - 0.065, "P(smile)", fontsize=6, ha="right")
    for c, i in enumerate(order):
        x = LEFT + c * (SIDE + GAP)
        style.show(diagram.place(fig, x, y, SIDE, SIDE), images[i])
        if chance is None:
            name_of = [*SHADES, "other_hair"][shades[i]].replace("_Hair", " hair").lower()
            diagram.write(fig, x + SIDE / 2, top - 0.28, name_of.replace("_", " "))
            diagram.write(fig, x + SIDE / 2, y - 0.07,
                          "smiles" if labels[i, smile] == 1 else "no smile", fontsize=6)
        else:
            bar = diagram.place(fig, x, y - 0.085, SIDE - 0.24, 0.045)
            bar.barh(0, 1, color="0.88")
            bar.barh(0, chance[i], color=style.MARK)
            bar.set(xlim=(0, 1), ylim=(-0.4, 0.4))
            bar.set_axis_off()
            diagram.write(fig, x + SIDE, y - 0.065, f"{chance[i]:.2f}", fontsize=6, ha="right")

# %%
emerged = np.argsort(-when["tau"], kind="stable")[:max(1, np.isfinite(when["tau"]).sum())]
chosen = emerged[np.linspace(0, len(emerged) - 1, min(5, len(emerged))).round().astype(int)]
diagram.title(fig, 0.03, BELOW - 0.16, "(b) emergence")
if np.isfinite(when["rho"]):
    found = f"{when['rho']:.2f} ({when['rho_low']:.2f} to {when['rho_high']:.2f})"
    diagram.write(fig, 3.27, BELOW - 0.18, f"ρ(τ, frequency) = {found}".replace("-", "−"),
                  fontsize=6, ha="right")
ax = diagram.place(fig, 0.5, 0.7, 2.77, BELOW - 1.02)
for p, colour in zip(chosen, COLOURS, strict=False):
    gain = when["improvement"][p]
    low, high = np.quantile(gain, [0.025, 0.975], axis=0)
    ax.fill_between(when["times"], low, high, color=colour, alpha=0.12, linewidth=0)
    ax.plot(when["times"], gain.mean(0), color=colour)
    at = when["times"] == when["tau"][p]
    ax.plot(when["times"][at], gain.mean(0)[at], "o", color=colour, markersize=3.5,
            markeredgecolor="white", markeredgewidth=0.5, zorder=3)
ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
ax.set(xlim=(1000, 0), xlabel="denoising time $t$ (steps)",
       ylabel="improvement of $s_j$ (nats)")
ax.tick_params(length=2, width=0.6, pad=2)

# %%
side, left = 0.58, 3.62
for k, (p, colour) in enumerate(zip(chosen, COLOURS, strict=False)):
    best, box = what["best"][p], what["boxes"][p, what["best"][p]]
    x, high = left + k * (side + 0.05), BELOW - 0.32 - side
    picture, raised, patch = (diagram.place(fig, x, high - r * (side + 0.05), side, side)
                              for r in range(3))
    style.show(picture, what["images"][best])
    style.show(raised, what["edited"][p, best])
    style.box(raised, box, colour)
    style.show(patch, style.cut(what["edited"][p, best], box))
    style.frame(patch, colour)
    diagram.write(fig, x + side / 2, BELOW - 0.2,
                  f"$p_{{{when['dims'][p]}}}$\n$\\tau$ = "
                  + (f"{when['tau'][p]:.0f}" if np.isfinite(when["tau"][p]) else "–"),
                  color=colour)
for r, words in enumerate(("$x_0$", "$x'$", "patch")):
    diagram.write(fig, left - 0.07, high + side / 2 - r * (side + 0.05), words, rotation=90,
                  ha="right")

# %%
sheets.sign(
    fig, scale, about, f"(b) n = {len(what['images'])} {about['split']} images",
    f"(a) trained on ‘{style.titled(biased['title'], biased['generated'])}’ for "
    f"{biased['steps']:,} steps; classifier trained on ‘{biased['reference']}’")
style.save(fig, out, name)
