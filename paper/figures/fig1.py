# %% [markdown]
# # What, where and when a diffusion model draws
#
# (a) A test image read by three prototypes. What: the prototype's picture (as in figure 4, drawn in
# another image). Where: the patch of this image that is nearest to it, boxed by its receptive
# field. When: its activation in the prediction x̂₀ of the image at every step of the
# reconstruction; x̂₀ at eight steps above. (b) A shortcut test on the data set in which hair is tied
# to smile: the prototype that tells black hair best is raised to its largest activation; below,
# what an independent classifier, trained without the tie, says of the smile. The images are the
# first test images that smile and have no black hair, where there are any. (c) The framework, on
# the image and with the prototypes of (a).

# %% tags=["parameters"]
NEEDS = {
    "faces": {"stage": "explanations", "dataset": ["celeba"],
              "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
              "files": ["where.npz", "what.npz", "edits.npz", "when.npz", "what.json"]},
    "hair": {"stage": "interventions", "dataset": ["celeba_hair"],
             "method": ["patronus_modern", "patronus"], "seed": [0, "*"],
             "files": ["interventions.npz", "interventions.json"]},
}

# %%
import numpy as np

from paper import diagram, sheets, style
from paper.given import given
from patronus.files import load_json

name, title, scale, out, inputs = given()

style.use()
where, what, edits, when = (np.load(path) for path in inputs["faces"][:4])
hair = np.load(inputs["hair"][0])
about, biased = load_json(inputs["faces"][-1]), load_json(inputs["hair"][1])
shown = diagram.of_image(0, where, what, edits)
places = [list(where["dims"]).index(j) for j in shown.names]

# %%
HEIGHT, LOW, HIGH = 4.3, 2.4, 3.96  # inches: of the figure; of the pictures of (a) and (b)
SIDE, GAP = 0.66, 0.12  # of the pictures of (b)
fig = diagram.sheet(HEIGHT)

# %%
diagram.title(fig, 0.03, HEIGHT - 0.1, "(a) what, where and when")
diagram.write(fig, 0.52, HIGH + 0.08, "what")
diagram.write(fig, 1.63, HIGH + 0.08, "where")
where_ax = diagram.place(fig, 0.85, LOW, HIGH - LOW, HIGH - LOW)
style.show(where_ax, shown.image)
when_ax = diagram.place(fig, 2.92, LOW + 0.27, 1.5, HIGH - LOW - 0.52)
side = (HIGH - LOW - 2 * 0.06) / 3
for k, (p, colour) in enumerate(zip(places, diagram.COLOURS, strict=False)):
    best, low = what["best"][p], HIGH - side - k * (side + 0.06)
    ax = diagram.place(fig, 0.28, low, side, side)
    style.show(ax, style.cut(what["edited"][p, best], what["boxes"][p, best]))
    style.frame(ax, colour)
    style.box(where_ax, shown.boxes[k], colour)
    diagram.write(fig, 0.25, low + side / 2, f"$p_{{{shown.names[k]}}}$", color=colour, ha="right")
    when_ax.plot(when["times"], when["trace"][0, :, p], color=colour)

# %%
diagram.write(fig, 3.67, HIGH + 0.08, "when")
when_ax.margins(y=0.1)
when_ax.set_xlim(1000, 0)
when_ax.set_xlabel("denoising time $t$ (steps)")
when_ax.set_ylabel("activation $s$ (nats)")
when_ax.tick_params(length=2, width=0.6, pad=2)
strip = when["strip"][0]
wide = 1.5 / len(strip)
diagram.write(fig, 2.88, HIGH - wide / 2, r"$\hat{x}_0$", ha="right")
for k, image in enumerate(strip):
    style.show(diagram.place(fig, 2.92 + k * wide, HIGH - wide, wide, wide), image)

# %%
black, smile = (biased["outputs"].index(key) for key in ("Black_Hair", "Smiling"))
d, labels = hair["best_at"][black], hair["labels"][:len(hair["show_images"])]
rows = np.argsort((labels[:, smile] != 1) | (labels[:, black] != 0), kind="stable")[:2]
columns = [("$x_0$", hair["show_images"], None),
           ("reconstruction", hair["show_recon"], hair["probabilities_recon"][0, :, smile])]
if d >= 0:
    at = list(hair["kinds"]).index("max"), d
    columns.append(("do(black hair)", hair["show_edited"][d],
                    hair["probabilities"][at][:, smile]))

# %%
left = style.TEXT - 0.03 - 3 * SIDE - 2 * 0.05
diagram.title(fig, left, HEIGHT - 0.1, "(b) shortcut test")
for c, (words, images, chance) in enumerate(columns):
    x = left + c * (SIDE + 0.05)
    diagram.write(fig, x + SIDE / 2, HIGH + 0.08, words, fontsize=6.5)
    for r, i in enumerate(rows):
        y = HIGH - SIDE - r * (SIDE + GAP)
        style.show(diagram.place(fig, x, y, SIDE, SIDE), images[i])
        truth = "smiles" if labels[i, smile] == 1 else "no smile"
        diagram.write(fig, x + SIDE / 2, y - GAP / 2, fontsize=6,
                      words=truth if chance is None else f"P(smile) {chance[i]:.2f}")

# %%
diagram.title(fig, 0.03, 2.14, "(c) framework")
ax = diagram.canvas(fig, 0.41, 1.55)
centres = diagram.framework(ax, shown, 0.04, 1.37)
diagram.caption(ax, centres, 1.47, diagram.HEADINGS)

# %%
sheets.sign(
    fig, scale, about, f"(a, c) one {about['split']} image",
    f"(b) trained on ‘{style.titled(biased['title'], biased['generated'])}’; black hair: prototype "
    f"{hair['best'][black]}; P(smile) by a classifier trained on ‘{biased['reference']}’")
style.save(fig, out, name)
