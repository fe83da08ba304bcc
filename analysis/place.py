"""Where an edit changed an image: energies |x' - xhat|^2 against boxes and masks (measures.md B3).

Tensors of images on one device in, tensors out; no method and no file is touched here.
"""

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

QUIET = (0.1 / 127.5) ** 2  # mean energy of a tenth of a gray level: rounding, not a change
BLUR = 1 / 16  # standard deviation of the blur of the change map, of the image's height


def place(energy: Tensor, boxes: Tensor | None) -> dict[str, Tensor]:
    """Locality of change energies (B, H, W), each of shape (B,).

    share: of the energy in the box (B, 4) of the edited image's most activated patch; area: the
    box's share of the image; hit: 1 where the peak of the blurred energy lies in the box, else 0.
    All three are NaN without boxes. square: share of the image of the smallest square that holds
    half of the energy. Except for area, NaN where no more changed than rounding does.
    """
    total = energy.sum((1, 2))
    changed = total > QUIET * energy[0].numel()
    found = {"square": smallest_square(energy) / energy[0].numel()}
    if boxes is None:
        found |= dict.fromkeys(("share", "area", "hit"), torch.full_like(total, torch.nan))
    else:
        inside = mask(boxes, energy.shape[1:])
        peak = blurred(energy).flatten(1).argmax(1, keepdim=True)
        found |= {"share": (energy * inside).sum((1, 2)) / total, "area": inside.mean((1, 2)),
                  "hit": inside.flatten(1).gather(1, peak)[:, 0]}
    return {key: torch.where(changed | (key == "area"), value, torch.nan)
            for key, value in found.items()}


def within(energy: Tensor, regions: Tensor) -> Tensor:
    """Share (B, K) of energies (B, H, W) that lies in regions (K, H, W) of 0 and 1.

    NaN where no more changed than rounding does.
    """
    total = energy.sum((1, 2))[:, None]
    inside = energy.flatten(1) @ regions.flatten(1).to(energy).T
    return torch.where(total > QUIET * energy[0].numel(), inside / total, torch.nan)


def mask(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W) float: 1 at pixels [y0, y1) x [x0, x1) of boxes (B, 4), else 0."""
    y, x = (torch.arange(side, device=boxes.device) for side in size)
    y0, x0, y1, x1 = boxes[:, :, None].unbind(1)
    rows, columns = (y >= y0) & (y < y1), (x >= x0) & (x < x1)
    return (rows[:, :, None] & columns[:, None, :]).float()


def blurred(energy: Tensor) -> Tensor:
    """Maps (B, H, W) blurred by a Gaussian as wide as the image's height asks for."""
    sigma = BLUR * energy.shape[1]
    return gaussian_blur(energy, [2 * round(2 * sigma) + 1] * 2, [sigma] * 2)


def smallest_square(energy: Tensor) -> Tensor:
    """Pixels (B,) of the smallest square inside the image that holds half of the energy (B, H, W).

    A side longer than the image counts as the image's.
    """
    height, width = energy.shape[1:]
    sums = torch.nn.functional.pad(energy.double().cumsum(1).cumsum(2), (1, 0, 1, 0))
    half = sums[:, -1, -1] / 2
    pixels = torch.full_like(half, height * width)
    for side in range(max(height, width), 0, -1):
        h, w = min(side, height), min(side, width)
        held = (sums[:, h:, w:] - sums[:, :-h, w:] - sums[:, h:, :-w] + sums[:, :-h, :-w])
        pixels = torch.where(held.amax((1, 2)) >= half, h * w, pixels)
    return pixels
