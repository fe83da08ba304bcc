"""Stage "priors": a diffusion over codes, so that images can be drawn without an image.

As published (patronus.md section 2): a 1-D U-Net over the code as one channel, T = 100 linear,
codes frozen. Done right here: codes are standardised per dimension; the schedule is scaled to T
(beta from 1e-3 to 0.2), so that noise is what the chain ends in; sampling is true deterministic
DDIM (the authors' adds fresh noise where the predicted noise belongs, which shrinks the spread);
the network predicts v, since with eps short fits overshoot the spread of codes (on a toy of 16
dimensions and 400 steps by a factor of 1.3 to 4.3, with v 0.87 to 1.06).
"""


import numpy as np
import torch
from torch import Tensor, nn

from patronus import checkpoint
from patronus.config import Prior, Train
from patronus.diffusion import Diffusion
from patronus.errors import NotApplicable
from patronus.files import load_json, save_json
from patronus.seeds import seed_for
from patronus.stage import Job, device, run
from patronus.unet import UNet


class LatentDiffusion(nn.Module):
    """p(code) for codes (B, D); `mean` and `std` (D,) standardise them."""

    def __init__(self, code_dim: int, settings: Prior):
        super().__init__()
        step = 2 ** (len(settings.multipliers) - 1)
        self.code_dim, self.padded = code_dim, -(-code_dim // step) * step
        scale = 1000 / settings.timesteps
        self.diffusion = Diffusion("v", settings.timesteps, 1e-4 * scale, 0.02 * scale)
        self.denoiser = UNet((1, self.padded), None, settings.base, settings.multipliers,
                             settings.blocks, settings.dropout, settings.timesteps)
        self.register_buffer("mean", torch.zeros(code_dim))
        self.register_buffer("std", torch.ones(code_dim))

    def standardise(self, codes: Tensor) -> None:
        self.mean.copy_(codes.mean(0))
        self.std.copy_(codes.std(0, correction=0).clamp(min=1e-6))

    def loss(self, codes: Tensor) -> dict[str, Tensor]:
        """MSE of v over the code's own entries (not the padding)."""
        z = ((codes - self.mean) / self.std)[:, None]
        return {"loss": self.diffusion.loss(self._answer, z)}

    def sample(self, noise: Tensor) -> Tensor:
        """Noise (B, D) -> codes (B, D), deterministic DDIM over all steps."""
        z = self.diffusion.ddim(self._answer, noise[:, None], self.diffusion.timesteps)
        return z[:, 0] * self.std + self.mean

    def _answer(self, z: Tensor, t: Tensor) -> Tensor:
        padded = nn.functional.pad(z, (0, self.padded - self.code_dim))
        return self.denoiser(padded, t)[..., :self.code_dim]


def work(job: Job) -> dict:
    """Fit the prior to the training codes of one model."""
    from patronus.train import fabric_for, fit  # slow to import, and `sample` needs it not

    cell, codes = job.cell, job.folder("codes")
    if (codes / "none.json").is_file():
        save_json(job.out / "none.json", load_json(codes / "none.json"))
        return {}
    array = np.load(codes / "train.npy", mmap_mode="r")
    device(job)
    names = ("prior", cell.dataset, cell.method, cell.seed)
    torch.manual_seed(seed_for(*names, "initial"))
    model = LatentDiffusion(array.shape[1], cell.prior)
    model.standardise(torch.from_numpy(np.array(array)))
    settings = Train(batch_size=cell.prior.batch_size, epochs=cell.prior.epochs,
                     lr=cell.prior.lr, weight_decay=0)
    model, found = fit(fabric_for("32-true", min(cell.gpus, 1)), model, array, settings,
                       names, job.work, torch.Tensor.float, job.key)
    del found["history"]
    checkpoint.save(job.out, model, cell.prior.model_dump(mode="json")
                    | {"code_dim": array.shape[1]})
    return found


def load(folder, device: str | torch.device = "cpu") -> LatentDiffusion:
    """The fitted prior of a folder. Raises NotApplicable when the method has no code."""
    if (folder / "none.json").is_file():
        raise NotApplicable(load_json(folder / "none.json")["reason"])
    config = load_json(folder / "config.json")
    model = LatentDiffusion(config.pop("code_dim"), Prior.model_validate(config))
    checkpoint.restore(model, folder / "model.safetensors")
    return model.to(device).eval()


if __name__ == "__main__":
    run("priors", "patronus.prior", work, inputs=("codes",))
