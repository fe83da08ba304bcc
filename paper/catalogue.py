"""Which figures and tables there are, and what each reads; nothing is run here.

The folder is the registry: every `figures/<id>.py` is a figure, every `tables/<id>.py` a table.
A script says what it reads in a literal `NEEDS` (see README.md), so that the Snakefile can depend
on exactly those files.
"""

import ast
import difflib
import itertools
import os
import re
from functools import cache
from pathlib import Path

from patronus.config import Study, stage_folder
from patronus.errors import NotApplicable, Problem
from patronus.sources import ROOT, closure

FOLDERS = ("figures", "tables")
AXES = ("dataset", "method", "seed")
NEEDS = re.compile(r"^NEEDS = (.+?)^(?![\s})\]])", re.MULTILINE | re.DOTALL)  # to its last bracket


@cache
def ids() -> dict[str, Path]:
    """Every figure and table there is: id to script. Raises Problem for an id given twice."""
    here, found = Path(__file__).parent, {}
    for path in (path for folder in FOLDERS for path in sorted((here / folder).glob("[a-z]*.py"))):
        if path.stem in found:
            raise Problem(f"{path}: has the id of {found[path.stem]}; rename one of the two")
        found[path.stem] = path
    return found


def script(name: str) -> Path:
    """The script of an id. Raises Problem that lists the known ids."""
    known = ids()
    if name not in known:
        raise Problem(f"{name}: is no figure or table; known are {', '.join(known)}")
    return known[name]


def title(name: str) -> str:
    """The first line of a script's caption."""
    return script(name).read_text(encoding="utf-8").splitlines()[1].strip("# ")


def wanted(study: Study) -> list[str]:
    """The ids a study makes: those it names, else all whose inputs the study has."""
    if study.figures is not None:
        return [script(name).stem for name in study.figures]
    return [name for name in ids() if applies(name, study)]


def refuse(arguments: list[str], study: Study, rules: list[str]) -> None:
    """Raises Problem for a target on a command line that this study cannot make, with the reason.

    `arguments` are Snakemake's own, `rules` the names of all rules. What may be the value of an
    option, and files, are left to Snakemake.
    """
    for before, word in itertools.pairwise(["", *arguments]):
        option = before.startswith("-") and before != "--"
        if option or word in rules or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", word):
            continue
        if word in ids():
            raise Problem(_why_not(word, study))
        near = difflib.get_close_matches(word, [*ids(), *rules], 1)
        cure = f"the nearest is {near[0]}" if near else f"known are {', '.join(ids())}"
        raise Problem(f"{word}: is no figure, table or rule; {cure}")


def _why_not(name: str, study: Study) -> str:
    """Why a study does not make a figure or table."""
    try:
        needs(name, study)
    except NotApplicable as reason:
        return f"{reason}; so scale '{study.scale}' as restricted here makes no {name}"
    return (f"scales/{study.scale}.yaml: `figures` does not list {name}; it lists "
            f"{', '.join(study.figures or [])}")


def applies(name: str, study: Study) -> bool:
    try:
        needs(name, study)
    except NotApplicable:
        return False
    return True


def needs(name: str, study: Study) -> list[Path]:
    """The files a figure or table reads, relative to the working folder.

    Raises NotApplicable when the study has no data set, method, seed or kind of intervention that
    the script asks for.
    """
    return [path for files in inputs(name, study).values() for path in files]


def inputs(name: str, study: Study) -> dict[str, list[Path]]:
    """The same files under the names that the script gives them."""
    return {key: _files(name, need, study) for key, need in declared(script(name)).items()}


@cache
def declared(path: Path) -> dict[str, dict]:
    """The literal NEEDS of a script, read without running it."""
    found = NEEDS.search(path.read_text(encoding="utf-8"))
    if not found:
        raise Problem(f"{path}: has no NEEDS; see paper/README.md")
    try:
        return ast.literal_eval(found[1])
    except (ValueError, SyntaxError) as error:
        line = path.read_text(encoding="utf-8")[:found.start()].count("\n") + 1
        raise Problem(f"{path.parent.name}/{path.name}, line {line}: NEEDS must be a literal, "
                      "which is read without running the script; write it out without names, calls "
                      "or sums") from error


def _files(name: str, need: dict, study: Study) -> list[Path]:
    have = {"dataset": list(study.datasets), "method": study.methods, "seed": study.seeds}
    axes = [axis for axis in have if axis in need]
    picked = [_pick(name, axis, need[axis], _have(axis, need, have, study)) for axis in axes]
    stage = need["stage"]
    known = {tuple(key[AXES.index(axis)] for axis in axes) for key in study.cells}
    chosen = [choice for choice in itertools.product(*picked) if choice in known]
    _intervened(name, need, chosen, study)
    folders = [stage_folder(stage, study.scale, *choice) for choice in chosen] if axes \
        else [Path("results", study.scale, stage)]
    return [folder / file for folder in folders for file in need["files"]]


def _have(axis: str, need: dict, have: dict[str, list], study: Study) -> list:
    """What the study has on an axis. Sets of the shortcut diagnosis must be asked for."""
    if axis != "dataset":
        return have[axis]
    tied = need[axis] == "tied"
    return [d for d in have[axis] if bool(study.datasets[d].shortcut) == tied or d in need[axis]]


def _pick(name: str, axis: str, asked: str | list, have: list) -> list:
    """All that the study has, or the first of the asked ones: "*" is any, "-x" any but x."""
    if asked == "all" or asked == "tied" and have:
        return have
    have = [one for one in have if f"-{one}" not in asked]
    found = [one for one in asked if one in have] + (have if "*" in asked else [])
    if not found:
        listed = asked if isinstance(asked, str) else ", ".join(map(str, asked))
        raise NotApplicable(f"{name}: the study has no {axis} out of {listed}")
    return found[:1]


def _intervened(name: str, need: dict, chosen: list[tuple], study: Study) -> None:
    """Raises NotApplicable where a cell is not asked for an intervention of the `kinds` needed."""
    for kind, choice in itertools.product(need.get("kinds", ()), chosen):
        if kind not in study.cell(*choice).intervene.kinds:
            raise NotApplicable(f"{name}: the scale asks for no intervention of kind '{kind}'")


def upstream(name: str, study: Study) -> list[Path]:
    """What the Snakefile waits for: records of the stages read, and tables of the whole study."""
    found = {path: need for key, need in declared(script(name)).items()
             for path in inputs(name, study)[key]}
    return list(dict.fromkeys(path if need.keys().isdisjoint(AXES) else path.parent / "record.json"
                              for path, need in found.items()))


def module(path: Path) -> str:
    """The dotted name of a script."""
    return f"paper.{path.parent.name}.{path.stem}"


def sources(name: str) -> list[Path]:
    """The script, what it imports of ours, and the published numbers beside it."""
    found = closure("paper.render", module(script(name)))
    kept = [path for path in found if path.is_relative_to(ROOT / "paper")]
    return [Path(os.path.relpath(path)) for path in [*kept, ROOT / "paper" / "published.yaml"]]
