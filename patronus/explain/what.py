"""What each code dimension draws: raise it to its largest activation and look where it fires.

Distribution-aligned visualisation (patronus.md section 4): s' = s with s_j := v_max, the largest
activation over the test images; x' = decode(x_T, s') with x_T inverted from the
image; the patch of x' nearest to prototype j, boxed by its receptive field, is its picture.
"""

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from patronus import checkpoint
from patronus.errors import NotApplicable
from patronus.files import load_json, save_json, save_npz
from patronus.method import Method, to_uint8, to_unit
from patronus.noise import batches
from patronus.prepared import Prepared
from patronus.seeds import seed_for
from patronus.stage import Job, device, run

QUANTILES = np.linspace(0, 1, 21)


def work(job: Job) -> dict:
    """Raise code dimensions of random test images and keep what is drawn, and where."""
    cell = job.cell
    model = checkpoint.load(job.folder("checkpoints"), device(job))
    data = Prepared.open(job.folder("data"))
    try:
        codes = np.load(job.folder("codes") / "test.npy") if model.code_dim else None
        if codes is None:
            raise model.cannot("encode")
        images = data.images("test")
        rows = random_rows(len(images), cell.explain.images, cell.dataset)
        found = visualise(model, np.array(images[rows]), codes, cell.explain)
    except NotApplicable as reason:
        save_json(job.out / "none.json", {"reason": str(reason)})
        return {}
    save_npz(job.out / "what.npz", rows=rows, **found)
    save_json(job.out / "what.json", about(job, data))
    return {"dims": len(found["order"]), "images": len(rows)}


def random_rows(count: int, wanted: int, dataset: str) -> np.ndarray:
    """Rows of test images, the same for every method of a data set."""
    rng = np.random.default_rng(seed_for("explain", dataset))
    return np.sort(rng.choice(count, min(wanted, count), replace=False))


@torch.inference_mode()
def visualise(model: Method, images: np.ndarray, codes: np.ndarray, settings) -> dict:
    """Arrays of the visualisation of P dimensions on n images (uint8, n C H W).

    codes (N, m) are those of a representative set: the source of v_max and of the quantiles.
    Returns order (P,) best first, v_max (m,), requested (P,), recon (n, C, H, W), edited
    (P, n, C, H, W), boxes (P, n, 4), before and realised (P, n), best (P,), quantiles (m, Q).
    """
    x0 = to_unit(torch.from_numpy(images)).to(next(model.parameters()).device)
    s = model.encode(x0)
    x_T = in_batches(lambda r: model.invert(x0[r], s[r], settings.steps), len(x0), settings)
    recon = in_batches(lambda r: model.decode(x_T[r], s[r], settings.steps), len(x0), settings)
    dims = np.argsort(-codes.std(0), kind="stable")[:settings.dims].copy()
    v_max = torch.from_numpy(codes.max(0)).to(s)
    dim = torch.from_numpy(dims).to(s.device).repeat_interleave(len(x0))
    row = torch.arange(len(x0), device=s.device).repeat(len(dims))
    edited = in_batches(lambda r: model.decode(
        x_T[row[r]], raised(s[row[r]], dim[r], v_max), settings.steps), len(row), settings)
    realised = in_batches(lambda r: own(model.locate(edited[r]).activation, dim[r]), len(row),
                          settings)
    boxes = in_batches(lambda r: own(model.locate(edited[r]).boxes, dim[r]), len(row), settings)
    grid = (len(dims), len(x0))
    before, realised = s[:, dims].T.cpu().numpy(), realised.view(grid).cpu().numpy()
    gain = (realised - before).mean(1)
    order = np.argsort(-gain, kind="stable")
    return {
        "order": dims[order], "v_max": codes.max(0), "requested": codes.max(0)[dims[order]],
        "images": images, "recon": to_uint8(recon).cpu().numpy(),
        "edited": to_uint8(edited).cpu().numpy().reshape(*grid, *images.shape[1:])[order],
        "boxes": boxes.view(*grid, 4).cpu().numpy()[order],
        "before": before[order], "realised": realised[order],
        "best": realised[order].argmax(1),
        "quantiles": np.quantile(codes, QUANTILES, axis=0).T.astype(np.float32), "q": QUANTILES,
    }


def own(values: Tensor, dim: Tensor) -> Tensor:
    """values[i, dim[i]] of (B, m, ...)."""
    return values[torch.arange(len(dim), device=dim.device), dim]


def raised(code: Tensor, dim: Tensor, value: Tensor) -> Tensor:
    """Codes (B, m) with entry dim[i] of row i set to value[dim[i]]."""
    return code.scatter(1, dim[:, None], value[dim][:, None])


def slices(count: int, size: int) -> list[slice]:
    return [slice(r.start, r.stop) for r in batches(count, size)]


def in_batches(make, count: int, settings) -> Tensor:
    """make(slice) for slices of at most settings.batch_size rows, joined."""
    return torch.cat([make(r) for r in tqdm(slices(count, settings.batch_size), desc="explain",
                                            mininterval=5)])


def about(job: Job, data: Prepared) -> dict:
    """What a caption needs to know."""
    cell = job.cell
    trained = load_json(job.folder("checkpoints") / "record.json")["found"]
    return {"dataset": cell.dataset, "title": data.meta["title"], "method": cell.method,
            "method_title": cell.title, "recipe": cell.recipe, "seed": cell.seed,
            "generated": cell.generated, "split": "test", "scale": cell.scale,
            "steps": trained["steps"], "images_seen": trained["images_seen"],
            "ddim_steps": cell.explain.steps}


if __name__ == "__main__":
    run("explanations", "patronus.explain.what", work, inputs=("data", "checkpoints", "codes"))
