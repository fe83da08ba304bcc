"""Images alone: any folder of images, with or without subfolders, and no labels.

Expected: at least two image files (PNG, JPEG, ...) anywhere below the folder. A tenth of them,
chosen by a hash of their names, is held out, so adding images moves none of the others.
"""

from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from patronus.config import Strict
from patronus.errors import Problem
from patronus.reading import Source, absent, images_below, listing, open_image, readable
from patronus.seeds import seed_for


class Options(Strict):
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.1


def read(folder: Path, options: Options) -> Source:
    """All images below the folder; a Problem if there are fewer than two."""
    if not folder.is_dir():
        raise absent(folder, "a folder of images", "whoever made them")
    found = images_below(folder)
    if len(found) < 2:
        raise Problem(f"{folder}: holds {'one image' if found else 'no images'} "
                      f"({', '.join(readable())}); give a folder of at least two, better of "
                      "thousands")
    table = pd.DataFrame({"id": found, "split": splits(found, options.test_share)})
    paths = [folder / name for name in found]
    return Source(table, {}, lambda i: open_image(paths[i]),
                  {"images": listing(folder, found, "the folder")})


def splits(names: list[str], test_share: float) -> list[str]:
    """test for about a share of the names, train for the rest; never none of either."""
    place = [seed_for("split", name) / 2**63 for name in names]
    low, high = min(place), max(place)
    return ["test" if (at < test_share or at == low) and at != high else "train" for at in place]
