"""The prior over codes: what it learns, what it undoes, what it depends on."""

import numpy as np
import pytest
import torch
from torch import Tensor

from patronus import checkpoint, prior
from patronus.config import Cell, Prior, Strict, Study, load_study
from patronus.errors import NotApplicable, Problem
from patronus.files import save_json, save_npy
from patronus.noise import noise
from patronus.prior import LatentDiffusion
from patronus.stage import Job

SETTINGS = Prior(base=16, multipliers=(1, 2), blocks=1, dropout=0.0)
D = 8
CENTRE, SCALE = torch.linspace(-1, 2, D), torch.logspace(0, -2, D)


def two_mode_codes(count: int, dims: int = D) -> Tensor:
    """Codes (count, dims) of very different scales; the first half share their mode's sign."""
    torch.manual_seed(5)
    side = torch.randint(2, (count, 1)) * 2.0 - 1
    z = 0.3 * torch.randn(count, D) + side * (torch.arange(D) < D // 2)
    return (z * SCALE + CENTRE)[:, :dims]


def untrained(code_dim: int, **changes) -> LatentDiffusion:
    torch.manual_seed(0)
    return LatentDiffusion(code_dim, SETTINGS.model_copy(update=changes)).eval()


@pytest.fixture(scope="module")
def samples() -> Tensor:
    """500 codes from a prior fitted to the two modes."""
    torch.set_num_threads(1)
    codes, model = two_mode_codes(2000), untrained(D).train()
    model.diffusion.prediction = "v"  # needs a tenth of the steps that eps needs
    model.standardise(codes)
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for step in range(250):
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * (1 - step / 250)
        optimiser.zero_grad()
        model.loss(codes[torch.randint(len(codes), (128,))])["loss"].backward()
        optimiser.step()
    with torch.inference_mode():
        return model.eval().sample(noise(range(500), (D,), "test"))


def test_samples_have_the_codes_own_mean_and_spread(samples: Tensor):
    codes = two_mode_codes(2000)
    assert ((samples.mean(0) - codes.mean(0)).abs() < 0.35 * codes.std(0)).all()
    ratio = samples.std(0) / codes.std(0)
    assert ratio.min() > 0.75 and ratio.max() < 1.3


def test_samples_have_both_modes_and_their_correlation(samples: Tensor):
    z = (samples - CENTRE) / SCALE
    assert torch.corrcoef(z[:, :D // 2].T).min() > 0.7  # truly 0.92
    assert torch.corrcoef(z[:, D // 2 - 1:].T)[0, 1:].abs().max() < 0.4  # truly 0
    side = z[:, :D // 2].mean(1)
    assert 0.25 < (side > 0).float().mean() < 0.75
    assert (side.abs() > 0.5).float().mean() > 0.85  # truly 1.00; a single Gaussian: 0.62


@pytest.mark.parametrize("code_dim", [3, 5, 7, 8])
def test_any_length_of_code_is_padded_for_the_network_and_no_further(code_dim: int):
    model = untrained(code_dim, multipliers=(1, 2, 2))
    assert model.padded == (4 if code_dim == 3 else 8)
    assert model.sample(noise(range(2), (code_dim,), "x")).shape == (2, code_dim)
    found = model.loss(torch.randn(4, code_dim))["loss"]
    assert found.dim() == 0 and found.isfinite()


def test_the_padding_is_zero_and_its_answer_ignored():
    model, seen = untrained(3), []
    model.denoiser.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.sample(noise(range(2), (3,), "x"))
    assert len(seen) == 99
    assert all((x.shape == (2, 1, 4)) and (x[..., 3] == 0).all() for x in seen)


def test_standardisation_is_learned_and_undone():
    """A network that sees standardised codes draws the same standardised codes."""
    model, x_T = untrained(3), noise(range(8), (3,), "x")
    codes = two_mode_codes(500, 3)
    plain = model.sample(x_T)
    model.standardise(codes)
    std = codes.std(0, correction=0)
    torch.testing.assert_close(model.mean, codes.mean(0))
    torch.testing.assert_close(model.std, std)
    torch.testing.assert_close(model.sample(x_T), plain * std + codes.mean(0))


def test_the_loss_does_not_depend_on_the_scale_of_the_codes():
    codes, losses = two_mode_codes(64, 3), []
    for scaled in (codes, codes * 100 - 7):
        model = untrained(3)
        model.standardise(scaled)
        torch.manual_seed(3)
        losses.append(model.loss(scaled)["loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_constant_dimension_does_no_harm():
    codes = two_mode_codes(64, 3)
    codes[:, 1] = 0.5
    model = untrained(3)
    model.standardise(codes)
    assert model.loss(codes)["loss"].isfinite()
    found = model.sample(noise(range(4), (3,), "x"))
    torch.testing.assert_close(found[:, 1], torch.full((4,), 0.5), atol=1e-3, rtol=0)


def test_noise_is_what_the_chain_ends_in():
    """T = 100 with the image's betas would leave a third of the signal."""
    assert untrained(3).diffusion.alpha_bar[-1] < 1e-4
    assert untrained(3, timesteps=200).diffusion.alpha_bar[-1] < 1e-4


@torch.inference_mode()
def test_sampling_is_deterministic_and_each_code_its_own():
    model, x_T = untrained(5), noise(range(6), (5,), "x")
    found = model.sample(x_T)
    assert torch.equal(found, model.sample(x_T))
    one = torch.cat([model.sample(noise(range(i, i + 1), (5,), "x")) for i in range(6)])
    torch.testing.assert_close(found, one, atol=1e-4, rtol=1e-4)
    assert (found[0] - found[1]).abs().max() > 0.01


def job(**updates) -> Job:
    study: Study = load_study("tiny", datasets=["fashion_mnist"], methods=["patronus"])
    cell: Cell = study.cell("fashion_mnist", "patronus", 0)
    changes = {key: getattr(cell, key).model_copy(update=value)
               for key, value in updates.items() if isinstance(getattr(cell, key), Strict)}
    return Job("priors", cell.model_copy(update=changes), study.datasets["fashion_mnist"],
               None, 1, "key")


def test_the_stage_fits_and_saves_what_load_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = job()
    save_npy(task.folder("codes") / "train.npy", two_mode_codes(64).numpy())
    found = prior.work(task)
    assert found["images_seen"] >= 64
    model = prior.load(task.out)
    np.testing.assert_allclose(model.mean, two_mode_codes(64).mean(0), rtol=1e-5)
    assert model.sample(noise(range(2), (D,), "x")).isfinite().all()
    assert not model.training
    (task.out / "model.safetensors").unlink()
    with pytest.raises(Problem, match="model.safetensors"):
        prior.load(task.out)


def test_fitting_leaves_standardisation_as_it_was_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = job(prior={"epochs": 3.0})
    save_npy(task.folder("codes") / "train.npy", two_mode_codes(64).numpy())
    prior.work(task)
    torch.testing.assert_close(prior.load(task.out).std, two_mode_codes(64).std(0, correction=0))


def test_no_code_no_prior_and_the_reason_is_handed_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = job()
    save_json(task.folder("codes") / "none.json", {"reason": "it has no code"})
    assert prior.work(task) == {}
    with pytest.raises(NotApplicable, match="it has no code"):
        prior.load(task.out)
    assert not (task.out / "model.safetensors").exists()


def test_a_prior_is_saved_with_its_settings(tmp_path):
    model = untrained(5)
    checkpoint.save(tmp_path, model, SETTINGS.model_dump(mode="json") | {"code_dim": 5})
    x_T = noise(range(2), (5,), "x")
    torch.testing.assert_close(prior.load(tmp_path).sample(x_T), model.sample(x_T))
