"""The TopK sparse autoencoder: its equations, its maps, steering, and a dictionary it must find."""

from functools import cache

import pytest
import torch
from torch import Tensor

from baselines import ddpm, sae
from baselines.sae import largest
from patronus.errors import Problem
from patronus.method import to_unit

SHAPE, SIZES, WIDTH = (1, 16, 16), {"base": 8, "multipliers": (1, 2)}, 16


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(count: int = 12) -> Tensor:
    rng = torch.Generator().manual_seed(4)
    coarse = torch.randint(0, 256, (count, 1, 4, 4), generator=rng).float()
    return torch.nn.functional.interpolate(coarse, size=SHAPE[1:]).to(torch.uint8)


@cache
def base() -> ddpm.Model:
    torch.manual_seed(1)
    return ddpm.Model(SHAPE, **SIZES).eval().requires_grad_(False)


def made(code_dim: int = 10, **options) -> sae.Model:
    torch.manual_seed(2)
    model = sae.Model(SHAPE, code_dim, **SIZES | {"k": 3} | options)
    model.adopt(base())
    model.prepare(pictures())
    return model.eval()


def test_the_published_sizes():
    with torch.device("meta"):
        model = sae.Model((3, 64, 64), 100)
    trained = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"decoder": (100, 256), "encoder": (100, 256), "centre": (256,)}


def test_topk_keeps_the_largest_positive_scores_and_nothing_else():
    scores = torch.tensor([[3.0, -1, 2, 5], [-3, -1, -2, 0.5]])
    assert largest(scores, 2).tolist() == [[3, 0, 0, 5], [0, 0, 0, 0.5]]


def test_more_features_at_a_cell_than_there_are_is_refused():
    with pytest.raises(Problem, match="lower k"):
        sae.Model(SHAPE, 4, **SIZES, k=5)


def test_tokens_are_normalised_at_times_of_the_table():
    """Fresh noise, many images: mean zero in each channel, variance one overall, at both ends."""
    model, x0 = made(), to_unit(pictures().repeat(40, 1, 1, 1))
    torch.manual_seed(0)
    for t in (model.times[0], model.times[10], model.times[-1]):
        times = t.expand(len(x0))
        tokens = model.tokens(model._read(x0, times), times)
        assert tokens.shape == (480, 8, 8, WIDTH)
        assert tokens.mean((0, 1, 2)).abs().max() < 0.1
        assert tokens.var((0, 1, 2), correction=0).mean().item() == pytest.approx(1, abs=0.1)


def test_the_loss_is_the_equation():
    model, x0 = made(), to_unit(pictures())
    with torch.no_grad():
        model.decoder.mul_(3)  # a norm that must not matter
        model.centre.copy_(0.1 * normal(WIDTH))
        torch.manual_seed(5)
        found = model.loss(x0)
        torch.manual_seed(5)
        t, eps = model.diffusion.draw_times(12), torch.randn_like(x0)
        h = model.denoiser.descend(model.diffusion.noised(x0, t, eps), t)[0]
        x = model.tokens(h, t).flatten(0, 2)
        directions = model.decoder / model.decoder.norm(dim=1, keepdim=True)
        total = 0
        for token in x:
            scores = model.encoder @ (token - model.centre)
            rebuilt = model.centre.clone()
            for j in scores.argsort(descending=True)[:3]:
                rebuilt += scores[j].clamp(min=0) * directions[j]
            total += (token - rebuilt).square().mean()
    assert found["loss"].item() == pytest.approx(total.item() / len(x), rel=1e-4)
    assert found["dead"] == 0


def test_features_idle_too_long_are_dead_and_get_a_gradient_again():
    model, x0 = made(k=1, dead_tokens=1000).train(), to_unit(pictures())
    with torch.no_grad():
        model.encoder[4] = model.encoder[0] * 1e-4  # wherever it fires, the first does more
    torch.manual_seed(0)
    assert model.loss(x0)["dead"] == 0
    model.encoder.grad = None
    model.loss(x0)["loss"].backward()
    assert not model.encoder.grad[4].any()
    assert model.idle[4] == 2 * 12 * 64  # tokens seen
    found = model.loss(x0)
    assert 0 < found["dead"] < 1
    assert found["loss"] > found["rebuilt"]
    model.encoder.grad = None
    found["loss"].backward()
    assert model.encoder.grad[4].any()


def test_idle_counts_only_in_training_and_starts_again_when_a_feature_fires():
    model, x0 = made(), to_unit(pictures())
    torch.manual_seed(0)
    model.loss(x0)
    assert not model.idle.any()
    model.train().idle.fill_(7)
    model.loss(x0)
    assert set(model.idle.tolist()) <= {0, 7 + 12 * 64}
    assert (model.idle == 0).any()


def test_training_moves_the_autoencoder_and_nothing_frozen():
    model = made().train()
    torch.manual_seed(0)
    model.loss(to_unit(pictures()))["loss"].backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} \
        == {"decoder", "encoder", "centre"}


def test_it_finds_the_dictionary_that_made_the_tokens(monkeypatch: pytest.MonkeyPatch):
    """Tokens of two active directions each, out of eight; every one must be among the decoder's."""
    torch.manual_seed(3)
    model = sae.Model(SHAPE, 16, **SIZES, k=2).train()
    directions = torch.linalg.qr(normal(WIDTH, WIDTH))[0][:8]

    def tokens(x0: Tensor, t: Tensor, eps: Tensor | None = None) -> Tensor:
        active, sizes = torch.rand(len(x0), 8, 8, 8).topk(2, -1).indices, (len(x0), 8, 8, 2)
        amounts = torch.zeros(len(x0), 8, 8, 8).scatter(-1, active, 3 + torch.rand(sizes))
        return (amounts @ directions).movedim(-1, 1)

    monkeypatch.setattr(model, "_read", tokens)
    learnt = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=1e-2, weight_decay=0)
    for _ in range(400):
        loss = model.loss(torch.zeros(8, *SHAPE))["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    alike = torch.nn.functional.normalize(model.decoder.detach(), dim=1) @ directions.T
    assert alike.amax(0).min() > 0.9
    assert loss < 0.1 * tokens(torch.zeros(8, *SHAPE), None).square().mean()


def test_the_code_is_the_maximum_of_maps_with_at_most_k_features_a_cell():
    model, x0 = made(), to_unit(pictures())
    found = model.locate(x0)
    assert found.maps.shape == (12, 10, 8, 8)
    assert (found.maps >= 0).all() and ((found.maps > 0).sum(1) <= 3).all()
    assert torch.equal(model.encode(x0), found.maps.amax((2, 3)))
    for image, feature in ((0, 1), (5, 7)):
        y, x = divmod(int(found.maps[image, feature].argmax()), 8)
        assert found.boxes[image, feature].tolist() == [2 * y, 2 * x, 2 * y + 2, 2 * x + 2]


def test_at_the_time_of_the_code_an_unedited_code_moves_nothing():
    model, x0 = made(), to_unit(pictures())
    t = torch.full((12,), model.t)
    x_t = model.diffusion.noised(x0, t, model.noise)
    with torch.no_grad():
        plain, steered = (model.predict(x_t, t, code) for code in (None, model.encode(x0)))
    torch.testing.assert_close(plain, steered, atol=1e-6, rtol=1e-5)
    assert torch.equal(plain[1], base().denoiser(x_t, t))


def test_a_shift_brings_an_orthogonal_dictionary_to_the_code_in_its_own_cells():
    model = made(code_dim=8, k=8)
    with torch.no_grad():
        model.decoder.copy_(torch.eye(WIDTH)[:8])
        model.encoder.copy_(torch.eye(WIDTH)[:8])
        t = torch.tensor([50, 500, 900])
        h = model.denoiser.descend(normal(3, *SHAPE), t)[0]
        before = model.maps(h, t)
        h[:, 0] -= 1e4  # the first feature fires nowhere
        before[:, 0] = 0
        code = before.amax((2, 3)) * 1.5 + 0.2
        after = model.maps(h + model.shift(h, t, code), t)
    expected = before * (code / before.amax((2, 3)).clamp(min=1e-9))[..., None, None]
    torch.testing.assert_close(after[:, 1:], expected[:, 1:], atol=1e-4, rtol=1e-4)
    alone = model.shift(h, t, code)[:, 0] / model.scale[model._row(t)].view(-1, 1, 1)
    torch.testing.assert_close(alone, code[:, 0].view(-1, 1, 1).expand(-1, 8, 8), atol=1e-4,
                               rtol=1e-4)


def test_an_edited_feature_moves_the_bottleneck_along_its_direction_and_changes_the_image():
    model, x0 = made(), to_unit(pictures(3))
    code, t = model.encode(x0), torch.tensor([300, 300, 300])
    edited = code.clone()
    edited[:, 6] += 2
    with torch.no_grad():
        h = model.denoiser.descend(normal(3, *SHAPE), t)[0]
        change = (model.shift(h, t, edited) - model.shift(h, t, code)).movedim(1, -1).flatten(0, 2)
        along = model.decoder[6] / model.decoder[6].norm()
        torch.testing.assert_close(change, (change @ along)[:, None] * along, atol=1e-5, rtol=1e-4)
        assert change.abs().max() > 1e-3
        x_T = normal(3, *SHAPE, seed=1)
        moved = model.decode(x_T, edited, 5) - model.decode(x_T, code, 5)
        assert moved.abs().amax((1, 2, 3)).min() > 1e-3
        assert torch.equal(model.decode(x_T, None, 5), base().decode(x_T, None, 5))
