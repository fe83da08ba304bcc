"""InfoDiffusion and DiffAE-32: published sizes, the MMD term, two phases, one code an image."""

from math import exp

import pytest
import torch
from torch import Tensor, nn

from baselines._avdm import Block, Denoiser, Encoder, mmd
from baselines._avdm import UNet as Network
from baselines.ddpm import Model as DDPM
from baselines.diffae32 import Model as DiffAE
from baselines.infodiffusion import Model
from patronus.errors import Problem
from patronus.model import Model as Patronus
from patronus.unet import Attention

SHAPE, SMALL = (1, 16, 16), {"base": 8, "multipliers": (1, 2), "dropout": 0.0}
MATCHED = {"denoiser": "patronus", "beta_range": (1e-4, 0.02)}
CELEBA, FASHION = (3, 64, 64), (1, 32, 32)


def millions(model: nn.Module) -> float:
    return sum(p.numel() for p in model.parameters()) / 1e6


def unused(model: nn.Module) -> float:
    """Millions that the published count holds beside: cross-attention a block, the time table."""
    widths = [m.norm.num_channels for m in model.modules() if isinstance(m, Block)]
    return (sum(4 * c * c + 4 * c + 2 * c for c in widths) + model.times.numel()) / 1e6


def small(kind=Model, **options) -> Model:
    torch.manual_seed(0)
    return kind(SHAPE, 5, **SMALL | options).eval()


def images(count: int = 3, shape=SHAPE, seed: int = 1) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("shape", "denoiser", "total"), [(CELEBA, 14.9, 23.2),
                                                          (FASHION, None, 5.8)])
def test_the_published_networks_have_the_published_sizes(shape, denoiser, total):
    with torch.device("meta"):
        model = DiffAE(shape, 32)
    whole = millions(model.denoiser) + unused(model.denoiser)
    assert round(whole + millions(model.encoder), 1) == total
    assert denoiser is None or round(whole, 1) == denoiser
    assert shape == FASHION or round(millions(model.encoder), 1) == 8.4


def test_attention_stands_at_the_third_level_and_first_in_the_middle():
    net = Network(3, 3, 8, (1, 2, 2, 2), 0.0)
    attends = [[isinstance(layer.attention, Attention) for layer in part
                if isinstance(layer, Block)] for part in (net.down, net.middle, net.up)]
    assert attends == [[False] * 4 + [True] * 2 + [False] * 2, [True, False],
                       [False] * 3 + [True] * 3 + [False] * 6]
    assert all(m.attention.num_heads == 1 for m in net.modules() if isinstance(m, Attention))


def test_the_matched_denoiser_is_that_of_patronus_and_the_encoder_stays():
    with torch.device("meta"):
        for shape in (FASHION, CELEBA):
            model, patronus = DiffAE(shape, 30, **MATCHED), Patronus(shape, 30)
            assert millions(model.denoiser) == millions(patronus.denoiser)
            assert millions(model.encoder) == millions(DiffAE(shape, 30).encoder)


def test_schedules_are_the_published_one_and_that_of_patronus():
    published, matched = small(DiffAE).diffusion, small(DiffAE, **MATCHED).diffusion
    assert published.alpha_bar[-1].item() == pytest.approx(0.0066, abs=5e-5)
    assert torch.equal(matched.alpha_bar, Patronus(SHAPE, 5, base=8,
                                                   multipliers=(1, 2)).diffusion.alpha_bar)


def test_time_and_then_the_code_modulate_the_second_norm():
    torch.manual_seed(0)
    block = Block(8, 16, False, 0.0, 2, 4).eval()
    x, time, code = torch.randn(2, 8, 6, 6), torch.randn(2, 4), torch.randn(2, 4)
    h = block.norm(block.first(x))
    for linear, embedding in zip(block.films, (time, code), strict=True):
        made = embedding @ linear.weight.T + linear.bias
        h = (1 + made[:, :16, None, None]) * h + made[:, 16:, None, None]
    expected = block.third(block.second(h)) + block.skip(x)
    torch.testing.assert_close(block(x, (time, code)), expected)
    assert (block(x, (code, time)) - expected).abs().max() > 1e-3  # the order matters


def test_code_and_time_reach_the_answer():
    torch.manual_seed(0)
    model = Denoiser(SHAPE, 5, 8, (1, 2), 0.0).eval()
    x, t, code = images(1).expand(2, -1, -1, -1), torch.tensor([10, 10]), torch.randn(2, 5)
    by_code, by_time = model(x, t, code), model(x, torch.tensor([10, 900]), code[:1].expand(2, -1))
    assert (by_code[0] - by_code[1]).abs().max() > 1e-3
    assert (by_time[0] - by_time[1]).abs().max() > 1e-3


def test_large_images_are_encoded_from_64_pixels():
    torch.manual_seed(0)
    model = Encoder((1, 224, 224), 5, 8, (1, 1), 0.0).eval()
    x0 = images(2, (1, 224, 224))
    little = nn.functional.interpolate(x0, (64, 64), mode="bilinear", antialias=True)
    assert model.last.in_features == 64 * 64
    torch.testing.assert_close(model(x0), model(little))


def test_mmd_is_its_double_sum():
    u, v = images(4, (3,)), images(6, (3,), seed=2)

    def k(a, b):
        return exp(-sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)) / 9)

    expected = (sum(k(a, b) for a in u for b in u) / 16 + sum(k(a, b) for a in v for b in v) / 36
                - 2 * sum(k(a, b) for a in u for b in v) / 24)
    assert mmd(u, v).item() == pytest.approx(expected, abs=1e-6)
    assert mmd(u, u).item() == pytest.approx(0, abs=1e-6)


def test_the_kernel_is_so_wide_that_collapsed_codes_score_better():
    """baselines.md section 2, defect 6: 32 zeros 0.0029, 32 Gaussian codes 0.0037, d = 32."""
    draws = images(400, (32, 32))
    zeros = torch.stack([mmd(torch.zeros(32, 32), n) for n in draws]).mean().item()
    gauss = torch.stack([mmd(a, b) for a, b in zip(draws, images(400, (32, 32), seed=2),
                                                   strict=True)]).mean().item()
    assert zeros == pytest.approx(0.0029, abs=1e-4)
    assert gauss == pytest.approx(0.0037, abs=1.5e-4)


def test_mmd_holds_scale_and_mean():
    code, noise = images(256, (8,)), images(256, (8,), seed=2)
    assert mmd(3 * code, noise) > 3 * mmd(code, noise)
    assert mmd(code + 2, noise) > 3 * mmd(code, noise)
    shrunk = (3 * code).requires_grad_()
    mmd(shrunk, noise).backward()
    assert (shrunk.grad * code).sum() > 0  # a descent step draws codes inwards


def test_the_loss_is_the_noise_error_and_a_tenth_of_the_mmd():
    model, x0 = small(), images(8)
    plain = small(DiffAE)
    plain.load_state_dict({key: value for key, value in model.state_dict().items()
                           if not key.startswith("vanilla.")})
    torch.manual_seed(4)
    found = model.loss(x0)
    torch.manual_seed(4)
    assert torch.equal(plain.loss(x0)["loss"], found["noise"])  # both regularisers off
    torch.testing.assert_close(found["loss"], found["noise"] + 0.1 * found["mmd"])
    torch.testing.assert_close(found["code_variance"],
                               model.encode(x0).var(0, correction=0).mean())


class Slight(nn.Module):
    """A denoiser that is quick to ask, and what it was asked."""

    def __init__(self, asked: list, name: str):
        super().__init__()
        self.asked, self.name = asked, name

    def forward(self, x: Tensor, t: Tensor, code: Tensor | None = None) -> Tensor:
        self.asked.append((self.name, int(t[0]), None if code is None else code.clone()))
        return x * (t / 1000).view(-1, 1, 1, 1).sin()


def test_inversion_keeps_the_code_of_the_clean_image():
    model, asked, x0 = small(DiffAE), [], images()
    code = model.encode(x0)
    model.encoder, model.denoiser = None, Slight(asked, "own")  # to encode anew would fail
    x_T = model.invert(x0, code, 300)
    torch.testing.assert_close(model.decode(x_T, code, 300), x0, atol=0.03, rtol=0.03)
    assert len(asked) == 600 and all(torch.equal(given, code) for _, _, given in asked)


def phases(steps: int, **options) -> tuple[Model, list]:
    model, asked = small(**options), []
    model.vanilla.denoiser, model.denoiser = Slight(asked, "ddpm"), Slight(asked, "own")
    return model, asked


@pytest.mark.parametrize("options", [{}, MATCHED])
@pytest.mark.parametrize("steps", [1, 2, 9, 50, 1000])
def test_the_noisy_half_is_unconditional_and_the_rest_is_given_the_code(options, steps):
    model, asked = phases(steps, **options)
    z = images(2, (5,))
    model.generate(images(2), z, steps)
    steps = min(steps, 999)
    assert [name for name, *_ in asked] == ["ddpm"] * (steps // 2) + ["own"] * -(-steps // 2)
    assert all(code is None if name == "ddpm" else torch.equal(code, z)
               for name, _, code in asked)
    levels = [(model.vanilla if name == "ddpm" else model).diffusion.alpha_bar[t].item()
              for name, t, _ in asked]
    assert all(a < b for a, b in zip(levels, levels[1:], strict=False))  # noise only falls
    assert asked[0][1] == 999


def test_two_phases_of_one_and_the_same_denoiser_are_plain_sampling():
    model, _ = phases(999, **MATCHED)
    x_T, z = images(2), images(2, (5,))
    torch.testing.assert_close(model.generate(x_T, z, 999), model.decode(x_T, z, 999))


@pytest.mark.parametrize("options", [{}, MATCHED])
def test_the_switch_keeps_image_and_noise_of_a_known_answer(options, monkeypatch):
    model, x0, eps = small(**options), images(2), images(2, seed=2)
    seen = []

    def oracle(owner):
        def predict(x_t, t, code):
            seen.append((x_t, owner.diffusion.noised(x0, t, eps)))
            return x0, eps
        return predict

    for owner in (model, model.vanilla):
        monkeypatch.setattr(owner, "predict", oracle(owner))
    start = model.vanilla.diffusion.noised(x0, torch.tensor([999, 999]), eps)
    assert torch.equal(model.generate(start, images(2, (5,)), 10), x0)
    assert len(seen) == 10
    for found, expected in seen:
        torch.testing.assert_close(found, expected)


def test_both_networks_and_the_code_change_what_is_generated():
    model, x_T, z = small(), images(2), images(2, (5,))
    first = model.generate(x_T, z, 6)
    assert (model.generate(x_T, z + 1, 6) - first).abs().max() > 1e-3
    with torch.no_grad():
        model.vanilla.denoiser.last[-1].bias += 0.5
    assert (model.generate(x_T, z, 6) - first).abs().max() > 1e-3


def test_the_adopted_ddpm_is_a_frozen_copy():
    model, base = small(), DDPM(SHAPE, base=8, multipliers=(1, 2))
    model.adopt(base)
    before = {key: value.clone() for key, value in base.state_dict().items()}
    with torch.no_grad():
        base.denoiser.first.weight.zero_()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train().loss(images(4))["loss"].backward()
    optimiser.step()
    assert all(torch.equal(value, before[key]) for key, value in
               model.vanilla.state_dict().items())
    assert all(p.grad is None for p in model.vanilla.parameters())
    assert any(key.startswith("vanilla.") for key in model.state_dict())


def test_a_ddpm_that_does_not_fit_is_refused():
    with pytest.raises(Problem, match="sizes.*`ddpm_base` and `ddpm_multipliers`"):
        small().adopt(DDPM(SHAPE, base=16, multipliers=(1, 1)))
    small(ddpm_base=16, ddpm_multipliers=(1, 1)).adopt(DDPM(SHAPE, base=16, multipliers=(1, 1)))
    with pytest.raises(Problem, match="predicts v"):
        small().adopt(DDPM(SHAPE, base=8, multipliers=(1, 2), prediction="v"))
    with pytest.raises(Problem, match="plain DDPM.*`base: ddpm`"):
        small().adopt(small(DiffAE, **MATCHED))


def test_its_ddpm_has_the_published_sizes_by_default():
    with torch.device("meta"):
        for options in ({}, MATCHED):
            model = Model(FASHION, 32, **options)
            assert millions(model.vanilla) == millions(DDPM(FASHION))
