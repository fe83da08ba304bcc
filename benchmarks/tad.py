"""AUROC of every attribute against every code dimension: by ranks, and pair by pair.

    python -m benchmarks.tad

`analysis.measures.tad.auroc_matrix` against scikit-learn's roc_auc_score called once for each
pair, in one run, in seconds of processor time (threads add up, so several cannot flatter us, and
a busy machine hardly matters). The reference is timed on every tenth pair and scaled to all
(`--pairs 4000` times all of them); those pairs must agree to 1e-9.
"""

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from analysis.measures.tad import auroc_matrix

N, D, K = 8_000, 100, 40  # a training fold, the widest published code, CelebA's attributes
OUT = Path(__file__).with_name("results") / "tad.json"


def arrays(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N, D), every second dimension half zeros as after a ReLU, and attributes (N, K)."""
    codes = rng.normal(size=(N, D)).astype(np.float32)
    codes[:, ::2] = np.maximum(codes[:, ::2], 0)
    return codes, (rng.random((N, K)) < np.linspace(0.02, 0.5, K)).astype(float)


def timed(function, *args) -> tuple[float, object]:
    """Seconds of processor time, and the result."""
    start = time.process_time()
    result = function(*args)
    return time.process_time() - start, result


def pair_by_pair(codes: np.ndarray, attributes: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """roc_auc_score (P,) of pairs (P, 2) of attribute and dimension."""
    return np.array([roc_auc_score(attributes[:, k], codes[:, d]) for k, d in pairs])


def compare(repeats: int, count: int) -> dict:
    """Times of both ways, the ratio and the largest difference."""
    codes, attributes = arrays(np.random.default_rng(0))
    # one step further in each row of the matrix, so that all dimensions and attributes take part
    chosen = np.arange(0, K * D, max(1, K * D // count))[:count]
    pairs = np.stack([chosen // D, (chosen + chosen // D) % D], axis=1)
    auroc_matrix(codes[:100], attributes[:100]), pair_by_pair(codes, attributes, pairs[:2])
    ours = [timed(auroc_matrix, codes, attributes) for _ in range(repeats)]
    theirs, expected = timed(pair_by_pair, codes, attributes, pairs)
    seconds = [one for one, _ in ours]
    scaled = theirs * K * D / len(pairs)
    return {
        "n": N, "dimensions": D, "attributes": K, "repeats": repeats,
        "ours_seconds": dict(zip(("min", "median", "max"),
                                 np.quantile(seconds, (0, 0.5, 1)).tolist(), strict=True)),
        "reference_seconds_all_pairs": scaled, "reference_pairs_timed": len(pairs),
        "reference_pairs": K * D,
        "ratio": dict(zip(("min", "median", "max"),
                          (scaled / np.quantile(seconds, (1, 0.5, 0))).tolist(), strict=True)),
        "largest_difference": float(np.abs(ours[0][1][tuple(pairs.T)] - expected).max())}


def main() -> None:
    """Compare, write benchmarks/results/tad.json and print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="of ours")
    parser.add_argument("--pairs", type=int, default=K * D // 10, help="that the reference takes")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    found = compare(given.repeats, given.pairs)
    found["versions"] = {"python": platform.python_version()} | {
        name: version(name) for name in ("numpy", "scipy", "scikit-learn")}
    found["machine"] = platform.machine()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    ratio, seconds = found["ratio"], found["ours_seconds"]
    print(f"{D} x {K} AUROCs of {N} codes: {seconds['median']:.3f} s by ranks, "
          f"{found['reference_seconds_all_pairs']:.1f} s pair by pair "
          f"({found['reference_pairs_timed']} of {K * D} timed): {ratio['median']:.0f} times "
          f"({ratio['min']:.0f} to {ratio['max']:.0f}), "
          f"equal to {found['largest_difference']:.0e}")
    if found["largest_difference"] > 1e-9:
        raise SystemExit("error: the two ways differ by more than 1e-9")


if __name__ == "__main__":
    main()
