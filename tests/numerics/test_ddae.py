"""The DDAE probe: which features it reads, from which noise."""

import pytest
import torch
from torch import Tensor

from baselines import ddae, ddpm
from patronus.errors import Problem

SHAPE, SIZES = (3, 32, 32), {"base": 8, "multipliers": (1, 2, 3, 4)}


def images(count: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def made(**options) -> ddae.Model:
    torch.manual_seed(1)
    model = ddae.Model(SHAPE, 5, **SIZES, **options)
    model.adopt(ddpm.Model(SHAPE, **SIZES))
    return model.eval()


def test_the_published_block_is_the_last_at_a_quarter_of_the_resolution():
    with torch.device("meta"):
        model = ddae.Model((3, 32, 32))
        passed = model.denoiser.descend(torch.zeros(1, 3, 32, 32), torch.tensor([11]))
        sizes = [h.shape[1:] for h in model.denoiser.ascend(*passed)]
    assert (model.t, model.code_dim) == (11, 256)
    assert sizes[model.layer] == (256, 8, 8)
    assert sizes[model.layer + 1] == (256, 16, 16)  # what follows is the way up
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(("block", "width"), [(1, 32), (3, 32), (4, 24), (6, 24), (9, 16), (12, 8)])
def test_the_code_is_the_mean_of_what_the_unet_computes_there(block: int, width: int):
    model, x0, seen = made(block=block, t=21), images(3), []
    blocks = [layer for layer in model.denoiser.up if hasattr(layer, "time")]
    blocks[block - 1].register_forward_hook(lambda *args: seen.append(args[2]))
    code = model.encode(x0)
    t = torch.tensor([21, 21, 21])
    a = model.diffusion.alpha_bar[21]
    model.denoiser(a.sqrt() * x0 + (1 - a).sqrt() * model.noise, t)
    assert code.shape == (3, width) and model.code_dim == width
    torch.testing.assert_close(code, seen[-1].mean((2, 3)))


def test_one_noise_serves_every_image_and_every_model():
    model, x0 = made(), images(1)
    codes = model.encode(x0.expand(4, -1, -1, -1))
    torch.testing.assert_close(codes, codes[:1].expand(4, -1))
    assert torch.equal(model.noise, made(block=2).noise)
    assert abs(model.noise.std().item() - 1) < 0.05
    assert "noise" not in model.state_dict()


def test_block_and_time_decide_the_code():
    x0 = images(1)
    assert not torch.allclose(made().encode(x0), made(t=300).encode(x0), atol=1e-3)
    assert not torch.allclose(made(block=4).encode(x0), made(block=5).encode(x0), atol=1e-3)


def test_a_block_that_is_not_there_is_refused():
    for block in (0, 13):
        with pytest.raises(Problem, match="1 to 12"):
            made(block=block)
