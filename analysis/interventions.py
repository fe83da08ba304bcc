"""Stage "interventions": do(j, v) on test images, answered by an independent classifier.

Each of D code dimensions is set to a value in n random test images and the image decoded anew
(measures.md B1 to B4 and B7 to B9). Encoder and classifier see every picture as it would be shown:
clipped and rounded to 256 levels. Images are taken ten at a time until half of the 95 % interval
over images of four means (analysis/answers.py) is no wider than the scale's `tolerance`, or all are
asked. Writes interventions.json (`about`, the names of the K outputs, which of them are negated,
the classifier's scores) and interventions.npz:

    rows (n,), dims (D,): those of largest spread, and the best of each part whatever its spread;
    sigma (m,) of training codes; outputs (K,) names, negated (K,)
    kinds (V,): at which value and from which x_T, see KINDS; levels (V, m) these values
    codes_recon (2, n, m), probabilities_recon (2, n, K): unedited, from inverted and random x_T
    codes (V, D, n, m), probabilities (V, D, n, K); share, area, hit, square (V, D, n): place.py
    noises (L,) in standard deviations, moved (L, n): root mean squared change in gray levels of
    the image when all of its code gets so much noise
    patches, patches_elsewhere (D, q, F): patches.py
    labels (n, K); auroc (K, m) of training codes, auroc_shuffled (K, m): see `aurocs`
    show_images, show_recon (q, C, H, W), show_edited, show_thrice (D, q, C, H, W) uint8 of the
    kinds "max" and "thrice"
    best (K,), best_shuffled (R, K) code dimensions, best_auroc (K,) of training codes; how sure
    that choice is (choice.py): best_share (K,) of resamples of the training images in which it is
    made again, second, second_auroc (K,) of the next best dimension; success* of causal.py, marks
    and marks_thrice (K, q) of these two kinds; effect, effect_low, effect_high (K, K) of raising
    raised_at (K, k), which, like best_at (K,), are positions in `dims`
    truth_* (K, n): truth.py, NaN unless the images are generated and the part is drawn

Outputs whose test labels take one value only are left out. The last entries, from best on, speak
of parts (causal.py), those above of labels. What needs boxes is NaN for a method without. A method
that cannot be asked: none.json with the reason.
"""

from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from analysis import answers, causal, choice, intervals, truth
from analysis.asking import KINDS, MARKS, intervene
from analysis.measures.tad import auroc_matrix
from analysis.patches import embedded
from analysis.references import Classifier, load_classifier
from patronus import checkpoint
from patronus.errors import NotApplicable, Problem
from patronus.files import load_json, save_json, save_npz
from patronus.method import Method
from patronus.noise import batches, noise
from patronus.prepared import Prepared
from patronus.rows import random_rows
from patronus.seeds import seed_for
from patronus.stage import Job, device, run

BLOCK = 10  # images asked before the intervals are looked at again: the first one has all pictures
LEAST = 20  # images before it may stop
PERMUTATIONS = 20  # of the shuffled control
CAP = 20_000  # training images it looks at: a choice by chance needs no more
# which axis counts images, by array
IMAGES = {"rows": 0, "labels": 0, "random": 0, "wobble": 0, "codes": 2, "probabilities": 2,
          "share": 2, "area": 2, "hit": 2, "square": 2, "codes_recon": 1, "probabilities_recon": 1,
          "moved": 1, "boxes": 0, "within": 1, "show_images": 0, "show_recon": 0,
          "show_edited": 1, "show_thrice": 1}


def work(job: Job) -> dict:
    """Set code dimensions of random test images and keep what code and classifier answer."""
    where = device(job)
    model = checkpoint.load(job.folder("checkpoints"), where)
    classifier = fitting(job).to(where)
    data = Prepared.open(job.folder("data"))
    try:
        found = interrogate(model, classifier, data, codes_of(job, model), job.cell)
    except NotApplicable as reason:
        save_json(job.out / "none.json", {"reason": str(reason)})
        return {}
    save_npz(job.out / "interventions.npz", **found)
    save_json(job.out / "interventions.json", about(job, data, found))
    return {"images": len(found["rows"]),
            "evaluations": evaluations(found, job.cell.intervene.steps)}


def interrogate(model: Method, classifier: Classifier, data: Prepared, codes: dict[str, np.ndarray],
                cell, dims: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All arrays of interventions.npz; `codes` (N, m) of the splits "train" and "test".

    `dims` (D,) are set in place of those of largest spread. Raises NotApplicable if the method
    cannot be asked or no label takes two values.
    """
    kept, labels = outputs_of(classifier, data)
    outputs = np.array(classifier.outputs)[kept]
    negated = np.isin(outputs, negated_of(data))
    ranked = aurocs(codes["train"], labels["train"], judge(cell))
    chosen = choices(codes["train"], causal.as_parts(labels["train"], negated), judge(cell))
    given = asking(model, data, codes, cell, chosen.pop("first"))
    given |= {"outputs": outputs, "negated": negated} | ({} if dims is None else {"dims": dims})
    given |= {"kept": kept, "labels": labels["test"][given["rows"]],
              "regions": regions(data, outputs)}
    scores = causal.as_parts(ranked[0][:, given["dims"]], negated[:, None])
    best_at = causal.top_dims(scores, 1)[:, 0]
    asked = ask(model, classifier, data.images("test"), given, cell.intervene,
                lambda so_far: narrow(so_far, best_at, cell.intervene.tolerance))
    rng = np.random.default_rng(seed_for("patches", judge(cell)))
    found = asked | told_by(asked, *ranked, negated) | patches(
        model, classifier, data.images("test"), codes["test"], given["dims"], cell, rng)
    found |= truths_of(found, data, best_at) | chosen
    for key in ("kept", "regions", "random", "wobble", "boxes", "within"):
        found.pop(key)
    return found | {"auroc": ranked[0], "auroc_shuffled": ranked[1][0]}


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
    rng = np.random.default_rng(seed_for("interventions", "shuffled", *names))
    few = labels[random_rows(len(labels), CAP, "interventions", "shuffled", "rows", *names)]
    shuffled = [auroc_matrix(codes[rng.permutation(len(codes))[:len(few)]], few)
                for _ in range(PERMUTATIONS)]
    return auroc_matrix(codes, labels), np.stack(shuffled)


def choices(codes: np.ndarray, parts: np.ndarray, *names: str) -> dict[str, np.ndarray]:
    """first (K,), the dimension of highest AUROC for each part (N, K), -1 where it is undefined;
    best_share, second, second_auroc (K,): the module's docstring."""
    rng = np.random.default_rng(seed_for("interventions", "choice", *names))
    found = [choice.choose(codes, part, rng) for part in parts.T]
    auroc = np.stack([one.auroc for one in found])
    first, second = causal.top_dims(auroc, 2)[:, [0, -1]].T
    k = np.arange(len(found))
    defined = {"best_share": np.stack([one.share for one in found])[k, first],
               "second_auroc": auroc[k, second]}
    return {"first": first, "second": second,
            **{key: np.where(first < 0, np.nan, value) for key, value in defined.items()}}


def asking(model: Method, data: Prepared, codes: dict[str, np.ndarray], cell,
           best: np.ndarray) -> dict[str, np.ndarray]:
    """Which images are asked, in which order, about which dimensions and values.

    best (K,): dimensions that are among them in any case, -1 for none.
    """
    settings = cell.intervene
    # the classifier's data set: where a biased set shares its test images, so do the cells
    rows = random_order(len(data.images("test")), settings.images, judge(cell))
    sigma = codes["train"].std(0)
    dims = np.argsort(-sigma, kind="stable")
    dims = dims[(np.arange(len(dims)) < settings.dims) | np.isin(dims, best)]
    return {"rows": rows, "dims": dims, "sigma": sigma, "noises": np.array(answers.NOISES),
            "kinds": np.array(settings.kinds),
            "levels": levels(codes["test"], settings.kinds),
            "random": noise(range(len(rows)), model.shape, "interventions", judge(cell)).numpy(),
            "wobble": noise(range(len(rows)), (len(answers.NOISES), len(sigma)), "wobble",
                            judge(cell)).numpy()}


def regions(data: Prepared, outputs: np.ndarray) -> np.ndarray:
    """truth.regions (K, H, W) of the outputs; empty where nobody knows."""
    try:
        return truth.regions(*data.parts(), outputs.tolist())
    except NotApplicable:
        return np.zeros((len(outputs), *data.shape[1:]), bool)


def ask(model: Method, classifier: Classifier, images: np.ndarray, given: dict[str, np.ndarray],
        settings, enough: Callable[[dict[str, np.ndarray]], bool]) -> dict[str, np.ndarray]:
    """`given` and `intervene`'s answers, for as many of its images as it takes to be `enough`."""
    rows, answered = given["rows"], []
    total = len(rows) * len(given["dims"]) * len(given["kinds"])
    with tqdm(total=total, desc="interventions", unit=" edits", mininterval=5) as bar:
        for some in batches(len(rows), BLOCK):
            part = slice(some.start, some.stop)
            answered.append(intervene(model, classifier, np.array(images[rows[part]]),
                                      only(given, part), settings, bar.update))
            asked = only(given, slice(some.stop)) | joined(answered)
            if enough(asked):
                break
    return asked


def only(arrays: dict[str, np.ndarray], part: slice | np.ndarray) -> dict[str, np.ndarray]:
    """The same arrays for some of their images."""
    return {key: np.take(value, np.arange(value.shape[IMAGES[key]])[part], IMAGES[key])
            if key in IMAGES else value for key, value in arrays.items()}


def joined(blocks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Answers for the images of all blocks; pictures of the first one's are enough."""
    return {key: value if key.startswith("show_") else
            np.concatenate([block[key] for block in blocks], IMAGES[key])
            for key, value in blocks[0].items()}


def narrow(asked: dict[str, np.ndarray], best_at: np.ndarray, tolerance: float) -> bool:
    """Whether the answers so far are sure enough: see answers.half_widths."""
    if len(asked["rows"]) < LEAST or not tolerance:
        return False
    negated = asked["negated"]
    parts = {key: causal.as_parts(asked[key], negated)
             for key in ("labels", "probabilities", "probabilities_recon")}
    return max(answers.half_widths(asked | parts, best_at).values(), default=0) <= tolerance


def levels(codes: np.ndarray, kinds: tuple[str, ...] = tuple(KINDS)) -> np.ndarray:
    """The value (V, m) float32 that each kind sets, from test codes (N, m)."""
    middle = np.median(codes, axis=0)
    return np.stack([middle + far * (np.quantile(codes, q, axis=0) - middle)
                     for _, q, far in (KINDS[kind] for kind in kinds)]).astype(np.float32)


def random_order(count: int, wanted: int, dataset: str) -> np.ndarray:
    """Rows of test images in random order, the same for every method; more extend fewer."""
    rng = np.random.default_rng(seed_for("interventions", dataset))
    return rng.permutation(count)[:wanted]


def patches(model: Method, classifier: Classifier, images: np.ndarray, codes: np.ndarray,
            dims: np.ndarray, cell, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """patches.embedded of the dimensions; NaN (D, 1, 1) for a method without boxes."""
    try:
        return embedded(model, classifier, images, codes, dims, cell.intervene.batch_size, rng)
    except NotApplicable:
        return dict.fromkeys(("patches", "patches_elsewhere"), np.full((len(dims), 1, 1), np.nan))


def truths_of(asked: dict[str, np.ndarray], data: Prepared,
              best_at: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays truth_* (K, n) of answered interventions."""
    recon, _, labels = parts_of(asked, asked["negated"])
    lack = causal.lacking(labels, recon[0])
    found = truth.energy_against(asked["within"], asked["regions"].mean((1, 2)), lack, best_at)
    outputs = asked["outputs"].tolist()
    if asked["regions"].any() and (asked["boxes"] >= 0).all():
        parts, names = data.parts()
        shown_parts = truth.masks(parts[asked["rows"]], names, outputs)
        return found | truth.boxes_against(shown_parts, asked["boxes"], best_at)
    return found | dict.fromkeys(("truth_iou", "truth_iou_any", "truth_hit", "truth_hit_any"),
                                 np.full(lack.T.shape, np.nan))


def told_by(asked: dict, auroc: np.ndarray, shuffled: np.ndarray,
            negated: np.ndarray) -> dict[str, np.ndarray]:
    """The causal statistics of answered interventions (module docstring, from best to effect)."""
    dims, q = asked["dims"], len(asked["show_images"])
    recon, edited, labels = parts_of(asked, negated)
    auroc, shuffled = (causal.as_parts(a[..., dims], negated[:, None]) for a in (auroc, shuffled))
    found = causal.causal_success(labels, recon, edited, auroc, shuffled)
    best, control = found["best_at"], found.pop("best_shuffled_at")
    raised = causal.top_dims(auroc, causal.RAISED)
    kinds = asked["kinds"].tolist()
    at = kinds.index("max")
    effect = intervals.mean(causal.effects(recon[at], edited[at], raised))
    best_auroc = np.where(best < 0, np.nan, auroc[np.arange(len(best)), best])
    return found | {
        "best": named(dims, best), "best_auroc": best_auroc, "raised_at": raised,
        "best_shuffled": named(dims, control),
        **{key: causal.marks(labels[:q], recon[v, :q], edited[v, :, :q], best)
           for key, v in ((MARKS[kind], v) for v, kind in enumerate(kinds) if kind in MARKS)},
        "effect": effect.value, "effect_low": effect.low, "effect_high": effect.high}


def parts_of(asked: dict, negated: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of parts, unedited (V, n, K) and edited (V, D, n, K), and their labels (n, K).

    The unedited ones are those from the x_T that each kind starts at.
    """
    recon = asked["probabilities_recon"][[KINDS[kind][0] for kind in asked["kinds"].tolist()]]
    return tuple(causal.as_parts(a, negated) for a in (recon, asked["probabilities"],
                                                       asked["labels"]))


def named(dims: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Code dimensions at positions; -1 stays -1."""
    return np.where(at < 0, -1, dims[at])


def evaluations(asked: dict, steps: int) -> int:
    """Evaluations of the denoiser: inversion, reconstructions and edits, one a step and image."""
    n, edits = len(asked["rows"]), asked["share"].size
    return (3 * n + asked["moved"].size + edits) * steps


def about(job: Job, data: Prepared, found: dict[str, np.ndarray]) -> dict:
    """What a caption needs to know, and what the axes are."""
    cell, names = job.cell, found["outputs"].tolist()
    trained = load_json(job.folder("checkpoints") / "record.json")["found"]
    scores = load_json(job.references / "classifier.json")["test"]
    return {"dataset": cell.dataset, "title": data.meta["title"], "method": cell.method,
            "method_title": cell.title, "recipe": cell.recipe, "seed": cell.seed,
            "generated": cell.generated, "split": "test", "scale": cell.scale,
            "steps": trained["steps"], "images_seen": trained["images_seen"],
            "ddim_steps": cell.intervene.steps, "outputs": names,
            "parts": [{"output": name, "name": data.name_of(name), "negated": bool(no)}
                      for name, no in zip(names, found["negated"], strict=True)],
            "reference": judge(cell), "classifier": scores,
            "shortcut": [list(pair) for pair in cell.shortcut] or None}


if __name__ == "__main__":
    run("interventions", "analysis.interventions", work, inputs=("data", "checkpoints", "codes"),
        beside=lambda job: [job.references])
