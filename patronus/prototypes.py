"""The prototype encoder: what a code dimension looks like and where it fires.

Equations: patronus.md section 1, items 1 and 2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

EPS = 1e-4  # of the similarity; the largest possible activation is log((0 + 1) / EPS) = 9.21
AT_ONCE = 2**24  # distances held at a time while the nearest patch is sought: 64 MiB


class ConvEncoder(nn.Sequential):
    """Conv-ReLU stack without normalisation; weights from N(0, 0.1^2)."""

    def __init__(self, channels: int, widths: Sequence[int], kernels: Sequence[int],
                 strides: Sequence[int], paddings: Sequence[int]):
        layers: list[nn.Module] = []
        for width, kernel, stride, padding in zip(widths, kernels, strides, paddings,
                                                  strict=True):
            conv = nn.Conv2d(channels, width, kernel, stride, padding)
            nn.init.normal_(conv.weight, std=0.1)
            layers += [conv, nn.ReLU()]
            channels = width
        super().__init__(*layers)


def receptive_field(convs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    """(size, jump, start) in pixels of a stack of (kernel, stride, padding).

    The unit at position i sees pixels [start + i * jump, start + i * jump + size).
    """
    size, jump, start = 1, 1, 0
    for kernel, stride, padding in convs:
        start -= padding * jump
        size += (kernel - 1) * jump
        jump *= stride
    return size, jump, start


class Prototypes(nn.Module):
    """Similarities s (B, m) of an image's patches with m learned prototypes.

    s_j = log((d2min_j + 1) / (d2min_j + eps)) with d2min_j the smallest squared distance of
    prototype j to a patch feature: 0 < s_j <= 9.21. Encoder and distances run in float32 without
    TF32, whatever the precision around them: TF32 and bfloat16 destroy small distances.
    """

    def __init__(self, channels: int, count: int, widths: Sequence[int], kernels: Sequence[int],
                 strides: Sequence[int], paddings: Sequence[int]):
        super().__init__()
        self.encoder = ConvEncoder(channels, widths, kernels, strides, paddings)
        self.vectors = nn.Parameter(torch.rand(count, widths[-1]))
        self.convs = list(zip(kernels, strides, paddings, strict=True))

    def forward(self, x0: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] -> activations (B, m)."""
        return similarity(self.nearest(self.features(x0))[0])

    def features(self, x0: Tensor) -> Tensor:
        """Patch features (B, D, h, w)."""
        cudnn = torch.backends.cudnn
        with torch.autocast(x0.device.type, enabled=False), cudnn.flags(
                cudnn.enabled, cudnn.benchmark, deterministic=cudnn.deterministic,
                allow_tf32=False):
            return self.encoder(x0.float())

    def distances(self, z: Tensor) -> Tensor:
        """Squared distances (B, m, h, w) of patch features (B, D, h, w) to the prototypes."""
        with torch.autocast(z.device.type, enabled=False):
            d2 = squared_distances(self.vectors.float(), z.flatten(2).transpose(1, 2))
            return d2.unflatten(2, z.shape[2:])

    def nearest(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The patch nearest to each prototype: squared distance and flat position, both (B, m).

        Memory is that of z and of (B, m, D): no (B, m, h, w) larger than AT_ONCE is made.
        """
        with torch.autocast(z.device.type, enabled=False):
            patches = z.flatten(2).transpose(1, 2)
            at = nearest_patches(self.vectors.float(), patches)
            near = patches.gather(1, at[..., None].expand(-1, -1, z.shape[1]))
            return (near - self.vectors.float()).square().sum(2), at

    def boxes(self, positions: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Pixel boxes (..., 4) y0, x0, y1, x1 of flat positions, clipped to the image."""
        field, jump, start = receptive_field(self.convs)
        rows = torch.div(positions, grid[1], rounding_mode="floor")
        corners = torch.stack([rows, positions % grid[1]], -1) * jump + start
        low = corners.clamp(min=0)
        high = torch.minimum(corners + field, torch.tensor(size, device=positions.device))
        return torch.cat([low, high], -1)


@torch.no_grad()
def squared_distances(vectors: Tensor, patches: Tensor) -> Tensor:
    """(B, m, N) of vectors (m, D) to patches (B, N, D); each entry depends on its pair alone.

    From differences, not from |z|^2 - 2 z p + |p|^2, in which small distances cancel.
    """
    d = torch.cdist(vectors, patches, compute_mode="donot_use_mm_for_euclid_dist")
    return d.square_()


@torch.no_grad()
def nearest_patches(vectors: Tensor, patches: Tensor) -> Tensor:
    """Which of the patches (B, N, D) is nearest to each of the vectors (m, D): (B, m)."""
    patches = patches.contiguous()
    some = max(1, AT_ONCE // (patches.shape[0] * patches.shape[1]))
    return torch.cat([squared_distances(part, patches).argmin(2) for part in vectors.split(some)],
                     dim=1)


def similarity(d2: Tensor) -> Tensor:
    """Equation of s: log((d2 + 1) / (d2 + eps)), in a form exact for small s as well."""
    return torch.log1p((1 - EPS) / (d2 + EPS))


def distinct_loss(vectors: Tensor, delta: float) -> Tensor:
    """(1/m) sum_j max(0, delta - min over k != j of (1 - |cos(p_j, p_k)|))."""
    unit = nn.functional.normalize(vectors.float(), dim=1)
    alike = (unit @ unit.T).abs()
    alike = alike - 2 * torch.eye(len(vectors), device=vectors.device)  # never oneself
    return (delta - (1 - alike.amax(1))).clamp(min=0).mean()
