"""Stage "samples": images drawn from the prior, and from the codes of test images.

    unconditional.npy   codes from the prior (none for a method without a code), random x_T
    conditional.npy     codes of random test images, random x_T: what the code alone carries
    reconstruction.npy  codes of the same images, x_T inverted from them
    own.npy             by the method's own sampler, where it has one
    rows.npy            int64 (n,), ascending: the test images of those two, row by row

The first four are uint8 (n, C, H, W), rounded; image i depends on its own seed only. The rows are
the same for every method of a data set.
"""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from patronus import checkpoint, prior
from patronus.config import Sample
from patronus.errors import NotApplicable
from patronus.faster import faster
from patronus.files import save_json, save_npy
from patronus.method import Denoising, Method, batch_of, checked_images, to_uint8
from patronus.noise import batches, noise
from patronus.prepared import Prepared
from patronus.rows import random_rows
from patronus.stage import Job, device, run


def work(job: Job) -> dict:
    """Draw unconditional, conditional and reconstructed images of one model."""
    makers = Makers(job)
    missing, counts = {}, {}
    save_npy(job.out / "rows.npy", makers.rows)
    for name, make, count in (("unconditional", makers.unconditional, job.cell.sample.count),
                              ("conditional", makers.conditional, len(makers.rows)),
                              ("reconstruction", makers.reconstruction, len(makers.rows)),
                              ("own", makers.own, job.cell.sample.count)):
        try:
            images = draw(make, count, job.cell.sample.batch_size, name, job.work / job.key[:16])
            save_npy(job.out / f"{name}.npy", images)
            counts[name] = len(images)
        except NotApplicable as reason:
            missing[name] = str(reason)
    if missing:
        save_json(job.out / "none.json", missing)
    return {"counts": counts, "steps": job.cell.sample.steps,
            "sampler": {"ddim": "DDIM, eta = 0", "dpm": "DPM-Solver++(2M)"}[makers.how["solver"]]
            if "solver" in makers.how else "the method's own decode",
            "reuse": job.cell.sample.reuse, "int8": job.cell.sample.int8,
            "half": job.cell.sample.half}


@torch.inference_mode()
def draw(make: Callable[[range], Tensor], count: int, size: int, name: str,
         folder: Path) -> np.ndarray:
    """Images (count, C, H, W) uint8 from a maker of batches; finished batches wait in `folder`."""
    files = []
    for rows in tqdm(batches(count, size), desc=name, mininterval=5):
        files.append(folder / f"{name}-{rows.start}-{rows.stop}.npy")
        if not files[-1].is_file():
            save_npy(files[-1], to_uint8(make(rows)).cpu().numpy())
    return np.concatenate([np.load(file) for file in files])


def drawing(model: Method, settings: Sample) -> tuple[Method, dict]:
    """The model that draws from noise, as cheap as `settings` have it, and its decode's options."""
    if not isinstance(model, Denoising):
        return model, {}
    if settings.reuse > 1 or settings.int8 or settings.half:
        model = deepcopy(model)
        faster(model, settings.reuse, settings.int8, settings.half)
    own = type(model).decode is not Denoising.decode
    return model, {} if own else {"solver": settings.solver}


class Makers:
    """Three ways from rows to images, for one trained model."""

    def __init__(self, job: Job):
        cell = job.cell
        self.model: Method = checkpoint.load(job.folder("checkpoints"), device(job))
        self.drawing, self.how = drawing(self.model, cell.sample)
        self.place, self.steps = device(job), cell.sample.steps
        self.names = ("sample", cell.dataset, cell.method, cell.seed)
        self.priors = job.folder("priors")
        self.images = Prepared.open(job.folder("data")).images("test")
        self.rows = random_rows(len(self.images), cell.sample.count, "sample", cell.dataset, "rows")
        self.prior = None

    def unconditional(self, rows: range) -> Tensor:
        return self._decoded(self._noise(rows, "unconditional"), self._code(rows))

    def conditional(self, rows: range) -> Tensor:
        code = self.model.encode(self._tests(rows))
        return self._decoded(self._noise(rows, "conditional"), code)

    def reconstruction(self, rows: range) -> Tensor:
        x0 = self._tests(rows)
        code = None if self.model.code_dim is None else self.model.encode(x0)
        return checked_images(self.model, self.model.decode(
            self.model.invert(x0, code, self.steps), code, self.steps), len(rows))

    def own(self, rows: range) -> Tensor:
        z = noise(rows, (self.model.code_dim or 1,), *self.names, "own", "code").to(self.place)
        return self.model.generate(self._noise(rows, "own"), z, self.steps)

    def _decoded(self, x_T: Tensor, code: Tensor | None) -> Tensor:
        images = self.drawing.decode(x_T, code, self.steps, **self.how)
        return checked_images(self.model, images, len(x_T))

    def _code(self, rows: range) -> Tensor | None:
        if self.model.code_dim is None:
            return None
        self.prior = self.prior or prior.load(self.priors, self.place)
        shape = (self.prior.code_dim,)
        return self.prior.sample(noise(rows, shape, *self.names, "code").to(self.place))

    def _noise(self, rows: range, kind: str) -> Tensor:
        return noise(rows, self.model.shape, *self.names, kind).to(self.place)

    def _tests(self, rows: range) -> Tensor:
        return batch_of(self.images, self.rows[rows.start:rows.stop], self.place)


if __name__ == "__main__":
    run("samples", "patronus.sample", work, inputs=("data", "checkpoints", "priors"))
