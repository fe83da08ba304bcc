"""What clipping each entry of the gradient, instead of its norm, changed in training.

    python -m benchmarks.clip              three pairs of trainings on generated faces, some minutes

Until December 2026 the setting `clip` was handed to Fabric as `clip_val`, so entries above it were
cut and the norm stayed what it was; the deposited models were trained so. Each pair has the same
initial weights, images in the same order, and noise; only the rule differs. The error is that of
the noise on held-out faces, with each image's own code.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch

from benchmarks import timing
from patronus import train
from patronus.config import Train
from patronus.fabric import Fabric
from patronus.generate import labels_of
from patronus.method import Method, batch_of, to_unit
from patronus.model import Model
from patronus.noise import noise
from patronus.worlds import faces

RULES = ("entries", "norm")
SETTINGS = Train(batch_size=16, lr=2e-3, code_lr_scale=2.0, warmup_steps=20, schedule="cosine",
                 clip=1.0, ema=0.99)
SIZES = {"base": 16, "multipliers": (1, 2, 2, 2), "encoder_channels": (16, 32, 32, 48),
         "dropout": 0.0, "prediction": "v", "prototype_init": "patches", "normalise_code": True}
HELD_OUT, TIMES = 128, 20


def drawn(count: int) -> np.ndarray:
    """uint8 (count, 3, 32, 32): generated faces, squashed."""
    from PIL import Image

    rows = labels_of(faces, count, 0, None, {}).to_dict("records")
    made = (faces.render(row, 0, i)[0] for i, row in enumerate(rows))
    small = [np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BICUBIC))
             for one in made]
    return np.stack(small).transpose(0, 3, 1, 2).copy()


def ruled(rule: str, norms: list[float]) -> Callable:
    """Fabric's clip_gradients under a rule; `norms` gets those of before."""
    whole = Fabric.clip_gradients

    def clip(fabric, module, optimiser, max_norm, **keywords):
        norms.append(float(torch.nn.utils.get_total_norm(
            [p.grad for p in module.parameters() if p.grad is not None])))
        if rule == "entries":
            return whole(fabric, module, optimiser, clip_val=max_norm)
        return whole(fabric, module, optimiser, max_norm=max_norm, **keywords)

    return clip


def trained(rule: str, seed: int, images: np.ndarray, steps: int) -> tuple[Method, dict]:
    """One training, and what is told of it."""
    torch.manual_seed(seed)
    model = Model((3, 32, 32), 24, **SIZES)
    model.prepare(torch.from_numpy(images[:512]))
    settings = SETTINGS.model_copy(update={"epochs": steps * SETTINGS.batch_size / len(images)})
    norms: list[float] = []
    with TemporaryDirectory() as folder, patch.object(Fabric, "clip_gradients", ruled(rule, norms)):
        model, found = train.fit(train.fabric_for("32-true", 0), model, images, settings,
                                 ("clip", seed), Path(folder), to_unit, rule)
    losses = [float(line.split(",")[1]) for line in found["history"].splitlines()[1:]]
    return model.eval(), {"clipped": float(np.mean(np.array(norms) > SETTINGS.clip)),
                          "norm_median": float(np.median(norms)), "last_loss": losses[-1]}


@torch.inference_mode()
def error(model: Method, images: np.ndarray) -> np.ndarray:
    """Mean squared error (n,) of the noise of each image, over TIMES times."""
    x0 = batch_of(images, slice(0, len(images)), "cpu")
    code, total = model.encode(x0), np.zeros(len(images))
    for t in model.diffusion.times(TIMES):
        eps, time = noise(range(len(x0)), model.shape, "clip", t), torch.full((len(x0),), t)
        found = model.predict(model.diffusion.noised(x0, time, eps), time, code)[1]
        total += (found - eps).square().mean((1, 2, 3)).numpy()
    return total / TIMES


def main() -> None:
    args = timing.arguments(__doc__, "clip", seeds=3, steps=300, images=2048)
    images = drawn(args.images + HELD_OUT)
    runs, ratios = [], []
    for seed in range(args.seeds):
        errors = {}
        for rule in RULES:
            model, found = trained(rule, seed, images[:args.images], args.steps)
            errors[rule] = error(model, images[args.images:])
            runs.append({"seed": seed, "rule": rule, "error": float(errors[rule].mean())} | found)
        ratios.append(float(errors["norm"].mean() / errors["entries"].mean()))
    timing.save(args.out, {"steps": args.steps, "batch_size": SETTINGS.batch_size, "runs": runs,
                           "held_out": HELD_OUT, "norm_over_entries": ratios})
    print(f"held-out error, norm over entries, by seed: "
          f"{', '.join(f'{ratio:.3f}' for ratio in ratios)}; {args.out}")


if __name__ == "__main__":
    main()
