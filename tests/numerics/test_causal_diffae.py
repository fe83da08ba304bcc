"""CausalDiffAE: its encoder, its graph, its loss, and that blocks learn their concepts."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from baselines.causal_diffae import Causal, Encoder, Model, encoder_widths, kl_to_normal, parents_of
from patronus.checkpoint import build
from patronus.config import load_study, names
from patronus.data.chexpert import FINDINGS
from patronus.errors import Problem
from patronus.worlds import chest, faces

SHAPE = (1, 16, 16)


def small(code_dim: int = 8, **options) -> Model:
    torch.manual_seed(0)
    sizes = {"base": 8, "multipliers": (1, 2), "dropout": 0.0, "concepts": ("a", "b"),
             "edges": ("a>b",)}
    return Model(SHAPE, code_dim, **sizes | options)


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("side", "widths"), [
    (28, [16, 32, 64, 128]), (32, [16, 32, 64, 128]), (64, [16, 32, 64, 64, 128]),
    (96, [16, 32, 32, 64, 64, 128]), (128, [16, 32, 32, 64, 64, 128]),
    (224, [16, 16, 32, 64, 64, 64, 128])])
def test_the_encoder_ends_at_two_pixels_with_the_published_widths(side: int, widths: list[int]):
    assert encoder_widths(side) == widths
    model = Encoder((1, side, side), 12).eval()
    assert model.features[:-1](torch.zeros(1, 1, side, side)).shape == (1, 128, 2, 2)
    mean, variance = model(torch.randn(2, 1, side, side))
    assert mean.shape == variance.shape == (2, 12)
    assert (variance > 0).all()


def test_the_published_encoder_and_graph_have_their_parameters():
    with torch.device("meta"):
        model = Model((3, 32, 32), 512)
    convolutions = 9 * (3 * 16 + 16 * 32 + 32 * 64 + 64 * 128) + 2 * (16 + 32 + 64 + 128)
    assert parameters(model.encoder) == convolutions + 2 * (512 * 512 + 512)
    assert parameters(model.causal) == 3 * (128 * 512 + 512 + 512 * 128 + 128)
    assert model.concepts == ("Male", "Smiling", "Mouth_Slightly_Open", "Narrow_Eyes")


def test_the_graph_is_read_by_name():
    assert parents_of(("a", "b", "c"), ("a>c", "b > c", "a>b")) == [[], [0], [0, 1]]
    assert parents_of(("class",), ()) == [[]]


@pytest.mark.parametrize(("edges", "what"), [(("a>d",), "a>d"), (("a",), '"a"'),
                                             (("a>b", "b>a"), "circle"), (("a>a",), "circle")])
def test_a_wrong_graph_is_told(edges: tuple[str, ...], what: str):
    with pytest.raises(Problem, match=what):
        parents_of(("a", "b", "c"), edges)


def test_a_code_that_cannot_be_cut_is_told():
    with pytest.raises(Problem, match="code of 9 cannot be cut into 2"):
        small(9)


def test_the_causal_layer_adds_what_the_parents_cause():
    torch.manual_seed(0)
    layer = Causal(3, [[], [0], [0, 1]])
    u = torch.randn(4, 9)
    a, b, c = u.split(3, 1)
    first, second = layer.effects["1"], layer.effects["2"]
    expected = torch.cat([a, first(a) + b, second(a + b) + c], 1)
    torch.testing.assert_close(layer(u), expected)


def test_a_change_of_a_cause_reaches_its_effects_and_nothing_else():
    torch.manual_seed(0)
    layer = Causal(2, [[], [0], [1], []])
    u = torch.randn(1, 8)
    changed = u.clone()
    changed[:, :2] += 1
    moved = (layer(changed) - layer(u)).abs().view(4, 2).amax(1)
    assert (moved[:2] > 0.01).all()
    assert (moved[2:] == 0).all()  # one layer: a grandchild is reached through no sum of u


def test_the_divergence_is_that_of_two_gaussians():
    mean, variance = torch.randn(3, 5), torch.rand(3, 5) + 0.1
    expected = kl_divergence(Normal(mean, variance.sqrt()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_normal(mean, variance), expected)


def test_blocks_are_drawn_to_known_labels_only():
    model, z = small(), torch.arange(8.0)[None]
    near, far = (z[0, :4] - 1).square().sum() / 2, (z[0, 4:] + 0.5).square().sum() / 2
    assert model.apart(z, torch.tensor([[1.0, -0.5]])).item() == pytest.approx(near + far)
    assert model.apart(z, torch.tensor([[1.0, torch.nan]])).item() == pytest.approx(near)
    assert model.apart(z, torch.full((1, 2), torch.nan)).item() == 0
    assert model.apart(z, torch.zeros(1, 2)).item() == pytest.approx(z.square().sum().item() / 2)


def test_an_unknown_label_leaves_every_gradient_finite():
    model, x0 = small(ramp_steps=1, masked=0.0), torch.rand(4, *SHAPE) * 2 - 1
    model.loss(x0, torch.tensor([[1.0, torch.nan]]).expand(4, 2))["loss"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_the_loss_is_the_noise_and_gamma_times_the_rest():
    x0, labels = torch.rand(4, *SHAPE) * 2 - 1, torch.tensor([[1.0, -1.0]]).expand(4, -1)
    model = small(masked=0.0, ramp_steps=10)
    for step in (0, 4, 9, 30):
        model.step.fill_(step)
        found = model.loss(x0, labels)
        gamma = min(1.0, (step + 1) / 10)
        assert found["loss"].item() == pytest.approx(
            (found["noise"] + gamma * (found["kl"] + found["concepts"])).item(), rel=1e-4)
        assert model.step == step + 1
    model.eval().loss(x0, labels)
    assert model.step == 31  # counts training steps only
    assert "step" in model.state_dict()  # so that a resumed run has the gamma of its step


def test_a_masked_image_teaches_the_encoder_nothing():
    x0 = torch.rand(4, *SHAPE) * 2 - 1
    model = small(masked=1.0, ramp_steps=1)
    found = model.loss(x0, torch.ones(4, 2))
    assert found["loss"].item() == pytest.approx(found["noise"].item())
    found["loss"].backward()
    assert all(p.grad is None or not p.grad.any() for p in model.encoder.parameters())
    assert any(p.grad.any() for p in model.denoiser.parameters())


def test_without_labels_all_are_unknown():
    x0, losses = torch.rand(4, *SHAPE) * 2 - 1, []
    for labels in (None, torch.full((4, 2), torch.nan), torch.ones(4, 2)):
        torch.manual_seed(1)
        losses.append(small(ramp_steps=1, masked=0.0).loss(x0, labels)["loss"].item())
    assert losses[0] == losses[1] != losses[2]


def test_the_code_is_z_from_the_mean_and_changes_the_image():
    model, x0 = small().eval(), torch.rand(2, *SHAPE) * 2 - 1
    code = model.encode(x0)
    torch.testing.assert_close(code, model.causal(model.encoder(x0)[0]))
    x_T = torch.randn(1, *SHAPE)
    assert (model.decode(x_T, code[:1], 3) - model.decode(x_T, code[:1] + 2, 3)).abs().max() > 1e-3


def test_blocks_learn_their_concepts():
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (64, 2), generator=rng).float() * 2 - 1
    x0 = torch.zeros(64, *SHAPE)
    x0[:, :, :8] = labels[:, 0, None, None, None] * 0.8
    x0[:, :, 8:] = labels[:, 1, None, None, None] * 0.8
    x0 += 0.1 * torch.randn(x0.shape, generator=rng)
    model = small(ramp_steps=1, multipliers=(1,)).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(50):
        torch.manual_seed(step)
        rows = torch.randperm(48)[:16]
        optimiser.zero_grad()
        model.loss(x0[rows], labels[rows])["loss"].backward()
        optimiser.step()
    with torch.no_grad():
        blocks = model.eval().encode(x0[48:]).unflatten(1, (2, 4)).mean(2)
    assert ((blocks > 0) == (labels[48:] > 0)).float().mean() > 0.85  # chance: 0.5


@pytest.mark.parametrize("dataset", names("datasets"))
def test_every_data_set_names_a_graph_that_fits_the_published_code(dataset: str):
    cell = load_study("paper", datasets=[dataset], methods=["causal_diffae"], seeds=[0]).cell(
        dataset, "causal_diffae", 0)
    assert cell.code_dim == 512
    with torch.device("meta"):
        model = build(cell.module, cell.shape, cell.code_dim, cell.model)
    known = {"celeba": faces.RATES, "celeba_hair": faces.RATES, "chexpert": chest.PARTS,
             "chexpert_devices": chest.PARTS, "ffhq": ("age", "gender", "glasses"),
             "fashion_mnist": ("class",), "cifar10": ("class",), "cifar10_jpeg": ("class",)}
    assert set(model.concepts) <= set(known.get(dataset, model.concepts))
    if "chexpert" in dataset:
        assert set(model.concepts) <= set(FINDINGS)
