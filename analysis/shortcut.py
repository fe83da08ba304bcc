"""Stage "shortcut": does a model trained on tied attributes move one when the other is raised?

Reads the interventions of a cell whose data set ties attributes together (`shortcut:` in its file)
and those of the same method and seed on the set without the tie (its reference). One classifier,
trained without the tie, answered both. The score of a pair (a, b) is the change of P(b) when the
five dimensions that tell most of a are raised, in the biased model minus in the unbiased one
(measures.md B8). A method without interventions: none.json with the reason. Writes shortcut.npz:

    biased, unbiased (K, K) effects of raising row a on column b, and score (K, K), each with
    its 95 % interval over test images, ..._low and ..._high; tied (3,), the mean of |score| over
    the pairs, low and high; detection: AUROC of |score| for finding the pairs; pairs (P, 2) of the
    K images, recon (2, q, C, H, W), edited (2, P, q, C, H, W) uint8 test images as the biased and
    the unbiased model show them, edited by the best dimension dims (2, P) of each pair's a;
    before, after (2, P, q): P(b) in these; rows (n,) of the test images of the biased model;
    outputs (K,) names of the parts
    told (2, P, 2) with told_low, told_high: what the dimension of highest AUROC for a in training
    images tells in test images: AUROC for a among images alike in b, and for b among images alike
    in a, the mean over resamples of the choice (choice.py). A dimension that has learned a tells a,
    one that took the shortcut b. chosen (2, P): share of resamples in which the likeliest dimension
    is chosen; untrained (2, P, E, 2): told of E encoders that were never trained (untrained.py)

and shortcut.json: `about` of the biased cell, parts, pairs, n, who was compared, the scores and
what is `told` as above, in numbers that prose can cite, and the `strength` of the tie: in which
share of the training images the second of two planted attributes is present exactly when the first
is (0.5: by chance), null for data that are no stand-in.
"""

from functools import partial
from pathlib import Path

import numpy as np

from analysis import causal, diagnosis, intervals
from analysis.diagnosis import number
from patronus.config import stage_folder
from patronus.errors import NotApplicable, Problem
from patronus.files import load_json, save_json, save_npz
from patronus.prepared import Prepared
from patronus.stage import Job, run

SIDES = ("biased", "unbiased")


class Answered:
    """The interventions of kind "max" of one cell, speaking of parts.

    Raises NotApplicable where the cell has none.
    """

    def __init__(self, folder: Path):
        if (folder / "none.json").is_file():
            raise NotApplicable(load_json(folder / "none.json")["reason"])
        self.about = load_json(folder / "interventions.json")
        self.parts = self.about["parts"]
        negated = np.array([part["negated"] for part in self.parts])
        with np.load(folder / "interventions.npz") as arrays:
            self.images, self.recon_images, self.edited_images, self.dims, self.best, raised = (
                arrays[key] for key in ("show_images", "show_recon", "show_edited", "dims",
                                        "best_at", "raised_at"))
            self.recon = causal.as_parts(arrays["probabilities_recon"][0], negated)
            self.edited = causal.as_parts(arrays["probabilities"][0], negated)
            self.rows = arrays["rows"]
        self.samples = causal.effects(self.recon, self.edited, raised)

    @property
    def names(self) -> list[str]:
        return [part["output"] for part in self.parts]

    def label(self, data: Prepared, split: str, name: str) -> np.ndarray:
        """(n,) of 0, 1 or NaN: which images of a split show a part."""
        negated = next(one["negated"] for one in self.parts if one["output"] == name)
        return causal.as_parts(data.output(split, name), np.array(negated))

    def at(self, names: list[str]) -> np.ndarray:
        """Positions of these parts on this cell's axes."""
        return np.array([self.names.index(name) for name in names])

    def pictures(self, pairs: list[list[str]], q: int) -> dict[str, np.ndarray]:
        """What raising the best dimension of each pair's a shows in q images; P(b) around it."""
        a, b = (self.at(list(names)) for names in zip(*pairs, strict=True))
        best = self.best[a]
        return {"images": self.images[:q], "recon": self.recon_images[:q],
                "edited": self.edited_images[best, :q],
                "dims": np.where(best < 0, -1, self.dims[best]),
                "before": self.recon[:q, b].T, "after": self.edited[best, :q, b]}


def work(job: Job) -> dict:
    """Compare what raising one attribute does to another with and without a tie in training."""
    cell = job.cell
    if not cell.shortcut:
        raise Problem(f"datasets/{cell.dataset}.yaml: names no `shortcut`, so there is nothing to "
                      "diagnose; name another data set")
    try:
        sides = Answered(job.folder("interventions")), Answered(fair(job))
    except NotApplicable as reason:
        save_json(job.out / "none.json", {"reason": str(reason)})
        return {}
    names = [name for name in sides[0].names if name in sides[1].names]
    pairs = known(cell.shortcut, names, cell.dataset)
    found, paired = compare(*sides, names, pairs)
    read = [diagnosis.Read.of(folder, side, job.cell) for folder, side in
            zip((job.folder, partial(fair, job)), sides, strict=True)]
    choices = [one.choices(pairs) for one in read]
    found |= diagnosis.told(read, choices, pairs)
    found["untrained"] = diagnosis.controls(job, read, pairs)
    save_npz(job.out / "shortcut.npz", **found)
    said = about(*sides, names, pairs, paired) | {
        "strength": planted(job), "detection": number(found["detection"]),
        "scores": [[number(found[f"score{end}"][tuple(at)]) for end in ("", "_low", "_high")]
                   for at in found["pairs"]],
        "told": [{"side": side} | one for g, side in enumerate(SIDES)
                 for one in diagnosis.spoken(read[g], choices[g], pairs,
                                             {key: found[key][g] for key in diagnosis.ARRAYS})]}
    data = Prepared.open(job.folder("data"))
    said["parts"] = [part | {"name": data.name_of(part["output"])} for part in said["parts"]]
    save_json(job.out / "shortcut.json", said)
    return {"detection": said["detection"]}


def fair(job: Job, stage: str = "interventions") -> Path:
    """A stage of the same method and seed where nothing is tied together."""
    cell = job.cell
    return stage_folder(stage, cell.scale, cell.reference or cell.dataset, cell.method, cell.seed)


def planted(job: Job) -> float | None:
    """The strength of the tie between the attributes that the data set's `plant` names."""
    plant = job.dataset.plant
    return plant[2] if plant and job.cell.generated else None


def known(pairs: list, names: list[str], dataset: str) -> list[list[str]]:
    """The pairs as lists. Raises Problem for an attribute that the classifier does not answer."""
    for name in (name for pair in pairs for name in pair if name not in names):
        raise Problem(f"datasets/{dataset}.yaml: shortcut.pairs: {name} is no attribute that takes "
                      "both values in the test labels; name another")
    return [list(pair) for pair in pairs]


def compare(biased: Answered, unbiased: Answered, names: list[str],
            pairs: list[list[str]]) -> tuple[dict[str, np.ndarray], bool]:
    """The arrays of shortcut.npz, and whether both models were asked about the same images."""
    sides = dict(zip(SIDES, (biased, unbiased), strict=True))
    samples = [side.samples[np.ix_(side.at(names), side.at(names))] for side in sides.values()]
    paired = same_images(biased, unbiased)
    score = causal.shortcut_score(*samples, paired)
    found = {"pairs": np.array([[names.index(name) for name in pair] for pair in pairs]),
             "rows": biased.rows, "outputs": np.array(names)}
    found["detection"] = causal.detection(score.value, found["pairs"].tolist())
    at = tuple(found["pairs"].T)
    found["tied"] = np.array(causal.tied_score(*(effect[at] for effect in samples), paired))
    estimates = {side: intervals.mean(s) for side, s in zip(SIDES, samples, strict=True)}
    for key, estimate in (estimates | {"score": score}).items():
        found |= {key: estimate.value, f"{key}_low": estimate.low, f"{key}_high": estimate.high}
    q = min(len(side.images) for side in sides.values())
    shown = [side.pictures(pairs, q) for side in sides.values()]
    return found | {key: np.stack([one[key] for one in shown]) for key in shown[0]}, paired


def same_images(one: Answered, other: Answered) -> bool:
    """Whether row i of both is the same test image."""
    return (one.rows.shape == other.rows.shape and one.images.shape == other.images.shape
            and bool((one.rows == other.rows).all() and (one.images == other.images).all()))


def about(biased: Answered, unbiased: Answered, names: list[str], pairs: list[list[str]],
          paired: bool) -> dict:
    """What a caption needs to know, and what the axes are."""
    return biased.about | {
        "outputs": names, "parts": [biased.parts[at] for at in biased.at(names)], "pairs": pairs,
        "n": len(biased.rows), "n_unbiased": len(unbiased.rows), "paired": paired,
        "unbiased": {key: unbiased.about[key] for key in ("dataset", "title", "generated", "steps",
                                                          "images_seen")}}


if __name__ == "__main__":
    run("shortcut", "analysis.shortcut", work, inputs=("data", "codes", "interventions"),
        beside=lambda job: [fair(job, stage) for stage in ("data", "codes", "interventions")])
