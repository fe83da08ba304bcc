"""The authors' checkpoints: every tensor finds its place, outputs are the same, faults are named.

The network below is written from section 1 of the specification alone, on the published names,
and shares nothing with patronus/unet.py.
"""

import argparse
import json
import shutil
import subprocess
import sys
from math import prod
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

import patronus
from patronus import published
from patronus.config import load_study
from patronus.errors import Problem
from patronus.sources import ROOT, closure

SIZES = {"fashion_mnist": 25_227_649, "celeba": 25_257_411, "chexpert": 25_894_145}
SHAPES = {"fashion_mnist": (1, 32, 32), "celeba": (3, 64, 64), "chexpert": (1, 224, 224)}
STRIDES = {3: [(2, 1), (1, 0), (1, 0), (1, 0)],  # stride and padding, by kernel
           5: [(2, 1), (2, 1), (1, 0), (1, 0), (1, 0)]}


# --- a published checkpoint, by rule ------------------------------------------------------------

def layer(name: str, outside: int, inside: int, kernel: int = 0) -> dict:
    return {f"{name}.weight": (outside, inside) + (kernel, kernel) * bool(kernel),
            f"{name}.bias": (outside,)}


def norm_shapes(name: str, width: int) -> dict:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def block_shapes(name: str, inside: int, outside: int, embedding: int) -> dict:
    return (norm_shapes(f"{name}.normlize_1", inside)
            | layer(f"{name}.conv_1", outside, inside, 3)
            | layer(f"{name}.dense_1", outside, embedding)
            | layer(f"{name}.dense_2", outside, embedding)
            | norm_shapes(f"{name}.normlize_2", outside)
            | layer(f"{name}.conv_2", outside, outside, 3)
            | (layer(f"{name}.match_input", outside, inside, 1) if inside != outside else {}))


def attention_shapes(name: str, width: int) -> dict:
    return (norm_shapes(f"{name}.group_norm", width)
            | {f"{name}.mhsa.in_proj_weight": (3 * width, width),
               f"{name}.mhsa.in_proj_bias": (3 * width,)}
            | layer(f"{name}.mhsa.out_proj", width, width))


def unet_shapes(base: int, embedding: int) -> dict:
    shapes, skips, width = {}, [base], base
    names = iter(range(11))
    for level, wide in enumerate((base, 2 * base, 4 * base, 4 * base)):
        for _ in range(2):
            shapes |= block_shapes(f"encoder_blocks.{next(names)}", width, wide, embedding)
            width = wide
            skips.append(width)
        if level < 3:
            shapes |= layer(f"encoder_blocks.{next(names)}.downsample", width, width, 3)
            skips.append(width)
    for name in ("bottleneck_blocks.0", "bottleneck_blocks.1"):
        shapes |= block_shapes(name, width, width, embedding)
    shapes |= attention_shapes("bottleneck_blocks.0.attention", width)
    names = iter(range(15))
    for level, wide in enumerate((4 * base, 4 * base, 2 * base, base)):
        for _ in range(3):
            inside = width + skips.pop()
            shapes |= block_shapes(f"decoder_blocks.{next(names)}", inside, wide, embedding)
            width = wide
        if level < 3:
            shapes |= layer(f"decoder_blocks.{next(names)}.upsample.1", width, width, 3)
    return shapes


def shapes_of(channels: int, m: int, widths: tuple[int, ...], base: int = 64) -> dict:
    """Name -> shape of every tensor of a published checkpoint."""
    embedding, kernel = 4 * base, 3 if len(widths) == 4 else 5
    shapes = dict.fromkeys(("proactBlock.prototype_vectors", "proactBlock.ones"),
                           (m, widths[-1], 1, 1))
    for i, (inside, outside) in enumerate(zip((channels, *widths), widths, strict=False)):
        shapes |= layer(f"proactBlock.encoder.features.{2 * i}", outside, inside, kernel)
    return (shapes | {"time_embeddings.time_blocks.0.weight": (1000, base)}
            | layer("time_embeddings.time_blocks.1", embedding, base)
            | layer("time_embeddings.time_blocks.3", embedding, embedding)
            | layer("cond_embeddings.vector_fc.0", embedding, m)
            | layer("cond_embeddings.vector_fc.2", embedding, embedding)
            | layer("first", base, channels, 3) | unet_shapes(base, embedding)
            | norm_shapes("final.0", base) | layer("final.2", channels, base, 3))


def published_shapes(dataset: str) -> dict:
    return {"fashion_mnist": shapes_of(1, 30, (32, 64, 64, 128)),
            "celeba": shapes_of(3, 100, (32, 64, 64, 128)),
            "chexpert": shapes_of(1, 100, (32, 64, 64, 128, 128))}[dataset]


def time_table(width: int) -> Tensor:
    """The usual table, computed as usual: in float32."""
    half = torch.arange(width // 2, dtype=torch.float32)
    angles = torch.arange(1000.0)[:, None] * 10_000 ** (-half / (width // 2 - 1))
    return torch.cat([angles.sin(), angles.cos()], 1)


def checkpoint_of(shapes: dict) -> dict[str, Tensor]:
    """Random weights that keep every path of the network alive."""
    torch.manual_seed(0)

    def draw(name: str, shape: tuple[int, ...]) -> Tensor:
        if name.endswith("time_blocks.0.weight"):
            return time_table(shape[1])
        if name.endswith("ones"):
            return torch.ones(shape)
        if name.endswith("vectors"):
            return torch.rand(shape)
        if len(shape) == 1:
            is_scale = name.endswith("weight")
            return is_scale + 0.1 * torch.randn(shape)
        return torch.randn(shape) / prod(shape[1:]) ** 0.5

    return {name: draw(name, shape) for name, shape in shapes.items()}


# --- the network of section 1, written anew -----------------------------------------------------

class Plain:
    """s and eps from published tensors `w`, in double precision."""

    def __init__(self, w: dict[str, Tensor]):
        self.w = {name: value.double() for name, value in w.items()}

    def conv(self, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], stride, padding)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, 8, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def encode(self, x0: Tensor) -> Tensor:
        z, name = x0.double(), "proactBlock.encoder.features"
        for i, (stride, padding) in enumerate(STRIDES[self.w[f"{name}.0.weight"].shape[2]]):
            z = self.conv(f"{name}.{2 * i}", z, stride, padding).relu()
        difference = z[:, None] - self.w["proactBlock.prototype_vectors"]
        nearest = difference.square().sum(2).amin((2, 3))
        return torch.log((nearest + 1) / (nearest + 1e-4))

    def eps(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        time = self.w["time_embeddings.time_blocks.0.weight"][t]
        time = self.linear("time_embeddings.time_blocks.1", time)
        time = self.linear("time_embeddings.time_blocks.3", F.silu(time))
        code = self.linear("cond_embeddings.vector_fc.0", s.double())
        code = self.linear("cond_embeddings.vector_fc.2", F.silu(code))
        h = self.conv("first", x.double(), padding=1)
        kept = [h]
        for i in range(11):
            h = self.step(f"encoder_blocks.{i}", h, time, code)
            kept.append(h)
        for i in range(2):
            h = self.step(f"bottleneck_blocks.{i}", h, time, code)
        for i in range(15):
            if i % 4 != 3:
                h = torch.cat([h, kept.pop()], 1)
            h = self.step(f"decoder_blocks.{i}", h, time, code)
        assert not kept
        return self.conv("final.2", F.silu(self.norm("final.0", h)), padding=1)

    def step(self, name: str, x: Tensor, time: Tensor, code: Tensor) -> Tensor:
        if f"{name}.downsample.weight" in self.w:
            return self.conv(f"{name}.downsample", x, stride=2, padding=1)
        if f"{name}.upsample.1.weight" in self.w:
            twice = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            return self.conv(f"{name}.upsample.1", twice, padding=1)
        h = self.conv(f"{name}.conv_1", F.silu(self.norm(f"{name}.normlize_1", x)), padding=1)
        h = h + self.linear(f"{name}.dense_1", F.silu(time))[:, :, None, None]
        h = h + self.linear(f"{name}.dense_2", F.silu(code))[:, :, None, None]
        h = self.conv(f"{name}.conv_2", F.silu(self.norm(f"{name}.normlize_2", h)), padding=1)
        h = h + (self.conv(f"{name}.match_input", x) if f"{name}.match_input.weight" in self.w
                 else x)
        return self.attend(f"{name}.attention", h) \
            if f"{name}.attention.group_norm.weight" in self.w else h

    def attend(self, name: str, x: Tensor) -> Tensor:
        tokens = self.norm(f"{name}.group_norm", x).flatten(2).transpose(1, 2)
        mixed = tokens @ self.w[f"{name}.mhsa.in_proj_weight"].T
        mixed = (mixed + self.w[f"{name}.mhsa.in_proj_bias"]).unflatten(2, (3, 4, -1))
        q, k, v = mixed.permute(2, 0, 3, 1, 4)  # each (B, heads, positions, width of a head)
        heads = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(3) @ v
        mixed = self.linear(f"{name}.mhsa.out_proj", heads.transpose(1, 2).flatten(2))
        return x + mixed.transpose(1, 2).view_as(x)


# --- imports ------------------------------------------------------------------------------------

@pytest.fixture(scope="module", autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def narrow(tmp_path, monkeypatch) -> Path:
    """Configuration with the data sets `small` (32 px) and `chest` (224 px), base width 8."""
    config = tmp_path / "config"
    shutil.copytree(ROOT / "config", config)
    for name, like in (("small", "celeba"), ("chest", "chexpert")):
        values = yaml.safe_load((config / "datasets" / f"{like}.yaml").read_text())
        shape = [3, 32, 32] if name == "small" else [1, 224, 224]
        model = {"base": 8} | values.get("model", {}).get("patronus.model", {})
        values |= {"shape": shape, "model": {"patronus.model": model}}
        (config / "datasets" / f"{name}.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setenv("PATRONUS_CONFIG", str(config))
    return tmp_path


@pytest.fixture
def small(narrow) -> dict[str, Tensor]:
    return checkpoint_of(shapes_of(3, 5, (8, 8, 16, 16), base=8))


def archive(weights: dict) -> dict:
    """What the authors' file holds."""
    optimiser = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-5}]}
    return {"model": weights, "opt": optimiser, "scaler": {"scale": 65536.0}}


def imported(folder: Path, content: object, dataset: str):
    """The model that the import of `content` gives, and its folder."""
    torch.save(content, folder / "ckpt.tar")
    published.convert(folder / "ckpt.tar", folder / "out", dataset)
    return patronus.load(folder / "out"), folder / "out"


def same_outputs(model, weights: dict[str, Tensor]) -> None:
    """s and eps equal section 1's, in float32 and, but for the table's rounding, exactly."""
    generator = torch.Generator().manual_seed(1)
    x0, x_t = torch.randn((2, 2, *model.shape), generator=generator)
    x0, t = x0.clamp(-1, 1), torch.tensor([998, 37])
    plain, s = Plain(weights), model.encode(x0)
    assert plain.encode(x0).std() > 1e-4
    torch.testing.assert_close(s.double(), plain.encode(x0), rtol=1e-5, atol=1e-5)
    for code in (s, 9 * torch.rand(s.shape, generator=generator)):
        expected = plain.eps(x_t, t, code)
        assert expected.std() > 0.1
        torch.testing.assert_close(model.eps(x_t, t, code).double(), expected, rtol=0, atol=1e-5)
    plain.w["time_embeddings.time_blocks.0.weight"] = model.denoiser.times.double()
    exact = model.denoiser.double()(x_t.double(), t, code.double())
    torch.testing.assert_close(exact, plain.eps(x_t, t, code), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dataset", SIZES)
def test_the_rule_above_gives_the_published_sizes(dataset):
    shapes = published_shapes(dataset)
    constants = ("proactBlock.ones", "time_embeddings.time_blocks.0.weight")
    assert len(shapes) == 335 + 2 * (dataset == "chexpert")
    assert sum(prod(s) for name, s in shapes.items() if name not in constants) == SIZES[dataset]


@pytest.mark.parametrize("dataset", ["fashion_mnist", "celeba"])
def test_a_published_checkpoint_gives_the_same_outputs(tmp_path, dataset):
    weights = checkpoint_of(published_shapes(dataset))
    model, folder = imported(tmp_path, archive(weights), dataset)
    assert model.shape == SHAPES[dataset] and not model.training
    same_outputs(model, weights)
    config = json.loads((folder / "config.json").read_text())
    assert config["about"]["scale"] == "imported" and config["about"]["dataset"] == dataset
    record = json.loads((folder / "record.json").read_text())
    assert record["found"]["parameters"] == SIZES[dataset]
    assert record["found"]["tensors"]["imported"] + 2 == len(weights)
    assert record["found"]["left_out"] == ["opt", "scaler"]


def test_chest_films_keep_their_own_encoder(narrow):
    weights = checkpoint_of(shapes_of(1, 5, (8, 8, 16, 16, 16), base=8))
    model, _ = imported(narrow, archive(weights), "chest")
    same_outputs(model, weights)
    assert model.locate(torch.zeros(1, 1, 224, 224)).maps.shape == (1, 5, 43, 43)


def test_a_published_checkpoint_of_chest_films_fits():
    weights = checkpoint_of(published_shapes("chexpert"))
    cell = load_study("paper", datasets=["chexpert"], methods=["patronus"], seeds=[0]) \
        .cell("chexpert", "patronus", 0)
    model = published.fill(published.cell_of(weights, cell), weights)
    assert sum(p.numel() for p in model.parameters()) == SIZES["chexpert"]


def test_an_imported_model_does_what_a_method_does(narrow, small):
    model, _ = imported(narrow, small, "small")
    x0 = torch.rand(2, 3, 32, 32) * 2 - 1
    s = model.encode(x0)
    again = model.decode(model.invert(x0, s, 100), s, 100)
    assert s.shape == (2, 5) and again.shape == x0.shape and again.isfinite().all()
    found = model.locate(x0)
    torch.testing.assert_close(found.activation, s)
    assert found.boxes.shape == (2, 5, 4) and found.maps.shape == (2, 5, 10, 10)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(("form", "tolerance"), [
    (archive, 0), (dict, 0),
    (lambda w: archive({f"module.{name}": value for name, value in w.items()}), 0),
    (lambda w: {name: value.double() for name, value in w.items()}, 0),
    (lambda w: archive({name: value.half() for name, value in w.items()}), 2e-3)],
    ids=["archive", "plain", "parallel", "double", "half"])
def test_other_forms_of_the_file_give_the_same_weights(narrow, small, form, tolerance):
    model, _ = imported(narrow, form(small), "small")
    state = model.state_dict()
    assert {value.dtype for value in state.values()} == {torch.float32}
    for key, value in state.items():
        expected = small[published.published_name(key)].view_as(value)
        torch.testing.assert_close(value, expected, rtol=0, atol=tolerance)


def spoilt(weights: dict, **changes: Tensor | None) -> dict:
    """Weights with tensors replaced, added, or (None) left out; `__` stands for a dot."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in (weights | named).items() if value is not None}


ONES, TABLE = "proactBlock__ones", "time_embeddings__time_blocks__0__weight"
UP = "decoder_blocks__6__match_input__weight"
VECTORS = "proactBlock__prototype_vectors"
FAULTS = {
    "missing": ({UP: None}, r"decoder_blocks\.6\.match_input\.weight: is missing"),
    "no first": ({"first__weight": None}, r"first\.weight: is missing"),
    "no prototypes": ({VECTORS: None}, r"proactBlock\.prototype_vectors: is missing"),
    "no ones": ({ONES: None}, r"proactBlock\.ones: is missing"),
    "extra": ({"ema__first__weight": torch.ones(1)}, r"ema\.first\.weight: has no place"),
    "one more block": ({"encoder_blocks__11__conv_1__bias": torch.ones(1)},
                       r"encoder_blocks\.11\.conv_1\.bias: has no place"),
    "shape": ({UP: torch.ones(32, 48, 3, 3)},
              r"match_input\.weight: has shape \(32, 48, 3, 3\), not \(32, 48, 1, 1\)"),
    "flat prototypes": ({VECTORS: torch.ones(5, 16)}, r"prototype_vectors: has shape \(5, 16\)"),
    "more prototypes": ({VECTORS: torch.ones(6, 16, 1, 1)},
                        r"proactBlock\.ones: has shape \(5, 16, 1, 1\), not \(6, 16, 1, 1\)"),
    "NaN": ({"final__2__bias": torch.full((3,), torch.nan)}, r"final\.2\.bias: holds NaN"),
    "infinity": ({"final__2__bias": torch.full((3,), torch.inf)}, r"final\.2\.bias: holds NaN"),
    "not ones": ({ONES: torch.full((5, 16, 1, 1), 0.5)}, r"proactBlock\.ones: must be all ones"),
    "cosines first": ({TABLE: time_table(8).roll(4, 1)}, r"time_blocks\.0\.weight: is not the"),
    "other rates": ({TABLE: time_table(10)[:, [0, 1, 2, 3, 5, 6, 7, 8]]},
                    r"time_blocks\.0\.weight: is not the"),
    "no tensor": ({"first__bias": 3.0}, r"first\.bias: is no tensor of floats"),
    "integers": ({"first__bias": torch.ones(8).long()}, r"first\.bias: is no tensor of floats"),
    "gray": ({"first__weight": torch.ones(8, 1, 3, 3)}, r"first\.weight: takes images of 1 chan"),
    "large kernels": ({"proactBlock__encoder__features__0__weight": torch.ones(8, 3, 5, 5)},
                      r"kernels are \(5, 3, 3, 3\).*small.*name another --dataset"),
    "fewer layers": ({"proactBlock__encoder__features__6__weight": None}, r"kernels are \(3, 3, 3"),
}


def refuses(folder: Path, match: str, dataset: str = "small") -> None:
    """The import of folder/ckpt.tar says `match` in one line and leaves nothing behind."""
    before = set(folder.iterdir())
    with pytest.raises(Problem, match=match) as caught:
        published.convert(folder / "ckpt.tar", folder / "out", dataset)
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize(("changes", "match"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_and_nothing_is_written(narrow, small, changes, match):
    torch.save(archive(spoilt(small, **changes)), narrow / "ckpt.tar")
    refuses(narrow, rf"ckpt\.tar: .*{match}")


def test_python_objects_are_never_unpickled(narrow, small):
    torch.save(archive(small) | {"args": argparse.Namespace(lr=1)}, narrow / "ckpt.tar")
    refuses(narrow, r"holds Python objects \(argparse\.Namespace\)")
    torch.save(torch.nn.Linear(2, 2), narrow / "ckpt.tar")
    refuses(narrow, r"holds Python objects \(torch\.nn\.modules\.linear\.Linear\)")


def test_a_damaged_or_foreign_file_is_refused(narrow, small):
    torch.save(archive(small), narrow / "ckpt.tar")
    whole = (narrow / "ckpt.tar").read_bytes()
    for content in (whole[:len(whole) // 2], whole[:-10], b"", b"no checkpoint", whole[:1000]):
        (narrow / "ckpt.tar").write_bytes(content)
        refuses(narrow, "is not a whole file of plain tensors")
    for content in ([1, 2], {}, {"model": 3}, {"model": {}}, torch.ones(2), {1: torch.ones(2)}):
        torch.save(content, narrow / "ckpt.tar")
        refuses(narrow, "holds no weights by name")
    (narrow / "ckpt.tar").unlink()
    refuses(narrow, "cannot be read")
    refuses(narrow, "somewhere.yaml: does not exist", dataset="somewhere")


def test_a_folder_that_holds_something_is_left_alone(narrow, small):
    _, folder = imported(narrow, small, "small")
    before = (folder / "model.safetensors").stat().st_mtime_ns
    refuses(narrow, "out: already exists")
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_the_command(narrow, small):
    torch.save(archive(small), narrow / "ckpt.tar")
    command = [sys.executable, "-m", "patronus.checkpoint", "import", narrow / "ckpt.tar",
               narrow / "out", "--dataset", "small"]
    done, again = (subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
                   for _ in range(2))
    assert done.returncode == 0 and "333 tensors" in done.stdout
    assert patronus.load(str(narrow / "out")).code_dim == 5
    assert again.returncode == 1 and again.stderr.startswith("error: ")
    assert len(again.stderr.splitlines()) == 1


def test_the_import_weighs_on_nothing_else():
    code = "import sys, patronus; patronus.load; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    assert ROOT / "patronus" / "published.py" not in closure("patronus.train", "patronus.sample")


# --- into a study ---------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    """A tiny study of one data set whose Patronus has the published layout at a small width."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    path = tmp_path / "config" / "scales" / "tiny.yaml"
    scale = yaml.safe_load(path.read_text()) | {"datasets": ["celeba"], "methods": ["patronus"]}
    scale["every"]["model"] = {"patronus.model": {
        "base": 8, "multipliers": [1, 2, 4, 4], "encoder_channels": [8, 8, 8, 16]}}
    path.write_text(yaml.safe_dump(scale))
    monkeypatch.setenv("PATRONUS_CONFIG", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, text=True,
                          check=False)


def workflow(*words: object) -> str:
    done = typed("snakemake", "-s", ROOT / "Snakefile", "--cores", 1, *words,
                 "--config", "scale=tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_an_imported_checkpoint_stands_in_a_study_and_is_not_trained_over(study):
    torch.manual_seed(0)
    tensors = {name: torch.randn(shape) * 0.05 for name, shape in
               shapes_of(3, 8, (8, 8, 8, 16), 8).items()}
    tensors["proactBlock.ones"] = torch.ones_like(tensors["proactBlock.ones"])
    tensors["time_embeddings.time_blocks.0.weight"] = published.sinusoids(1000, 8)
    torch.save({"model": tensors}, "ckpt.tar")
    words = ("patronus", "import", "ckpt.tar", "--scale", "tiny", "--dataset", "celeba")
    early = typed(*words)
    assert early.returncode == 1 and "is not prepared yet" in early.stderr
    workflow("results/tiny/data/celeba/record.json")
    done = typed(*words)
    assert done.returncode == 0, done.stderr
    folder = Path("results/tiny/checkpoints/celeba/patronus/seed0")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert {"model.safetensors", "config.json", "history.csv", "record.json"} <= set(before)
    codes = "results/tiny/codes/celeba/patronus/seed0/record.json"
    assert "rule train" not in workflow("-n", codes)
    workflow(codes)
    Path("results/tiny/data/celeba/record.json").touch()  # data that are prepared again
    assert "rule train" not in workflow("-n", codes)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    again = typed(*words)
    assert again.returncode == 1 and "holds a model already" in again.stderr


def test_a_checkpoint_of_another_size_is_refused_by_a_study(study):
    tensors = {name: torch.zeros(shape) for name, shape in
               shapes_of(3, 9, (8, 8, 8, 16), 8).items()}
    torch.save({"model": tensors}, "ckpt.tar")
    workflow("results/tiny/data/celeba/record.json")
    done = typed("patronus", "import", "ckpt.tar", "--scale", "tiny", "--dataset", "celeba")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "ckpt.tar" in line and "code_dim is 9" in line
