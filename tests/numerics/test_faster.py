"""Cheaper sampling: what is reused, what is rounded, and what stays untouched."""

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from baselines import ae, diffae
from patronus.config import Sample
from patronus.errors import Problem
from patronus.faster import Reusing, faster, from_int8, round_weights, to_int8
from patronus.model import Model
from patronus.sample import drawing
from patronus.unet import UNet


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model((1, 32, 32), 6, base=16, multipliers=(1, 2), encoder_channels=(8, 8, 8, 8)).eval()


@pytest.fixture
def given() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 1, 32, 32, generator=generator), torch.rand(2, 6, generator=generator)


def flops(model: Model, given, steps: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.decode(*given, steps)
    return counter.get_total_flops()


@torch.no_grad()
def test_reusing_every_step_is_the_network_as_it_is(model, given):
    expected = model.decode(*given, 5)
    model.denoiser = Reusing(model.denoiser, 1)
    torch.testing.assert_close(model.decode(*given, 5), expected, rtol=0, atol=0)


def test_the_way_down_runs_at_every_third_step_only(model, given):
    one = flops(model, given, 1)
    whole = flops(model, given, 6)
    faster(model, reuse=3)
    assert whole == 6 * one
    up = (flops(model, given, 3) - one) / 2
    assert 0.3 * one < up < 0.8 * one
    assert flops(model, given, 6) == 2 * one + 4 * up


@torch.no_grad()
def test_a_new_path_begins_with_features_of_its_own(model, given):
    faster(model, reuse=4)
    first = model.decode(*given, 6)
    model.decode(torch.ones(3, 1, 32, 32), torch.zeros(3, 6), 5)  # other images, other batch
    torch.testing.assert_close(model.decode(*given, 6), first, rtol=0, atol=0)


@torch.no_grad()
def test_in_between_the_features_are_old_and_the_time_is_new(model, given):
    x, code = given
    late, later = torch.full((2,), 700), torch.full((2,), 600)
    plain, reusing = model.denoiser, Reusing(model.denoiser, 2)
    torch.testing.assert_close(reusing(x, late, code), plain(x, late, code), rtol=0, atol=0)
    found = reusing(x + 1, later, code)
    torch.testing.assert_close(found, plain.finish(*plain.descend(x, late, code)[:2],
                                                   plain.embeddings(later, code)))
    assert not torch.allclose(found, plain(x, late, code))


def test_half_runs_the_network_in_bfloat16_and_answers_in_float32_nearly_the_same(model, given):
    x, code = given
    plain, t = model.denoiser(x, torch.full((2,), 500), code), torch.full((2,), 500)
    drawn_by, _ = drawing(model, Sample(half=True))
    seen = []
    drawn_by.denoiser.denoiser.last.register_forward_hook(
        lambda _module, _given, answer: seen.append(answer.dtype))
    found = drawn_by.denoiser(x, t, code)
    assert seen == [torch.bfloat16] and found.dtype == torch.float32
    assert 0 < (found - plain).norm() < 0.02 * plain.norm()
    assert isinstance(model.denoiser, UNet)  # as trained


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (5, 7)])
def test_rounded_weights_are_off_by_half_a_level_at_most(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    levels, scale = to_int8(weight)
    assert levels.dtype == torch.int8
    assert levels.abs().amax() == 127
    assert ((from_int8(levels, scale) - weight).abs() <= scale / 2 + 1e-7).all()
    levels, scale = to_int8(torch.zeros(2, 3))
    assert (from_int8(levels, scale) == 0).all()


def test_rounding_changes_matrices_and_convolutions_a_little_and_nothing_else(model):
    before = copy.deepcopy(model.denoiser).state_dict()
    round_weights(model.denoiser)
    after = model.denoiser.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name, p in model.denoiser.named_parameters() if p.dim() > 1}
    for name in changed:
        assert (after[name] - before[name]).norm() < 0.02 * before[name].norm()


def test_what_draws_is_a_copy_and_the_model_stays_as_trained(model):
    before = copy.deepcopy(model.state_dict())
    drawn_by, how = drawing(model, Sample(int8=True, reuse=2, solver="dpm"))
    assert isinstance(drawn_by.denoiser, Reusing)
    assert how == {"solver": "dpm"}
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert drawing(model, Sample()) == (model, {"solver": "dpm"})


def test_a_method_with_a_decoder_of_its_own_keeps_it():
    other = ae.Model((1, 32, 32), 4, base=8)
    assert drawing(other, Sample(reuse=2)) == (other, {})


def test_another_denoiser_is_named():
    other = diffae.Model((1, 32, 32), 4, base=8)
    with pytest.raises(Problem, match=r"sample.reuse: .*baselines.diffae .*set it to 1"):
        faster(other, reuse=2)
