"""Stage "explanations": what each code dimension draws, where it fires, when it appears, and
images edited through their code.

Writes what.npz, where.npz, when.npz, edits.npz and what.json; a method that cannot be explained
so writes none.json with the reason.
"""

import numpy as np

from patronus import checkpoint
from patronus.errors import NotApplicable
from patronus.explain.edit import edits
from patronus.explain.what import inverted, nearest_patches, visualise
from patronus.explain.when import emergence
from patronus.explain.where import fires
from patronus.files import load_json, save_json, save_npz
from patronus.method import Method
from patronus.prepared import Prepared
from patronus.rows import shuffled_rows
from patronus.stage import Job, device, run

NEEDED = ("encode", "decode", "invert", "locate")


def work(job: Job) -> dict:
    """Explain a trained model: what its code dimensions draw, where they fire, and when."""
    model = checkpoint.load(job.folder("checkpoints"), device(job))
    data = Prepared.open(job.folder("data"))
    try:
        arrays = explain(job, model, data)
    except NotApplicable as reason:
        save_json(job.out / "none.json", {"reason": str(reason)})
        return {}
    for name, found in arrays.items():
        save_npz(job.out / f"{name}.npz", **found)
    save_json(job.out / "what.json", about(job, data))
    return {"dims": len(arrays["what"]["order"]), "images": len(arrays["what"]["rows"])}


def explain(job: Job, model: Method, data: Prepared) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of each file, by its name; raises NotApplicable where the method cannot."""
    for ability in NEEDED:
        if not model.able(ability):  # known before hours are spent
            raise model.cannot(ability)
    settings, dataset = job.cell.explain, job.cell.dataset
    rows = shuffled_rows(len(data.images("test")), settings.images, "explain", dataset)
    images = np.array(data.images("test")[rows])
    codes = np.load(job.folder("codes") / "test.npy")
    given = inverted(model, images, settings)
    what = visualise(model, images, codes, settings, given)
    dims = what["order"]
    near = nearest_patches(model, data.images("train"), dims, settings)
    return {"what": {"rows": rows, **what, **near},
            "where": {"dims": dims, "images": images, **fires(model, given.x0, dims, settings)},
            "when": emergence(model, given, what, settings),
            "edits": edits(model, given, what, rows, dataset, settings)}


def about(job: Job, data: Prepared) -> dict:
    """What a caption needs to know."""
    cell = job.cell
    trained = load_json(job.folder("checkpoints") / "record.json")["found"]
    return {"dataset": cell.dataset, "title": data.meta["title"], "method": cell.method,
            "method_title": cell.title, "recipe": cell.recipe, "seed": cell.seed,
            "generated": cell.generated, "split": "test", "scale": cell.scale,
            "steps": trained["steps"], "images_seen": trained["images_seen"],
            "ddim_steps": cell.explain.steps}


if __name__ == "__main__":
    run("explanations", "patronus.explain.__main__", work,
        inputs=("data", "checkpoints", "codes"))
