"""What a job asks of a cluster: minutes and megabytes, by stage and by the size of its data set.

Limits rather than estimates: about three times what is expected. A training that runs into its
limit goes on from its last saved state when it is started again. No torch here.
"""

import math

from patronus.config import Cell, Study

PER_SECOND = {True: 3e6, False: 12e3}  # pixels of the published network: with a GPU, on one core
LONGEST = 48 * 60  # minutes: what most clusters allow
START = 10  # minutes for starting, reading and writing
VALIDATED = 13 * 5, 20  # versions times kinds, and images at most (analysis/validation.py)


def minutes(stage: str, cell: Cell, study: Study) -> int:
    """Run-time limit of one job."""
    pixels = cell.shape[1] * cell.shape[2]
    work = passes(stage, cell, study) * pixels / PER_SECOND[cell.gpus > 0]
    return min(LONGEST, START + math.ceil(3 * work / 60))


def passes(stage: str, cell: Cell, study: Study) -> float:
    """Images through the network: one of a training step counts as one, others as a third."""
    images = training_images(cell, study)
    if stage == "checkpoints":
        return cell.train.epochs * images
    if stage == "samples":
        return 3 * cell.sample.count * cell.sample.steps / 3
    if stage == "explanations":
        e = cell.explain
        return min(e.dims, cell.code_dim) * e.images * e.steps / 3
    if stage == "interventions":
        i = cell.intervene
        return len(i.kinds) * min(i.dims, cell.code_dim) * i.images * i.steps / 3
    if stage == "validation":
        i, (asked, most) = cell.intervene, VALIDATED
        return asked * min(i.dims, cell.code_dim) * min(i.images, most) * i.steps / 3
    if stage == "denoising":
        return 2 * cell.denoising.images * cell.denoising.times / 3
    if stage == "references":
        return cell.classifier.epochs * images / 10  # a much smaller network
    return images / 3  # data, codes, measures: once over all


def megabytes(cell: Cell, study: Study) -> int:
    """Memory limit of one job: the libraries, a network, and the training images three times."""
    bytes_ = 3 * training_images(cell, study) * math.prod(cell.shape)
    return 6000 + math.ceil(bytes_ / 2**20)


def training_images(cell: Cell, study: Study) -> int:
    """Of the stand-in, or of the official set."""
    return study.generated.train if cell.generated else study.datasets[cell.dataset].images
