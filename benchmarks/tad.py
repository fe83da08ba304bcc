"""AUROC of every attribute against every code dimension: by ranks, and pair by pair.

    python -m benchmarks.tad

`analysis.measures.tad.auroc_matrix` against scikit-learn's roc_auc_score called once for each
pair, in one run, in seconds of processor time (threads add up, so several cannot flatter us, and
a busy machine hardly matters). The reference is timed on every tenth pair and scaled to all
(`--pairs 4000` times all of them); those pairs must agree to 1e-9.
"""

import time

import numpy as np
from sklearn.metrics import roc_auc_score

from analysis.measures.tad import auroc_matrix
from benchmarks import timing

N, D, K = 8_000, 100, 40  # a training fold, the widest published code, CelebA's attributes


def arrays(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N, D), every second dimension half zeros as after a ReLU, and attributes (N, K)."""
    codes = rng.normal(size=(N, D)).astype(np.float32)
    codes[:, ::2] = np.maximum(codes[:, ::2], 0)
    return codes, (rng.random((N, K)) < np.linspace(0.02, 0.5, K)).astype(float)


def pair_by_pair(codes: np.ndarray, attributes: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """roc_auc_score (P,) of pairs (P, 2) of attribute and dimension."""
    return np.array([roc_auc_score(attributes[:, k], codes[:, d]) for k, d in pairs])


def compare(repeats: int, count: int) -> dict:
    """Times of both ways, the ratio and the largest difference."""
    codes, attributes = arrays(np.random.default_rng(0))
    # one step further in each row of the matrix, so that all dimensions and attributes take part
    chosen = np.arange(0, K * D, max(1, K * D // count))[:count]
    pairs = np.stack([chosen // D, (chosen + chosen // D) % D], axis=1)
    ours = timing.timed({"ranks": lambda: auroc_matrix(codes, attributes)}, repeats)["ranks"]
    start = time.process_time()
    expected = pair_by_pair(codes, attributes, pairs)
    scaled = (time.process_time() - start) * K * D / len(pairs)
    off = np.abs(auroc_matrix(codes, attributes)[tuple(pairs.T)] - expected).max()
    return {"n": N, "dimensions": D, "attributes": K, "repeats": repeats,
            "ours_seconds": timing.spread(ours), "reference_seconds_all_pairs": scaled,
            "reference_pairs_timed": len(pairs), "reference_pairs": K * D,
            "ratio": timing.spread([scaled / one for one in ours]),
            "largest_difference": float(off)}


def main() -> None:
    """Compare, write benchmarks/results/tad.json and print one line."""
    given = timing.arguments(__doc__, "tad", repeats=7, pairs=K * D // 10)
    found = compare(given.repeats, given.pairs)
    timing.save(given.out, found)
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
