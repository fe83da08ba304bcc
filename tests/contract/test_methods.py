"""Every method in the folder keeps the contract of patronus/method.py; none is listed here."""

import copy
import importlib
import inspect
import types
import typing
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from patronus import checkpoint
from patronus.config import Cell, load_study, method_names, options
from patronus.errors import NotApplicable
from patronus.method import Method, to_uint8, to_unit
from patronus.sources import ROOT

METHODS = [name for name in method_names()  # variants of one module share what is tested here
           if not name.startswith(("distinct_", "prototypes_", "width_", "beta_vae_", "eps_"))]
MODULES = sorted({f"baselines.{path.stem}" for path in (ROOT / "baselines").glob("[a-z]*.py")}
                 | {load_study("tiny", methods=[name]).cells["celeba", name, 0].module
                    for name in METHODS})
ABILITIES = ("loss", "encode", "decode", "invert", "predict", "locate", "generate")
# What makes a model small, where a method has such an option.
SMALL = {"base": 8, "multipliers": (1, 1, 2, 2), "encoder_channels": (8, 8, 8, 16),
         "dropout": 0.0}
STEPS = 30  # of training
ADVERSARIAL = "adversarial"  # set by a method whose loss has two sides and falls for neither


def cell_of(method: str) -> Cell:
    cell = load_study("tiny", datasets=["celeba"], methods=[method]).cell("celeba", method, 0)
    small = {key: value for key, value in SMALL.items() if key in cell.model}
    return cell.model_copy(update={"model": cell.model | small})


def pictures(count: int = 8) -> Tensor:
    """uint8 (count, 3, 32, 32): a bright square on a plain ground, elsewhere in each."""
    torch.manual_seed(11)
    images = torch.randint(40, 120, (count, 3, 1, 1)).expand(-1, -1, 32, 32).clone()
    for i, image in enumerate(images):
        y, x = 4 + 3 * (i % 4) * 2, 3 + 2 * i
        image[:, y:y + 6, x:x + 6] = torch.randint(160, 255, (3, 1, 1))
    return images.to(torch.uint8)


X0 = to_unit(pictures())


def loss_of(model: Method) -> dict[str, Tensor]:
    """The loss of X0; a supervised method is given labels too, some of which are unknown."""
    if not model.concepts:
        return model.loss(X0)
    rng = torch.Generator().manual_seed(3)
    labels = 2 * torch.rand(len(X0), len(model.concepts), generator=rng) - 1
    labels[0, 0] = labels[-1] = torch.nan
    return model.loss(X0, labels)


def mean_loss(model: Method) -> float:
    """Over fixed draws of times and noise."""
    found = []
    for seed in range(6):
        torch.manual_seed(seed)
        found.append(loss_of(model)["loss"].item())
    return sum(found) / len(found)


@cache
def trained(method: str) -> tuple[Method, float, float, list[str]]:
    """A model after STEPS steps, its loss before and after, parameters without a gradient."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cell = cell_of(method)
    model = checkpoint.build(cell.module, cell.shape, cell.code_dim, cell.model).train()
    if cell.base:
        model.adopt(trained(cell.base)[0])
    model.prepare(pictures())
    if not model.able("loss"):
        return model.eval(), 1.0, 0.0, []
    with torch.no_grad():
        before = mean_loss(model)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for step in range(STEPS):
        torch.manual_seed(1000 + step)
        optimiser.zero_grad()
        loss_of(model)["loss"].backward()
        if step == 0:
            dry = [name for name, p in model.named_parameters() if p.requires_grad
                   and (p.grad is None or not p.grad.isfinite().all() or not p.grad.any())]
        optimiser.step()
    model.eval().requires_grad_(False)  # as load leaves it on a CPU
    return model, before, mean_loss(model), dry


@pytest.fixture(params=METHODS)
def method(request) -> str:
    return request.param


@pytest.fixture
def model(method) -> Method:
    return trained(method)[0]


def code_of(model: Method, x0: Tensor) -> Tensor | None:
    return model.encode(x0) if model.able("encode") else None


def noise(count: int) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(7))


def test_the_loss_is_a_finite_scalar_with_its_parts(model: Method):
    if not model.able("loss"):
        return
    found = loss_of(model)
    assert "loss" in found
    assert all(value.dim() == 0 and value.isfinite() for value in found.values())
    torch.manual_seed(5)
    first = loss_of(model)["loss"]
    torch.manual_seed(5)
    assert torch.equal(first, loss_of(model)["loss"])


def test_the_loss_falls(method: str):
    model, before, after, _ = trained(method)
    if not getattr(model, ADVERSARIAL, False):
        assert after < 0.8 * before


def test_a_gradient_reaches_every_trainable_parameter(method: str):
    assert trained(method)[3] == []


def test_code_parameters_are_parameters_of_the_model(model: Method):
    own = {id(p) for p in model.parameters()}
    assert all(id(p) in own for p in model.code_parameters())


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=str)
def test_in_half_precision_the_loss_is_nearly_the_same_and_gradients_are_finite(
        method: str, model: Method, kind: torch.dtype):
    if not model.able("loss"):
        return
    model = copy.deepcopy(model).train().requires_grad_(True)
    torch.manual_seed(5)
    whole = loss_of(model)["loss"].item()
    torch.manual_seed(5)
    with torch.autocast("cpu", kind):
        half = loss_of(model)["loss"]
    half.backward()
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(whole, rel=0.05, abs=0.01)
    assert [name for name, p in model.named_parameters()
            if p.grad is not None and not p.grad.isfinite().all()] == []


def test_a_method_without_a_loss_has_no_trainable_parameter(model: Method):
    assert model.able("loss") or not any(p.requires_grad for p in model.parameters())


def test_what_a_method_lacks_it_says_with_a_reason(model: Method):
    assert set(model.lacks) <= set(ABILITIES)
    unable = {ability for ability in ABILITIES if not model.able(ability)}
    assert unable - {"generate"} <= set(model.lacks)  # the shared prior's samples are no lack
    assert (model.code_dim is None) == ("encode" in model.lacks)
    calls = {"encode": lambda: model.encode(X0[:1]), "locate": lambda: model.locate(X0[:1]),
             "decode": lambda: model.decode(X0[:1], None, 2),
             "invert": lambda: model.invert(X0[:1], None, 2),
             "predict": lambda: model.predict(X0[:1], torch.tensor([5]), None),
             "generate": lambda: model.generate(X0[:1], torch.zeros(1, 1), 2),
             "loss": lambda: loss_of(model)}
    for ability, reason in model.lacks.items():
        with pytest.raises(NotApplicable) as error:
            calls[ability]()
        assert str(error.value) == reason
        assert len(reason.split()) >= 3


def test_encode_is_deterministic_and_each_image_has_its_own_code(model: Method):
    if not model.able("encode"):
        return
    codes = model.encode(X0)
    assert codes.shape == (8, model.code_dim)
    assert codes.isfinite().all()
    assert torch.equal(codes, model.encode(X0))
    one = torch.cat([model.encode(X0[i:i + 1]) for i in range(8)])
    torch.testing.assert_close(codes, one, atol=1e-5, rtol=1e-4)
    assert (codes[0] - codes[1]).abs().max() > 1e-4


def test_decode_is_deterministic_and_each_image_has_its_own_noise(model: Method):
    if not model.able("decode"):
        return
    code, x_T = code_of(model, X0[:4]), noise(4)
    before = torch.get_rng_state()
    images = model.decode(x_T, code, 5)
    assert torch.equal(torch.get_rng_state(), before)
    assert images.shape == (4, *model.shape)
    assert images.isfinite().all()
    assert torch.equal(images, model.decode(x_T, code, 5))
    one = torch.cat([model.decode(x_T[i:i + 1], None if code is None else code[i:i + 1], 5)
                     for i in range(4)])
    torch.testing.assert_close(images, one, atol=rounding(images), rtol=1e-4)
    assert (images[0] - images[1]).abs().max() > 0.01


def rounding(images: Tensor) -> float:
    """Allowed between one batch and many; hardly trained models decode to values of hundreds."""
    return max(1e-4, 1e-6 * images.abs().max().item())


def test_a_code_changes_what_is_decoded(model: Method):
    if not (model.able("encode") and model.able("decode")):
        return
    codes, x_T = model.encode(X0), noise(1).expand(8, -1, -1, -1)
    assert model.decode(x_T, codes, 5).std(0).max() > 1e-6


def test_on_step_sees_the_estimate_of_every_step(model: Method):
    if not model.able("decode"):
        return
    seen = []
    found = model.decode(noise(2), code_of(model, X0[:2]), 4, lambda t, x: seen.append((t, x)))
    times = [t for t, _ in seen]
    assert len(seen) in (1, 4) and times == sorted(times, reverse=True)
    assert all(x.shape == (2, *model.shape) for _, x in seen)
    torch.testing.assert_close(seen[-1][1], found)


def test_decoding_what_was_inverted_gives_the_image_back(model: Method):
    if not (model.able("decode") and model.able("invert")):
        return
    x0 = X0[:3]
    code = code_of(model, x0)
    errors = {}
    for steps in (6, 60):
        x_T = model.invert(x0, code, steps)
        assert len(x_T) == len(x0) and x_T.isfinite().all()
        errors[steps] = (model.decode(x_T, code, steps) - x0).abs().mean().item()
    assert errors[60] < 0.25
    assert errors[60] <= errors[6] + 1e-6  # equal: in one shot, or exact


def test_an_own_sampler_is_deterministic_and_each_image_has_its_own_noise(model: Method):
    if not model.able("generate"):
        return
    rng = torch.Generator().manual_seed(8)
    x_T, z = noise(3), torch.randn(3, model.code_dim or 1, generator=rng)
    before = torch.get_rng_state()
    images = model.generate(x_T, z, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert images.shape == (3, *model.shape) and images.isfinite().all()
    one = torch.cat([model.generate(x_T[i:i + 1], z[i:i + 1], 4) for i in range(3)])
    torch.testing.assert_close(images, one, atol=rounding(images), rtol=1e-4)
    assert (images[0] - images[1]).abs().max() > 0.01


def test_a_prediction_splits_the_noisy_image(model: Method):
    if not model.able("predict"):
        return
    t, eps = torch.tensor([300, 700]), noise(2)
    x_t = model.diffusion.noised(X0[:2], t, eps)
    found = model.predict(x_t, t, code_of(model, X0[:2]))
    torch.testing.assert_close(model.diffusion.noised(found[0], t, found[1]), x_t, atol=1e-3,
                               rtol=1e-3)


def test_locate_agrees_with_encode_and_stays_in_the_image(model: Method):
    if not model.able("locate"):
        return
    found, (_, height, width) = model.locate(X0), model.shape
    torch.testing.assert_close(found.activation, model.encode(X0), atol=1e-5, rtol=1e-4)
    assert found.maps.shape[:2] == found.activation.shape and found.maps.dim() == 4
    torch.testing.assert_close(found.maps.flatten(2).amax(2), found.activation)
    y0, x0, y1, x1 = found.boxes.unbind(-1)
    assert found.boxes.shape == (8, model.code_dim, 4)
    assert not found.boxes.is_floating_point()
    assert (y0 >= 0).all() and (y0 < y1).all() and (y1 <= height).all()
    assert (x0 >= 0).all() and (x0 < x1).all() and (x1 <= width).all()


def test_a_saved_model_is_the_same_model(method: str, model: Method, tmp_path: Path):
    checkpoint.save(tmp_path, model, checkpoint.config_of(cell_of(method)))
    loaded = checkpoint.load(tmp_path)
    assert type(loaded) is type(model)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    state = model.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    code = code_of(model, X0[:2])
    if code is not None:
        assert torch.equal(loaded.encode(X0[:2]), code)
    if model.able("decode"):
        torch.testing.assert_close(loaded.decode(noise(2), code, 3),
                                   model.decode(noise(2), code, 3), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("module", MODULES)
def test_a_method_is_one_class_in_one_file(module: str):
    model = importlib.import_module(module).Model
    assert issubclass(model, Method)
    assert (importlib.import_module(module).__doc__ or "").strip()
    positional = [p.name for p in inspect.signature(model).parameters.values()
                  if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["shape", "code_dim"]


@pytest.mark.parametrize("module", MODULES)
def test_options_read_from_the_source_are_those_of_the_class(module: str):
    model, schema = importlib.import_module(module).Model, options(module)
    keywords = {p.name: p for p in inspect.signature(model).parameters.values()
                if p.kind is p.KEYWORD_ONLY}
    hints = typing.get_type_hints(model.__init__)
    assert set(schema.model_fields) == set(keywords)
    for name, field in schema.model_fields.items():
        assert field.default == keywords[name].default
        assert plain(field.annotation) == plain(hints[name])


def plain(kind: object) -> object:
    """A type without the limits that the configuration adds to it."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return plain(parts[0])
    if origin is tuple:
        return tuple[tuple(plain(part) for part in parts)]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(plain(part) for part in parts)]  # noqa: UP007
    return kind


def test_every_level_of_uint8_survives_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    unit = to_unit(levels)
    assert (unit.min(), unit.max(), unit.dtype) == (-1, 1, torch.float32)
    assert torch.equal(to_uint8(unit), levels)
    assert torch.equal(levels.flatten(), torch.arange(256, dtype=torch.uint8))  # left as it was


def test_what_leaves_the_range_is_clipped_and_the_rest_rounded():
    x = torch.tensor([-3.0, -1 + 0.6 / 127.5, 0.4 / 127.5, 7.0])
    assert to_uint8(x).tolist() == [0, 1, 128, 255]
    assert x.tolist()[0] == -3
