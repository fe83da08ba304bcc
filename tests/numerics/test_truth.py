"""Ground truth and patches against what can be counted by hand (measures.md B4, B9)."""

import numpy as np
import pytest
import torch

from analysis import truth
from analysis.measures.consistency import contrast, cosines
from analysis.patches import embed, embedded
from analysis.place import mask
from analysis.references import Classifier
from patronus.errors import NotApplicable
from patronus.method import Located, Method

RNG = np.random.default_rng
NAMES = ["hat", "tie", "ring"]


def drawn(n: int = 9, side: int = 12) -> np.ndarray:
    """Images (n, side, side) uint32: a 4x4 hat that wanders, a 2x3 tie in every other."""
    parts = np.zeros((n, side, side), np.uint32)
    for i in range(n):
        parts[i, 1 + i % 2:5 + i % 2, 4:8] |= 1
        if i % 2:
            parts[i, 9:11, 5:8] |= 2
    return parts


def test_masks_are_named_by_their_bits():
    found = truth.masks(drawn(), NAMES, ["tie", "nose", "hat"])
    assert found.shape == (9, 3, 12, 12) and found.dtype == bool
    assert found[:, 0].sum((1, 2)).tolist() == [0, 6] * 4 + [0]
    assert not found[:, 1].any()
    assert (found[:, 2].sum((1, 2)) == 16).all()


def test_a_region_is_where_most_images_show_the_part_and_as_large_as_it_is():
    found = truth.regions(drawn(), NAMES, ["hat", "tie", "ring"])
    assert found.sum((1, 2)).tolist() == [16, 6, 0]
    assert found[0, 1:5, 4:8].all()  # five of nine images
    assert found[1, 9:11, 5:8].all()


def test_overlap_equals_counting_pixels():
    rng = RNG(0)
    shown = rng.random((5, 3, 10, 14)) < 0.3
    corner = rng.integers(0, 8, (5, 4, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 3, (5, 4, 2))], axis=2)
    inside = mask(torch.from_numpy(boxes.reshape(-1, 4)), (10, 14)).numpy().astype(bool)
    inside = inside.reshape(5, 4, 1, 10, 14)
    union = (inside | shown[:, None]).sum((3, 4))
    expected = (inside & shown[:, None]).sum((3, 4)) / union
    np.testing.assert_allclose(truth.overlap(shown, boxes), np.moveaxis(expected, 0, 2))


def test_boxes_count_in_images_that_show_the_part_only():
    shown = truth.masks(drawn(4), NAMES, ["hat", "tie", "ring"])
    hat, tie = [1, 4, 5, 8], [9, 5, 11, 8]
    boxes = np.tile([hat, tie], (4, 1, 1))
    found = truth.boxes_against(shown, boxes, np.array([0, 1, -1]))
    nan = np.nan
    np.testing.assert_allclose(found["truth_iou"], [
        [1, 0.6, 1, 0.6], [nan, 1, nan, 1], [nan] * 4])  # one row off: 12 of 20 pixels
    np.testing.assert_allclose(found["truth_hit"], [[1] * 4, [nan, 1, nan, 1], [nan] * 4])
    np.testing.assert_allclose(found["truth_iou_any"][0], [0.5, 0.3, 0.5, 0.3])
    swapped = truth.boxes_against(shown, boxes, np.array([1, 0, 0]))
    assert np.nanmax(swapped["truth_iou"]) == 0 and np.nanmax(swapped["truth_hit"]) == 0


def test_energy_counts_in_images_without_the_part_and_spread_evenly_is_one():
    within = np.full((2, 4, 3), [0.2, 0.1, 0.0])  # as large as the regions: spread evenly
    within[1, :, 0] = 1.0
    within[:, 3] = np.nan  # nothing changed in image 3
    lack = np.array([[1, 1, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]], bool)
    found = truth.energy_against(within, np.array([0.2, 0.1, 0.0]), lack, np.array([1, 0, 0]))
    nan = np.nan
    np.testing.assert_allclose(found["truth_energy"], [[5, nan, 5, nan], [1, 1, 1, nan], [nan] * 4])
    np.testing.assert_allclose(found["truth_energy_any"][:2], [[3, nan, 3, nan], [1, 1, 1, nan]])


class Window(Method):
    """Dimension j fires at its own place, most in the images that are brightest."""

    def __init__(self):
        super().__init__((3, 32, 32), 4)

    def locate(self, x0):
        k = 8 * torch.arange(4)
        boxes = torch.stack([k, k, k + 8, k + 8], 1).expand(len(x0), -1, -1)
        return Located(x0.mean((1, 2, 3))[:, None].expand(-1, 4), boxes, torch.zeros(len(x0), 4))


def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier((3, 32, 32), {"hat": 1}, 4).eval()


def test_patches_of_the_brightest_images_at_each_dimensions_place():
    images = RNG(0).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    codes = np.tile(np.arange(20.0)[:, None], (1, 4))
    found = embedded(Window(), classifier(), images, codes, np.array([2, 0]), 3, RNG(1))
    assert found["patches"].shape == found["patches_elsewhere"].shape
    x0 = torch.from_numpy(images[[19, 18]]) / 127.5 - 1
    for d, j in enumerate((2, 0)):
        box = torch.tensor([[8 * j, 8 * j, 8 * j + 8, 8 * j + 8]] * 2)
        np.testing.assert_allclose(found["patches"][d, :2], embed(classifier(), x0, box).detach(),
                                   atol=1e-4)


def test_an_embedding_sees_its_box_and_nothing_else():
    x0 = torch.from_numpy(RNG(0).random((1, 3, 32, 32), np.float32))
    other, box = x0.clone(), torch.tensor([[8, 12, 20, 28]])
    outside = torch.ones(32, 32, dtype=torch.bool)
    outside[7:21, 11:29] = False  # a pixel of margin: sampling is bilinear
    other[:, :, outside] = 0.9
    same = embed(classifier(), x0, box)
    torch.testing.assert_close(embed(classifier(), other, box), same)
    other[:, :, 14, 20] = -1
    assert (embed(classifier(), other, box) - same).abs().max() > 1e-3


def test_a_resized_patch_is_the_patch_itself_where_sizes_agree():
    x0 = torch.from_numpy(RNG(0).random((1, 3, 32, 32), np.float32))
    model = classifier()
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    embed(model, x0, torch.tensor([[4, 8, 20, 24]]))
    torch.testing.assert_close(seen[0][:, :, 1:-1, 1:-1], torch.nn.functional.avg_pool2d(
        torch.nn.functional.interpolate(x0[:, :, 4:20, 8:24], scale_factor=2, mode="bilinear",
                                        align_corners=False), 2)[:, :, 1:-1, 1:-1])


def test_contrast_equals_a_loop_over_pairs():
    patches = RNG(0).normal(size=(4, 3, 7))
    cosine, owner = cosines(patches), np.repeat(np.arange(4), 3)
    flat = patches.reshape(12, 7) - patches.reshape(12, 7).mean(0)
    for d, found in enumerate(contrast(cosine, owner)):
        pairs = {True: [], False: []}
        for i in np.flatnonzero(owner == d):
            for j in range(12):
                if i != j:
                    pairs[owner[j] == d].append(flat[i] @ flat[j] / np.sqrt(
                        flat[i] @ flat[i] * (flat[j] @ flat[j])))
        assert found == pytest.approx(np.mean(pairs[True]) - np.mean(pairs[False]))


def test_a_method_without_boxes_has_no_patches():
    class Blind(Window):
        def locate(self, x0):
            raise self.cannot("locate")

    with pytest.raises(NotApplicable):
        embedded(Blind(), classifier(), np.zeros((9, 3, 32, 32), np.uint8), np.zeros((9, 4)),
                 np.arange(2), 4, RNG(0))
