"""Figure 3 and the sheets of every data set from made-up inputs: whole, honest, none left out."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from paper import catalogue, given, render, sheets, style
from patronus.config import Cell, Dataset, Study

SHEETS = ("prototypes", "reconstructions", "interpolations", "extrapolations", "where",
          "emergence", "forward")
TITLES = {"celeba": "CelebA", "chexpert": "CheXpert"}
GENERATED = {"celeba": True, "chexpert": False}
# images, prototypes, shape, side of the maps: the second is as small as a study can be
SIZES = {"celeba": (5, 7, (3, 16, 16), 5), "chexpert": (1, 1, (1, 24, 24), 3)}
REASON = "the method has no code"


def study_of(datasets=tuple(TITLES), methods=("ddpm", "patronus")) -> Study:
    return Study.model_construct(
        scale="smoke", figures=None,
        cells={(d, m, 0): Cell.model_construct(dataset=d, method=m, seed=0)
               for d in datasets for m in methods},
        datasets={d: Dataset.model_construct(shortcut=None) for d in datasets})


def explained(folder: Path, dataset: str) -> None:
    """What the stage "explanations" stores; prototype p has the name 10 + p."""
    rng = np.random.default_rng(0)
    n, count, shape, side = SIZES[dataset]
    order, few, times = 10 + np.arange(count), min(n, 4), np.array([999, 500, 1])
    images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    boxes = np.tile([0, 3, 7, 12], (n, count, 1))
    curves = rng.random((count, n, 3))
    tau = np.where(np.arange(count), 500.0, np.nan)
    rho = np.nan if count < 5 else -0.5
    folder.mkdir(parents=True)
    np.savez(folder / "what.npz", order=order, images=images, recon=images,
             edited=np.stack([images] * count), boxes=boxes.swapaxes(0, 1),
             best=np.zeros(count, int), before=np.full((count, n), 0.25),
             realised=np.full((count, n), 1.75), near_images=np.stack([images[0]] * count),
             near_boxes=boxes[0], near_activation=np.full(count, 2.25))
    np.savez(folder / "where.npz", dims=order, images=images, boxes=boxes,
             maps=rng.random((n, count, side, side)).astype(np.float16))
    np.savez(folder / "when.npz", dims=order, times=times, improvement=curves, tau=tau,
             arrived=rng.uniform(0, 1, (count, 3, 2)), arrived_images=rng.uniform(0, 1, (3, 2)),
             centroid=np.linspace(0.1, 0.2, count), rho=rho, rho_low=rho, rho_high=rho,
             strip=np.stack([images[:few]] * 3, 1), strip_times=times)
    np.savez(folder / "edits.npz", sweep_dims=order[:2], sweep_values=np.linspace(0, 3, 7),
             sweep_source=images[[0] * min(count, 2)],
             sweep=np.stack([images[[0] * 7]] * min(count, 2)), pair_sources=images[[[0, -1]]],
             pair=images[[[0] * 9]], vary_sources=images[:few], vary_recon=images[:few],
             vary=np.stack([images[:few]] * 3, 1), noised=np.stack([images[:few]] * 8, 1),
             noised_times=np.arange(8))
    (folder / "what.json").write_text(json.dumps({
        "dataset": dataset, "title": TITLES[dataset], "generated": GENERATED[dataset],
        "method": "patronus", "seed": 0, "steps": 12, "images_seen": 345, "split": "test",
        "scale": "smoke", "ddim_steps": 10}))


def sampled(results: Path, dataset: str) -> None:
    """What the stages "data", "samples" and "checkpoints" store; ddpm has no code."""
    images = np.zeros((13, *SIZES[dataset][2]), np.uint8)
    data = results / "data" / dataset
    data.mkdir(parents=True)
    np.save(data / "test.npy", images)
    (data / "meta.json").write_text(json.dumps({
        "dataset": dataset, "title": TITLES[dataset], "generated": GENERATED[dataset]}))
    for method in ("ddpm", "patronus"):
        samples, trained = (results / stage / dataset / method / "seed0"
                            for stage in ("samples", "checkpoints"))
        samples.mkdir(parents=True)
        trained.mkdir(parents=True)
        np.save(samples / "unconditional.npy", images)
        np.save(samples / "rows.npy", np.arange(13))
        if method == "patronus":
            np.save(samples / "conditional.npy", images)
        else:
            (samples / "none.json").write_text(json.dumps({"conditional": REASON}))
        (samples / "record.json").write_text(json.dumps({
            "cell": {"dataset": dataset, "title": method.title(), "seed": 0}}))
        (trained / "record.json").write_text(json.dumps({"found": {"images_seen": 345}}))


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    results = Path("results/smoke")
    for dataset in TITLES:
        explained(results / "explanations" / dataset / "patronus" / "seed0", dataset)
        sampled(results, dataset)
    return tmp_path


@pytest.fixture
def draw(place, monkeypatch):
    """Runs a script here and gives the words of each of its figures; writes them if `saved`."""
    words, save = {}, style.save

    def run(name: str, study: Study | None = None, saved: bool = False) -> dict[str, str]:
        def kept(fig, out, name):
            texts = fig.findobj(lambda artist: hasattr(artist, "get_text"))
            words[name] = " ".join(" ".join(text.get_text().split()) for text in texts)
            if saved:
                save(fig, out, name)

        monkeypatch.setattr(style, "save", kept)
        handed = given.of(name, study or study_of(), Path())
        monkeypatch.setenv(given.GIVEN, json.dumps(handed._asdict()))
        exec(compile(catalogue.script(name).read_text(), name, "exec"), {})
        return words

    yield run
    plt.close("all")


@pytest.mark.parametrize("name", SHEETS)
def test_a_sheet_for_every_data_set(place, draw, name):
    words = draw(name, saved=True)
    assert list(words) == [f"{name}_{dataset}" for dataset in TITLES]
    for (file, text), dataset in zip(words.items(), TITLES, strict=True):
        assert ("(generated stand-in)" in text) == GENERATED[dataset]
        for part in (f"‘{TITLES[dataset]}", "patronus, seed 0", "12 steps (345 images seen)",
                     "scale smoke (plumbing check"):
            assert part in text
        assert b"FontFile2" in (place / f"{file}.pdf").read_bytes()
        assert (place / f"{file}.png").is_file()


def test_all_prototypes_with_their_numbers(draw):
    text = draw("prototypes")["prototypes_celeba"]
    assert all(rf"\bf{{{j}}}$: 0.25 → 1.75" in text for j in range(10, 17))
    assert text.count("2.25") == 7
    assert "prototypes 1 to 7 of 7" in text


def test_pages_hold_every_prototype_once(place, monkeypatch):
    nothing = given.Given("prototypes", "", "smoke", ".", {"explained": []})
    monkeypatch.setenv(given.GIVEN, json.dumps(nothing._asdict()))
    script = {}
    exec(catalogue.script("prototypes").read_text(), script)
    for count in (1, 4, 52, 53, 100):
        pages = script["pages"](count)
        assert [p for page in pages for p in page] == list(range(count))
        assert max(map(len, pages)) <= 52
    assert list(map(len, pages)) == [52, 48]


def test_what_cannot_be_told_is_not(draw):
    words = draw("emergence")
    assert "= −0.50 [−0.50, −0.50]" in words["emergence_celeba"]
    assert "n/a" in words["emergence_chexpert"] and "nan" not in words["emergence_chexpert"]
    assert "$ = none" in words["emergence_chexpert"]  # it never gains


def test_samples_of_every_method(place, draw):
    words = draw("samples")
    assert set(words) == {f"samples_{dataset}_{kind}" for dataset in TITLES
                          for kind in ("unconditional", "conditional")}
    assert REASON in words["samples_celeba_conditional"]
    assert REASON not in words["samples_celeba_unconditional"]
    for text in words.values():
        assert "Ddpm 345, Patronus 345" in text
    assert "‘CelebA (generated stand-in)’" in words["samples_celeba_conditional"]


def test_figure_3_names_both_data_sets_or_its_only_one(draw):
    both = draw("fig3")["fig3"]
    assert "‘CelebA (generated stand-in)’" in both and "‘CheXpert’" in both
    assert "$j$ = 10 $s_j$ = 0.25" in both
    one = draw("fig3", study_of(("celeba",)))["fig3"]
    assert one.count("CelebA") == 1 and "CheXpert" not in one


def test_the_runner_keeps_and_records_every_sheet(place):
    out = Path("out")
    render.render("interpolations", study_of(), out)
    made = {f"interpolations_{dataset}.{kind}" for dataset in TITLES for kind in ("pdf", "png")}
    made |= {"interpolations.html", "interpolations.ipynb"}
    assert {file.name for file in out.iterdir()} == made | {"record.json"}
    recorded = json.loads((out / "record.json").read_text())["outputs"]
    assert set(recorded) == {str(out / name) for name in made}


def test_a_mosaic_keeps_order_and_pixels():
    images = np.arange(3 * 4, dtype=np.uint8).reshape(3, 1, 2, 2)
    sheet = sheets.mosaic(images, 2)[0]
    assert sheet.tolist() == [[0, 1, 255, 4, 5], [2, 3, 255, 6, 7], [255] * 5,
                              [8, 9, 255, 255, 255], [10, 11, 255, 255, 255]]


def test_pixels_are_averaged_only_where_they_outnumber_the_dots():
    fig = plt.figure(figsize=(1, 1), dpi=50)
    shown = [fig.add_axes([0, 0, 1, 1]).imshow(np.zeros((size, size))) for size in (40, 60)]
    style._spare(fig, 50)
    assert [image.get_interpolation() for image in shown] == ["nearest", "hanning"]
    style._spare(fig, 100)
    assert {image.get_interpolation() for image in shown} == {"nearest"}
    plt.close(fig)
