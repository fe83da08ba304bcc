"""codecheck.yml: every figure and table with its command, for whoever checks them by running them.

    python -m paper.codecheck

The convention is https://codecheck.org.uk/spec/config/1.0/. (Version 2.0 wants identifiers of the
authors that we do not have.) The list is the catalogue's, of which the rules are made.
"""

from pathlib import Path

import yaml

from paper import catalogue
from paper.report import caption
from patronus.config import Study, load_study
from patronus.errors import guarded
from patronus.files import save_text
from patronus.sources import ROOT

FILE = ROOT / "codecheck.yml"
HEAD = "# Made by `python -m paper.codecheck`; a test compares the two.\n---\n"


def manifest(study: Study) -> dict:
    """What the file says. The paper is the first reference of CITATION.cff."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["references"][0]
    return {
        "version": "https://codecheck.org.uk/spec/config/1.0/",
        "source": f"Scale {study.about}. `make reproduce` makes all of it.",
        "manifest": [entry(name, study) for name in catalogue.wanted(study)],
        "paper": {"title": cited["title"], "reference": cited["url"],
                  "authors": [{"name": f"{one['given-names']} {one['family-names']}"}
                              for one in cited["authors"]]},
    }


def entry(name: str, study: Study) -> dict:
    """The raw numbers of a table, or the page that holds every sheet of a figure."""
    path = catalogue.script(name)
    kind, suffix = ("Table", "csv") if path.parent.name == "tables" else ("Figure", "html")
    return {"file": str(Path("results", study.scale, "paper", name, f"{name}.{suffix}")),
            "comment": f"{kind} {name}: {caption(path)[0]} (command: snakemake {name})"}


def text(study: Study) -> str:
    return HEAD + yaml.safe_dump(manifest(study), sort_keys=False, allow_unicode=True, width=98)


def main() -> None:
    save_text(FILE, text(load_study()))


if __name__ == "__main__":
    guarded(main)
