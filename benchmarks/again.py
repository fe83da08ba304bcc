"""The rFD-cls of a deposited model, with test images drawn at random.

    python -m benchmarks.again --dataset cifar10_jpeg --method patronus_modern

For a set read in the order of its class folders the first images are of one class, and rFD-cls was
once measured on them. Needs the stages data and references of the scale `real`; the weights are the
deposited ones. Writes paper/results/real/<dataset>_random_rows.json: the distance, the standard
deviation of a bootstrap over the decoded images, and what real images drawn as many would have.
"""

import argparse
from pathlib import Path

import numpy as np

from analysis.features import classifier_extractor, extract
from analysis.frechet import frechet_distance
from analysis.references import load_classifier
from patronus import checkpoint
from patronus.config import load_study
from patronus.files import save_json
from patronus.method import batch_of, to_uint8
from patronus.noise import batches, noise
from patronus.prepared import Prepared
from patronus.record import provenance
from patronus.rows import random_rows
from patronus.sample import drawing
from patronus.seeds import seed_for

DRAWS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--method", required=True)
    args = parser.parse_args()
    cell = load_study("real", datasets=[args.dataset], methods=[args.method],
                      seeds=[0]).cell(args.dataset, args.method, 0)
    deposit = Path("paper/results/real")
    model = checkpoint.load(deposit / "checkpoints" / cell.dataset / cell.method / "seed0")
    images = Prepared.open(cell.folder("data")).images("test")
    rows = random_rows(len(images), cell.sample.count, "sample", cell.dataset, "rows")
    drawer, how = drawing(model, cell.sample)
    decoded = []
    for some in batches(len(rows), 50):
        code = model.encode(batch_of(images, rows[some.start:some.stop], "cpu"))
        x_T = noise(some, model.shape, "sample", cell.dataset, cell.method, 0, "conditional")
        decoded.append(to_uint8(drawer.decode(x_T, code, cell.sample.steps, **how)).numpy())
        print(f"{some.stop} of {len(rows)}", flush=True)
    extractor = classifier_extractor(load_classifier(cell.folder("references")))
    found = extract(np.concatenate(decoded), extractor, "decoded")
    tests = np.load(cell.folder("references") / "features_classifier_test.npy")
    rng = np.random.default_rng(seed_for("again", cell.dataset))
    again = [frechet_distance(found[rng.integers(len(found), size=len(found))], tests)
             for _ in range(DRAWS)]
    real = tests[random_rows(len(tests), len(rows), "again", "real")]
    out = deposit / f"{cell.dataset}_random_rows.json"
    save_json(out, {"method": cell.method, "n": len(rows), "steps": cell.sample.steps,
                    "rfd_cls": frechet_distance(found, tests), "rfd_cls_sd": np.std(again, ddof=1),
                    "draws": DRAWS, "real_images": frechet_distance(real, tests),
                    "first_images": frechet_distance(tests[:len(rows)], tests),
                    "record": provenance()})
    print(out)


if __name__ == "__main__":
    main()
