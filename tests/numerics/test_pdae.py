"""PDAE: the shift of a frozen DDPM's eps, its weight, and what is frozen."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.ddpm import Model as DDPM
from baselines.pdae import Branch, Encoder, Model, ShiftBlock
from baselines.untrained import Model as Untrained
from patronus.config import load_study
from patronus.errors import Problem
from patronus.unet import Attention

SIZES = {"base": 8, "multipliers": (1, 2)}
SHAPE = (1, 16, 16)
SHAPES = [(1, 32, 32), (3, 32, 32), (3, 64, 64), (1, 64, 64), (1, 224, 224)]
T = torch.tensor([1, 400, 999])


def ddpm(prediction: str = "eps", dropout: float = 0.5, **options) -> DDPM:
    torch.manual_seed(0)
    return DDPM(SHAPE, **SIZES | options, dropout=dropout, prediction=prediction).eval()


def pdae(prediction: str = "eps", **options) -> Model:
    """On that DDPM, its branch away from the small start."""
    torch.manual_seed(1)
    model = Model(SHAPE, 5, **SIZES, dropout=0, encoder_channels=(8, 8, 8, 16),
                  prediction=prediction, **options)
    model.adopt(ddpm(prediction))
    nn.init.normal_(model.branch.last[-1].weight, std=0.05)
    return model


def images(count: int = 3) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(2)) * 2 - 1


def alpha_bar(t: torch.Tensor) -> torch.Tensor:
    a = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).neg().add(1).cumprod(0)
    return a[t].view(-1, 1, 1, 1).float()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("side", [32, 64])
def test_the_encoder_has_its_published_size(side: int):
    with torch.device("meta"):
        assert round(count(Encoder((3, side, side), 512, (64, 128, 128, 128))) / 1e6, 2) == 1.49


def test_the_branch_has_its_published_size_but_for_the_ddpm_it_stands_on():
    """22.6 M: the published DDPM has attention at 16 x 16 and residual blocks that resample."""
    with torch.device("meta"):
        ours = count(Branch(3, 512, 64, (1, 2, 4, 4), 0.1))
        attention = 3 * count(Attention(256))
        resampling = sum(count(ShiftBlock(c, c, 256, 0.1)) - count(nn.Conv2d(c, c, 3))
                         for c in (256, 256, 128))
    assert round((ours + attention + resampling) / 1e6, 1) == 22.6


@pytest.mark.parametrize(("side", "attended"), [(32, 8), (64, 16), (224, 14)])
def test_the_encoder_attends_and_ends_where_it_should(side: int, attended: int):
    with torch.device("meta"):
        encoder, x = Encoder((1, side, side), 9, (64, 128, 128, 128)), torch.empty(2, 1, side, side)
        seen = []
        for layer in encoder:
            if isinstance(layer, Attention):
                seen.append(x.shape[-1])
            before, x = x, layer(x)
            if isinstance(layer, nn.AdaptiveAvgPool2d):
                assert before.shape[-1] <= 8
                assert x.shape == (2, 128, 4, 4)
    assert seen == [attended]
    assert x.shape == (2, 9)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_the_suite_fits(shape):
    with torch.device("meta"):
        model = Model(shape, 7, base=8, encoder_channels=(8, 8, 8, 16))
        x, t = torch.empty(2, *shape), torch.zeros(2, dtype=torch.long)
        assert all(found.shape == x.shape for found in model.predict(x, t, model.encode(x)))


def read(base: DDPM, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The features on a DDPM's way down at times T, and its time embedding."""
    net, seen = base.denoiser, []
    hooks = [layer.register_forward_hook(lambda _, __, out: seen.append(out))
             for layer in (net.first, *net.down)]
    net(x, T)
    for hook in hooks:
        hook.remove()
    return seen, F.silu(net.time(net.times[T]))


@torch.no_grad()
def test_the_branch_reads_what_the_frozen_network_itself_computes():
    base, model, x = ddpm(), pdae().eval(), images()
    given, first = [], []
    model.branch.register_forward_pre_hook(lambda _, args: given.extend(args))
    model.branch.middle[0].register_forward_pre_hook(lambda _, args: first.extend(args))
    code = model.encode(x)
    model.eps(x, T, code)
    skips, time, same = given
    expected, embedding = read(base, x)
    assert len(skips) == len(expected)
    assert all(torch.equal(*pair) for pair in zip(skips, expected, strict=True))
    assert first[0] is skips[-1]
    torch.testing.assert_close(time, embedding)
    assert torch.equal(same, code)


@pytest.mark.parametrize("prediction", ["eps", "v"])
@torch.no_grad()
def test_the_shift_is_added_to_the_eps_of_the_ddpm(prediction: str):
    model, base, x = pdae(prediction).eval(), ddpm(prediction), images()
    code, a, answer = model.encode(x), alpha_bar(T), base.denoiser(x, T)
    eps = answer if prediction == "eps" else (1 - a).sqrt() * x + a.sqrt() * answer
    expected = eps - (1 - a).sqrt() * model.branch(*read(base, x), code)
    x0hat, found = model.predict(x, T, code)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(a.sqrt() * x0hat + (1 - a).sqrt() * found, x)
    assert (found - eps).abs().max() > 1e-3


@pytest.mark.parametrize("prediction", ["eps", "v"])
@torch.no_grad()
def test_without_a_shift_it_is_the_ddpm(prediction: str):
    model, base, x = pdae(prediction).eval(), ddpm(prediction), images()
    nn.init.zeros_(model.branch.last[-1].weight)
    code = model.encode(x)
    for mine, its in ((model.decode(x, code, 5), base.decode(x, None, 5)),
                      (model.invert(x, code, 5), base.invert(x, None, 5))):
        torch.testing.assert_close(mine, its, atol=1e-5 * its.abs().max().item(), rtol=1e-4)


@torch.no_grad()
def test_the_loss_weights_the_error_of_the_eps_that_sampling_uses():
    model, x0 = pdae(), images(6)
    torch.manual_seed(3)
    found = model.loss(x0)
    torch.manual_seed(3)
    t, eps = torch.randint(1, 1000, (6,)), torch.randn_like(x0)
    a = alpha_bar(t)
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
    error = (eps - model.predict(x_t, t, model.encode(x0))[1]).square().mean((1, 2, 3))
    ratio = (a / (1 - a)).flatten()
    torch.testing.assert_close(found["loss"], (ratio**0.1 / (1 + ratio) * error).mean())
    torch.testing.assert_close(found["noise"], error.mean())


def test_the_weight_is_largest_near_t_475():
    weight = pdae().weight(torch.arange(1000))
    assert abs(int(weight.argmax()) - 475) <= 5
    assert round(weight.max().item(), 2) == 0.72
    assert weight[1] < 0.01


@torch.no_grad()
def test_a_block_scales_and_shifts_by_time_then_by_code():
    torch.manual_seed(1)
    block = ShiftBlock(8, 16, 6, dropout=0.5).eval()
    nn.init.normal_(block.norm.weight)
    nn.init.normal_(block.norm.bias)
    x, time, code = torch.randn(2, 8, 4, 4), torch.randn(2, 6), torch.randn(2, 6)
    h = block.before[-1](F.silu(F.group_norm(x, 8)))
    h = F.group_norm(h, 8, block.norm.weight, block.norm.bias)
    (s_t, b_t), (s_z, b_z) = ((out[:, :16, None, None], out[:, 16:, None, None])
                              for out in (block.time(time), block.code(code)))
    h = (1 + s_z) * ((1 + s_t) * h + b_t) + b_z
    torch.testing.assert_close(block(x, time, code), block.after[-1](F.silu(h)) + block.skip(x),
                               atol=1e-5, rtol=1e-5)


def test_training_moves_the_branch_and_the_encoder_and_nothing_frozen():
    model = pdae().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    free = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(free, lr=1e-2)
    for _ in range(2):
        optimiser.zero_grad()
        model.loss(images())["loss"].backward()
        optimiser.step()
    after = model.state_dict()
    moved = {key for key in before if not torch.equal(after[key], before[key])}
    assert moved == {key for key in before if not key.startswith("denoiser.")}
    assert all(p.grad is None for p in model.denoiser.parameters())


@torch.no_grad()
def test_the_frozen_network_answers_alike_in_training_and_evaluation():
    model, x = pdae(), images()
    torch.testing.assert_close(model.train().denoiser(x, T),
                               model.eval().denoiser(x, T))  # but for rounding


@torch.no_grad()
def test_the_adopted_weights_are_a_copy():
    model, base = pdae(), ddpm()
    model.adopt(base)
    before = model.denoiser.first.weight.clone()
    base.denoiser.first.weight.add_(1)
    assert torch.equal(model.denoiser.first.weight, before)


@pytest.mark.parametrize(("base", "cure"), [
    (lambda: ddpm("v"), "change the option `prediction` of one of the two"),
    (lambda: ddpm(base=16), "give both the same shape, and its options `base` and `multipliers`"),
    (lambda: Untrained(SHAPE, 5, **SIZES), "write `base: ddpm`")])
def test_a_base_that_does_not_fit_is_refused_with_its_cure(base, cure: str):
    with pytest.raises(Problem, match=cure):
        pdae().adopt(base())


def test_published_and_matched_settings():
    cells = load_study("tiny", datasets=["celeba"], methods=["pdae", "pdae_matched"]).cells
    published, matched = (cells["celeba", name, 0] for name in ("pdae", "pdae_matched"))
    assert (published.base, published.code_dim, published.train.ema) == ("ddpm", 512, 0.9999)
    assert (matched.base, matched.code_dim, matched.train.ema) == ("ddpm", 8, None)
