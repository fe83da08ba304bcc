"""There and back: inversion and decoding by DDIM, and by DPM-Solver++(2M) in both directions.

    python -m benchmarks.solvers

Interventions invert an image and decode it again, by DDIM. The second-order rule can be followed
upwards too: its update holds for steps of either sign. Asked here at equal evaluations, on a
Gaussian whose best denoiser is known, so that only the solver errs, and on the carried showcase
model: the root mean square of what comes back less what went in (of the data's own spread; of the
model, in gray levels of 255), and, on the Gaussian, the spread of samples drawn from noise over
that of the data (1: right).
"""

import numpy as np
import torch
from torch import Tensor

from benchmarks import timing
from patronus import checkpoint
from patronus.diffusion import Denoiser, Diffusion
from patronus.method import batch_of
from patronus.sources import ROOT

STEPS = (10, 20, 50)
SPREAD, COUNT = 0.5, 20_000  # of the Gaussian: standard deviation, and numbers drawn
SHOWCASE = ROOT / "paper" / "showcase"


def invert_dpm(path: Diffusion, denoiser: Denoiser, x0: Tensor, steps: int) -> Tensor:
    """x_T by DPM-Solver++(2M) upwards over the times that `Diffusion.dpm` comes down."""
    grid, last = path.even_times(steps)[::-1], None
    x0hat, eps = path._estimate(denoiser, x0, grid[0])
    x = path._at(grid[0], x0, eps)
    for t, after in zip(grid, grid[1:], strict=False):
        ahead, _ = path._estimate(denoiser, x, t)
        h, x0hat = path._half_log_snr(after) - path._half_log_snr(t), ahead
        if last is not None:
            ahead = x0hat + (x0hat - last[0]) * (h / last[1] / 2)
        a, b = path.alpha_bar[t], path.alpha_bar[after]
        x = ((1 - b) / (1 - a)).sqrt() * x - b.sqrt() * torch.expm1(-h) * ahead
        last = x0hat, h
    return x


def gaussian(steps: int) -> dict[str, dict[str, float]]:
    """Round trip and spread on N(0, SPREAD^2), by solver."""
    path, rng = Diffusion("eps"), torch.Generator().manual_seed(0)

    def best(x: Tensor, t: Tensor) -> Tensor:
        a = path.alpha_bar[t].view(-1, 1, 1, 1)
        x0hat = a.sqrt() * SPREAD**2 / (a * SPREAD**2 + 1 - a) * x
        return (x - a.sqrt() * x0hat) / (1 - a).sqrt()

    x0 = SPREAD * torch.randn((COUNT, 1, 1, 1), generator=rng)
    noise = torch.randn((COUNT, 1, 1, 1), generator=rng)
    ways = {"ddim": (path.ddim, path.invert),
            "dpm": (path.dpm, lambda net, x, n: invert_dpm(path, net, x, n))}
    return {name: {"round_trip": float((down(best, up(best, x0, steps), steps) - x0).square()
                                       .mean().sqrt()) / SPREAD,
                   "spread": float(down(best, noise, steps).std()) / SPREAD}
            for name, (down, up) in ways.items()}


@torch.inference_mode()
def showcase(steps: int) -> dict[str, float]:
    """Round trip of its twenty deposited test images, in gray levels, by solver."""
    model = checkpoint.load(SHOWCASE / "checkpoint")
    with np.load(SHOWCASE / "explanation" / "what.npz") as held:
        x0 = batch_of(held["images"], slice(0, None), "cpu")
    code = model.encode(x0)

    def net(x: Tensor, t: Tensor) -> Tensor:
        return model.eps(x, t, code)

    back = {"ddim": model.decode(model.invert(x0, code, steps), code, steps),
            "dpm": model.decode(invert_dpm(model.diffusion, net, x0, steps), code, steps,
                                solver="dpm")}
    return {name: float((x.clamp(-1, 1) - x0).square().mean().sqrt()) * 127.5
            for name, x in back.items()}


def main() -> None:
    args = timing.parser(__doc__, "solvers").parse_args()
    found = {str(steps): {"gaussian": gaussian(steps), "showcase": showcase(steps)}
             for steps in STEPS}
    timing.save(args.out, {"steps": found})
    for steps, one in found.items():
        print(steps, one)


if __name__ == "__main__":
    main()
