"""Distances between two sets of features, as clean-fid defines them."""

from contextlib import contextmanager

import numpy as np
from scipy.linalg import eigh


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and unbiased covariance (D, D) in float64 of features (N, D), N >= 2."""
    features = np.asarray(features, dtype=np.float64)
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of two feature sets (N, D) and (M, D), each taken as a Gaussian.

    |mu1 - mu2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)) (Dowson and Landau 1982; FID: Heusel et
    al. 2017), in squared feature units. Never below 0.
    """
    return between(*moments(first), *moments(second))


def between(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """Frechet distance of two Gaussians.

    tr((S1 S2)^(1/2)) is the sum of the root eigenvalues of S1^(1/2) S2 S1^(1/2), which is
    symmetric: real, right for singular covariances, and five times faster than sqrtm(S1 S2).
    """
    values, vectors = eigh(cov1)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(eigh(root @ cov2 @ root, eigvals_only=True), 0, None)).sum()
    offset = mean1 - mean2
    return max(0.0, float(offset @ offset + np.trace(cov1) + np.trace(cov2) - 2 * cross))


def kernel_distance(first: np.ndarray, second: np.ndarray, seed: int = 0) -> float:
    """Kernel inception distance: clean-fid's unbiased MMD^2, cubic kernel, 100 subsets of <= 1000.

    May be slightly negative for equal distributions. clean-fid draws the subsets from numpy's
    global generator: it is seeded here and put back.
    """
    from cleanfid.fid import kernel_distance as of_cleanfid  # imports torch

    with _global_seed(seed):
        return of_cleanfid(np.asarray(first, np.float64), np.asarray(second, np.float64))


@contextmanager
def _global_seed(seed: int):
    state = np.random.get_state()  # clean-fid draws from the global generator
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
