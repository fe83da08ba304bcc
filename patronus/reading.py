"""What the readers in patronus/data/ share: `Source`, safe opening of images, checks of raw files.

A reader is one file there, named after the layout it reads, with

    class Options(Strict)                          what `options:` of a data set may say
    def read(folder, options) -> Source            the set as it lies on disk
    WORLD = {...}; def write(folder, pictures)     where generated stand-ins exist: the same layout

and a docstring that says where the set is to be had and which files are expected. No torch here.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps
from pydantic import ValidationError

from patronus.config import Strict
from patronus.errors import Problem
from patronus.files import load_json, sha256
from patronus.raw import MANIFEST

IMAGE_SUFFIXES = (".apng", ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg",
                  ".jp2", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp")
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1")  # bytes 8 to 12 of a file
HEIF_CURE = "convert it to PNG or JPEG, or `pip install pillow-heif`"
BESIDE = (".csv", ".json", ".md", ".pdf", ".txt", ".yaml", ".yml")  # no images by anyone's account
BINARY = {"kind": "binary"}


def categorical(names: Iterable[str]) -> dict:
    """Description of a label column that holds codes 0..K-1 of K `names`."""
    return {"kind": "categorical", "names": list(map(str, names))}


@dataclass(frozen=True)
class Source:
    """A data set as it lies on disk.

    `table` has the columns id (str, unique), split (train, valid or test) and the columns of
    `labels` (numbers; NaN = unknown). `load(i)` gives the image of row i of the table, as a PIL
    image or a uint8 array (H, W) or (H, W, 3); it may be called from several threads, in any
    order. `inputs` maps files, relative to the set's folder, to digests.
    """

    table: pd.DataFrame
    labels: dict[str, dict]
    load: Callable[[int], Image.Image | np.ndarray]
    inputs: dict[str, str]


def arrays_source(images: dict[str, np.ndarray], labels: dict[str, np.ndarray],
                  classes: tuple[str, ...], inputs: dict[str, str]) -> Source:
    """A source over arrays (N, H, W[, 3]) held in memory, by split, with one label column, class.

    Raises Problem if there are not as many labels as images.
    """
    for split, values in labels.items():
        if len(values) != len(images[split]):
            raise Problem(f"{', '.join(inputs)}: {len(images[split])} images and {len(values)} "
                          f"labels for the split '{split}'; fetch the files again")
    rows = [(numbered_id(split, i), split, int(label))
            for split, values in labels.items() for i, label in enumerate(values)]
    flat = [image for split in labels for image in images[split]]
    return Source(pd.DataFrame(rows, columns=["id", "split", "class"]),
                  {"class": categorical(classes)}, flat.__getitem__, inputs)


def numbered_id(split: str, number: int) -> str:
    """The id of an image that has no file of its own."""
    return f"{split}-{number:05d}"


@dataclass(frozen=True)
class Picture:
    """One generated image on its way into a layout: what `write` receives, in order."""

    split: str  # train or test
    seed: int
    index: int
    labels: Mapping  # the world's row
    image: np.ndarray  # uint8 (H, W) or (H, W, 3)
    parts: np.ndarray  # uint32 (H, W), bit k: the world's part k


def checked_options(options: type[Strict], values: dict, name: str) -> Strict:
    """The reader's options, or a Problem that lists every wrong one."""
    try:
        return options.model_validate(values)
    except ValidationError as error:
        what = "; ".join(f"options.{'.'.join(map(str, e['loc']))}: "
                         + ("unknown option" if e["type"] == "extra_forbidden" else e["msg"])
                         for e in error.errors())
        raise Problem(f"datasets/{name}.yaml: {what}; known are "
                      f"{', '.join(options.model_fields) or 'none'}") from None


def absent(folder: Path, expected: str, where: str) -> Problem:
    """The Problem of a set that is not there."""
    return Problem(f"{folder}: does not hold the data set; expected there: {expected}; to be had "
                   f"from {where} (another data root: --root or PATRONUS_DATA)")


@cache
def readable() -> tuple[str, ...]:
    """Suffixes of images that can be read here: HEIC's too where pillow-heif is installed."""
    Image.init()
    try:
        from pillow_heif import register_heif_opener  # an extra: pip install 'patronus-suite[heic]'
    except ImportError:
        more = ()
    else:
        register_heif_opener()
        more = HEIF_SUFFIXES
    known = Image.registered_extensions()
    return tuple(one for one in IMAGE_SUFFIXES if known.get(one) in Image.OPEN) + more


def open_image(path: Path) -> Image.Image:
    """The whole decoded image, upright; a Problem names a file that cannot be decoded."""
    readable()  # registers what may be installed beside Pillow
    try:
        if path.exists() and not path.is_file():
            raise Problem(f"{path}: is no file; name an image file")
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise Problem(f"{path}: is missing; restore it or take it out of the table") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        why = str(error).removesuffix(f" {str(path)!r}")
        if is_heif(path):
            raise Problem(f"{path}: is a HEIC image, whatever its name says; {HEIF_CURE}") \
                from error
        raise Problem(f"{path}: cannot be decoded ({why}); fetch this file again") from error


def is_heif(path: Path) -> bool:
    """Whether a file's first bytes are those of a HEIC or HEIF image."""
    try:
        with path.open("rb") as handle:
            head = handle.read(12)
    except OSError:
        return False
    return head[4:8] == b"ftyp" and head[8:] in HEIF_BRANDS


def read_table(path: Path, columns: Iterable[str] = (), **options: object) -> pd.DataFrame:
    """A CSV file as a table (options as in pandas.read_csv) that has at least these columns.

    An empty cell alone is unknown: None, NA, null and nan are texts like any other.
    """
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values=[""], encoding="utf-8-sig",
                            **options)
    except FileNotFoundError:
        raise Problem(f"{path}: is missing; restore it or name another in the options") from None
    except (ValueError, UnicodeError) as error:  # pandas' own errors are ValueErrors
        why = " ".join(str(error).split())
        raise Problem(f"{path}: is not a readable table ({why}); fetch or mend it") from error
    lacking = [name for name in columns if name not in table.columns]
    if lacking:
        raise Problem(f"{path}: has no column {', '.join(map(repr, lacking))}; it has "
                      f"{', '.join(map(str, table.columns))}")
    return table


def codes(column: pd.Series) -> tuple[pd.Series, dict]:
    """Codes 0..K-1 (NaN = unknown) and description of a column; names are sorted.

    Numbers count as numbers, also inside texts: 3-9 comes before 10-19. Texts that differ stay
    apart, also where they are one number: 01 and 1.
    """
    known = column.dropna()
    numbers = pd.to_numeric(known, errors="coerce")
    whole = bool((numbers % 1 == 0).all()) and numbers.nunique() == known.nunique()
    values = numbers.astype(int) if whole else known.astype(str)
    names = sorted(values.unique(), key=None if whole else _natural)
    return values.map(names.index).reindex(column.index).astype(float), categorical(names)


def generated_counts(folder: Path) -> dict[str, int]:
    """Images in each split of a generated stand-in; empty for official data."""
    return from_manifest(folder, "counts") if (folder / MANIFEST).is_file() else {}


def from_manifest(folder: Path, key: str) -> dict:
    """One entry of a generated stand-in's manifest."""
    about = load_json(folder / MANIFEST)
    if not isinstance(about, dict) or key not in about:
        raise Problem(f"{folder / MANIFEST}: has no {key!r}; run patronus.generate again")
    return about[key]


def listing(folder: Path, names: Iterable[str], table: str) -> str:
    """Digest of names and sizes of the files that `table` lists; a Problem if any is absent.

    Contents are left out, since reading a large set twice would double the time of preparation.
    """
    digest, lacking = hashlib.sha256(), []
    for name in names:
        try:
            digest.update(f"{name}\0{(folder / name).stat().st_size}\n".encode())
        except OSError:
            lacking.append(name)
    if lacking:
        raise Problem(f"{folder / lacking[0]}: is listed in {table} but absent ({len(lacking)} "
                      "such files in all); unpack the images again or mend the table")
    return digest.hexdigest()


def refuse_unlisted(folder: Path, found: Iterable[str], names: Iterable[str], table: str) -> None:
    """A Problem if an image in the folder has no row in the table."""
    extra = sorted(set(found) - set(names))
    if extra:
        raise Problem(f"{folder / extra[0]}: is not listed in {table} ({len(extra)} such files in "
                      "all); remove them or complete the table")


def images_below(folder: Path) -> list[str]:
    """Image files below a folder, relative to it, in name order; see `sorted_files`.

    Prints a line with what is used and what is left out, where anything is that may be an image.
    """
    found, others = sorted_files(folder)
    if line := left_out(folder, found, others):
        print(f"note: {line}")
    return found


def left_out(folder: Path, found: Iterable[str], others: Iterable[str]) -> str:
    """How many images of a folder are used, and how many other files are not, by kind."""
    kinds = Counter(Path(name).suffix.lower() or "no suffix" for name in others
                    if Path(name).suffix.lower() not in BESIDE)
    if not kinds:
        return ""
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    cure = f"; of HEIC, {HEIF_CURE}" if set(kinds) & set(HEIF_SUFFIXES) else ""
    return (f"{folder}: {len(list(found)):,} images are used, and {sum(kinds.values()):,} other "
            f"files are left out ({listed}), since they are no image that can be read here{cure}")


def sorted_files(folder: Path) -> tuple[list[str], list[str]]:
    """Image files below a folder, and all others, relative to it, in name order.

    Hidden ones are left out, and links are followed. A file without a suffix is an image if its
    content is. Raises Problem for a link that leads back to a folder above it, and for a name that
    is not UTF-8.
    """
    found, others = [], []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[0] != "."]
        for link in (Path(place, name) for name in folders if Path(place, name).is_symlink()):
            if Path(place).resolve().is_relative_to(link.resolve()):
                raise Problem(f"{link}: is a link to a folder above it, without end; remove it")
        base = os.path.relpath(place, folder)
        for name in files:
            path = os.path.normpath(os.path.join(base, name))
            if not name.isprintable() and not _utf8(path):
                raise Problem(f"{folder}/{path.encode('utf-8', 'replace').decode()}: its name is "
                              "not UTF-8; rename it")
            if name[0] != ".":
                (found if _is_image(Path(place, name)) else others).append(path)
    return sorted(found), sorted(others)


def _utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_image(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix or not path.is_file():
        return suffix in readable() and path.is_file()
    try:
        with Image.open(path) as image:
            return Image.MIME.get(image.format, "").startswith("image/")
    except (OSError, ValueError, SyntaxError):
        return False


def verified(folder: Path, official_md5: dict[str, str], where: str) -> dict[str, str]:
    """Digests of a set's files, each equal to the official MD5 sum (or the manifest's SHA-256).

    Raises Problem that names the first file that differs.
    """
    generated = (folder / MANIFEST).is_file()
    wanted = from_manifest(folder, "files") if generated else official_md5
    digests = {}
    for name in official_md5:
        digests[name] = sha256(folder / name) if generated else _md5(folder / name)
        if digests[name] != wanted.get(name):
            cure = "run patronus.generate again" if generated else f"fetch it again from {where}"
            raise Problem(f"{folder / name}: wrong checksum ({digests[name]} instead of "
                          f"{wanted.get(name)}); delete it and {cure}")
    return digests


def save_image(path: Path, image: np.ndarray, **options: object) -> None:
    """Write a uint8 array (H, W) or (H, W, 3) in the format of the name's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def parts_file(folder: Path, identity: str) -> Path:
    """Where the part masks of a generated test image lie."""
    return folder / "parts" / (identity.replace("/", "-") + ".png")


def save_parts(folder: Path, identity: str, parts: np.ndarray) -> None:
    """Keep the masks uint32 (H, W) of a test image; the four bytes travel as RGBA."""
    levels = np.ascontiguousarray(parts, "<u4").view(np.uint8).reshape(*parts.shape, 4)
    save_image(parts_file(folder, identity), levels)


def load_parts(folder: Path, identity: str) -> np.ndarray:
    """The masks uint32 (H, W) that `save_parts` kept."""
    levels = np.asarray(open_image(parts_file(folder, identity)))
    return np.ascontiguousarray(levels).view("<u4")[..., 0]


def _natural(name: object) -> list:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(name))]


def _md5(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest()
