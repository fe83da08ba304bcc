"""Prototypes: similarities against naive loops, boxes against gradients."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from patronus import prototypes as module
from patronus.config import load_study
from patronus.method import Located
from patronus.model import Model
from patronus.prototypes import Prototypes, distinct_loss, receptive_field, similarity

LARGEST = math.log(1 / 1e-4)  # of s
# (kernels, strides, paddings, image size); the first two are the published ones
SMALL = ((3, 3, 3, 3), (2, 1, 1, 1), (1, 0, 0, 0), (32, 32))
LARGE = ((5, 5, 5, 5, 5), (2, 2, 1, 1, 1), (1, 1, 0, 0, 0), (224, 224))
ODD = [((5, 3), (1, 2), (2, 1), (13, 9)), ((4, 2, 3), (3, 1, 1), (0, 1, 2), (22, 34)),
       ((1, 3), (1, 3), (0, 0), (9, 17)), ((3, 3, 5), (2, 2, 2), (1, 1, 2), (40, 24))]


def prototypes(kernels, strides, paddings, widths=None, count: int = 5,
               channels: int = 1) -> Prototypes:
    torch.manual_seed(0)
    return Prototypes(channels, count, widths or [2] * len(kernels), kernels, strides, paddings)


@pytest.fixture
def small() -> Prototypes:
    """The published encoder for 32 pixels, 30 prototypes."""
    return prototypes(*SMALL[:3], (32, 64, 64, 128), 30)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def seen_box(model: Prototypes, size: tuple[int, int], row: int, column: int) -> list[int]:
    """Box of the pixels whose gradient is not zero; fails unless they fill it."""
    x = torch.ones(1, 1, *size, requires_grad=True)
    model.features(x)[..., row, column].sum().backward()
    touched = (x.grad[0, 0] != 0).nonzero()
    low, high = touched.amin(0), touched.amax(0) + 1
    assert len(touched) == (high - low).prod()
    return [*low.tolist(), *high.tolist()]


def positive(model: Prototypes) -> Prototypes:
    """All weights positive: no ReLU stops a gradient, none cancels another."""
    for p in model.encoder.parameters():
        nn.init.uniform_(p, 0.1, 0.2)
    return model


@pytest.mark.parametrize("case", [SMALL, LARGE, *ODD], ids=str)
def test_a_box_holds_exactly_the_pixels_that_a_unit_sees(case):
    *stack, size = case
    model = positive(prototypes(*stack))
    grid = tuple(model.features(torch.ones(1, 1, *size)).shape[2:])
    every = [(i, j) for i in range(grid[0]) for j in range(grid[1])]
    chosen = every if len(every) <= 400 else [(0, 0), (0, 42), (1, 2), (20, 31), (41, 3), (42, 42)]
    flat = torch.tensor([i * grid[1] + j for i, j in chosen])
    boxes = model.boxes(flat, grid, size).tolist()
    assert boxes == [seen_box(model, size, i, j) for i, j in chosen]


def test_the_published_boxes():
    model, i = prototypes(*SMALL[:3]), torch.arange(10)
    found = model.boxes(i * 10 + i.flip(0), (10, 10), (32, 32))
    for row, box in enumerate(found.tolist()):
        column = 9 - row
        assert box == [max(0, 2 * row - 1), max(0, 2 * column - 1),
                       min(32, 2 * row + 14), min(32, 2 * column + 14)]


@pytest.mark.parametrize(("case", "expected"), [(SMALL, (15, 2, 6.5)), (LARGE, (61, 4, 27.5))])
def test_the_published_receptive_fields(case, expected):
    size, jump, start = receptive_field(list(zip(*case[:3], strict=True)))
    # the published first centre counts a pixel's middle as half a pixel from its edge
    assert (size, jump, start + size / 2) == expected


@pytest.mark.parametrize(("case", "side", "grid"), [(SMALL, 32, 10), (SMALL, 64, 26),
                                                    (LARGE, 224, 43)])
def test_the_published_feature_maps(case, side: int, grid: int):
    model = prototypes(*case[:3], count=4)
    assert model.features(torch.zeros(2, 1, side, side)).shape == (2, 2, grid, grid)
    z = torch.zeros(3, 2, grid, grid)
    assert model.distances(z).shape == (3, 4, grid, grid)
    assert [part.shape for part in model.nearest(z)] == [(3, 4), (3, 4)]


def test_weights_and_vectors_start_as_published(small: Prototypes):
    for conv in list(small.encoder)[2::2]:
        assert conv.weight.std().item() == pytest.approx(0.1, rel=0.03)
        assert abs(conv.weight.mean().item()) < 0.002
    assert [type(layer) for layer in small.encoder] == [nn.Conv2d, nn.ReLU] * 4
    vectors = small.vectors.detach()
    assert vectors.shape == (30, 128)
    assert 0 <= vectors.min() < 0.01 and 0.99 < vectors.max() < 1
    assert vectors.mean().item() == pytest.approx(0.5, abs=0.02)


def naive(model: Prototypes, x0: Tensor) -> Tensor:
    """s by loops over images, prototypes and patches, in double precision."""
    z, found = model.features(x0).double(), torch.zeros(len(x0), len(model.vectors)).double()
    for b in range(len(x0)):
        for j, p in enumerate(model.vectors.double()):
            least = min((((z[b, :, y, x] - p)**2).sum() for y in range(z.shape[2])
                         for x in range(z.shape[3])), key=float)
            found[b, j] = torch.log((least + 1) / (least + 1e-4))
    return found


@torch.no_grad()
def test_activations_equal_a_naive_loop(small: Prototypes, images: Tensor):
    model = small
    model.vectors[:10] = model.features(images[:1])[0, :, 3, :].T  # some exact matches
    model.vectors[10:20] = model.vectors[:10] + 0.003
    found = model(images[:2])
    assert (found.shape, found.dtype) == ((2, 30), torch.float32)
    torch.testing.assert_close(found.double(), naive(model, images[:2]), rtol=2e-4, atol=1e-6)


def test_activations_lie_between_zero_and_the_largest():
    d2 = torch.cat([torch.zeros(1), torch.logspace(-8, 5, 200)])
    s = similarity(d2)
    assert (s > 0).all() and s[0].item() == pytest.approx(LARGEST, abs=1e-5)
    assert (s.diff() <= 0).all()
    torch.testing.assert_close(s.double(), ((d2.double() + 1) / (d2.double() + 1e-4)).log(),
                               rtol=1e-4, atol=0)


@torch.no_grad()
@pytest.mark.parametrize(("case", "widths"), [(SMALL, (32, 64, 64, 128)),
                                              (LARGE, (32, 64, 64, 128, 128))], ids=["32", "224"])
def test_an_exact_match_gives_the_largest_activation(case, widths):
    """Also where features are large (|z|^2 is about 25,000 at 224 pixels)."""
    model = prototypes(*case[:3], widths, 10)
    x = torch.rand(2, 1, *case[3], generator=torch.Generator().manual_seed(1)) * 2 - 1
    model.vectors.copy_(model.features(x)[1].flatten(1)[:, 20:30].T)
    s = model(x)
    torch.testing.assert_close(s[1], torch.full((10,), LARGEST), atol=0.02, rtol=0)
    assert (s[0] < LARGEST - 1).all()


@torch.no_grad()
def test_half_precision_around_changes_nothing(small: Prototypes, images: Tensor):
    def measured() -> list[Tensor]:
        z = small.features(images)
        return [z, small.distances(z), small(images)]

    plain = measured()
    assert torch.equal(plain[0], small.encoder(images))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert small.encoder(images).dtype == torch.bfloat16  # the context does act
        mixed = measured()
    assert {part.dtype for part in mixed} == {torch.float32}
    assert all(map(torch.equal, plain, mixed))


def test_gradients_reach_encoder_and_vectors(small: Prototypes, images: Tensor):
    small(images).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in small.parameters())


@pytest.mark.parametrize("delta", [0.2, 0.5, 1.0])
def test_distinct_loss_equals_a_loop(delta: float):
    vectors = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    vectors[3] = -2 * vectors[0]  # as bad as the same direction
    total = 0.0
    for j in range(7):
        gaps = [1 - abs(torch.cosine_similarity(vectors[j], vectors[k], dim=0).item())
                for k in range(7) if k != j]
        total += max(0.0, delta - min(gaps))
    assert distinct_loss(vectors, delta).item() == pytest.approx(total / 7, abs=1e-6)


class Largest(TorchDispatchMode):
    """The most elements that a tensor made meanwhile holds in its own memory."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **kwargs or {})
        for one in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(one, Tensor):
                self.elements = max(self.elements, one.untyped_storage().nbytes() // one.itemsize)
        return made


def test_many_prototypes_over_large_maps_need_no_more_memory_than_the_features(monkeypatch):
    model, z = prototypes(*SMALL[:3], [4] * 4, 150), torch.randn(2, 4, 50, 40)
    with Largest() as whole:
        expected = model.distances(z).flatten(2)
    assert whole.elements == expected.numel() == 2 * 150 * 50 * 40
    at = expected.argmin(2)
    for bound in (1, 30_000, 10**9):  # one prototype at a time; seven; all
        monkeypatch.setattr(module, "AT_ONCE", bound)
        with Largest() as seen:
            d2, found = model.nearest(z)
        assert torch.equal(found, at)
        torch.testing.assert_close(d2, expected.gather(2, at[..., None])[..., 0])
        assert seen.elements <= max(min(bound, whole.elements), z.numel())


def test_sought_in_parts_the_nearest_patches_have_the_same_bits_and_gradients(monkeypatch):
    model, z = prototypes(*SMALL[:3], [8] * 4, 50), torch.randn(3, 8, 9, 11, requires_grad=True)
    answers = []
    for bound in (1, 2**24):
        monkeypatch.setattr(module, "AT_ONCE", bound)
        d2, at = model.nearest(z)
        answers.append((d2, at, *torch.autograd.grad(d2.sum(), [z, model.vectors])))
    assert all(torch.equal(a, b) for a, b in zip(*answers, strict=True))


def test_distinct_loss_of_orthogonal_vectors_is_none_and_of_equal_ones_delta():
    assert distinct_loss(torch.eye(4), 1.0).item() == 0
    assert distinct_loss(torch.ones(4, 6), 0.5).item() == pytest.approx(0.5, abs=1e-6)


def test_the_distinct_loss_is_added_with_its_weight():
    torch.manual_seed(0)
    model = Model((1, 16, 16), 4, base=8, multipliers=(1, 1), distinct_weight=3.0,
                  distinct_delta=1.0)
    found = model.loss(torch.zeros(2, 1, 16, 16))
    expected = found["noise"] + 3 * distinct_loss(model.prototypes.vectors, 1.0)
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert found["distinct"].item() > 0


def located(shape: tuple[int, int, int] = (3, 24, 40)) -> tuple[Model, Tensor, Located]:
    torch.manual_seed(0)
    model = Model(shape, 12, base=8, multipliers=(1, 1)).eval()
    x0 = torch.rand(2, *shape) * 2 - 1
    with torch.no_grad():
        picks = model.prototypes.features(x0)[0].flatten(1)[:, 5:80:6]
        model.prototypes.vectors.copy_(picks[:, :12].T)
        return model, x0, model.locate(x0)


def test_locate_agrees_with_encode_and_its_maps():
    model, x0, found = located()
    torch.testing.assert_close(found.activation, model.encode(x0), atol=1e-5, rtol=0)
    assert found.maps.shape == (2, 12, 6, 14)
    assert torch.equal(found.maps.flatten(2).amax(2), found.activation)


@torch.no_grad()
def test_locate_agrees_with_itself_where_features_are_large():
    """At 224 pixels |z|^2 is about 25,000: in float32 nearly equal patches are mixed up."""
    torch.manual_seed(0)
    names = ("kernels", "strides", "paddings")
    model = Model((1, 224, 224), 20, base=8, multipliers=(1, 1),
                  encoder_channels=(32, 64, 64, 128, 128),
                  **{f"encoder_{name}": part for name, part in zip(names, LARGE, strict=False)})
    ramp = torch.linspace(-1, 1, 224).expand(1, 1, 224, 224)  # rows of patches are alike
    x0 = ramp + 1e-4 * torch.randn(1, 1, 224, 224)
    z = model.prototypes.features(x0)[0].flatten(1).T
    model.prototypes.vectors.copy_(z[torch.randperm(len(z))[:20]])
    found = model.locate(x0)
    torch.testing.assert_close(found.activation, torch.full((1, 20), LARGEST), atol=0.02, rtol=0)
    assert torch.equal(found.maps.flatten(2).amax(2), found.activation)


def test_locate_boxes_the_patch_that_a_prototype_was_taken_from():
    _, _, found = located()
    assert found.boxes.shape == (2, 12, 4)
    for j, box in enumerate(found.boxes[0].tolist()):
        row, column = divmod(5 + 6 * j, 14)
        assert box == [max(0, 2 * row - 1), max(0, 2 * column - 1),
                       min(24, 2 * row + 14), min(40, 2 * column + 14)]


def test_the_study_gives_each_set_its_encoder():
    """32 and 64 pixels: receptive field 15; 224 pixels: 61 (patronus.md section 1)."""
    for name, cell in ((key[0], cell) for key, cell in
                       load_study("paper", methods=["patronus", "untrained"], seeds=[0])
                       .cells.items()):
        stack = zip(*(cell.model[f"encoder_{part}"] for part in ("kernels", "strides", "paddings")),
                    strict=True)
        film = name.startswith("chexpert")
        assert receptive_field(list(stack))[:2] == ((61, 4) if film else (15, 2))
