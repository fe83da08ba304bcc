"""The example in baselines/README.md is a whole method: taken from the text, it keeps the contract.

All of tests/contract/test_methods.py passes for it as a file in baselines/; here stands what it
would break first, without leaving a file there.
"""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import baselines
from patronus import checkpoint, config
from patronus.method import Method, to_unit
from patronus.sources import ROOT

README = (ROOT / "baselines" / "README.md").read_text(encoding="utf-8")
MODULE = "baselines.readme_example"
SHAPE, CODE = (3, 16, 16), 6


@pytest.fixture
def source(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """The example as a baseline that only this test knows."""
    blocks = [text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL)
              if "class Model" in text]
    assert len(blocks) == 1
    path = tmp_path / "readme_example.py"
    path.write_text(blocks[0], encoding="utf-8")
    monkeypatch.setattr(baselines, "__path__", [*baselines.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    yield path
    sys.modules.pop(MODULE, None)


@pytest.fixture
def images() -> torch.Tensor:
    """uint8 (40, 3, 16, 16) along four directions and a little noise."""
    rng = torch.Generator().manual_seed(0)
    patterns = torch.randn(4, *SHAPE, generator=rng)
    weights = torch.randn(40, 4, generator=rng) * torch.tensor([40.0, 25, 15, 8])
    noise = torch.randn(40, *SHAPE, generator=rng)
    return (127 + 0.4 * torch.einsum("nk,kchw->nchw", weights, patterns) + noise).clamp(
        0, 255).to(torch.uint8)


@pytest.fixture
def model(source: Path, images: torch.Tensor) -> Method:
    made = checkpoint.build(MODULE, SHAPE, CODE, {})
    made.prepare(images)
    return made.eval()


def test_it_is_a_method_that_needs_no_training(model: Method):
    assert isinstance(model, Method) and model.code_dim == CODE
    assert not model.able("loss") and "loss" in model.lacks
    assert not any(p.requires_grad for p in model.parameters())
    assert len(list(model.parameters())) > 0  # stages ask the first one where the model lies
    assert all(len(why.split()) >= 3 for why in model.lacks.values())


def test_its_options_can_be_read_without_importing_it(source: Path, monkeypatch):
    monkeypatch.setattr(config, "file_of", lambda module: source)
    assert set(config.options.__wrapped__(MODULE).model_fields) == set()


def test_shapes_and_determinism(model: Method, images: torch.Tensor):
    x0 = to_unit(images[:5])
    code = model.encode(x0)
    assert code.shape == (5, CODE) and torch.equal(code, model.encode(x0))
    one = torch.cat([model.encode(x[None]) for x in x0])
    torch.testing.assert_close(code, one, atol=1e-4, rtol=1e-4)
    x_T, seen = model.invert(x0, code, 3), []
    assert x_T.shape == x0.shape and not x_T.any()
    found = model.decode(x_T, code, 3, lambda t, x0hat: seen.append(x0hat))
    assert found.shape == x0.shape and torch.equal(seen[-1], found) and len(seen) == 1
    drawn = model.generate(x_T, torch.randn(5, CODE), 3)
    assert drawn.shape == x0.shape and (drawn[0] - drawn[1]).abs().max() > 0.01


def test_it_is_principal_component_analysis(model: Method, images: torch.Tensor):
    x0 = to_unit(images)
    code = model.encode(x0)
    covariance = torch.cov(code.T)
    spread = covariance.diag()
    assert (covariance - spread.diag()).abs().max() < 1e-3 * spread.max()
    assert (spread[:-1] >= spread[1:]).all()
    torch.testing.assert_close(spread.sqrt(), model.std, rtol=1e-3, atol=1e-4)
    error = (model.decode(x0, code, 1) - x0).square().mean()
    assert error < 0.01 * x0.var()  # four directions make these images
    many = model.generate(x0[:1].expand(4000, -1, -1, -1), torch.randn(
        4000, CODE, generator=torch.Generator().manual_seed(1)), 1)
    torch.testing.assert_close(model.encode(many).std(0), model.std, rtol=0.05, atol=1e-3)


def test_a_saved_example_is_the_same_example(model: Method, images: torch.Tensor, tmp_path: Path):
    checkpoint.save(tmp_path / "kept", model,
                    {"module": MODULE, "shape": SHAPE, "code_dim": CODE, "model": {}})
    x0 = to_unit(images[:3])
    loaded = checkpoint.load(tmp_path / "kept")
    assert torch.equal(loaded.encode(x0), model.encode(x0))
    assert torch.equal(loaded.decode(x0, loaded.encode(x0), 1), model.decode(
        x0, model.encode(x0), 1))
