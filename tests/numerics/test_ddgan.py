"""DDGAN: its chain, its two networks, and that each side learns from its own loss only."""

import pytest
import torch
from torch.nn import functional as F

from analysis import costs
from baselines.ddgan import (
    Chain,
    Discriminator,
    Generator,
    Model,
    batch_spread,
    drawn_from,
    resampled,
)
from patronus.config import load_study
from patronus.train import optimizer

SHAPE = (3, 16, 16)


def small(shape: tuple[int, int, int] = SHAPE, **options) -> Model:
    torch.manual_seed(0)
    return Model(shape, **{"base": 8, "multipliers": (1, 2)} | options)


def images(count: int = 4) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(4)) * 2 - 1


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def conv(inside: int, outside: int, kernel: int = 3) -> int:
    return inside * outside * kernel**2 + outside


def linear(inside: int, outside: int) -> int:
    return (inside + 1) * outside


def test_the_published_schedule():
    expected = torch.tensor([0.478, 0.849, 0.956, 0.987])
    torch.testing.assert_close(Chain(4).beta, expected, atol=5e-4, rtol=0)
    ends = [(1 - Chain(steps).beta.double()).prod().item() for steps in (2, 4)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)  # the same diffusion in fewer steps


@pytest.mark.parametrize("t", [1, 2, 3])
def test_the_posterior_is_bayes_rule(t: int):
    chain = Chain(4)
    beta = chain.beta.double()
    before = (1 - beta[:t]).prod()
    x0, x_t = torch.tensor(0.7).double(), torch.tensor(-0.4).double()
    x = torch.linspace(-8, 8, 160_001).double()
    log_density = -(x - before.sqrt() * x0) ** 2 / (2 * (1 - before)) \
        - (x_t - (1 - beta[t]).sqrt() * x) ** 2 / (2 * beta[t])
    weight = torch.softmax(log_density, 0)
    mean = (weight * x).sum()
    std = (weight * (x - mean) ** 2).sum().sqrt()
    at, full = torch.tensor([t]), torch.ones(1, 1, 1, 1)
    for noise in (0.0, 1.0, -2.0):
        found = chain.posterior(x0.float() * full, x_t.float() * full, at, noise * full)
        assert found.item() == pytest.approx((mean + noise * std).item(), abs=1e-4)


def test_the_first_step_back_is_the_estimate_itself():
    x0, x1 = torch.randn(2, *SHAPE), torch.randn(2, *SHAPE)
    found = Chain(4).posterior(x0, x1, torch.zeros(2, dtype=torch.long), torch.randn(2, *SHAPE))
    torch.testing.assert_close(found, x0)


def test_a_pair_has_the_noise_of_its_step():
    chain, x0 = Chain(4), torch.full((8, 1, 64, 64), 0.5)
    torch.manual_seed(0)
    for t in range(4):
        less, more = chain.pair(x0, torch.full((8,), t))
        before, after = (1 - chain.beta[:t]).prod(), (1 - chain.beta[:t + 1]).prod()
        for x, left in ((less, before), (more, after)):
            assert x.mean().item() == pytest.approx(0.5 * left.sqrt().item(), abs=0.02)
            assert x.var().item() == pytest.approx(1 - left.item(), abs=0.02)
        step = more - (1 - chain.beta[t]).sqrt() * less
        assert step.var().item() == pytest.approx(chain.beta[t].item(), abs=0.02)


def test_the_published_generator_to_the_last_parameter():
    with torch.device("meta"):
        found = parameters(Model((3, 32, 32)).generator)

    def block(inside: int, outside: int, resampled: bool = False) -> int:
        return (linear(256, 2 * inside) + linear(256, 2 * outside) + linear(512, outside)
                + conv(inside, outside) + conv(outside, outside)
                + (conv(inside, outside, 1) if inside != outside or resampled else 0))

    attention = 2 * 256 + conv(256, 3 * 256, 1) + conv(256, 256, 1)
    wide = block(256, 256)
    down = 2 * block(128, 128) + block(128, 128, True) + block(128, 256) + 5 * wide \
        + 2 * block(256, 256, True) + 2 * attention
    middle = 2 * wide + attention
    up = 3 * block(512, 256) * 2 + block(256, 256, True) * 3 + attention \
        + 2 * block(512, 256) + block(384, 256) + block(384, 128) + 2 * block(256, 128)
    pyramid = conv(3, 128) + conv(128, 256) + conv(256, 256)
    embeddings = linear(128, 512) + linear(512, 512) + linear(100, 256) + 4 * linear(256, 256)
    ends = conv(3, 128) + 2 * 128 + conv(128, 3)
    assert found == down + middle + up + pyramid + embeddings + ends == 48_432_515


def test_the_published_discriminator_to_the_last_parameter():
    with torch.device("meta"):
        found = parameters(Model((3, 32, 32)).discriminator)

    def block(inside: int, outside: int) -> int:
        return conv(inside, outside) + linear(256, outside) + conv(outside, outside) \
            + inside * outside

    blocks = sum(block(*pair) for pair in ((128, 128), (128, 256), (256, 512), (512, 512)))
    assert found == conv(6, 128, 1) + blocks + conv(513, 512) + linear(512, 1) \
        + linear(128, 256) + linear(256, 256) == 12_708_865


@pytest.mark.parametrize(("side", "stages", "last"), [(32, 4, 4), (64, 5, 4), (224, 6, 7)])
def test_larger_images_get_more_stages(side: int, stages: int, last: int):
    model = Discriminator((1, side, side), 8, 4)
    assert len(model.blocks) == stages
    h = torch.zeros(1, 8, side, side)
    for block in model.blocks:
        h = block(h, torch.zeros(1, 16))
    assert h.shape == (1, 32, last, last)
    assert model(*torch.randn(2, 3, 1, side, side), torch.tensor([0, 1, 3])).shape == (3,)


def test_resampling_keeps_the_level_and_halves_what_was_doubled():
    ramp = torch.linspace(-1, 1, 16).expand(1, 2, 16, 16)
    for factor in (2, 0.5):
        found = resampled(torch.ones(1, 2, 16, 16), factor)
        assert found.shape[2:] == (16 * factor, 16 * factor)
        torch.testing.assert_close(found[..., 1:-1, 1:-1],
                                   torch.ones_like(found[..., 1:-1, 1:-1]))
    back = resampled(resampled(ramp, 2), 0.5)
    torch.testing.assert_close(back[..., 2:-2, 2:-2], ramp[..., 2:-2, 2:-2])
    impulse = torch.zeros(1, 1, 8, 8)
    impulse[0, 0, 4, 4] = 64
    torch.testing.assert_close(resampled(impulse, 2)[0, 0, 7:11, 7:11],
                               4 * torch.outer(*[torch.tensor([1.0, 3, 3, 1])] * 2))


def test_the_spread_of_a_batch_is_within_groups_of_four():
    h = torch.zeros(8, 2, 3, 3)
    h[0] = 4.0  # in the group of images 0, 2, 4, 6
    found = batch_spread(h)
    assert found.shape == (8, 1, 3, 3)
    torch.testing.assert_close(found[::2], torch.full((4, 1, 3, 3), 3 ** 0.5))
    assert found[1::2].max() < 1e-3
    assert batch_spread(h[:3]).shape == (3, 1, 3, 3)  # a count that 4 does not divide
    assert batch_spread(h[:1]).max() < 1e-3


def test_each_side_learns_from_its_own_loss_only():
    model, x0 = small(penalty=0.0), images()
    torch.manual_seed(9)
    model.loss(x0)["loss"].backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}

    torch.manual_seed(9)
    t = torch.randint(4, (4,))
    less, more = model.chain.pair(x0, t)
    zeta = torch.randn(4, 100)
    fake = model.chain.posterior(model.generator(more, t, zeta), more, t, torch.randn_like(x0))
    judge = model.discriminator
    of_judge = F.softplus(-judge(less, more, t)).mean() + F.softplus(judge(fake, more, t)).mean()
    of_generator = F.softplus(-judge(fake, more, t)).mean()
    for prefix, part, loss in (("discriminator", judge, of_judge),
                               ("generator", model.generator, of_generator)):
        own = dict(part.named_parameters())
        expected = torch.autograd.grad(loss, list(own.values()), retain_graph=True)
        for name, value in zip(own, expected, strict=True):
            torch.testing.assert_close(found[f"{prefix}.{name}"], value, atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_the_penalty_falls_on_every_fifteenth_step():
    model, x0 = small(), images(2)
    assert "step" in model.state_dict()  # so that a resumed run goes on in the same rhythm
    for step, falls in ((0, False), (1, False), (13, False), (14, True), (15, False), (29, True)):
        model.step.fill_(step)
        assert (model.loss(x0)["penalty"].item() > 0) == falls
        assert model.step == step + 1
    model.eval().loss(x0)
    assert model.step == 30  # counts training steps only


def test_no_step_that_is_priced_has_the_penalty(monkeypatch):
    model = small()
    monkeypatch.setattr(model, "gradient_penalty", None)  # to call it would fail
    bench = costs.Bench(model, 2, "32-true")
    costs.counted(bench)
    costs.measured({"value": bench})
    assert 1 < model.step < model.penalty_every


def test_the_penalty_is_half_gamma_times_the_squared_gradient():
    class Slope(torch.nn.Module):
        def forward(self, less, more, t):
            return 3 * less.flatten(1).sum(1) + more.flatten(1).sum(1)

    model, x0 = small(penalty=0.1), images(2)
    model.discriminator = Slope()
    found = model.gradient_penalty(x0, x0, torch.zeros(2, dtype=torch.long))
    assert found.item() == pytest.approx(0.1 / 2 * 9 * x0[0].numel(), rel=1e-5)


def test_the_penalty_moves_the_discriminator_only():
    model = small(penalty=1.0)
    x0 = images()
    model.gradient_penalty(x0, torch.randn_like(x0), torch.tensor([0, 1, 2, 3])).backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.discriminator.parameters())


@torch.no_grad()
def test_an_estimate_depends_on_time_and_on_its_own_zeta():
    torch.manual_seed(0)
    model = Generator(SHAPE, 8, (1, 2), 2, 0.0, 4).eval()
    for p in model.parameters():
        p.add_(0.1 * torch.randn_like(p))
    x, zeta = torch.randn(2, *SHAPE), torch.randn(2, 100)
    t = torch.tensor([1, 1])
    first = model(x, t, zeta)
    assert first.shape == x.shape and first.abs().max() < 1
    assert (model(x, t + 1, zeta) - first).abs().max() > 1e-3
    moved = model(x, t, torch.stack([zeta[0], zeta[1] + 1]))
    assert (moved[1] - first[1]).abs().max() > 1e-3
    torch.testing.assert_close(moved[0], first[0])


def test_all_noise_comes_from_the_bytes_of_each_image():
    x = torch.randn(3, *SHAPE)
    zetas, noises = drawn_from(x, 4)
    assert zetas.shape == (3, 4, 100) and noises.shape == (3, 4, *SHAPE)
    assert (zetas[0] - zetas[1]).abs().max() > 0.1
    other = x.clone()
    other[1, 0, 0, 0] += 1e-6
    moved = drawn_from(other, 4)[0]
    assert torch.equal(moved[::2], zetas[::2]) and not torch.equal(moved[1], zetas[1])
    strided = x.to(memory_format=torch.channels_last)
    assert torch.equal(drawn_from(strided, 4)[0], zetas)
    many = drawn_from(torch.randn(64, *SHAPE), 4)
    for noise in many:
        assert noise.mean().abs() < 0.02 and (noise.std() - 1).abs() < 0.02


@torch.no_grad()
def test_it_decodes_in_its_own_steps():
    model, seen = small().eval(), []
    x_T = torch.randn(2, *SHAPE)
    found = model.decode(x_T, None, 50, lambda t, x0hat: seen.append(t))
    assert seen == [3, 2, 1, 0]
    assert torch.equal(found, model.decode(x_T, None, 1))
    assert found.abs().max() <= 1


def test_the_two_learning_rates():
    cell = load_study("paper", datasets=["cifar10"], methods=["ddgan"], seeds=[0]).cell(
        "cifar10", "ddgan", 0)
    model = small()
    groups = optimizer(model, cell.train).param_groups
    rates = {id(p): group["base_lr"] for group in groups for p in group["params"]}
    assert {rates[id(p)] for p in model.generator.parameters()} == {1.6e-4}
    assert {round(rates[id(p)], 9) for p in model.discriminator.parameters()} == {1.25e-4}
    assert groups[0]["betas"] == (0.5, 0.9) and groups[0]["weight_decay"] == 0
