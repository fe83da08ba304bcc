"""Coverage: how often do our 95 % intervals hold the truth, and how wide are they?

    python -m benchmarks.coverage

Samples are drawn thousands of times from laws whose truth is known, and every way of making an
interval gets the same ones: the percentile bootstrap, BCa (Efron 1987), Student's t, and ours
(analysis/intervals.py). Laws: values as the measures have them, n of them; accuracies, AUROCs and
rank correlations; scores of D = 30 dimensions in n = 24 images, made of dimensions, images and
the rest as deposited interventions (paper/showcase) have them, asked both questions; and the
effects of these interventions, which the shortcut score compares, each pair of parts a law.
Writes benchmarks/results/coverage.json and the tables of coverage.md.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

from analysis import answers, causal, intervals
from analysis.measures.fidelity import fractions
from benchmarks import timing
from patronus.explain.ranks import rank_correlation
from patronus.files import load_json, save_text
from patronus.sources import ROOT

SHOWCASE = ROOT / "paper" / "showcase" / "interventions"
RESAMPLES = 1000
ENDS = (0.025, 0.975)
N = (10, 24, 100)
D, IMAGES = 30, 24
RARE = 0.15  # share of images that change at all
FEWEST = 20  # images that an intervention asks: rare changes have no interval worth its name below
Ends = tuple[np.ndarray, np.ndarray]

# Laws of single values: a sample of a shape, and the mean.
LAWS: dict[str, tuple[Callable[..., np.ndarray], float]] = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0),
    "70 % at a bound": (lambda rng, shape: np.where(rng.random(shape) < 0.7, 0,
                                                    rng.random(shape)), 0.15),
    "lognormal": (lambda rng, shape: np.exp(rng.normal(size=shape)), np.exp(0.5)),
    "rare change": (lambda rng, shape: np.where(
        rng.random(shape) < RARE, rng.beta(2, 2, shape), rng.normal(0, 0.01, shape)), RARE / 2),
}
SHARES = (0.3, 0.05)


def resampled(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means (R, RESAMPLES) of samples (R, n) drawn anew; all samples share the draws."""
    n = samples.shape[-1]
    return samples @ (rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n).T


def percentile(samples: np.ndarray, rng: np.random.Generator) -> Ends:
    """The bootstrap's quantiles: what stood here before."""
    return tuple(np.quantile(resampled(samples, rng), ENDS, axis=-1))


def bca(samples: np.ndarray, rng: np.random.Generator) -> Ends:
    """As scipy.stats.bootstrap(method="BCa"), for many samples of one size at once."""
    draws, mean = np.sort(resampled(samples, rng)), samples.mean(-1, keepdims=True)
    below = ((draws < mean).mean(-1) + (draws <= mean).mean(-1)) / 2
    shift = stats.norm.ppf(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    bent = np.nan_to_num(stats.skew(samples, axis=-1)) / 6 / samples.shape[-1] ** 0.5
    moved = shift + stats.norm.ppf(ENDS)[:, None]
    at = np.clip(stats.norm.cdf(shift + moved / (1 - bent * moved)) * RESAMPLES, 0, RESAMPLES - 1)
    return tuple(np.take_along_axis(draws, one.astype(int)[:, None], -1)[:, 0] for one in at)


def student(samples: np.ndarray, rng: np.random.Generator) -> Ends:
    """Student's t."""
    n = samples.shape[-1]
    half = stats.t.isf(ENDS[0], n - 1) * samples.std(-1, ddof=1) / n ** 0.5
    return samples.mean(-1) - half, samples.mean(-1) + half


def ours(samples: np.ndarray, rng: np.random.Generator) -> Ends:
    return intervals.mean(samples)[1:]


def ours_of_shares(samples: np.ndarray, rng: np.random.Generator) -> Ends:
    found = [intervals.share(float(one.mean()), one)[1:] for one in samples]
    return tuple(np.array(found).T)


WAYS = {"percentile": percentile, "BCa": bca, "t": student, "ours": ours}


def held(ends: Ends, truth: np.ndarray | float) -> dict[str, float]:
    """Share of intervals (R,) that hold the truth, and their median width."""
    low, high = ends
    inside = (low <= truth + 1e-12) & (truth - 1e-12 <= high)
    return {"coverage": float(np.mean(inside)), "width": float(np.median(high - low))}


def single(repeats: int, n: int) -> list[dict]:
    """Every way for every law of single values."""
    rows = []
    for name, (draw, truth) in LAWS.items():
        rng = np.random.default_rng(n)
        samples = draw(rng, (repeats, n))
        rows.append({"law": name, "n": n} | {way: held(make(samples, rng), truth)
                                             for way, make in WAYS.items()})
    for truth in SHARES:
        rng = np.random.default_rng(n)
        samples = (rng.random((repeats, n)) < truth).astype(float)
        rows.append({"law": f"share of images, {truth:.0%}".replace("%", " %"), "n": n} | {
            way: held(make(samples, rng), truth)
            for way, make in (WAYS | {"ours": ours_of_shares}).items()})
    return rows


def ranked(repeats: int, n: int) -> list[dict]:
    """AUROC of n images of which two fifths are positive, and Spearman's rho of n dimensions."""
    rng, ones = np.random.default_rng(n), round(0.4 * n)
    truth, found = np.arange(n) < ones, []
    for _ in range(repeats):
        scores = rng.normal(size=n) + 1.2 * truth
        errors = intervals.auroc_errors(scores, truth)
        value = (stats.rankdata(scores)[truth].sum() / ones - (ones + 1) / 2) / (n - ones)
        found.append(intervals.share(value, value + n * errors)[1:])
    rows = [{"law": "AUROC", "n": n,
             "ours": held(np.array(found).T, stats.norm.cdf(1.2 / 2 ** 0.5))}]
    for rho in (0, 0.6):
        pairs = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], (repeats, n))
        ends = [tuple(rank_correlation(*pair.T).values())[1:] for pair in pairs]
        rows.append({"law": f"rank correlation {rho:g}", "n": n, "ours": held(
            np.array(ends).T, 6 / np.pi * np.arcsin(rho / 2))})
    return rows


def deposited() -> dict[str, np.ndarray]:
    """Scores (D, n) of the showcase's interventions, by measure; the best dimensions' successes."""
    with np.load(SHOWCASE / "interventions.npz") as held_:
        asked = dict(held_)
    parts = load_json(SHOWCASE / "interventions.json")["parts"]
    negated = np.array([part["negated"] for part in parts])
    kinds, dims, sigma = asked["kinds"].tolist(), asked["dims"], asked["sigma"]
    first, grid = kinds.index("max"), [kinds.index(name) for name in answers.GRID]
    made = answers.made_seen(*(causal.as_parts(part, negated) for part in (
        asked["labels"], asked["probabilities_recon"][0], asked["probabilities"][first])),
        asked["best_at"])
    return {"locality": asked["share"][first] / asked["area"][first],
            "pointing": asked["hit"][first],
            "fidelity": answers.obeyed(asked["levels"][grid], asked["codes"][grid], dims, sigma),
            "realised": fractions(
                asked["levels"][first, dims][:, None], asked["codes_recon"][0][:, dims].T,
                answers.own(asked["codes"][first], dims), answers.spread(sigma[dims])[:, None]),
            "selectivity": answers.shares(asked["codes"][first], asked["codes_recon"][0], sigma,
                                          dims),
            "causal_success": made, "effects": causal.effects(*(
                causal.as_parts(part, negated) for part in (
                    asked["probabilities_recon"][0].astype(float),
                    asked["probabilities"][first].astype(float))), asked["raised_at"])}


class Components:
    """A law of scores (D, n) like these: dimensions, images and the rest, drawn from theirs."""

    def __init__(self, scores: np.ndarray):
        known = scores[(~np.isnan(scores)).any(1)]
        scores = np.where(np.isnan(known), intervals.by_dimension(known)[:, None], known)
        self.mean, (d, n) = scores.mean(), scores.shape
        dims, images = scores.mean(1) - self.mean, scores.mean(0) - self.mean
        rest = scores - self.mean - dims[:, None] - images
        noise = np.square(rest).sum() / ((d - 1) * (n - 1))
        self.rest = scaled(rest.ravel(), noise)
        self.dims = scaled(dims, dims.var(ddof=1) - noise / n)
        self.images = scaled(images, images.var(ddof=1) - noise / d)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Scores (D, IMAGES), and the mean of these dimensions over all images."""
        dims = self.mean + rng.choice(self.dims, D)
        rest = rng.choice(self.rest, (D, IMAGES))
        return dims[:, None] + rng.choice(self.images, IMAGES) + rest, dims.mean()


def scaled(effects: np.ndarray, variance: float) -> np.ndarray:
    """Effects that have this variance, at least 0: not that of the noise in them."""
    return effects * np.sqrt(max(variance, 0) / max(effects.var(), 1e-30))


def crossed(repeats: int, scores: dict[str, np.ndarray]) -> list[dict]:
    """Both questions, by ours and by the percentile bootstrap over dimensions, of each measure."""
    rows = []
    for name, given in scores.items():
        law, rng = Components(given), np.random.default_rng(1)
        drawn = [law.draw(rng) for _ in range(repeats)]
        these, samples = np.array([own for _, own in drawn]), [one for one, _ in drawn]
        old = percentile(np.stack([one.mean(1) for one in samples]), rng)
        images, new = (np.array([make(one)[1:] for one in samples]).T
                       for make in (intervals.over_images, intervals.crossed))
        rows.append({"law": name, "D": D, "n": IMAGES, "spread": {
            key: float(part.std()) for key, part in (
                ("dimensions", law.dims), ("images", law.images), ("rest", law.rest))},
            "these dimensions": {"percentile over dimensions": held(old, these),
                                 "ours, over images": held(images, these)},
            "new dimensions and images": {"percentile over dimensions": held(old, law.mean),
                                          "ours": held(new, law.mean)}})
    return rows


def effects(repeats: int, n: int, given: np.ndarray) -> dict:
    """Every way for the effects (K, K, images) of all pairs, each smoothed a little: a law each."""
    laws = given[~np.eye(len(given), dtype=bool)]
    laws, rng = laws[~np.isnan(laws).any(-1)], np.random.default_rng(n)
    found: dict[str, list[dict]] = {way: [] for way in WAYS}
    for law in laws:
        samples = rng.choice(law, (repeats, n)) + rng.normal(0, 0.2 * law.std(), (repeats, n))
        for way, make in WAYS.items():
            found[way].append(held(make(samples, rng), law.mean()))
    return {"n": n, "pairs": len(laws)} | {way: {
        "coverage": float(np.mean([one["coverage"] for one in rows])),
        "worst": float(min(one["coverage"] for one in rows)),
        "width": float(np.mean([one["width"] for one in rows]))} for way, rows in found.items()}


def measured(repeats: int, n: tuple[int, ...] = N) -> dict:
    """All of it, from `repeats` samples of each law."""
    scores = deposited()
    shown = scores.pop("effects")
    return {"repeats": repeats, "single": [row for one in n for row in single(repeats, one)],
            "ranked": [row for one in n for row in ranked(repeats, one)],
            "crossed": crossed(repeats, scores),
            "effects": [effects(max(repeats // 10, 50), one, shown) for one in n]}


def cell(found: dict[str, float]) -> str:
    worst = f", worst {found['worst']:.2f}" if "worst" in found else ""
    return f"{found['coverage']:.3f}{worst} ({found['width']:.2f})"


def tables(found: dict) -> str:
    """The results as Markdown: coverage of what is called 95 %, and the median width."""
    head = f"| {{}} | n | {' | '.join(WAYS)} |\n|{'---|' * 6}"
    lines = [f"Coverage (median width) of intervals called 95 %, {found['repeats']:,} samples "
             "each.", "", head.format("values")]
    lines += [f"| {row['law']} | {row['n']} | {' | '.join(cell(row[way]) for way in WAYS)} |"
              for row in found["single"]]
    lines += ["", head.format("effects of the showcase, mean of its pairs")]
    lines += [f"| {row['pairs']} pairs | {row['n']} | "
              f"{' | '.join(cell(row[way]) for way in WAYS)} |" for row in found["effects"]]
    lines += ["", "| ranks | n | ours |", "|---|---|---|"]
    lines += [f"| {row['law']} | {row['n']} | {cell(row['ours'])} |" for row in found["ranked"]]
    lines += ["", f"| D = {D}, n = {IMAGES} | these dimensions: percentile over dimensions | ours, "
              "over images | new dimensions and images: percentile over dimensions | ours |",
              "|---|---|---|---|---|"]
    lines += [f"| {row['law']} | " + " | ".join(cell(one) for question in (
        "these dimensions", "new dimensions and images") for one in row[question].values()) + " |"
        for row in found["crossed"]]
    return "\n".join([*lines, ""])


def main() -> None:
    """Simulate, write benchmarks/results/coverage.json and .md and print one line."""
    given = timing.arguments(__doc__, "coverage", repeats=4000)
    found = measured(given.repeats)
    timing.save(given.out, found)
    save_text(given.out.with_suffix(".md"), tables(found))
    least = {way: min(row[way]["coverage"] for row in found["single"] if row["n"] >= FEWEST)
             for way in WAYS}
    print(f"coverage at n >= {FEWEST}, least of {len(LAWS) + len(SHARES)} laws: " +
          ", ".join(f"{way} {value:.3f}" for way, value in least.items()))


if __name__ == "__main__":
    main()
