"""Noise with one generator an image: image i is the same whatever the batch size."""

import torch
from torch import Tensor

from patronus.seeds import seed_for


def noise(rows: range, shape: tuple[int, ...], *names: object) -> Tensor:
    """Standard normal (len(rows), *shape); row i depends only on `names` and i."""
    made = [torch.randn(shape, generator=torch.Generator().manual_seed(seed_for(*names, i)),
                        device="cpu")  # the generator's, whatever torch's default device is
            for i in rows]
    return torch.stack(made)


def batches(count: int, size: int) -> list[range]:
    """range(count) cut into ranges of at most `size`."""
    return [range(i, min(i + size, count)) for i in range(0, count, size)]
