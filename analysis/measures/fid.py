"""FID, rFID and KID, and the same distances on the set's own classifier's features.

"FID" is said only of the official Inception features (clean-fid); with the classifier's features
the names are FD-cls, rFD-cls and KD-cls. Unconditional samples for fid and kid; samples decoded
from the codes of random test images, random x_T, for rfid; images of a method's own sampler,
where it has one, for own_fid and own_fd_cls. Two references: the whole test split, and the
training split (50,000 of it, at random). All need the same preparation, so lossless arrays come in.
"""

import numpy as np

from analysis.frechet import frechet_distance, kernel_distance
from analysis.spec import Known, Row, Spec, Value

REFERENCES = ("test", "train")
LEAST_N = 32


def frechet(samples: np.ndarray, reference: np.ndarray) -> Value:
    """Frechet distance of features (N, D) and (M, D); n counts the samples."""
    return Value(frechet_distance(samples, reference), len(samples),
                 detail={"reference_n": len(reference), "dimensions": samples.shape[1]})


def kernel(samples: np.ndarray, reference: np.ndarray) -> Value:
    """Kernel distance (unbiased MMD^2) of features (N, D) and (M, D); n counts the samples."""
    return Value(kernel_distance(samples, reference), len(samples),
                 detail={"reference_n": len(reference), "dimensions": samples.shape[1]})


def _spec(name: str, title: str, extractor: str, samples: str, compute) -> Spec:
    rows = tuple(Row(split, compute, (f"features.{extractor}.{samples}",
                                      f"features.{extractor}.{split}"), split, extractor)
                 for split in REFERENCES)
    source = ("KID: Binkowski et al. 2018" if compute is kernel else "FID: Heusel et al. 2017")
    return Spec(name=name, title=title, unit="squared feature distance", direction="lower",
                source=f"{source}; clean-fid: Parmar et al. 2022", rows=rows, least_n=LEAST_N)


SPECS = (
    _spec("fid", "FID", "inception", "unconditional", frechet),
    _spec("rfid", "rFID", "inception", "conditional", frechet),
    _spec("own_fid", "Own FID", "inception", "own", frechet),
    _spec("kid", "KID", "inception", "unconditional", kernel),
    _spec("fd_cls", "FD-cls", "classifier", "unconditional", frechet),
    _spec("rfd_cls", "rFD-cls", "classifier", "conditional", frechet),
    _spec("own_fd_cls", "Own FD-cls", "classifier", "own", frechet),
    _spec("kd_cls", "KD-cls", "classifier", "unconditional", kernel),
)


def _same(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    features = rng.normal(size=(400, 8)).astype(np.float32)
    return features, features


def _shifted(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Moved by 3 in one of 8 dimensions: Frechet distance 9."""
    features = rng.normal(size=(400, 8))
    return features + 3 * np.eye(8)[0], features


def _independent(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(500, 8)), rng.normal(size=(500, 8))


def _collapsed(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """All samples equal the reference's mean: what is left is the trace of its covariance."""
    features = rng.normal(size=(400, 8))
    features = (features - features.mean(0)) / features.std(0, ddof=1)
    return np.zeros((400, 8)), features


def _known(name: str, compute) -> tuple[Known, ...]:
    if compute is frechet:
        # two samples of 500 from one Gaussian are biased upwards to about 0.1
        perfect, null, far, collapsed = (-1e-9, 1e-9), (0, 0.2), (8.999, 9.001), (7.999, 8.001)
    else:
        # The unbiased estimate leaves out equal pairs, so equal sets come out just below 0. For
        # Gaussians the moments of x.y give 10.07 when shifted and 3 * 8 / 8^2 when collapsed.
        perfect, null, far, collapsed = (-0.1, 0), (-0.01, 0.01), (9.5, 10.6), (0.3, 0.45)
    return (Known(name, "perfect", _same, *perfect),
            Known(name, "null", _independent, *null),
            Known(name, "hostile", _shifted, *far),
            Known(name, "hostile", _collapsed, *collapsed))


KNOWN = tuple(case for spec in SPECS for case in _known(spec.name, spec.rows[0].compute))
