"""AE, VAE, beta-VAE and InfoVAE: published sizes, the KL term and its weight, the code saved."""

from math import prod

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from baselines._avdm import Decoder, mmd
from baselines.ae import Model as AE
from baselines.beta_vae import Model as BetaVAE
from baselines.infovae import Model as InfoVAE
from baselines.vae import Model as VAE
from baselines.vae import divergence
from patronus.errors import NotApplicable

SHAPE, SMALL = (1, 16, 16), {"base": 8, "multipliers": (1, 2), "dropout": 0.0}
KINDS = [AE, VAE, BetaVAE, InfoVAE]


def small(kind, **options) -> nn.Module:
    torch.manual_seed(0)
    return kind(SHAPE, 5, **SMALL | options).eval()


def images(count: int = 4, shape=SHAPE, seed: int = 1) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("shape", "millions"), [((1, 32, 32), 28.3), ((3, 64, 64), 113.2)])
@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_the_published_ones(kind, shape, millions):
    with torch.device("meta"):
        model = kind(shape, 32)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


def test_the_divergence_is_that_of_torch_summed_over_dimensions():
    mean, logvar = images(6, (5,)), images(6, (5,), seed=2)
    expected = kl_divergence(Normal(mean, logvar.mul(0.5).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(divergence(mean, logvar), expected)
    assert torch.equal(divergence(torch.zeros(2, 5), torch.zeros(2, 5)), torch.zeros(2))


def test_the_loss_decodes_a_sample_of_the_posterior():
    model, x0 = small(VAE, weight=0.25), images()
    mean, logvar = model.posterior(x0)
    torch.manual_seed(3)
    found = model.loss(x0)
    torch.manual_seed(3)
    sample = Normal(mean, logvar.mul(0.5).exp()).mean + logvar.mul(0.5).exp() * torch.randn(4, 5)
    error = (model.decoder(sample) - x0).square().mean()
    kl = kl_divergence(Normal(mean, logvar.mul(0.5).exp()), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(found["error"], error.detach())
    torch.testing.assert_close(found["kl"], kl.detach())
    torch.testing.assert_close(found["loss"], error + 0.25 * kl)


@pytest.mark.parametrize(("shape", "beta"), [((3, 64, 64), 6144), ((1, 32, 32), 512)])
def test_the_published_weight_is_an_enormous_beta(shape, beta):
    """loss * N / 2 = |x - xhat|^2 / 2 + beta * KL, the beta-VAE of unit pixel variance."""
    torch.manual_seed(0)
    model, x0 = VAE(shape, 5, base=8, multipliers=(1, 1), dropout=0.0).eval(), images(2, shape)
    mean, logvar = model.posterior(x0)
    torch.manual_seed(3)
    found = model.loss(x0)["loss"]
    torch.manual_seed(3)
    sample = mean + logvar.mul(0.5).exp() * torch.randn(2, 5)
    distance = (model.decoder(sample) - x0).square().flatten(1).sum(1) / 2
    expected = (distance + beta * divergence(mean, logvar)).mean()
    torch.testing.assert_close(found * prod(shape) / 2, expected)


def test_calibrated_weights_are_beta_one_four_and_ten():
    n = prod(SHAPE)
    assert small(VAE).weight == 1
    assert small(VAE, weight=None).weight * n / 2 == 1
    assert small(BetaVAE).weight * n / 2 == 4
    assert small(BetaVAE, beta=10.0).weight * n / 2 == 10


def test_the_code_is_the_posterior_mean():
    model, x0 = small(VAE), images()
    code = model.encode(x0)
    assert torch.equal(code, model.posterior(x0)[0])
    with torch.no_grad():
        model.logvar.bias += 1
    assert torch.equal(model.encode(x0), code)
    with torch.no_grad():
        model.mean.bias += 1
    torch.testing.assert_close(model.encode(x0), code + 1)


def test_infovae_decodes_holds_and_saves_one_code():
    model, x0 = small(InfoVAE), images()
    code = model.encode(x0)
    torch.manual_seed(3)
    found = model.loss(x0)
    torch.manual_seed(3)
    expected = mmd(code, torch.randn(4, 5))
    torch.testing.assert_close(found["mmd"], expected.detach())
    torch.testing.assert_close(found["error"], (model.decoder(code) - x0).square().mean())
    torch.testing.assert_close(found["loss"], found["error"] + 0.1 * found["mmd"])


def test_an_auto_encoder_has_its_error_alone():
    model, x0 = small(AE), images()
    expected = (model.decode(torch.zeros_like(x0), model.encode(x0), 7) - x0).square().mean()
    torch.testing.assert_close(model.loss(x0)["loss"], expected)
    with pytest.raises(NotApplicable, match="shared prior"):
        model.generate(images(), images(4, (5,)), 3)


@pytest.mark.parametrize("kind", [VAE, BetaVAE, InfoVAE])
def test_its_own_samples_are_decoded_normal_codes(kind):
    model, z = small(kind), images(4, (5,))
    assert torch.equal(model.generate(images(), z, 9), model.decoder(z))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_for_the_noise_to_carry(kind):
    model, x0 = small(kind), images()
    code = model.encode(x0)
    assert torch.equal(model.invert(x0, code, 5), torch.zeros_like(x0))
    assert torch.equal(model.decode(images(seed=7), code, 5), model.decode(x0, code, 50))
    other = model.decode(x0, code + 1, 5)
    assert (other - model.decode(x0, code, 5)).abs().max() > 1e-3


def test_large_images_are_decoded_at_64_pixels_and_enlarged():
    torch.manual_seed(0)
    model, code = Decoder((1, 224, 224), 5, 8, (1, 1), 0.0).eval(), images(2, (5,))
    little = model.net(model.first(code).view(2, 1, 64, 64))
    found = model(code)
    assert found.shape == (2, 1, 224, 224)
    torch.testing.assert_close(found, nn.functional.interpolate(little, (224, 224),
                                                                mode="bilinear"))
