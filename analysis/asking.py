"""Code dimensions set in images, and what encoder, classifier and pixels answer (measures.md B).

The pictures are judged as they would be shown: clipped and rounded to 256 levels. What it returns
is described in analysis/interventions.py, the stage that calls it.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from analysis.place import place, within
from analysis.references import Classifier
from patronus.errors import NotApplicable
from patronus.method import Method, to_uint8, to_unit
from patronus.noise import batches

# Kind: x_T (0 inverted from the image, 1 random), quantile of the test codes, and how many times as
# far from their median: beyond 1 they are values that no image has, as in the paper's sweeps to 3.
KINDS = {"max": (0, 1, 1), "thrice": (0, 1, 3), "max_random": (1, 1, 1), "thrice_random": (1, 1, 3),
         "twice": (0, 1, 2), "q95": (0, 0.95, 1), "q50": (0, 0.5, 1), "q05": (0, 0.05, 1)}
PICTURED = {"max": "show_edited", "thrice": "show_thrice"}
MARKS = {"max": "marks", "thrice": "marks_thrice"}
SHOWN = 8  # images whose edits are kept as pictures
PER_KIND = ("codes", "probabilities", "share", "area", "hit", "square")


@torch.inference_mode()
def intervene(model: Method, classifier: Classifier, images: np.ndarray,
              given: dict[str, np.ndarray], settings,
              progress: Callable[[int], object] = lambda count: None) -> dict[str, np.ndarray]:
    """Answers to do(j, v) for every kind, dimension and image (uint8, n C H W).

    `given` holds dims (D,), kinds (V,), levels (V, m), sigma (m,), noises (L,), kept (outputs,)
    bool, regions (K, H, W), and of these images random (n, C, H, W), the x_T of the random kinds,
    and wobble (n, L, m) standard normal. Returns the arrays of the module's docstring from
    codes_recon to moved and show_*; boxes (n, D, 4) of the images themselves, and within (D, n, K)
    of kind "max" (place.py). Rows do not depend on settings.batch_size.
    """
    place_of = next(classifier.parameters()).device
    x0, n, size = to_unit(torch.from_numpy(images).to(place_of)), len(images), settings.batch_size
    code = _joined(lambda r: model.encode(x0[r]), n, size)
    asked = Asked(model, classifier, given, settings, [
        _joined(lambda r: model.invert(x0[r], code[r], settings.steps), n, size),
        torch.from_numpy(given["random"]).to(x0)], code)
    unedited = [asked.answers(x) for x in asked.recon]
    found = [asked.edits(kind, level, progress)
             for kind, level in zip(given["kinds"].tolist(), given["levels"], strict=True)]
    first = min(SHOWN, n)
    return {f"{key}_recon": np.stack([one[key] for one in unedited]) for key in unedited[0]} | {
        key: np.stack([one[key] for one in found]) for key in PER_KIND} | {
        key: one[key] for one in found for key in one if key not in PER_KIND} | {
        "moved": asked.moved(given["noises"], torch.from_numpy(given["wobble"]).to(code)),
        "boxes": asked.boxes(x0), "show_images": images[:first],
        "show_recon": to_uint8(asked.recon[0][:first]).cpu().numpy()}


class Asked:
    """n images of one model under intervention: their x_T, codes (n, m) and reconstructions."""

    def __init__(self, model: Method, classifier: Classifier, given: dict[str, np.ndarray],
                 settings, starts: list[Tensor], code: Tensor):
        self.model, self.classifier, self.given = model, classifier, given
        self.steps, self.size = settings.steps, settings.batch_size
        self.starts, self.code = starts, code
        self.sigma = torch.from_numpy(given["sigma"]).to(code)
        self.dims = torch.from_numpy(given["dims"].copy()).to(code.device)
        self.kept = torch.from_numpy(given["kept"]).to(code.device)
        self.regions = torch.from_numpy(given["regions"]).to(code)
        self.recon = [_joined(lambda r, x_T=x_T: self.decode(x_T[r], code[r]), len(code), self.size)
                      for x_T in starts]

    def decode(self, x_T: Tensor, code: Tensor) -> Tensor:
        return shown(self.model.decode(x_T, code, self.steps))

    def edits(self, kind: str, level: np.ndarray, progress: Callable[[int], object]) \
            -> dict[str, np.ndarray]:
        """Every dimension of every image set to `level` (m,): the arrays of one kind."""
        start, n, found = KINDS[kind][0], len(self.code), []
        values = torch.from_numpy(level).to(self.code)
        for some in batches(len(self.dims) * n, self.size):
            at = torch.arange(some.start, some.stop, device=self.code.device)
            dim, i = self.dims[at // n], at % n
            x = self.decode(self.starts[start][i], do(self.code[i], dim, values[dim]))
            found.append(self.answers(x) | self.places(x, self.recon[start][i], dim, kind))
            if kind in PICTURED:
                found[-1][PICTURED[kind]] = to_uint8(x[i < SHOWN]).cpu().numpy()
            progress(len(at))
        whole = {key: np.concatenate([one[key] for one in found]) for key in found[0]}
        return {key: value.reshape(len(self.dims), -1, *value.shape[1:])
                for key, value in whole.items()}

    def answers(self, x: Tensor) -> dict[str, np.ndarray]:
        """What encoder and classifier say of images (B, C, H, W): codes, probabilities."""
        said = {"codes": _joined(lambda r: self.model.encode(x[r]), len(x), self.size).float(),
                "probabilities": _joined(lambda r: self.classifier.probabilities(x[r]), len(x),
                                         self.size)[:, self.kept]}
        return {key: value.cpu().numpy() for key, value in said.items()}

    def places(self, edited: Tensor, recon: Tensor, dim: Tensor, kind: str) \
            -> dict[str, np.ndarray]:
        """Where edits (B, C, H, W) of dimensions dim (B,) changed the image; see place.py."""
        energy = (edited - recon).square().sum(1)
        try:
            boxes = self.model.locate(edited).boxes
            boxes = boxes[torch.arange(len(dim), device=dim.device), dim]
        except NotApplicable:
            boxes = None
        found = place(energy, boxes) | (
            {"within": within(energy, self.regions)} if kind == "max" else {})
        return {key: value.float().cpu().numpy() for key, value in found.items()}

    def moved(self, noises: np.ndarray, wobble: Tensor) -> np.ndarray:
        """Gray levels (L, n) that an image moves when all of its code gets noise, by its amount."""
        def change(r: slice, at: int) -> Tensor:
            code = self.code[r] + float(noises[at]) * self.sigma * wobble[r, at]
            difference = self.decode(self.starts[0][r], code) - self.recon[0][r]
            return 127.5 * difference.square().mean((1, 2, 3)).sqrt()

        return np.stack([_joined(lambda r, at=at: change(r, at), len(self.code),
                                 self.size).float().cpu().numpy() for at in range(len(noises))])

    def boxes(self, x0: Tensor) -> np.ndarray:
        """(n, D, 4): where the dimensions fire in images as they are; -1 without boxes."""
        try:
            return _joined(lambda r: self.model.locate(x0[r]).boxes[:, self.dims], len(x0),
                           self.size).cpu().numpy()
        except NotApplicable:
            return np.full((len(x0), len(self.dims), 4), -1)


def do(code: Tensor, dim: Tensor, value: Tensor) -> Tensor:
    """do(j, v): codes (B, m) with entry dim[i] of row i set to value[i]."""
    return code.scatter(1, dim[:, None], value[:, None])


def shown(x: Tensor) -> Tensor:
    """The picture a viewer would get of a decoded image: clipped and rounded, in [-1, 1]."""
    return to_unit(to_uint8(x))


def _joined(make, count: int, size: int) -> Tensor:
    """make(rows) for slices of at most `size` rows, joined."""
    return torch.cat([make(slice(r.start, r.stop)) for r in batches(count, size)])
