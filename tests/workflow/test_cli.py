"""The command line: what it makes of one image, what it trains, and how it answers mistakes."""

import base64
import io
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

from patronus import cli, load, own
from patronus.config import Cell, load_study
from patronus.data import images as images_reader
from patronus.diffusion import Diffusion
from patronus.errors import Problem
from patronus.explain import image as one
from patronus.explain import page
from patronus.explain.statistics import Statistics, find, read
from patronus.files import load_json, save_npz
from patronus.method import Method
from patronus.prepare import fit
from patronus.sources import ROOT
from patronus.worlds import faces

SHOWCASE = ROOT / "paper" / "showcase"
WHAT = SHOWCASE / "explanation" / "what.npz"
GLASSES = 11  # the prototype that draws dark glasses (tests/workflow/test_showcase.py)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def face(place) -> Path:
    """A generated face without glasses, of CelebA's size."""
    labels = faces.sample_labels(20, 5)
    i = int((labels["Eyeglasses"] == 0).idxmax())
    Image.fromarray(faces.render(labels.loc[i], 5, i)[0]).save(place / "face.png")
    return Path("face.png")


def said(*words: object) -> str:
    """What a command that ends well says."""
    result = CliRunner().invoke(cli.app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words: object) -> str:
    """The one line of a command that is refused; notes may come before it."""
    result = CliRunner().invoke(cli.app, list(map(str, words)))
    assert result.exit_code == 1, result.output
    lines = [line for line in result.output.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1 and lines[0].startswith("error: "), result.output
    return lines[0]


# help


def test_help_needs_no_torch():
    code = ("import sys, patronus.cli; heavy = {'torch', 'numpy', 'PIL'} & set(sys.modules); "
            "assert not heavy, heavy")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_module_runs_and_lists_its_commands():
    found = subprocess.run([sys.executable, "-m", "patronus", "--help"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout
    assert {"explain", "edit", "train", "import"} <= set(re.findall(r"^  (\w+)  ", found, re.M))


@pytest.mark.parametrize("command", ["explain", "edit", "train", "import"])
def test_help_of_a_command_gives_an_example_that_parses(command):
    text = said(command, "--help")
    example = re.search(r"Example: patronus (.*)", text)[1].split()
    assert example[0] == command
    options = [word for word in example if word.startswith("--")]
    assert all(option in text for option in options)


# explain


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.words, self._style = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_data(self, data):
        if not self._style:
            self.words.append(data.strip())

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def decoded(uri: str) -> np.ndarray:
    kind, _, held = uri.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(held))))


def test_explain_writes_one_page_that_needs_nothing_else(face):
    text = said("explain", face, "--steps", 3, "--top", 2)
    assert "178x218 pixels; it is squashed to 32x32" in text
    assert text.splitlines()[-1].startswith("face_png_explained.html: ")
    html = Path("face_png_explained.html").read_text()
    found = Page(html)
    pictures = found.all("img")
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in pictures)
    plain = re.sub(r"base64,[^\"]*", "", html)
    assert not re.search(r"https?:|//|url\(|@import|<link|<script", plain)
    assert len(pictures) == 2 + 2 * 5 and all(len(picture["alt"]) > 10 for picture in pictures)
    seen = fit(Image.open(face), (3, 32, 32))
    assert np.array_equal(decoded(pictures[0]["src"]), np.moveaxis(seen, 0, -1))
    assert len(found.all("polyline")) == 2
    assert all(len(curve["points"].split()) == 3 for curve in found.all("polyline"))
    assert sum("generated stand-in" in word for word in found.words) >= 2
    said("explain", face, "--steps", 3, "--top", 2, "--out", "again")
    assert Path("again/face_png_explained.html").read_text() == html


def test_the_prototypes_shown_are_those_whose_change_shows_most(face):
    said("explain", face, "--steps", 3, "--top", 3)
    html = Path("face_png_explained.html").read_text()
    shown = [int(n) for n in re.findall(r"<strong>(\d+)</strong>", html)]
    model, seen = load(SHOWCASE / "checkpoint"), fit(Image.open(face), (3, 32, 32))
    what = np.load(WHAT)
    moved = []  # each prototype by itself, as `patronus edit` would do it
    for j in range(model.code_dim):
        edits = [one.edit(model, seen, {j: float(value)}, 3)
                 for value in (what["v_max"][j], what["quantiles"][j, 0])]
        moved.append(max(np.abs(e.image.astype(int) - e.recon).mean() for e in edits))
    assert set(shown) == set(np.argsort(moved)[-3:].tolist())
    assert re.search(r"raised from [\d.]+ to [\d.]+: the new image has [\d.]+", html)
    assert re.search(r"lowered from [\d.]+ to [\d.]+: the new image has [\d.]+", html)


def test_pages_of_two_files_of_one_stem_are_two(face):
    Image.open(face).save("face.jpg")
    for name in (face, "face.jpg"):
        said("explain", name, "--steps", 2, "--top", 1)
    assert {path.name for path in Path().glob("*.html")} == {"face_png_explained.html",
                                                             "face_jpg_explained.html"}


def test_the_shipped_model_says_that_it_knows_drawings_only(face):
    assert "never a photograph" in said("explain", face, "--steps", 2, "--top", 1)
    assert "never a photograph" in said("edit", face, "--set", "3=1", "--steps", 2)


@pytest.mark.parametrize(("old", "asked", "new", "word"), [
    (1.38, 1.97, 1.31, "other way"), (0.5, 2, 0.55, "hardly"), (0.5, 2, 1.8, ""), (1, 1, 1.2, ""),
    (2, 0.5, 2.4, "other way")])
def test_an_edit_that_the_image_does_not_obey_is_told(old, asked, new, word):
    assert (word in cli.disobeyed(old, asked, new)) and bool(cli.disobeyed(old, asked, new)) == \
        bool(word)


def test_explain_finds_the_values_it_says(face):
    model, seen = load(SHOWCASE / "checkpoint"), fit(Image.open(face), (3, 32, 32))
    v_max, dims = np.load(WHAT)["v_max"], np.array([GLASSES, 3])
    ticks: list[int] = []
    low = np.load(WHAT)["quantiles"][:, 0]
    found = one.explain(model, seen, dims, v_max, low, 4, ticks.append)
    assert sum(ticks) == 4 * one.runs(2, True)
    s = one.read(model, seen)[dims]
    np.testing.assert_allclose(found.s, s)
    np.testing.assert_allclose(found.maps.max((1, 2)), s, atol=1e-5)
    for moved, values in ((found.raised, v_max), (found.lowered, low)):
        np.testing.assert_array_equal(moved.requested, values[dims])
        np.testing.assert_allclose(
            moved.realised, [one.read(model, new)[j] for j, new
                             in zip(dims, moved.images, strict=True)], atol=0.05)  # rounded pixels
        np.testing.assert_allclose(
            moved.change, np.abs(moved.images.astype(int) - found.recon).mean((1, 2, 3)), atol=0.05)
    assert (found.raised.realised > found.s).all()
    np.testing.assert_allclose(found.trace[-1], one.read(model, found.recon)[dims], atol=0.05)
    assert found.times.tolist() == [999, 666, 334, 1]


def test_a_map_lies_where_its_patches_do():
    """The middle of the box of position i is the middle of the map's cell i."""
    model = load(SHOWCASE / "checkpoint")
    y0, _, y1, _ = one.frame(model, (10, 10))
    cells = y0 + (np.arange(10) + 0.5) * (y1 - y0) / 10
    boxes = model.prototypes.boxes(torch.arange(10) * 10, (10, 10), (999, 999)).numpy()
    assert boxes[1:, 0].min() >= 0  # the first is clipped at the border
    np.testing.assert_allclose(cells[1:], boxes[1:, [0, 2]].mean(1))


# a model without statistics


@pytest.fixture
def bare(place) -> Path:
    """A copy of the showcase model with nothing beside it."""
    return Path(shutil.copytree(SHOWCASE / "checkpoint", place / "bare"))


def few_images(folder: Path, count: int) -> Path:
    """Pictures of coloured blocks in two subfolders."""
    rng = np.random.default_rng(9)
    for i in range(count):
        target = folder / ("odd" if i % 2 else "even") / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        blocks = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        blocks.resize((40, 48), Image.Resampling.NEAREST).save(target)
    return folder


def test_without_statistics_nothing_is_raised_until_a_reference_is_given(face, bare, place):
    arguments = ("explain", face, "--model", "bare", "--steps", 2, "--top", 1)
    assert "note: bare has no statistics" in said(*arguments)
    html = Path("face_png_explained.html").read_text()
    assert 'data-label="Where"' in html and 'data-label="What"' not in html
    assert "median" not in html
    s = one.read(load("bare"), fit(Image.open(face), (3, 32, 32)))
    assert f"<strong>{s.argmax()}</strong>" in html
    assert "--reference FOLDER" in refused("edit", face, "--model", "bare", "--set", "5=max")
    few_images(place / "like", 6)
    said(*arguments, "--reference", "like")
    html = Path("face_png_explained.html").read_text()
    assert 'data-label="What"' in html and "6 images in like" in html
    said(*arguments, "--reference", SHOWCASE / "explanation")
    assert "the test images of CelebA (generated stand-in)" in \
        Path("face_png_explained.html").read_text()


def test_statistics_are_found_where_the_study_keeps_them(tmp_path):
    model = tmp_path / "results" / "tiny" / "checkpoints" / "a" / "b" / "seed0"
    model.mkdir(parents=True)
    assert find(model) is None
    for stage, name in (("codes", "train.npy"), ("explanations", "what.npz")):
        folder = tmp_path / "results" / "tiny" / stage / "a" / "b" / "seed0"
        folder.mkdir(parents=True)
        (folder / name).touch()
        assert find(model) == folder / name
    (model / "statistics.npz").touch()
    assert find(model) == model / "statistics.npz"
    assert find(SHOWCASE / "checkpoint") == WHAT


def test_statistics_of_a_normal_variable(tmp_path):
    rng = np.random.default_rng(0)
    codes = np.stack([rng.normal(2, 0.5, 20_000), np.full(20_000, 1.5)], 1).astype(np.float32)
    Statistics.of(codes, "x").save(tmp_path)
    found = read(tmp_path / "statistics.npz")
    assert found.over == "x"
    np.testing.assert_array_equal(found.v_max, codes.max(0))
    z = found.unusual(np.array([3.0, 1.5]))
    assert z == pytest.approx([2, 0], abs=0.1)  # a dead prototype is not unusual
    assert found.share_below(np.array([2.0, 9.0])) == pytest.approx([0.5, 1], abs=0.02)


@pytest.mark.parametrize("spoil", ["cut", "nan", "lacks"])
def test_spoilt_statistics_are_one_line(tmp_path, spoil):
    path = tmp_path / "statistics.npz"
    Statistics.of(np.random.default_rng(0).random((9, 3)), "x").save(tmp_path)
    held = dict(np.load(path))
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif spoil == "nan":
        save_npz(path, **held | {"v_max": np.array([1, np.nan, 2])})
    else:
        save_npz(path, q=held["q"])
    with pytest.raises(Problem) as error:
        read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


# edit


def test_edit_sets_what_is_asked_and_says_what_came_of_it(face):
    text = said("edit", face, "--set", f"{GLASSES}=max", "--set", "3=1.25", "--steps", 6)
    rows = {int(j): list(map(float, rest)) for j, *rest in
            re.findall(r"^\s*(\d+) +([\d.]+) -> +([\d.]+) -> +([\d.]+)(?:  .*)?$", text,
                       re.M)}
    v_max = np.load(WHAT)["v_max"]
    s = one.read(load(SHOWCASE / "checkpoint"), fit(Image.open(face), (3, 32, 32)))
    assert rows[GLASSES][:2] == [round(float(s[GLASSES]), 2), round(float(v_max[GLASSES]), 2)]
    assert rows[3][1] == 1.25
    assert rows[GLASSES][2] > rows[GLASSES][0], "raising must raise"
    assert text.splitlines()[-1].startswith("face_edited.png: ")
    three = np.asarray(Image.open("face_edited.png"))
    assert three.shape == (256, 3 * 256 + 2 * 8, 3)
    assert np.array_equal(three[::8, :256:8], np.moveaxis(fit(Image.open(face), (3, 32, 32)), 0, 2))
    said("edit", face, "--set", f"{GLASSES}=max", "--set", "3=1.25", "--steps", 6, "--alone",
         "--out", "deep/alone.png")
    alone = np.asarray(Image.open("deep/alone.png"))
    assert alone.shape == (32, 32, 3)
    assert np.array_equal(alone, three[::8, -256::8])


def test_setting_what_is_there_changes_nothing(face):
    model, seen = load(SHOWCASE / "checkpoint"), fit(Image.open(face), (3, 32, 32))
    s = one.read(model, seen)
    found = one.edit(model, seen, {4: float(s[4])}, 3)
    assert np.abs(found.image.astype(int) - found.recon).max() <= 1
    assert found.old == pytest.approx([s[4]])


def test_a_value_that_no_image_reaches_is_told(face):
    text = said("edit", face, "--set", "3=9", "--steps", 2)
    assert re.search(r"note: prototype 3 at 9 lies outside [\d.]+ to [\d.]+, its range", text)


# mistakes


@pytest.mark.parametrize(("value", "told"), [
    ("38", "J=VALUE"), ("a=1", "J=VALUE"), ("3=high", "J=VALUE"), ("3=nan", "finite"),
    ("3=inf", "finite"), ("=1", "J=VALUE"), ("1.5=2", "J=VALUE"), ("", "J=VALUE"),
    ("32=1", "prototypes 0 to 31"), ("-1=1", "prototypes 0 to 31")])
def test_a_malformed_set_is_one_line(face, value, told):
    line = refused("edit", face, f"--set={value}", "--steps", 2)
    assert told in line and "--set" in line


def test_a_prototype_is_set_once(face):
    assert "twice" in refused("edit", face, "--set", "3=1", "--set", "3=max")


def test_mistaken_images_are_one_line(place):
    (place / "text.png").write_text("no image")
    Image.fromarray(np.full((9, 9), np.nan, np.float32)).save(place / "float.tif")
    assert "missing.png" in refused("explain", "missing.png")
    assert "no file" in refused("explain", ".")
    assert "text.png" in refused("explain", "text.png")
    assert "float.tif" in refused("explain", "float.tif")
    assert "PNG" in refused("edit", "text.png", "--set", "3=1", "--out", "a.jpg")


def test_mistaken_models_are_one_line(face, bare, place):
    assert "holds no model" in refused("explain", face, "--model", "nowhere")
    assert "nowhere" in refused("explain", face, "--model", bare, "--reference", "nowhere")
    few_images(place / "single", 1)
    assert "at least two" in refused("explain", face, "--reference", "single")
    save_npz(place / "what.npz", v_max=np.ones(3), q=np.linspace(0, 1, 3),
             quantiles=np.ones((3, 3)))
    assert "3 prototypes" in refused("explain", face, "--reference", "what.npz")
    weights = load_file(bare / "model.safetensors")
    weights["prototypes.vectors"][0, 0] = torch.nan
    save_file(weights, bare / "model.safetensors")
    assert "NaN" in refused("explain", face, "--model", bare)


def test_a_method_without_prototypes_says_so(face, place):
    from patronus import checkpoint
    model = checkpoint.build("baselines.ddpm", (3, 32, 32), None, {"base": 8,
                                                                   "multipliers": (1, 1)})
    checkpoint.save(place / "plain", model, {
        "module": "baselines.ddpm", "shape": [3, 32, 32], "code_dim": None,
        "model": {"base": 8, "multipliers": [1, 1]}})
    assert "a plain DDPM has no code" in refused("explain", face, "--model", "plain")


# pieces of the page


def test_pictures_survive_the_page():
    rng = np.random.default_rng(0)
    for shape in ((3, 5, 7), (1, 4, 4)):
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        assert np.array_equal(decoded(page.uri(image)).reshape(*shape[1:], shape[0]),
                              np.moveaxis(image, 0, -1))


def test_a_map_runs_from_dark_to_bright():
    drawn = page.coloured(np.array([[0.1, 0.2], [0.3, 0.5]]))
    assert drawn[:, 0, 0].tolist() == [68, 1, 84] and drawn[:, 1, 1].tolist() == [253, 231, 37]
    assert page.coloured(np.ones((2, 2))).std((1, 2)).max() == 0


@pytest.mark.parametrize(("low", "high"), [(0, 3), (0.51, 0.57), (-2, 9.2), (1, 1)])
def test_ticks_are_few_and_round(low, high):
    ticks = page.nice(low, high)
    assert 1 <= len(ticks) <= 4
    assert all(low - 1e-6 <= tick <= high + 1e-6 for tick in ticks)
    assert all(len(f"{tick:g}") <= 5 for tick in ticks)


def test_labels_keep_their_order_and_distance():
    assert page.apart([10, 50]) == [10, 50]
    high, low = page.apart([31, 30])
    assert high - low == page.LINE and high + low == 61


def test_texts_are_escaped():
    found = page.curve(np.array([9, 1]), np.array([0.0, 1]), [], "<b>&")
    assert "<b>" not in found and "&lt;b&gt;&amp;" in found


# train


OPTIONS = ("--size", 16, "--prototypes", 4, "--network", "small", "--epochs", 2)


@pytest.fixture
def photos(place, monkeypatch) -> Path:
    """64 images, and a small network that is smaller still."""
    plain = own.small

    def smaller(cell: Cell) -> Cell:
        cell = plain(cell)
        return cell.model_copy(update={"model": cell.model | {"base": 8, "multipliers": (1, 1)}})

    monkeypatch.setattr(own, "small", smaller)
    few_images(place / "photos", 64)
    return Path("photos")


def test_train_explain_edit_on_ones_own_images(photos, face):
    text = said("train", "--data", photos, "--out", "mine", *OPTIONS)
    assert "note: 64 images are few" in text and "patronus explain IMAGE --model mine" in text
    assert {path.name for path in Path("mine").iterdir()} == {
        "model.safetensors", "config.json", "history.csv", "record.json", "statistics.npz"}
    model, found = load("mine"), read(Path("mine/statistics.npz"))
    assert (model.shape, model.code_dim) == ((3, 16, 16), 4)
    codes = np.stack([one.read(model, fit(Image.open(path), model.shape))
                      for path in photos.rglob("*.png")])
    np.testing.assert_allclose(found.v_max, codes.max(0), rtol=1e-4)
    np.testing.assert_allclose(found.level(0.5), np.median(codes, 0), rtol=1e-4)
    record = load_json(Path("mine/record.json"))["found"]
    assert record["steps"] == 2 and 40 < record["images_seen"] / 2 < 64  # the rest is held out
    assert "the 64 images of photos" in said("edit", face, "--model", "mine", "--set", "0=12",
                                             "--steps", 2)
    said("explain", face, "--model", "mine", "--steps", 2, "--top", 2)
    assert "the 64 images of photos" in Path("face_png_explained.html").read_text()

    assert "is trained so already" in said("train", "--data", photos, "--out", "mine", *OPTIONS)
    assert "choose another --out" in refused("train", "--data", photos, "--out", "mine", *OPTIONS,
                                             "--seed", 1)


def bitmaps(folder: Path, first: int) -> None:
    """Eight pictures of as many bytes each, and other ones for another `first`."""
    folder.mkdir(exist_ok=True)
    for i in range(8):
        level = np.full((16, 16, 3), first + 9 * i, np.uint8)
        Image.fromarray(level).save(folder / f"{i}.bmp")


def test_other_images_of_equal_size_are_trained_on_anew(photos):
    """The model lies among the images, as where `--data .` is typed."""
    command = ("train", "--data", ".", "--out", "mine", *OPTIONS)
    shutil.rmtree(photos)
    bitmaps(Path("own"), 0)
    said(*command)
    first, record = Path("mine/model.safetensors").read_bytes(), Path("mine/record.json")
    held = record.read_bytes()
    for path in Path("own").iterdir():
        os.utime(path, (1, 1))
    for more in ((), ("--verify",)):
        assert "is trained so already" in said(*command, *more)
    assert record.read_bytes() == held
    bitmaps(Path("own"), 99)
    assert "other images" in said(*command)
    assert Path("mine/model.safetensors").read_bytes() != first
    assert "is trained so already" in said(*command)
    bitmaps(Path("own"), 50)
    assert "with other options" in refused(*command, "--seed", 1)


def test_images_that_change_in_an_interrupted_training_are_trained_on(photos, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    command = ("train", "--data", photos, "--out", "mine", *OPTIONS)
    with monkeypatch.context() as patch:
        patch.setattr(own.Statistics, "of", interrupted)
        refused_at_the_end(*command)
    first = Path("mine/model.safetensors").read_bytes()
    path = min(photos.rglob("*.png"))
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert "begins anew" in said(*command)
    assert Path("mine/model.safetensors").read_bytes() != first


def test_an_interrupted_training_goes_on(photos, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    command = ("train", "--data", photos, "--out", "mine", *OPTIONS)
    with monkeypatch.context() as patch:
        patch.setattr(own.Statistics, "of", interrupted)  # the training itself has ended
        assert "run the same command again" in refused_at_the_end(*command)
    weights = Path("mine/model.safetensors").read_bytes()
    assert not Path("mine/record.json").exists()
    assert "unfinished" in refused(*command, "--seed", 1)
    monkeypatch.setattr(own, "prepare", interrupted)  # neither prepared again
    monkeypatch.setattr("patronus.train.State.update", interrupted)  # nor trained
    assert "trained for 2 steps" in said(*command)
    assert Path("mine/model.safetensors").read_bytes() == weights


def refused_at_the_end(*words: object) -> str:
    result = CliRunner().invoke(cli.app, list(map(str, words)))
    assert result.exit_code == 1
    return result.stdout.splitlines()[-1]


def test_minutes_become_passes_by_a_timing(monkeypatch, place):
    """100 images at batch 64; half a second a step; two minutes are 240 steps."""
    wish = own.Wish(size=16, prototypes=4)
    study = own.study_of(place, wish, False)
    job = own.OwnJob("checkpoints", next(iter(study.cells.values())), None, place, 1, place=place)
    monkeypatch.setattr(own.Prepared, "open", lambda folder: Held())
    timed: list[int] = []
    monkeypatch.setattr(own, "_timed", lambda job, steps, count: timed.append(steps) or steps / 2)
    epochs = own._epochs(job, 2.0)
    assert round(epochs * 100 / 64) == 240
    assert timed == [2, 8]


class Held:
    def images(self, split: str) -> np.ndarray:
        return np.zeros((100, 3, 16, 16), np.uint8)


def test_a_timing_leaves_nothing_behind(photos, monkeypatch):
    monkeypatch.setattr(own, "WARM_UP", 1)
    monkeypatch.setattr(own, "TIMED_SECONDS", 0.05)
    wish = own.Wish(size=16, prototypes=4, minutes=1e-6)
    own.train(photos, Path("mine"), wish, lambda line: None)
    assert not Path("mine/work").exists()
    assert load_json(Path("mine/record.json"))["found"]["steps"] == 1


@pytest.mark.parametrize("recipe", ["modern", "published"])
@pytest.mark.parametrize(("size", "base"), [(64, "faces64"), (224, "chexpert")])
def test_the_published_network_is_the_papers(recipe, size, base, place):
    method = own.METHODS[recipe]
    found = next(iter(own.study_of(place, own.Wish(size=size, recipe=recipe, network="published"),
                                   True).cells.values()))
    paper = load_study("paper", datasets=[base], methods=[method], seeds=[0]).cell(base, method, 0)
    assert (found.model, found.train) == (paper.model, paper.train)
    narrow = next(iter(own.study_of(place, own.Wish(size=size, recipe=recipe), False)
                       .cells.values()))
    assert narrow.model["base"] == 16 and narrow.train.batch_size == paper.train.batch_size
    assert narrow.model["encoder_kernels"] == paper.model["encoder_kernels"]
    assert narrow.model["prediction"] == paper.model["prediction"]
    if recipe == "published":
        assert narrow.train == paper.train


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (64, 10), (10_000, 200)])
def test_a_short_training_warms_up_for_a_tenth_of_it(place, epochs, warmup):
    """100 images at batch 64: 64 passes are 100 steps."""
    cell = next(iter(own.study_of(place, own.Wish(), False).cells.values()))
    found = own.lasting(cell, epochs, 100).train
    assert (found.epochs, found.warmup_steps) == (epochs, warmup)


def test_held_out_images_are_some_and_do_not_move():
    for count in (2, 3, 40):
        found = images_reader.splits([f"{i}.png" for i in range(count)], 0.1)
        assert {"train", "test"} == set(found)
    few = images_reader.splits([f"{i}.png" for i in range(100)], 0.1)
    more = images_reader.splits([f"{i}.png" for i in range(200)], 0.1)
    assert few == more[:100] and 2 < few.count("test") < 25


class Reads(Method):
    """An oracle that takes the code for the image's gray level; `trust` 0: it ignores the code."""

    def __init__(self, trust: float):
        super().__init__((1, 8, 8), 1)
        self.diffusion, self.trust = Diffusion(), nn.Parameter(torch.tensor(trust))

    def encode(self, x0):
        return x0.mean((1, 2, 3))[:, None]

    def predict(self, x_t, t, code):
        a = self.diffusion.alpha_bar[t].view(-1, 1, 1, 1)
        x0hat = self.trust * code[..., None, None]
        return x0hat, (x_t - a.sqrt() * x0hat) / (1 - a).sqrt() + 1


def test_a_code_that_is_ignored_has_a_ratio_of_one():
    images = np.repeat([0, 128, 255], 64).reshape(3, 1, 8, 8).astype(np.uint8)
    assert own.shuffled(Reads(1.0), images) > 10
    assert own.shuffled(Reads(0.0), images) == 1


def test_mistaken_trainings_are_one_line(place):
    (place / "empty").mkdir()
    few_images(place / "single", 1)
    few_images(place / "pair", 2)
    (place / "taken").mkdir()
    (place / "taken" / "thesis.txt").touch()
    (place / "broken").mkdir()
    for name in "ab":
        (place / "broken" / f"{name}.jpg").write_bytes(b"no image")
    assert "is no folder" in refused("train", "--data", "nowhere", *OPTIONS)
    assert "holds no images" in refused("train", "--data", "empty", *OPTIONS)
    assert "holds one image" in refused("train", "--data", "single", *OPTIONS)
    assert "broken/" in refused_at_the_end("train", "--data", "broken", *OPTIONS)
    assert "other files" in refused("train", "--data", "pair", "--out", "taken", *OPTIONS)
    assert "one of them" in refused("train", "--data", "pair", *OPTIONS, "--minutes", 1)
    assert "multiple of 8" in refused("train", "--data", "pair", "--size", 20)
    assert "above 0" in refused("train", "--data", "pair", "--minutes", "nan")
    assert "generated stand-in" in refused("train", "--data", stand_in(place), *OPTIONS)


def stand_in(place: Path) -> str:
    few_images(place / "world", 2)
    (place / "world" / "generated.json").write_text("{}")
    return "world"


# import


def test_import_is_the_checkpoints_own(monkeypatch):
    calls = []
    monkeypatch.setattr("patronus.published.run", lambda *arguments: calls.append(arguments))
    said("import", "ckpt.tar", "out", "--dataset", "celeba")
    assert calls == [(Path("ckpt.tar"), Path("out"), "celeba")]


def test_import_of_what_is_not_there_is_one_line():
    assert "ckpt.tar" in refused("import", "ckpt.tar", "out", "--dataset", "celeba")
