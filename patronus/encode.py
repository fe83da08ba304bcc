"""Stage "codes": the code of every training and test image."""

import numpy as np
import torch
from tqdm import tqdm

from patronus import checkpoint
from patronus.errors import NotApplicable, Problem
from patronus.files import save_json, save_npy
from patronus.method import Method, batch_of, checked_code
from patronus.noise import batches
from patronus.prepared import Prepared
from patronus.stage import Job, device, run

BATCH = 256


def work(job: Job) -> dict:
    """Encode the images of both splits."""
    model = checkpoint.load(job.folder("checkpoints"), device(job))
    data = Prepared.open(job.folder("data"))
    try:
        for split in ("train", "test"):
            codes = encode(model, data.images(split))
            if not np.isfinite(codes).all():
                raise Problem(f"{job.folder('checkpoints')}: gives codes that are NaN or infinite; "
                              "lower train.lr and train again")
            save_npy(job.out / f"{split}.npy", codes)
    except NotApplicable as reason:
        save_json(job.out / "none.json", {"reason": str(reason)})
    return {"code_dim": model.code_dim}


@torch.inference_mode()
def encode(model: Method, images: np.ndarray) -> np.ndarray:
    """uint8 (N, C, H, W) -> codes float32 (N, code_dim); images are read batch by batch."""
    place = model.device
    parts = []
    for rows in tqdm(batches(len(images), BATCH), desc="encode", mininterval=5):
        codes = checked_code(model, model.encode(batch_of(images, rows, place)), len(rows))
        parts.append(codes.float().cpu().numpy())
    return np.concatenate(parts)


if __name__ == "__main__":
    run("codes", "patronus.encode", work, inputs=("data", "checkpoints"))
