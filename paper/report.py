"""Every figure and table of a study on one page: picture, caption, script, record, run times.

    python -m paper.report --scale smoke

Snakemake's own report shows a rule's shell line and not the script that draws, takes run times
from .snakemake/, which no clone has, and is blank without JavaScript. This page is made from the
catalogue that the rules are made from, and from the records, which travel with the results. It
holds its pictures and loads nothing. No torch here.
"""

import argparse
import base64
import json
import re
from html import escape
from pathlib import Path

import jupytext
from nbconvert.filters import markdown2html

from paper import catalogue
from patronus.config import Study, load_study
from patronus.errors import Problem, guarded
from patronus.files import load_json, save_text
from patronus.record import commit_of

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 0 auto;
       padding: 1rem }
h2 { margin-top: 3rem; border-top: 1px solid #ccc; padding-top: 1rem }
img { max-width: 100%; height: auto }
nav ul { columns: 2; padding-left: 1.2rem }
@media (max-width: 40rem) { nav ul { columns: 1 } }
nav li { break-inside: avoid }
pre { overflow: auto; max-height: 32rem; background: #f6f6f6; padding: .7rem;
      font: 12px/1.4 ui-monospace, monospace }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }
th, td { border-bottom: 1px solid #ddd; padding: .2rem .6rem; text-align: left;
         vertical-align: top }
.picture:target { display: block; overflow: auto; width: 96vw; margin-left: calc(50% - 48vw) }
.picture:target img { max-width: none }
.back { display: none }
.picture:target + .back { display: block }
summary { cursor: pointer; color: #0550ae }
.small { font-size: 14px; color: #555 }
tr:target, section:target h2 { background: #fff4c2 }
"""
EMPTY = re.compile(r"\[ \]")  # brackets round nothing, which Markdown takes for an empty checkbox
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing from outside


def build(study: Study) -> str:
    """The page as HTML. Raises Problem for a figure or table that has not been made."""
    names = catalogue.wanted(study)
    records = {name: _record(name, study) for name in names}
    jobs = parents(records.values())
    sections = "\n".join(section(name, study, records[name]) for name in names)
    return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
            f'<meta name="viewport" content="width=device-width">\n'
            f"<title>Patronus, scale {escape(study.scale)}</title>\n<style>{STYLE}</style>\n"
            f"</head>\n<body>\n{_head(study, records, jobs)}\n{sections}\n{_jobs(jobs)}\n"
            "</body>\n</html>\n")


def section(name: str, study: Study, record: dict) -> str:
    """One figure or table with all that belongs to it."""
    path = catalogue.script(name)
    title, text = caption(path)
    own, whole = record["seconds"], parents([record])
    return (f'<section id="{name}">\n<h2>{escape(name)}: {escape(title)}</h2>\n'
            f"{_shown(name, study)}\n{markdown2html(text)}\n"
            f'<p class="small">Made by <code>snakemake {escape(name)}</code> in {_time(own)}'
            f"{_with_parents(own, whole)}, {commit_of(record)}. Reads {_inputs(record)}.</p>\n"
            f"{_folded(f'Script: paper/{path.parent.name}/{path.name}', path.read_text('utf-8'))}"
            f"{_folded('Record', json.dumps(record, indent=1))}</section>")


def caption(path: Path) -> tuple[str, str]:
    """Title and caption (Markdown) of a script: its first cell."""
    title, _, text = jupytext.read(path, fmt="py:percent").cells[0].source.partition("\n")
    return title.strip("# "), text.strip()


def parents(records) -> dict[Path, dict]:
    """Records of every stage that some of `records` stand on, by folder, first ones first."""
    found: dict[Path, dict] = {}

    def visit(record: dict) -> None:
        for folder in _folders(record):
            if folder not in found:
                found[folder] = load_json(folder / "record.json")
                visit(found[folder])

    for record in records:
        visit(record)
    return dict(sorted(found.items()))


def _folders(record: dict) -> list[Path]:
    """Folders that a record's inputs lie in, as far as those have a record of their own."""
    places = [Path(path) if Path(path).is_dir() else Path(path).parent
              for path in record["inputs"]]
    return [place for place in dict.fromkeys(places) if (place / "record.json").is_file()]


def _record(name: str, study: Study) -> dict:
    path = _folder(name, study) / "record.json"
    if not path.is_file():
        raise Problem(f"{path}: missing; make it with `snakemake {name}`")
    return load_json(path)


def _folder(name: str, study: Study) -> Path:
    return Path("results", study.scale, "paper", name)


def _shown(name: str, study: Study) -> str:
    """The sheets of a figure as pictures, or a table as a table."""
    folder = _folder(name, study)
    if catalogue.script(name).parent.name == "tables":
        text = (folder / f"{name}.md").read_text("utf-8")
        return markdown2html(EMPTY.sub(r"\\[ \\]", text))
    return "\n".join(_picture(sheet) for sheet in sorted(folder.glob("*.png")))


def _picture(path: Path) -> str:
    """A picture that its own link, or the Enter key, shows as large as it was drawn, and back.

    No script: the link's target is the picture, whose style then is another; held once.
    """
    held, name = base64.b64encode(path.read_bytes()).decode(), escape(path.stem)
    return (f'<a class="picture" id="see-{name}" href="#see-{name}"><img '
            f'src="data:image/png;base64,{held}" alt="{name}"></a>'
            f'<a class="back" href="#from-{name}" id="from-{name}">back to the page\'s width</a>')


def _folded(title: str, text: str) -> str:
    return (f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>\n")


def _head(study: Study, records: dict[str, dict], jobs: dict[Path, dict]) -> str:
    links = "\n".join(f'<li><a href="#{name}">{escape(name)}</a>: '
                      f"{escape(caption(catalogue.script(name))[0])}</li>" for name in records)
    seconds = sum(record["seconds"] for record in [*records.values(), *jobs.values()])
    return (f"<h1>Patronus: figures and tables at scale {escape(study.scale)}</h1>\n"
            f"<p>{escape(study.about[0].upper() + study.about[1:])}. {len(records)} figures and "
            f"tables, made from {len(jobs)} other jobs in {_time(seconds)} of run time all in "
            'all. Every one is shown with its script and its record: settings, digests of inputs '
            'and outputs, commit, versions, device; the <a href="#jobs">jobs</a> they stand on '
            f"come last.</p>\n<nav><ul>\n{links}\n</ul></nav>")


def _jobs(jobs: dict[Path, dict]) -> str:
    rows = "\n".join(_job(folder, record) for folder, record in jobs.items())
    return ('<section id="jobs">\n<h2>Jobs that the figures stand on</h2>\n<table>\n<thead><tr>'
            "<th>result</th><th>run time</th><th>memory</th><th>device</th><th>made from</th>"
            f"<th>record</th></tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</section>")


def _job(folder: Path, record: dict) -> str:
    device = record["device"].get("gpu") or f"{record['device']['machine']} processor"
    return (f'<tr id="{_anchor(folder)}"><td>{escape(_short(folder))}</td>'
            f"<td>{_time(record['seconds'])}</td><td>{record['peak_memory_mib']} MiB</td>"
            f"<td>{escape(device)}</td><td>{_inputs(record)}</td>"
            f"<td>{_folded(commit_of(record), json.dumps(record, indent=1))}</td></tr>")


def _inputs(record: dict) -> str:
    """What a record read, each a link to its job where it has one."""
    links = [f'<a href="#{_anchor(folder)}">{escape(_short(folder))}</a>'
             for folder in _folders(record)]
    own = [path for path in map(Path, record["inputs"])
           if not {path, path.parent} & set(_folders(record))]
    return ", ".join(links + [escape(_short(path)) for path in own]) or "no other job"


def _short(path: Path) -> str:
    """Without results/<scale>."""
    return "/".join(path.parts[2:] if path.parts[0] == "results" else path.parts)


def _anchor(folder: Path) -> str:
    return "job-" + "-".join(folder.parts[2:])


def _with_parents(own: float, whole: dict[Path, dict]) -> str:
    seconds = own + sum(record["seconds"] for record in whole.values())
    return f" ({_time(seconds)} with the {len(whole)} jobs it stands on)" if whole else ""


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def main() -> None:
    parser = argparse.ArgumentParser(description="Show every figure and table on one page.")
    parser.add_argument("--scale", help="a file in config/scales; default: that of config.yaml")
    for axis in ("datasets", "methods", "seeds"):
        parser.add_argument(f"--{axis}", help="only these, separated by commas")
    args = parser.parse_args()
    study = load_study(args.scale, datasets=args.datasets, methods=args.methods, seeds=args.seeds)
    out = Path("results", study.scale, "report.html")
    save_text(out, build(study))
    print(f"One page with every figure and table: {out}")


if __name__ == "__main__":
    guarded(main)
