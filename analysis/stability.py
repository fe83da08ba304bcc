"""Stability over seeds: do two trainings find the same dimensions? (measures.md B6)

    python -m analysis.stability --scale ablation --dataset celeba --method patronus_modern

Codes of the same test images under every two training seeds a < b of a method: their dimensions
matched one to one, and linear CKA (analysis.matching).

stability.npz: seeds (S,); pairs (Q, 2) of seeds; partner (Q, m), the dimension of b matched with
dimension j of a, and correlation (Q, m), |Pearson| of the two over the n test images; null (Q, R),
the mean of that after each of R shuffles of b's images; cka (Q,) and cka_null (Q, R); constant
(S, m), dimensions that never change. stability.json: what the cells are, n, and for each pair the
means and the 95 % quantiles of the nulls. Where there is nothing to compare: none.json with the
reason. No torch here.
"""

import argparse
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.matching import SHUFFLES, aligned, dead, match, shuffles
from patronus.config import Cell, Study, load_study, stage_folder
from patronus.errors import NotApplicable, Problem, guarded
from patronus.files import load_json, save_json, save_npz
from patronus.record import Record

FILES = ("stability.npz", "stability.json", "none.json", "record.json")


class Pair(NamedTuple):
    """How alike two codes of the same n images are; see this file's docstring."""

    partner: np.ndarray  # (m,) int
    correlation: np.ndarray  # (m,) in [0, 1]
    null: np.ndarray  # (R,) mean matched correlation of shuffled images
    cka: float  # in [0, 1]
    cka_null: np.ndarray  # (R,)


def compare(a: np.ndarray, b: np.ndarray, *names: object) -> Pair:
    """Codes (n, m) and (n, m) of the same images; `names` decide the shuffles of b's images."""
    if len(a) != len(b):
        raise Problem(f"{'/'.join(map(str, names))}: the codes of two seeds are of {len(a)} and "
                      f"{len(b)} images; rerun encode for both")
    orders = shuffles(len(b), *names)
    return Pair(*match(a, b, orders), *aligned(a, b, orders))


def of_seeds(codes: dict[int, np.ndarray], *names: object) -> tuple[dict, list[dict]]:
    """The arrays of stability.npz and the summaries of its pairs, from codes (n, m) by seed."""
    if len(codes) < 2:
        raise NotApplicable("one seed was trained")
    pairs = list(itertools.combinations(codes, 2))
    found = [compare(codes[a], codes[b], *names, a, b) for a, b in pairs]
    arrays = {key: np.array([getattr(pair, key) for pair in found]) for key in Pair._fields}
    return arrays | {"seeds": np.array(list(codes)), "pairs": np.array(pairs),
                     "constant": np.array([dead(code) for code in codes.values()])}, \
        [summary(pair, seeds) for pair, seeds in zip(found, pairs, strict=True)]


def summary(pair: Pair, seeds: tuple[int, int]) -> dict:
    """A pair as figures and tables state it."""
    return {"seeds": seeds, "correlation": pair.correlation.mean(),
            "null": pair.null.mean(), "null_q95": np.quantile(pair.null, 0.95), "cka": pair.cka,
            "cka_null": pair.cka_null.mean(), "cka_null_q95": np.quantile(pair.cka_null, 0.95)}


def stability(study: Study, dataset: str, method: str) -> Path:
    """Compare all seeds of one method on one data set; the folder that holds the result."""
    cells = [cell for cell in study.cells.values()
             if (cell.dataset, cell.method) == (dataset, method)]
    record = Record("stability", ["analysis.stability"],
                    {"dataset": dataset, "method": method, "seeds": [c.seed for c in cells],
                     "shuffles": SHUFFLES}, [cell.folder("codes") for cell in cells])
    out = stage_folder("stability", study.scale, dataset, method)
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (out / name).unlink(missing_ok=True)  # of an earlier run, perhaps with other seeds
    try:
        codes = {cell.seed: stored(cell) for cell in cells}
        arrays, pairs = of_seeds(codes, dataset, method)
    except NotApplicable as reason:
        save_json(out / "none.json", {"reason": str(reason), "method_title": cells[0].title})
        record.write(out, [out / "none.json"])
        return out
    save_npz(out / "stability.npz", **arrays)
    save_json(out / "stability.json", about(cells, codes) | {"pairs": pairs})
    record.write(out, [out / name for name in FILES[:2]], pairs=len(pairs))
    return out


def stored(cell: Cell) -> np.ndarray:
    """Codes (n, m) of the test images; NotApplicable with the reason of a method without any."""
    path = cell.folder("codes") / "test.npy"
    if path.is_file():
        return np.load(path)
    if path.with_name("none.json").is_file():
        raise NotApplicable(load_json(path.with_name("none.json"))["reason"])
    raise Problem(f"{path}: is missing, and no none.json says why; rerun encode")


def about(cells: list[Cell], codes: dict[int, np.ndarray]) -> dict:
    """What a caption needs to know."""
    cell = cells[0]
    n, m = next(iter(codes.values())).shape
    trained = load_json(cell.folder("checkpoints") / "record.json")["found"]
    return {"dataset": cell.dataset, "title": load_json(cell.folder("data") / "meta.json")["title"],
            "method": cell.method, "method_title": cell.title, "recipe": cell.recipe,
            "generated": cell.generated, "scale": cell.scale, "split": "test", "n": n, "dims": m,
            "dead": {seed: int(dead(code).sum()) for seed, code in codes.items()},
            "seeds": list(codes), "shuffles": SHUFFLES, "steps": trained["steps"],
            "images_seen": trained["images_seen"]}


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", required=True, help="a file in config/scales")
    parser.add_argument("--dataset", required=True, help="a file in config/datasets")
    parser.add_argument("--method", required=True, help="a method's name")
    parser.add_argument("--seeds", help="some seeds only, separated by commas")
    args = parser.parse_args()
    study = load_study(args.scale, datasets=[args.dataset], methods=[args.method],
                       seeds=args.seeds)
    print(f"stability of {args.dataset}/{args.method}: done, in "
          f"{stability(study, args.dataset, args.method)}/")


if __name__ == "__main__":
    guarded(main)
