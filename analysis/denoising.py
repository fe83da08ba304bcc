"""Stage "denoising": held-out error of the noise estimate at every t (measures.md B10).

The error is mean over pixels of (epshat - eps)^2, also for networks that answer v, so recipes are
comparable. Images, noise and times are the same for every method of a data set.

denoising.npz: times (T',) ascending; rows (n,) of the test split; kinds, and mse (kinds, n, T')
float32 given the image's own code ("code") and that of another image ("shuffled"), or, for a
method without a code, "none"; and what analysis/conditioning.py says of them: curves (kinds, 3,
T') and, with a code, ratio (3, T') of shuffled over own. denoising.json: what the cell is, how it
was trained, n, and the same statistics for the mean over t.
"""

import numpy as np
import torch
from tqdm import tqdm

from analysis.conditioning import compared, overall
from patronus import checkpoint
from patronus.errors import NotApplicable, Problem
from patronus.files import load_json, save_json, save_npz
from patronus.method import Method, batch_of
from patronus.noise import batches, noise
from patronus.prepared import Prepared
from patronus.rows import random_rows
from patronus.seeds import seed_for
from patronus.stage import Job, device, run


def work(job: Job) -> dict:
    """Denoise test images with their own code, with another image's, or with none."""
    cell, settings = job.cell, job.cell.denoising
    model = checkpoint.load(job.folder("checkpoints"), device(job))
    data = Prepared.open(job.folder("data"))
    images = data.images("test")
    rows = random_rows(len(images), settings.images, "denoising", cell.dataset)
    try:
        times = times_of(model, settings.times)
        codes = conditions(job, rows) if model.code_dim else {"none": None}
        found = errors(model, np.array(images[rows]), list(codes.values()), times,
                       settings.batch_size, "denoising", cell.dataset)
    except NotApplicable as reason:
        save_json(job.out / "none.json", {"reason": str(reason)})
        return {}
    mse = dict(zip(codes, found, strict=True))
    save_npz(job.out / "denoising.npz", times=np.array(times), rows=rows,
             kinds=np.array(list(codes)), mse=found, **compared(mse))
    means = overall(mse)
    save_json(job.out / "denoising.json", about(job, data) | {"n": len(rows), "overall": means})
    return {key: value[0] for key, value in means.items()}


def times_of(model: Method, count: int) -> list[int]:
    """`count` times spread evenly over 1..T-1, ascending."""
    if not hasattr(model, "diffusion"):
        raise model.cannot("predict")
    return model.diffusion.times(count)[::-1]


def conditions(job: Job, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The codes (n, m) of these test images, and the same ones shuffled between them."""
    own = np.load(job.folder("codes") / "test.npy")[rows]
    return {"code": own, "shuffled": own[derangement(len(own), "shuffled", job.cell.dataset)]}


def derangement(count: int, *names: object) -> np.ndarray:
    """A permutation (count,) that leaves nothing in its place: one cycle through all, at random."""
    if count < 2:
        raise Problem("denoising.images: a code can be shuffled between two images at least")
    order = np.random.default_rng(seed_for(*names)).permutation(count)
    found = np.empty(count, dtype=int)
    found[order] = np.roll(order, 1)
    return found


@torch.inference_mode()
def errors(model: Method, images: np.ndarray, codes: list[np.ndarray | None], times: list[int],
           size: int, *names: object) -> np.ndarray:
    """Mean squared errors of epshat (codes, n, T') float32 on images uint8 (n, C, H, W).

    Each entry of `codes` is (n, m), or None for a method without a code. The noise of image i at
    time t depends on `names`, t and i alone; `size` is the batch.
    """
    place = model.device
    found = np.empty((len(codes), len(images), len(times)), np.float32)
    for rows in tqdm(batches(len(images), size), desc="denoise", mininterval=5):
        part = slice(rows.start, rows.stop)
        x0 = batch_of(images, rows, place)
        given = [c if c is None else torch.from_numpy(c[part]).to(place) for c in codes]
        for i, t in enumerate(times):
            eps = noise(rows, images.shape[1:], *names, t).to(place)
            time = torch.full((len(rows),), t, device=place)
            x_t = model.diffusion.noised(x0, time, eps)
            for kind, code in enumerate(given):
                wrong = model.predict(x_t, time, code)[1] - eps
                found[kind, part, i] = wrong.square().flatten(1).mean(1).cpu()
    return found


def about(job: Job, data: Prepared) -> dict:
    """What a caption needs to know, and what decided the training."""
    cell = job.cell
    record = load_json(job.folder("checkpoints") / "record.json")
    trained = {key: record["found"][key] for key in ("steps", "images_seen", "precision")}
    return {"dataset": cell.dataset, "title": data.meta["title"], "method": cell.method,
            "method_title": cell.title, "recipe": cell.recipe, "seed": cell.seed,
            "generated": cell.generated, "split": "test", "scale": cell.scale,
            "train": record["settings"]["train"], **trained}


if __name__ == "__main__":
    run("denoising", "analysis.denoising", work, inputs=("data", "checkpoints", "codes"))
