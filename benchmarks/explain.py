"""What, where and when of one model: as the suite computes it, and image by image.

    python -m benchmarks.explain

The plain way takes each prototype of each image alone: encode, invert, reconstruct, edit, encode
again, and follow the edit through every step. The suite's (patronus/explain) inverts and
reconstructs each image once, and decodes dimensions of all images in batches. Both must give the
same numbers. Evaluations of the denoiser are counted, seconds are of processor time on a CPU.
"""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks import timing
from benchmarks.train import CLOCK, DEVICE, SMALL, WHERE, synchronised
from patronus.config import Explain
from patronus.explain.what import crossed, inverted, raised, visualise
from patronus.explain.when import curves, unedited
from patronus.method import to_unit
from patronus.model import Model

Found = dict[str, np.ndarray]


def built() -> tuple[Model, np.ndarray, np.ndarray]:
    """A small model with random weights, 8 images of noise, and codes of these."""
    torch.manual_seed(0)
    model = Model((3, 32, 32), 32, base=16, **SMALL).to(DEVICE).eval()
    images = torch.randint(0, 256, (8, 3, 32, 32)).to(torch.uint8)
    with torch.inference_mode():
        codes = model.encode(to_unit(images).to(DEVICE)).cpu().numpy()
    return model, images.numpy(), codes


def ours(model: Model, images: np.ndarray, codes: np.ndarray, settings: Explain) -> Found:
    """Activations after raising (P, n), and along the way (P, n, S)."""
    given = inverted(model, images, settings)
    found = visualise(model, images, codes, settings, given)
    dim, row = crossed(found["order"], given.code)
    top = torch.from_numpy(codes.max(0)).to(given.code)
    seen = curves(model, given.x_T[row], raised(given.code[row], dim, top), dim,
                  unedited(model, given, settings)[1], row, settings)[..., 0]
    return {"realised": found["realised"],
            "curves": seen.view(*found["realised"].shape, -1).cpu().numpy()}


@torch.inference_mode()
def plain(model: Model, images: np.ndarray, codes: np.ndarray, settings: Explain) -> Found:
    """The same, each image and dimension on its own."""
    order = np.argsort(-codes.std(0), kind="stable")[:settings.dims]
    realised, followed = [], []
    for j in order:
        for image in images:
            x0 = to_unit(torch.from_numpy(image[None])).to(DEVICE)
            s = model.encode(x0)
            x_T = model.invert(x0, s, settings.steps)
            model.decode(x_T, s, settings.steps)
            s[0, j] = float(codes[:, j].max())
            realised.append(model.encode(model.decode(x_T, s, settings.steps))[0, j].item())
            way: list[float] = []
            model.decode(x_T, s, settings.steps, lambda _, x0hat, j=j, way=way: way.append(
                model.encode(x0hat)[0, j].item()))
            followed.append(way)
    shape = len(order), len(images)
    return {"realised": np.reshape(realised, shape), "curves": np.reshape(followed, (*shape, -1))}


def evaluations(model: Model, action: Callable[[], Found]) -> tuple[int, Found]:
    """How many images the denoiser was asked for, and what came out."""
    count = 0

    def add(_module, inputs: tuple) -> None:
        nonlocal count
        count += len(inputs[0])

    hook = model.denoiser.register_forward_pre_hook(add)
    found = action()
    hook.remove()
    return count, found


def main() -> None:
    """Compare, write benchmarks/results/explain.json and print one line."""
    given = timing.arguments(__doc__, "explain", rounds=3, dims=8, steps=10)
    model, images, codes = built()
    settings = Explain(dims=given.dims, images=len(images), steps=given.steps, batch_size=64)
    ways = {"one by one": lambda: plain(model, images, codes, settings),
            "ours": lambda: ours(model, images, codes, settings)}
    asked = {name: evaluations(model, way) for name, way in ways.items()}
    off = max(float(np.abs(asked["ours"][1][key] - value).max())
              for key, value in asked["one by one"][1].items())
    seconds = timing.timed({name: (lambda way=way: synchronised(way))
                            for name, way in ways.items()}, given.rounds, CLOCK)
    ratio = timing.ratios(seconds, "one by one")["ours"]
    timing.save(given.out, WHERE | {
        "images": len(images), "dims": given.dims, "steps": given.steps, "rounds": given.rounds,
        "largest_difference": off,
        "evaluations": {name: count for name, (count, _) in asked.items()},
        "seconds": {name: timing.spread(own) for name, own in seconds.items()},
        "times_faster": ratio})
    print(f"{ratio['median']:.1f} times faster ({ratio['min']:.1f} to {ratio['max']:.1f}) with "
          f"{asked['ours'][0]:,} evaluations of the denoiser, not {asked['one by one'][0]:,}; "
          f"equal to {off:.0e}; written to {given.out.name}")


if __name__ == "__main__":
    main()
