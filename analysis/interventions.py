"""Stage "interventions": do(j, v) on test images, answered by an independent classifier.

Each of D code dimensions is set to a value in n random test images and the image decoded anew
(measures.md B1 to B3 and B8). Encoder and classifier see every picture as it would be shown:
clipped and rounded to 256 levels. Writes interventions.json (`about`, the names of the K outputs,
which of them are negated, the classifier's scores) and interventions.npz:

    rows (n,), dims (D,) by spread, sigma (m,) of training codes
    kinds (V,): at which value and from which x_T, see KINDS; levels (V, m) these values
    codes_recon (2, n, m), probabilities_recon (2, n, K): unedited, from inverted and random x_T
    codes (V, D, n, m), probabilities (V, D, n, K); share, area, hit, square (V, D, n): see `place`
    labels (n, K); auroc (K, m) of training codes, auroc_shuffled (K, m): see `aurocs`
    show_images, show_recon (q, C, H, W), show_edited, show_thrice (D, q, C, H, W) uint8 of the
    kinds "max" and "thrice"
    best (K,), best_shuffled (R, K) code dimensions, best_auroc (K,), marks (K, q) and success* of
    causal.py (marks of kind "max", marks_thrice of "thrice"); effect, effect_low, effect_high
    (K, K) of raising raised_at (K, k), which, like best_at (K,), are positions in `dims`

Outputs whose test labels take one value only are left out. The last three lines speak of parts
(causal.py), those above of labels. A method that cannot: none.json with the reason.
"""

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur
from tqdm import tqdm

from analysis import causal
from analysis.measures.tad import auroc_matrix
from analysis.references import Classifier, load_classifier
from patronus import checkpoint
from patronus.errors import NotApplicable, Problem
from patronus.files import load_json, save_json, save_npz
from patronus.method import Method, to_uint8, to_unit
from patronus.noise import batches, noise
from patronus.prepared import Prepared
from patronus.seeds import seed_for
from patronus.stage import Job, device, run

# Kind: x_T (0 inverted from the image, 1 random), quantile of the test codes, and how many times as
# far from their median: beyond 1 they are values that no image has, as in the paper's sweeps to 3.
KINDS = {"max": (0, 1, 1), "thrice": (0, 1, 3), "max_random": (1, 1, 1), "thrice_random": (1, 1, 3),
         "twice": (0, 1, 2), "q95": (0, 0.95, 1), "q50": (0, 0.5, 1), "q05": (0, 0.05, 1)}
PICTURED = {"max": "show_edited", "thrice": "show_thrice"}
SHOWN = 8  # images whose edits are kept as pictures
PERMUTATIONS = 20  # of the shuffled control
CAP = 20_000  # training images it looks at: a choice by chance needs no more
BLUR = 1 / 16  # standard deviation of the blur of the change map, of the image's height


def work(job: Job) -> dict:
    """Set code dimensions of random test images and keep what code and classifier answer."""
    where = device(job)
    model = checkpoint.load(job.folder("checkpoints"), where)
    classifier = fitting(job).to(where)
    data = Prepared.open(job.folder("data"))
    try:
        kept, labels = outputs_of(classifier, data)
        codes = codes_of(job, model)
        asked = ask(model, classifier, data, codes, job.cell)
    except NotApplicable as reason:
        save_json(job.out / "none.json", {"reason": str(reason)})
        return {}
    for key in ("probabilities", "probabilities_recon"):
        asked[key] = asked[key][..., kept]
    names = list(np.array(classifier.outputs)[kept])
    negated = np.isin(names, negated_of(data))
    asked["labels"] = labels["test"][asked["rows"]]
    ranked = aurocs(codes["train"], labels["train"], judge(job.cell))
    told = told_by(asked, *ranked, negated, judge(job.cell))
    save_npz(job.out / "interventions.npz", **asked, auroc=ranked[0],
             auroc_shuffled=ranked[1][0], **told)
    save_json(job.out / "interventions.json", about(job, data, names, negated))
    return {"evaluations": evaluations(asked, job.cell.intervene.steps)}


def judge(cell) -> str:
    """The data set whose classifier answers."""
    return cell.reference or cell.dataset


def fitting(job: Job) -> Classifier:
    """The classifier that answers. Raises Problem if its images have another size."""
    classifier = load_classifier(job.references)
    if classifier.shape != tuple(job.cell.shape):
        raise Problem(f"{job.references}/classifier.json: answers about images of "
                      f"{classifier.shape}, and those of {job.cell.dataset} are {job.cell.shape}; "
                      "give both data sets one shape in the scale")
    return classifier


def codes_of(job: Job, model: Method) -> dict[str, np.ndarray]:
    """Codes (N, m) of both splits. Raises NotApplicable for a method without a code."""
    if model.code_dim is None:
        raise model.cannot("encode")
    return {split: np.load(job.folder("codes") / f"{split}.npy") for split in ("train", "test")}


def outputs_of(classifier: Classifier, data: Prepared) -> tuple[np.ndarray, dict]:
    """Which outputs take both values in the test labels, and the labels (N, K) of these by split.

    Raises Problem for a column that the data lack, NotApplicable where no output is left.
    """
    lacking = set(classifier.columns) - set(data.meta["labels"])
    if lacking:
        raise Problem(f"{data.folder}/meta.json: has no label {min(lacking)}, about which the "
                      "classifier answers; name another reference")
    labels = {split: truths(classifier, data, split) for split in ("train", "test")}
    kept = (labels["test"] == 0).any(axis=0) & (labels["test"] == 1).any(axis=0)
    if not kept.any():
        raise NotApplicable("no label takes two values in the test split")
    return kept, {split: values[:, kept] for split, values in labels.items()}


def truths(classifier: Classifier, data: Prepared, split: str) -> np.ndarray:
    """What each output of the classifier should say: (N, outputs) of 0, 1 or NaN."""
    table = data.labels(split)
    columns = [table[[name]].to_numpy(dtype=float) for name in classifier.columns]
    return np.hstack([one if size == 1 else np.where(np.isnan(one), np.nan, one == np.arange(size))
                      for one, size in zip(columns, classifier.columns.values(), strict=True)])


def negated_of(data: Prepared) -> list[str]:
    """Attributes whose part is seen where the label is 0; known of generated sets only."""
    try:
        return data.negated_parts()
    except NotApplicable:
        return []


def aurocs(codes: np.ndarray, labels: np.ndarray, *names: str) -> tuple[np.ndarray, np.ndarray]:
    """AUROC (K, m) of codes for labels, and (R, K, m) where each image gets another's code."""
    rng, few = np.random.default_rng(seed_for("interventions", "shuffled", *names)), labels[:CAP]
    shuffled = [auroc_matrix(codes[rng.permutation(len(codes))[:len(few)]], few)
                for _ in range(PERMUTATIONS)]
    return auroc_matrix(codes, labels), np.stack(shuffled)


def ask(model: Method, classifier: Classifier, data: Prepared, codes: dict, cell) -> dict:
    """Arrays of the interventions on a cell's test images: `intervene` and what it was given."""
    images, settings = data.images("test"), cell.intervene
    # the classifier's data set: where a biased set shares its test images, so do the cells
    rows = random_rows(len(images), settings.images, judge(cell))
    random = noise(range(len(rows)), model.shape, "interventions", judge(cell))
    sigma = codes["train"].std(0)
    given = {"rows": rows, "dims": np.argsort(-sigma, kind="stable")[:settings.dims],
             "levels": levels(codes["test"])}
    return given | {"sigma": sigma, "kinds": np.array(list(KINDS))} | intervene(
        model, classifier, np.array(images[rows]), random, given, settings)


def levels(codes: np.ndarray) -> np.ndarray:
    """The value (V, m) float32 that each kind sets, from test codes (N, m)."""
    middle = np.median(codes, axis=0)
    return np.stack([middle + far * (np.quantile(codes, q, axis=0) - middle)
                     for _, q, far in KINDS.values()]).astype(np.float32)


def random_rows(count: int, wanted: int, dataset: str) -> np.ndarray:
    """Rows of test images in random order, the same for every method; more extend fewer."""
    rng = np.random.default_rng(seed_for("interventions", dataset))
    return rng.permutation(count)[:wanted]


@torch.inference_mode()
def intervene(model: Method, classifier: Classifier, images: np.ndarray, random: Tensor,
              given: dict[str, np.ndarray], settings) -> dict[str, np.ndarray]:
    """Answers to do(j, v) for every kind, dimension and image (uint8, n C H W).

    random (n, C, H, W) is the x_T of the random kinds; `given` holds dims (D,) and levels (V, m).
    Returns the arrays of the module's docstring from codes_recon to show_thrice, labels aside,
    with all outputs of the classifier. Rows do not depend on settings.batch_size.
    """
    place = next(classifier.parameters()).device
    x0, n, size = to_unit(torch.from_numpy(images).to(place)), len(images), settings.batch_size
    code = _joined(lambda r: model.encode(x0[r]), n, size)
    starts = [_joined(lambda r: model.invert(x0[r], code[r], settings.steps), n, size),
              random.to(place)]
    recon = [_joined(lambda r, x_T=x_T: shown(model.decode(x_T[r], code[r], settings.steps)),
                     n, size) for x_T in starts]
    unedited = [answers(model, classifier, x, size) for x in recon]
    dims = torch.from_numpy(given["dims"].copy()).to(place)
    found, pictures = [], {kind: [] for kind in PICTURED}
    for (kind, (start, _, _)), level in zip(KINDS.items(), given["levels"], strict=True):
        values = torch.from_numpy(level).to(code)
        for some in tqdm(batches(len(dims) * n, size), desc=f"do {kind}", mininterval=5):
            at = torch.arange(some.start, some.stop, device=place)
            dim, i = dims[at // n], at % n
            edit = do(code[i], dim, values[dim])
            x = shown(model.decode(starts[start][i], edit, settings.steps))
            found.append(answers(model, classifier, x, size)
                         | place_of(model, x, recon[start][i], dim))
            if kind in PICTURED:
                pictures[kind].append(to_uint8(x[i < SHOWN]).cpu().numpy())
    grid = (len(KINDS), len(dims), n)
    edited = {key: np.concatenate([one[key] for one in found]) for key in found[0]}
    first = min(SHOWN, n)
    return {f"{key}_recon": np.stack([one[key] for one in unedited]) for key in unedited[0]} | {
        key: value.reshape(*grid, *value.shape[1:]) for key, value in edited.items()} | {
        "show_images": images[:first], "show_recon": to_uint8(recon[0][:first]).cpu().numpy()} | {
        PICTURED[kind]: np.concatenate(some).reshape(len(dims), first, *images.shape[1:])
        for kind, some in pictures.items()}


def do(code: Tensor, dim: Tensor, value: Tensor) -> Tensor:
    """do(j, v): codes (B, m) with entry dim[i] of row i set to value[i]."""
    return code.scatter(1, dim[:, None], value[:, None])


def shown(x: Tensor) -> Tensor:
    """The picture a viewer would get of a decoded image: clipped and rounded, in [-1, 1]."""
    return to_unit(to_uint8(x))


def answers(model: Method, classifier: Classifier, x: Tensor, size: int) -> dict[str, np.ndarray]:
    """What encoder and classifier say of images (B, C, H, W): codes, probabilities."""
    return {"codes": _joined(lambda r: model.encode(x[r]), len(x), size).float().cpu().numpy(),
            "probabilities": _joined(lambda r: classifier.probabilities(x[r]), len(x),
                                     size).cpu().numpy()}


def place_of(model: Method, edited: Tensor, recon: Tensor, dim: Tensor) -> dict[str, np.ndarray]:
    """Where edits (B, C, H, W) of dimensions dim (B,) changed the image; see `place`."""
    try:
        located = model.locate(edited)
        boxes = located.boxes[torch.arange(len(dim), device=dim.device), dim]
    except NotApplicable:
        boxes = None
    return place((edited - recon).square().sum(1), boxes)


def place(energy: Tensor, boxes: Tensor | None) -> dict[str, np.ndarray]:
    """Locality (measures.md B3) of change energies (B, H, W), each of shape (B,).

    share: of the energy in the box (B, 4) of the edited image's most activated patch; area: the
    box's share of the image; hit: 1 where the peak of the blurred energy lies in the box, else 0.
    All three are NaN without boxes. square: share of the image of the smallest square that holds
    half of the energy. Except for area, NaN where nothing changed.
    """
    total = energy.sum((1, 2))
    changed = total > 0
    found = {"square": smallest_square(energy) / energy[0].numel()}
    if boxes is None:
        found |= dict.fromkeys(("share", "area", "hit"), torch.full_like(total, torch.nan))
    else:
        inside = mask(boxes, energy.shape[1:])
        peak = blurred(energy).flatten(1).argmax(1, keepdim=True)
        found |= {"share": (energy * inside).sum((1, 2)) / total, "area": inside.mean((1, 2)),
                  "hit": inside.flatten(1).gather(1, peak)[:, 0]}
    return {key: torch.where(changed | (key == "area"), value, torch.nan).float().cpu().numpy()
            for key, value in found.items()}


def mask(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W) float: 1 at pixels [y0, y1) x [x0, x1) of boxes (B, 4), else 0."""
    y, x = (torch.arange(side, device=boxes.device) for side in size)
    y0, x0, y1, x1 = boxes[:, :, None].unbind(1)
    rows, columns = (y >= y0) & (y < y1), (x >= x0) & (x < x1)
    return (rows[:, :, None] & columns[:, None, :]).float()


def blurred(energy: Tensor) -> Tensor:
    """Maps (B, H, W) blurred by a Gaussian as wide as the image's height asks for."""
    sigma = BLUR * energy.shape[1]
    return gaussian_blur(energy, [2 * round(2 * sigma) + 1] * 2, [sigma] * 2)


def smallest_square(energy: Tensor) -> Tensor:
    """Pixels (B,) of the smallest square inside the image that holds half of the energy (B, H, W).

    A side longer than the image counts as the image's.
    """
    height, width = energy.shape[1:]
    sums = torch.nn.functional.pad(energy.double().cumsum(1).cumsum(2), (1, 0, 1, 0))
    half = sums[:, -1, -1] / 2
    pixels = torch.full_like(half, height * width)
    for side in range(max(height, width), 0, -1):
        h, w = min(side, height), min(side, width)
        held = (sums[:, h:, w:] - sums[:, :-h, w:] - sums[:, h:, :-w] + sums[:, :-h, :-w])
        pixels = torch.where(held.amax((1, 2)) >= half, h * w, pixels)
    return pixels


def told_by(asked: dict, auroc: np.ndarray, shuffled: np.ndarray, negated: np.ndarray,
            *names: str) -> dict[str, np.ndarray]:
    """The causal statistics of answered interventions (module docstring, after show_edited)."""
    dims, q = asked["dims"], len(asked["show_images"])
    recon, edited, labels = parts_of(asked, negated)
    auroc, shuffled = (causal.as_parts(a[..., dims], negated[:, None]) for a in (auroc, shuffled))
    found = causal.causal_success(labels, recon, edited, auroc, shuffled)
    best, control = found["best_at"], found.pop("best_shuffled_at")
    raised = causal.top_dims(auroc, causal.RAISED)
    rng = np.random.default_rng(seed_for("interventions", "bootstrap", *names))
    effect = causal.mean_effect(causal.effects(recon[0], edited[0], raised), rng)
    best_auroc = np.where(best < 0, np.nan, auroc[np.arange(len(best)), best])
    return found | {
        "best": named(dims, best), "best_auroc": best_auroc, "raised_at": raised,
        "best_shuffled": named(dims, control),
        **{key: causal.marks(labels[:q], recon[v, :q], edited[v, :, :q], best)
           for v, key in enumerate(("marks", "marks_thrice"))},
        "effect": effect.value, "effect_low": effect.low, "effect_high": effect.high}


def parts_of(asked: dict, negated: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of parts, unedited (V, n, K) and edited (V, D, n, K), and their labels (n, K).

    The unedited ones are those from the x_T that each kind starts at.
    """
    recon = asked["probabilities_recon"][[start for start, _, _ in KINDS.values()]]
    return tuple(causal.as_parts(a, negated) for a in (recon, asked["probabilities"],
                                                       asked["labels"]))


def named(dims: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Code dimensions at positions; -1 stays -1."""
    return np.where(at < 0, -1, dims[at])


def evaluations(asked: dict, steps: int) -> int:
    """Evaluations of the denoiser: inversion, reconstructions and edits, one a step and image."""
    n, edits = len(asked["rows"]), asked["share"].size
    return (3 * n + edits) * steps


def about(job: Job, data: Prepared, names: list[str], negated: np.ndarray) -> dict:
    """What a caption needs to know, and what the axes are."""
    cell = job.cell
    trained = load_json(job.folder("checkpoints") / "record.json")["found"]
    scores = load_json(job.references / "classifier.json")["test"]
    return {"dataset": cell.dataset, "title": data.meta["title"], "method": cell.method,
            "method_title": cell.title, "recipe": cell.recipe, "seed": cell.seed,
            "generated": cell.generated, "split": "test", "scale": cell.scale,
            "steps": trained["steps"], "images_seen": trained["images_seen"],
            "ddim_steps": cell.intervene.steps, "outputs": names,
            "parts": [{"output": name, "negated": bool(no)}
                      for name, no in zip(names, negated, strict=True)],
            "reference": judge(cell), "classifier": scores,
            "shortcut": [list(pair) for pair in cell.shortcut] or None}


def _joined(make, count: int, size: int) -> Tensor:
    """make(rows) for slices of at most `size` rows, joined."""
    return torch.cat([make(slice(r.start, r.stop)) for r in batches(count, size)])


if __name__ == "__main__":
    run("interventions", "analysis.interventions", work, inputs=("data", "checkpoints", "codes"),
        beside=lambda job: [job.references])
