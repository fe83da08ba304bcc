"""DiffAE: published sizes, its block's equation, and which parts the code touches."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.diffae import Block, HalfBlock, Model
from patronus.config import load_study
from patronus.unet import Attention, UNet

SHAPES = [(1, 32, 32), (3, 32, 32), (3, 64, 64), (1, 64, 64), (1, 224, 224)]


def on_meta(shape=(3, 64, 64), code_dim: int = 512, **options) -> Model:
    """Sizes without weights: fast to build and to run."""
    with torch.device("meta"):
        return Model(shape, code_dim, **options)


def small(**options) -> Model:
    torch.manual_seed(0)
    return Model((1, 16, 16), 5, **{"base": 8, "multipliers": (1, 2), "dropout": 0} | options)


def millions(module: nn.Module) -> float:
    return round(sum(p.numel() for p in module.parameters()) / 1e6, 1)


def attentions(module: nn.Module) -> int:
    return sum(isinstance(part, Attention) for part in module.modules())


@pytest.mark.parametrize(("side", "total", "encoder"), [(64, 90.8, 19.3), (32, 38.4, 4.9)])
def test_published_sizes(side: int, total: float, encoder: float):
    model = on_meta((3, side, side))
    assert (millions(model), millions(model.encoder)) == (total, encoder)


@pytest.mark.parametrize(("shape", "denoiser", "encoder", "side"), [
    ((3, 64, 64), 6, 3, 4), ((3, 32, 32), 6, 3, 4), ((1, 224, 224), 1, 3, 7)])
def test_attention_and_the_last_side_of_the_encoder(shape, denoiser: int, encoder: int, side: int):
    model = on_meta(shape)
    assert attentions(model.denoiser) == denoiser  # five at 16 x 16, one in the middle
    assert attentions(model.encoder) == encoder  # two at the first side up to 16, one at the end
    x = torch.empty(1, *shape, device="meta")
    for layer in list(model.encoder)[:-3]:  # all before the mean over positions
        x = layer(x)
    assert x.shape[2:] == (side, side)


@pytest.mark.parametrize("denoiser", ["diffae", "patronus"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_the_suite_fits(shape, denoiser: str):
    model = on_meta(shape, 7, base=8, denoiser=denoiser)
    x, t = torch.empty(2, *shape, device="meta"), torch.zeros(2, dtype=torch.long, device="meta")
    code = model.encode(x)
    assert code.shape == (2, 7)
    assert all(found.shape == x.shape for found in model.predict(x, t, code))


def test_another_code_length_changes_the_codes_projections_only():
    sizes = [{name: p.shape for name, p in on_meta(code_dim=d).named_parameters()}
             for d in (512, 100)]
    changed = {name for name in sizes[0] if sizes[0][name] != sizes[1][name]}
    assert sizes[0].keys() == sizes[1].keys()
    assert any(name.startswith("denoiser.") for name in changed)
    assert all(name.endswith(".code.weight") for name in changed if name.startswith("denoiser."))
    assert len([name for name in changed if name.startswith("encoder.")]) == 2  # its last layer


@pytest.mark.parametrize("resample", ["", "down", "up"])
@torch.no_grad()
def test_the_code_scales_what_time_has_scaled_and_shifted(resample: str):
    torch.manual_seed(1)
    block = Block(4, 6, 8, 3, dropout=0.5, resample=resample).eval()
    nn.init.normal_(block.after[-1].weight)  # its small start would hide an error
    for each in (block.norm, block.before[0]):
        nn.init.normal_(each.weight)
        nn.init.normal_(each.bias)
    x, time, code = torch.randn(2, 4, 8, 8), torch.randn(2, 8), torch.randn(2, 3)
    change = {"": lambda x: x, "down": lambda x: F.avg_pool2d(x, 2),
              "up": lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3)}[resample]
    h = block.before[-1](change(F.silu(block.before[0](x))))
    h = F.group_norm(h, block.norm.num_groups, block.norm.weight, block.norm.bias)
    mixed = time @ block.time.weight.T + block.time.bias
    scale, shift = mixed[:, :6, None, None], mixed[:, 6:, None, None]
    gain = (code @ block.code.weight.T + block.code.bias)[..., None, None]
    h = ((1 + scale) * h + shift) * (1 + gain)
    expected = block.after[-1](F.silu(h)) + block.skip[-1](change(x))
    torch.testing.assert_close(block(x, time, code), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_half_block_has_one_convolution_beside_its_skip():
    torch.manual_seed(1)
    block, x = HalfBlock(4, 6, resample="down"), torch.randn(2, 4, 8, 8)
    assert sum(isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)
               for part in block.modules()) == 1
    expected = block.body[-1](F.avg_pool2d(F.silu(F.group_norm(x, 4)), 2))
    torch.testing.assert_close(block(x), expected + block.skip[-1](F.avg_pool2d(x, 2)))


@pytest.mark.parametrize("prediction", ["eps", "v"])
@torch.no_grad()
def test_the_loss_is_the_plain_error_given_the_code_of_the_clean_image(prediction: str):
    model, x0 = small(prediction=prediction), torch.rand(6, 1, 16, 16) * 2 - 1
    torch.manual_seed(3)
    found = model.loss(x0)["loss"]
    torch.manual_seed(3)
    t, eps = torch.randint(1, 1000, (6,)), torch.randn_like(x0)
    a = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).neg().add(1).cumprod(0)
    a = a[t].view(-1, 1, 1, 1).float()
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
    answer = model.denoiser(x_t, t, model.encode(x0))
    target = eps if prediction == "eps" else a.sqrt() * eps - (1 - a).sqrt() * x0
    torch.testing.assert_close(found, (target - answer).square().mean())


@torch.no_grad()
def test_a_code_does_not_depend_on_training_mode_and_the_start_is_near_zero():
    model, x = small(dropout=0.5), torch.rand(2, 1, 16, 16) * 2 - 1
    assert torch.equal(model.train().encode(x), model.eval().encode(x))
    answer = model.denoiser(x, torch.tensor([10, 900]), model.encode(x))
    assert 0 < answer.abs().max() < 0.1


@torch.no_grad()
def test_decoding_and_inverting_use_the_code_they_are_given():
    model, x = small().eval(), torch.rand(1, 1, 16, 16) * 2 - 1
    nn.init.normal_(model.denoiser.last[-1].weight, std=0.1)  # away from the small start
    code = model.encode(x)
    for made in (model.decode, model.invert):
        same, other = made(x, code, 3), made(x, code + 3, 3)
        assert torch.equal(same, made(x, code.clone(), 3))
        assert (same - other).abs().max() > 1e-3


def test_the_matched_track_has_the_denoiser_of_patronus_and_the_encoder_of_diffae():
    matched, published = on_meta(code_dim=100, denoiser="patronus"), on_meta(code_dim=100)
    with torch.device("meta"):
        patronus = UNet((3, 64, 64), 100)
    for mine, other in ((matched.denoiser, patronus), (matched.encoder, published.encoder)):
        assert {name: p.shape for name, p in mine.named_parameters()} == \
               {name: p.shape for name, p in other.named_parameters()}


def test_published_and_matched_settings():
    cells = load_study("tiny", datasets=["celeba"], methods=["diffae", "diffae_matched"]).cells
    published, matched = (cells["celeba", name, 0] for name in ("diffae", "diffae_matched"))
    train = published.train
    assert (published.code_dim, train.ema, train.clip, train.weight_decay) == (512, 0.9999, 1, 0)
    assert (matched.code_dim, matched.model["denoiser"], matched.train.ema) == (8, "patronus", None)
