"""The denoiser has the published architecture, to the last parameter."""

from collections import Counter

import pytest
import torch

from baselines.ddpm import Model as DDPM
from patronus.checkpoint import build
from patronus.config import load_study
from patronus.model import Model
from patronus.unet import Attention, UNet, sinusoids

# (channels in, channels out) of the residual blocks of the published checkpoints, in order
BLOCKS = [(64, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256),
          (256, 256), (256, 256), (256, 256),
          (512, 256), (512, 256), (512, 256), (512, 256), (512, 256), (384, 256),
          (384, 128), (256, 128), (192, 128), (192, 64), (128, 64), (128, 64)]
RESAMPLED = [64, 128, 256, 256, 256, 128]  # channels of the convs that halve or double the sides
ENCODER = [(1, 32), (32, 64), (64, 64), (64, 128)]


def published_shapes(m: int) -> Counter:
    """Shapes in the authors' Fashion-MNIST checkpoint, by name of the layer they belong to.

    Without the constants it carries: the ones of its distance convolution, the time table.
    Prototypes are (m, 128) here and (m, 128, 1, 1) there.
    """
    def conv(inside: int, outside: int, kernel: int = 3):
        return [(outside, inside, kernel, kernel), (outside,)]

    def linear(inside: int, outside: int):
        return [(outside, inside), (outside,)]

    def norm(width: int):
        return [(width,), (width,)]

    found = [(m, 128)] + sum((conv(*pair) for pair in ENCODER), [])
    found += linear(64, 256) + linear(256, 256) + linear(m, 256) + linear(256, 256)
    found += conv(1, 64) + norm(64) + conv(64, 1)
    for inside, outside in BLOCKS:
        found += norm(inside) + conv(inside, outside) + 2 * linear(256, outside)
        found += norm(outside) + conv(outside, outside)
        found += conv(inside, outside, 1) if inside != outside else []
    found += sum((conv(width, width) for width in RESAMPLED), [])
    found += norm(256) + linear(256, 768) + linear(256, 256)  # the one attention
    return Counter(found)


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def small(shape=(1, 16, 16), code_dim: int | None = 5, **options) -> UNet:
    torch.manual_seed(0)
    return UNet(shape, code_dim, **{"base": 8, "multipliers": (1, 2)} | options).eval()


@torch.no_grad()
def answer(model: UNet, code_seed: int = 0, t: int = 500, size=(1, 16, 16)) -> torch.Tensor:
    torch.manual_seed(1)
    x = torch.randn(2, *size)
    torch.manual_seed(code_seed)
    return model(x, torch.full((2,), t), torch.randn(2, 5) if model.code else None)


def test_every_published_weight_has_a_counterpart():
    found = Counter(tuple(v.shape) for v in Model((1, 32, 32), 30).state_dict().values())
    assert found == published_shapes(30)
    assert found.total() == 333


@pytest.mark.parametrize(("dataset", "count"), [("fashion_mnist", 25_227_649),
                                                ("cifar10", 25_257_411),
                                                ("celeba", 25_257_411),
                                                ("chexpert", 25_894_145)])
def test_the_published_sizes(dataset: str, count: int):
    study = load_study("paper", datasets=[dataset], methods=["patronus"], seeds=[0])
    cell = study.cell(dataset, "patronus", 0)
    assert parameters(build(cell.module, cell.shape, cell.code_dim, cell.model)) == count


def test_without_a_condition_the_code_path_and_nothing_else_is_gone():
    with_code, without = UNet((1, 32, 32), 30), DDPM((1, 32, 32), 30)
    path = sum(257 * outside for _, outside in BLOCKS) + 31 * 256 + 257 * 256
    assert parameters(with_code) - parameters(without) == path
    assert parameters(without) == 23_984_257  # 24.05 M with its constant time table of 64,000


def test_the_time_table_has_sines_then_cosines():
    table = sinusoids(1000, 64)
    assert table.shape == (1000, 64)
    t, rates = 37.0, 10_000 ** (-torch.arange(32) / 31).double()
    torch.testing.assert_close(table[37, :32].double(), (t * rates).sin(), atol=1e-6, rtol=0)
    torch.testing.assert_close(table[37, 32:].double(), (t * rates).cos(), atol=1e-6, rtol=0)
    assert table[0].tolist() == [0.0] * 32 + [1.0] * 32


def test_attention_is_only_in_the_first_middle_block():
    model = UNet((1, 32, 32), 30)
    places = [name for name, module in model.named_modules()
              if isinstance(module, torch.nn.MultiheadAttention)]
    assert places == ["middle.0.attention.attention"]
    assert model.middle[0].attention.attention.num_heads == 4


def test_attention_is_residual_and_mixes_positions():
    torch.manual_seed(0)
    layer, x = Attention(16), torch.randn(1, 16, 4, 4)
    moved = x.clone()
    moved[..., 0, 0] += 1
    assert ((layer(moved) - layer(x))[..., 3, 3].abs() > 1e-6).any()
    torch.nn.init.zeros_(layer.attention.out_proj.weight)
    assert torch.equal(layer(x), x)


def test_code_and_time_change_the_answer():
    model = small()
    base = answer(model)
    assert torch.equal(base, answer(model))
    assert (base - answer(model, code_seed=2)).abs().max() > 1e-3
    assert (base - answer(model, t=20)).abs().max() > 1e-3


def test_every_block_hears_the_code():
    model = small()
    torch.manual_seed(1)
    model(torch.randn(2, 1, 16, 16), torch.tensor([3, 700]), torch.randn(2, 5)).sum().backward()
    weights = [p for name, p in model.named_parameters() if name.endswith("code.weight")]
    assert len(weights) == 2 * 2 + 2 + 3 * 2
    assert all(p.grad.abs().sum() > 0 for p in weights)


def test_rows_of_a_batch_do_not_touch_each_other():
    model = small()
    torch.manual_seed(1)
    x, t, code = torch.randn(3, 1, 16, 16), torch.tensor([1, 500, 999]), torch.randn(3, 5)
    with torch.no_grad():
        one = torch.cat([model(x[i:i + 1], t[i:i + 1], code[i:i + 1]) for i in range(3)])
        torch.testing.assert_close(model(x, t, code), one, atol=1e-5, rtol=0)


def test_dropout_acts_in_training_only():
    model = small(dropout=0.5)
    assert torch.equal(answer(model), answer(model))
    model.train()
    x, t, code = torch.ones(2, 1, 16, 16), torch.tensor([3, 700]), torch.ones(2, 5)
    assert not torch.equal(model(x, t, code), model(x, t, code))


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 64, 64), (1, 224, 224), (3, 48, 32)])
def test_the_answer_has_the_shape_of_the_question(shape):
    model = small(shape, multipliers=(1, 1, 1, 1), blocks=1)
    found = answer(model, size=shape)
    assert found.shape == (2, *shape)
    assert found.isfinite().all()


def test_the_same_network_for_sequences():
    model = small((1, 12), None, multipliers=(1, 2, 4), blocks=3)
    found = answer(model, size=(1, 12))
    assert found.shape == (2, 1, 12)
    assert (found - answer(model, t=20, size=(1, 12))).abs().max() > 1e-3
    assert {module.__class__.__name__ for module in model.modules()
            if "Conv" in type(module).__name__} == {"Conv1d"}
