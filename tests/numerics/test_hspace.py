"""h-space: the cut U-Net and who adopts it, its PCA, steering by codes, Jacobian directions."""

import importlib
from functools import cache

import pytest
import torch
from torch import Tensor

from baselines import ddpm, hspace
from baselines._bottleneck import Frozen, Steered
from baselines.hspace import Scatter, jacobian_directions, singular_directions
from patronus import model as patronus_model
from patronus.errors import Problem
from patronus.method import Method, to_unit

SHAPE, SIZES = (1, 16, 16), {"base": 8, "multipliers": (1, 2)}
STANDING = ("hspace", "sae", "ddae", "ddpm_inversion")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(count: int) -> Tensor:
    rng = torch.Generator().manual_seed(4)
    coarse = torch.randint(0, 256, (count, 1, 4, 4), generator=rng).float()
    return torch.nn.functional.interpolate(coarse, size=SHAPE[1:]).to(torch.uint8)


def base_of(prediction: str = "eps", **sizes) -> ddpm.Model:
    torch.manual_seed(1)
    return ddpm.Model(SHAPE, **SIZES | sizes, prediction=prediction).eval().requires_grad_(False)


@cache
def trained(prediction: str) -> ddpm.Model:
    """A DDPM that has learnt a little: an untrained one blows up the noise that inversion meets."""
    model, x0 = base_of(prediction).train().requires_grad_(True), to_unit(pictures(20))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(60):
        torch.manual_seed(step)
        optimiser.zero_grad()
        model.loss(x0)["loss"].backward()
        optimiser.step()
    return model.eval().requires_grad_(False)


@cache
def fitted(prediction: str = "eps", count: int = 20, code_dim: int = 6) -> hspace.Model:
    model = hspace.Model(SHAPE, code_dim, **SIZES, prediction=prediction, inversion_steps=11)
    model.adopt(trained(prediction))
    model.prepare(pictures(count))
    return model.eval()


def kept(model: hspace.Model, x0: Tensor) -> dict[int, Tensor]:
    """h of every asked time of the plain inversion, from the diffusion's own routine."""
    seen: list[tuple[int, Tensor]] = []

    def watch(x: Tensor, t: Tensor) -> Tensor:
        h, *rest = model.denoiser.descend(x, t)
        seen.append((int(t[0]), h.flatten(1)))
        return model.denoiser.finish(h, *rest)

    model.diffusion.invert(watch, x0, 11)
    return dict(seen)


class Half(Steered):
    """Moves the bottleneck by half of itself, times the code."""

    def shift(self, h: Tensor, t: Tensor, code: Tensor) -> Tensor:
        return 0.5 * h * code[..., None, None]


def test_a_steered_method_must_say_by_how_much():
    with pytest.raises(TypeError, match="shift"):
        Steered(SHAPE, 1, 8, (1, 2), "eps")


@pytest.mark.parametrize(("shape", "multipliers"), [((3, 32, 32), (1, 1, 2, 2)), (SHAPE, (1, 2))])
def test_the_cut_network_is_the_unet_bit_for_bit_and_its_bottleneck_has_the_stated_size(
        shape: tuple, multipliers: tuple):
    torch.manual_seed(0)
    model, seen = Half(shape, 1, 8, multipliers, "eps").eval(), []
    model.denoiser.middle[-1].register_forward_hook(lambda *args: seen.append(args[2]))
    x, t = normal(3, *shape), torch.tensor([1, 400, 999])
    answer, still, moved = (model.eps(x, t, code) for code in (
        None, torch.zeros(3, 1), torch.ones(3, 1)))
    assert torch.equal(answer, model.denoiser(x, t)) and torch.equal(still, answer)
    assert all(torch.equal(h, seen[0]) and h.shape == (3, *model.size) for h in seen)
    assert len(seen) == 4
    hook = model.denoiser.middle[-1].register_forward_hook(lambda *args: 1.5 * args[2])
    assert torch.equal(model.denoiser(x, t), moved)
    hook.remove()
    assert (moved - answer).abs().max() > 1e-3


def test_the_frozen_network_has_the_published_size_and_bottleneck():
    with torch.device("meta"):
        small, large = (Frozen((3, side, side), None, 64, (1, 2, 4, 4), "eps") for side in (32, 64))
    counted = sum(p.numel() for p in small.parameters())
    counted += small.denoiser.times.numel()  # a buffer here
    assert counted == pytest.approx(24.05e6, rel=1e-4)
    assert small.size == (256, 4, 4) and large.size == (256, 8, 8)
    assert not any(p.requires_grad for p in small.parameters())


def standing(name: str, **options) -> Method:
    return importlib.import_module(f"baselines.{name}").Model(
        SHAPE, 8, **SIZES | ({"block": 1} if name == "ddae" else {}) | options)


@pytest.mark.parametrize("name", STANDING)
def test_a_method_keeps_its_own_frozen_copy_of_the_ddpm(name: str):
    model, base = standing(name), base_of()
    model.adopt(base)
    x, t = normal(2, *SHAPE), torch.tensor([5, 600])
    assert torch.equal(model.denoiser.eval()(x, t), base.denoiser(x, t))
    with torch.no_grad():
        base.denoiser.first.weight.add_(1)
    assert not torch.equal(model.denoiser(x, t), base.denoiser(x, t))
    assert not any(p.requires_grad for p in model.denoiser.parameters())
    assert "net.unet.first.weight" in model.state_dict()  # as checkpoints have it


@pytest.mark.parametrize("name", STANDING)
def test_a_base_that_does_not_fit_is_refused_with_the_cure(name: str):
    for base, cure in ((base_of("v"), "predicts eps, .* predicts v; .* change .* `prediction`"),
                       (base_of(base=16), "`base` and `multipliers` the values that the DDPM has"),
                       (patronus_model.Model((3, 32, 32), 4, **SIZES), "plain DDPM.*`base: ddpm`")):
        with pytest.raises(Problem, match=f"^baselines.{name}: .*{cure}") as error:
            standing(name).adopt(base)
        assert "\n" not in str(error.value)


def low_rank(rows: int, rank: int, width: int) -> Tensor:
    return normal(rows, rank) * torch.arange(rank, 0, -1) @ normal(rank, width, seed=1) + 3


@pytest.mark.parametrize("rank", [100, 9], ids=["all kept", "compressed as it goes"])
def test_batchwise_pca_is_pca(rank: int):
    rows = low_rank(70, 5, 40)
    scatter = Scatter(rank)
    for part in rows.split(16):
        scatter.add(part)
        assert len(scatter.factor) <= rank
    found, spreads = scatter.principal(4)
    _, values, expected = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    torch.testing.assert_close(scatter.mean, rows.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(spreads, values[:4] / 69**0.5, rtol=1e-4, atol=0)
    torch.testing.assert_close((found @ expected[:4].T).abs(), torch.eye(4), atol=1e-3, rtol=0)


def test_directions_beyond_the_rank_of_the_data_are_left_out():
    scatter = Scatter(100)
    scatter.add(low_rank(70, 5, 40))
    assert len(scatter.principal(9)[0]) == 5


def test_directions_are_orthonormal_with_the_scores_of_the_fitted_images_standardised():
    model, x0 = fitted(), to_unit(pictures(20))
    assert len(model.fitted) == 5 and set(model.fitted) < set(model.times)
    assert model.times == sorted(model.diffusion.times(11))[:-1]
    for i, t in enumerate(model.fitted):
        torch.testing.assert_close(model.directions[i] @ model.directions[i].T, torch.eye(6),
                                   atol=1e-4, rtol=0)
        h = kept(model, x0)[t]
        scores = model.scores(h, model.times.index(t))
        torch.testing.assert_close(scores.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
        torch.testing.assert_close(scores.T.cov(), torch.eye(6), atol=1e-3, rtol=0)
        direct = (h - h.mean(0)) @ model.directions[i].T / model.spreads[i]
        torch.testing.assert_close(scores, direct, atol=1e-3, rtol=1e-3)


def test_signs_agree_with_the_noisiest_fitted_time():
    directions = fitted().directions
    assert ((directions * directions[-1]).sum(2) >= 0).all()


def test_the_code_is_the_mean_of_the_scores_over_the_fitted_times():
    model, x0 = fitted(), to_unit(pictures(4))
    seen = kept(model, x0)
    expected = sum(model.scores(seen[t], model.times.index(t)) for t in model.fitted) / 5
    torch.testing.assert_close(model.encode(x0), expected)


def test_a_shift_brings_the_scores_to_the_code_at_every_time():
    model, code = fitted(), normal(7, 6)
    t = torch.tensor([1, 60, 300, 500, 700, 900, 999])
    h = model.denoiser.descend(normal(7, *SHAPE), t)[0]
    moved = (h + model.shift(h, t, code)).flatten(1)
    for row in range(7):
        k = min(range(len(model.times)), key=lambda k: abs(model.times[k] - int(t[row])))
        torch.testing.assert_close(model.scores(moved[row:row + 1], k), code[row:row + 1],
                                   atol=2e-3, rtol=1e-3)


def test_an_edited_entry_moves_the_bottleneck_along_its_own_direction_alone():
    model, code, t = fitted(), normal(1, 6), torch.tensor([300])
    h = model.denoiser.descend(normal(1, *SHAPE), t)[0]
    edited = code.clone()
    edited[0, 2] += 1.5
    change = (model.shift(h, t, edited) - model.shift(h, t, code)).flatten()
    k = min(range(len(model.times)), key=lambda k: abs(model.times[k] - 300))
    i = model.owner[k]
    torch.testing.assert_close(change, 1.5 * model.spreads[i, 2] * model.directions[i, 2],
                               atol=1e-4, rtol=1e-3)


def test_fewer_images_than_directions_leave_the_rest_at_zero_and_without_effect():
    model, x0 = fitted(count=8, code_dim=12), to_unit(pictures(8))
    code = model.encode(x0)
    assert (code[:, :7] != 0).any(0).all()
    assert not code[:, 7:].any()
    assert not model.directions[:, 7:].any()
    more = code.clone()
    more[:, 9] += 3
    with torch.no_grad():
        x_T = normal(8, *SHAPE)
        assert torch.equal(model.decode(x_T, code, 3), model.decode(x_T, more, 3))


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_without_a_code_it_is_the_ddpm_and_with_one_inversion_is_as_good(prediction: str):
    model, base, x0 = fitted(prediction), trained(prediction), to_unit(pictures(2))
    with torch.no_grad():
        x_T = normal(2, *SHAPE)
        assert torch.equal(model.decode(x_T, None, 4), base.decode(x_T, None, 4))
        code = model.encode(x0)
        found = model.invert(x0, code, 40)
        back = model.decode(found, code, 40)
        plain = base.decode(base.invert(x0, None, 40), None, 40)
        assert (back - x0).abs().mean() < 1.1 * (plain - x0).abs().mean()
        edited = code.clone()
        edited[:, 0] += 3
        assert (model.decode(found, edited, 40) - back).abs().mean() > 1e-3


def test_too_few_inversion_steps_are_refused():
    with pytest.raises(Problem, match="raise inversion_steps"):
        hspace.Model(SHAPE, 4, **SIZES, inversion_steps=5)


@pytest.mark.parametrize("count", [1, 3])
def test_subspace_iteration_finds_the_known_singular_vectors_of_a_linear_map(count: int):
    left, right = (torch.linalg.qr(normal(12, 12, seed=s)).Q for s in (1, 2))
    values = torch.tensor([5, 3, 2, 1.2, *[0.5] * 8])
    matrix = left * values @ right.T
    found, sizes = singular_directions(lambda h: h.flatten() @ matrix.T, normal(1, 3, 2, 2), count,
                                       hits=25)
    torch.testing.assert_close(sizes, values[:count], rtol=1e-4, atol=0)
    torch.testing.assert_close((found @ right[:, :count]).abs(), torch.eye(count), atol=1e-2,
                               rtol=0)


def test_equal_singular_values_do_not_break_the_iteration():
    """Started from an earlier vector, as in the reference, deflation would leave nothing."""
    found, sizes = singular_directions(lambda h: 2 * h, normal(1, 5), 3)
    torch.testing.assert_close(sizes, torch.full((3,), 2.0))
    torch.testing.assert_close(found @ found.T, torch.eye(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("prediction", "masked"), [("eps", False), ("v", True)])
def test_jacobian_directions_are_those_of_the_whole_jacobian_of_eps(prediction: str, masked: bool):
    torch.manual_seed(2)
    shape = (1, 8, 8)
    base = ddpm.Model(shape, **SIZES, prediction=prediction).eval().requires_grad_(False)
    x_t, t = normal(1, *shape), 400
    mask = torch.zeros(1, 1, 8, 8).index_fill_(3, torch.arange(4), 1) if masked else None
    found, values = jacobian_directions(base, x_t, t, 2, mask)
    times = torch.tensor([t])
    h, skips, (time, _) = base.denoiser.descend(x_t, times)

    def eps(h: Tensor) -> Tensor:
        net, waiting = base.denoiser, list(skips)
        for layer in net.up:
            h = layer(torch.cat([h, waiting.pop()], 1), time, None) if hasattr(layer, "time") \
                else layer(h)
        answer = net.last(h)
        a = base.diffusion.alpha_bar[t]
        whole = answer if prediction == "eps" else (1 - a).sqrt() * x_t + a.sqrt() * answer
        return whole * mask if masked else whole

    whole = torch.autograd.functional.jacobian(eps, h).view(64, -1)
    _, expected, vectors = torch.linalg.svd(whole, full_matrices=False)
    torch.testing.assert_close(values, expected[:2], rtol=1e-2, atol=0)
    for one, value in zip(found, values, strict=True):  # J u is as long as the value says
        torch.testing.assert_close((whole @ one.flatten()).norm(), value, rtol=1e-2, atol=0)
    assert (found[0].flatten() @ vectors[0]).abs() > 0.98


def test_jacobian_directions_are_of_one_image():
    with pytest.raises(ValueError, match="one image"):
        jacobian_directions(fitted(), normal(2, *SHAPE), 300)
