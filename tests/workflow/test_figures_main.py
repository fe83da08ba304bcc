"""Figures 1, 2 and 5 from made-up inputs: what they say, and that nothing on them collides."""

import itertools
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

from paper import catalogue, diagram, given, render, style
from patronus.config import Cell, Dataset, Shortcut, Study

NAMES = ("fig1", "fig2", "fig5")
OUTPUTS = ["Black_Hair", "Blond_Hair", "Brown_Hair", "Smiling"]
ABOUT = {"method": "patronus", "seed": 0, "generated": True, "steps": 12, "images_seen": 345,
         "split": "test", "scale": "smoke"}
# images, prototypes, shape, side of the feature map, images with pictures of interventions
SIZES = {"one": (1, 2, (3, 16, 16), 3, 1), "few": (4, 3, (3, 16, 16), 4, 4),
         "many": (6, 100, (3, 64, 64), 26, 8)}


def study_of(datasets=("celeba", "celeba_hair")) -> Study:
    tied = Shortcut(reference="celeba", pairs=[("Black_Hair", "Smiling")])
    return Study.model_construct(
        scale="smoke", figures=None,
        cells={(d, "patronus", 0): Cell.model_construct(dataset=d, method="patronus", seed=0)
               for d in datasets},
        datasets={d: Dataset.model_construct(shortcut=tied if d == "celeba_hair" else None)
                  for d in datasets})


def explained(folder: Path, size: str) -> None:
    rng = np.random.default_rng(0)
    n, count, shape, side, _ = SIZES[size]
    order, curves, traced, times = rng.permutation(count), min(count, 12), min(n, 4), 5
    images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    low = rng.integers(0, shape[1] - 8, (n, count, 2))
    boxes = np.concatenate([low, low + 8], -1)
    tau = np.full(curves, np.nan) if size == "one" else np.linspace(900, 100, curves)
    folder.mkdir(parents=True)
    np.savez(folder / "where.npz", dims=order, images=images, boxes=boxes,
             activation=rng.random((n, count)), maps=rng.random((n, count, side, side)))
    np.savez(folder / "what.npz", order=order, images=images, requested=np.ones(count),
             v_max=np.ones(count), edited=np.stack([images] * count), best=np.zeros(count, int),
             boxes=boxes.transpose(1, 0, 2))
    np.savez(folder / "when.npz", dims=order[:curves], times=np.linspace(900, 100, times),
             improvement=rng.normal(size=(curves, n, times)) / 10, tau=tau, rho=-0.456,
             rho_low=-0.9, rho_high=-0.1, trace=rng.random((traced, times, count)),
             strip=np.stack([images[:traced]] * 8, 1), strip_times=np.arange(8))
    np.savez(folder / "edits.npz", noised=np.stack([images[:traced]] * 8, 1))
    (folder / "what.json").write_text(json.dumps(ABOUT | {"title": "CelebA"}))


def intervened(folder: Path, size: str) -> None:
    """Image i has hair OUTPUTS[i % 3], blond ones smile; dimension 7 tells black hair best."""
    n, count, shape, _, shown = SIZES[size]
    labels = np.zeros((8, 4))
    labels[np.arange(8), np.arange(8) % 3] = 1
    labels[:, 3] = labels[:, 1]
    images = np.zeros((shown, *shape), np.uint8)
    probabilities = np.full((3, 2, 8, 4), 0.25)
    probabilities[1, 1, :, 3] = 0.0625  # what another kind answers
    probabilities[0, 1, :, 3] = 0.125 + np.arange(8) / 100
    best_at = np.array([1, -1 if size == "one" else 0, 0, 0])
    folder.mkdir(parents=True)
    np.savez(folder / "interventions.npz", dims=np.array([3, 7]), labels=labels,
             kinds=np.array(["q95", "max", "max_random"])[[1, 0, 2]], show_images=images,
             show_recon=images, show_edited=np.stack([images] * 2), probabilities=probabilities,
             probabilities_recon=np.full((2, 8, 4), 0.75), best_at=best_at,
             best=np.where(best_at < 0, -1, np.array([3, 7])[best_at]))
    (folder / "interventions.json").write_text(json.dumps(
        ABOUT | {"title": "CelebA, hair", "outputs": OUTPUTS, "reference": "celeba"}))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Gives a function that makes the inputs of one size; importing torch is an error."""
    torch = tmp_path / "blocked" / "torch.py"
    torch.parent.mkdir()
    torch.write_text("raise ImportError('a figure computes nothing')")
    monkeypatch.setenv("PYTHONPATH", str(torch.parent))
    monkeypatch.chdir(tmp_path)

    def made(size: str) -> None:
        for make, stage, dataset in ((explained, "explanations", "celeba"),
                                     (intervened, "interventions", "celeba_hair")):
            make(Path("results/smoke", stage, dataset, "patronus/seed0"), size)

    return made


def drawn(name: str, monkeypatch) -> plt.Figure:
    """The figure that a script draws, run here and not saved."""
    kept = []
    monkeypatch.setattr(style, "save", lambda fig, out, name: kept.append(fig))
    monkeypatch.setenv(given.GIVEN, json.dumps(given.of(name, study_of(), Path())._asdict()))
    exec(compile(catalogue.script(name).read_text(), name, "exec"), {})
    return kept[0]


def texts_of(fig: plt.Figure) -> list:
    """Every text that shows: those of the figure, of its axes, and along their axes."""
    found = list(fig.texts)
    for ax in fig.axes:
        found += ax.texts
        if ax.axison:
            found += [ax.title, ax.xaxis.label, ax.yaxis.label]
            for axis in (ax.xaxis, ax.yaxis):
                low, high = sorted(axis.get_view_interval())
                found += [tick.label1 for tick, at in zip(
                    axis.get_major_ticks(), axis.get_majorticklocs(), strict=True)
                    if low <= at <= high]
    return [text for text in found if text.get_text().strip()]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_no_text_is_small_cut_off_or_over_another(place, monkeypatch, name, size):
    place(size)
    with mpl.rc_context():
        fig = drawn(name, monkeypatch)
        fig.draw_without_rendering()
        boxes = {text: text.get_window_extent().padded(-1) for text in texts_of(fig)}
        plt.close(fig)
    signature = next(text for text in boxes if "generated stand-in" in text.get_text())
    assert min(text.get_fontsize() for text in boxes if text is not signature) >= 6
    width, height = fig.bbox.size
    for text, box in boxes.items():
        assert min(box.x0, box.y0) >= 0 and box.x1 <= width and box.y1 <= height, text.get_text()
    for (one, a), (two, b) in itertools.combinations(boxes.items(), 2):
        assert not a.overlaps(b), (one.get_text(), two.get_text())


SAID = {
    "fig1": ("(c)framework", "P(smile)0.75", "P(smile)0.14", "blackhair:prototype7",
             "(a,c)onetestimage", "CelebA,hair(generatedstand-in)"),
    "fig2": ("3×16×16", "4×4patches", "prototypes", "12steps(345imagesseen)", "onetestimage"),
    "fig5": ("+blackhairprototype7", "+blondhairprototype3", "n=4testimages", "(generatedst",
             "12steps;", "CelebA,hair"),
}


@pytest.mark.parametrize("name", NAMES)
def test_rendered_without_torch_and_says_what_the_arrays_hold(place, name, pdf_text):
    place("few")
    render.render(name, study_of(), Path("out"))
    assert {f"{name}.{kind}" for kind in ("pdf", "png", "ipynb", "html")} | {"record.json"} == {
        file.name for file in Path("out").iterdir()}
    text = pdf_text(Path("out") / f"{name}.pdf")
    assert [part for part in (*SAID[name], "scalesmoke") if part not in text] == []
    assert "Warning" not in Path("out", f"{name}.ipynb").read_text()


def test_the_shortcut_matrix_goes_from_dark_to_light(place, monkeypatch):
    place("many")
    with mpl.rc_context():
        fig = drawn("fig5", monkeypatch)
        plt.close(fig)
    found = {text.get_text(): text.get_position()[0] for text in fig.texts}
    shown = [text.get_text() for text in sorted(fig.texts, key=lambda t: t.get_position()[0])
             if text.get_text() in ("black hair", "brown hair", "blond hair")]
    assert shown == ["black hair"] * 3 + ["brown hair"] * 2 + ["blond hair"] * 3
    # the last image with black hair is row 6; with black hair raised it is said to smile at 0.185
    assert found["0.18"] == max(found[key] for key in ("0.12", "0.15", "0.18"))


def test_what_a_study_lacks_is_not_made():
    assert set(NAMES) <= set(catalogue.wanted(study_of()))
    without = catalogue.wanted(study_of(("celeba",)))
    assert set(NAMES).intersection(without) == {"fig2"}


def test_prototypes_shown_together_have_boxes_apart():
    boxes = np.array([[0, 0, 8, 8], [0, 2, 8, 10], [0, 4, 8, 12], [8, 8, 16, 16], [0, 0, 8, 8]])
    assert diagram.overlap(boxes[0], boxes[1]) == 0.75
    assert diagram.overlap(boxes[0], boxes[3]) == 0
    # prototype 0 for want of a third whose box lies apart
    assert diagram.apart(boxes, np.array([1, 0, 2, 4, 3])).tolist() == [1, 3, 0]
    assert diagram.apart(boxes, np.array([4, 0])).tolist() == [4, 0]


def test_what_the_drawing_shows_is_ordered_by_number():
    rng = np.random.default_rng(1)
    boxes = np.array([[[0, 0, 8, 8], [8, 8, 16, 16], [0, 8, 8, 16], [8, 0, 16, 8]]])
    activation = np.array([[1.0, 2.0, 3.0, 0.5]])
    where = {"dims": np.array([9, 4, 7, 1]), "activation": activation, "boxes": boxes,
             "maps": rng.random((1, 4, 3, 3)), "images": np.zeros((1, 3, 16, 16), np.uint8)}
    what = {"requested": np.array([1.0, 4.0, 30.0, 1.0]), "v_max": np.ones(12)}  # shares 1 .5 .1 .5
    edits = {"noised": np.arange(8).reshape(1, 8, 1, 1, 1) * np.ones((1, 8, 3, 16, 16))}
    shown = diagram.of_image(0, where, what, edits)
    assert shown.names.tolist() == [1, 4, 9]
    assert shown.code.tolist() == [0.5, 2, 3, 1]
    assert shown.code[shown.at].tolist() == [0.5, 2, 1]
    assert shown.boxes.tolist() == boxes[0, [3, 1, 0]].tolist()
    assert (shown.noised.max(), shown.noise.max(), shown.count) == (1, 7, 12)
    assert np.array_equal(shown.maps, where["maps"][0, [3, 1, 0]])
