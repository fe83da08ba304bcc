"""Run one figure or table script and keep what it draws.

    python -m paper.render fig4 --scale smoke

Which scripts there are and what they read stands in catalogue.py. No torch here.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import jupytext
import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from paper import given
from paper.catalogue import module, needs, script
from paper.given import GIVEN, Given
from patronus.config import Study
from patronus.errors import NotApplicable, Problem, guarded
from patronus.files import LONGEST, load_json, save_text, socket_folder, whole
from patronus.record import Record
from patronus.sources import ROOT

FAILURES = (CellExecutionError, CellTimeoutError, DeadKernelError)


def render(name: str, study: Study, out: Path) -> None:
    """Run the script of `name` and put its files, notebook, page and record into `out`.

    Raises Problem for a missing input and for any error in the script; `out` then stays as it
    was and the executed notebook with the traceback stays in work/paper/<scale>/<id>/.
    """
    path = script(name)
    work = Path("work", "paper", study.scale, name)
    handed = given.of(name, study, work)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    record = Record("paper", ["paper.render", module(path)],
                    {"id": name, "scale": study.scale}, needs(name, study))
    book = notebook(path)
    execute(book, path, work / f"{name}.ipynb", handed)
    wanted = {"figures": "*.png", "tables": f"{name}.md"}[path.parent.name]
    if not any(work.glob(wanted)):
        raise Problem(f"{path.parent.name}/{path.name}: saves nothing to show ({wanted}); end it "
                      "with style.save, a table with table.save")
    save_text(work / f"{name}.html", page(book, name))
    past = load_json(out / "record.json")["outputs"] if (out / "record.json").is_file() else {}
    (out / "record.json").unlink(missing_ok=True)  # no record, no claim to be whole
    made = _deliver(work, out)
    for stale in {Path(path).name for path in past} - {path.name for path in made}:
        (out / stale).unlink(missing_ok=True)
    record.write(out, made, title=handed.title)


def notebook(path: Path) -> NotebookNode:
    """The script as a notebook without anything of this machine or moment."""
    book = jupytext.read(path, fmt="py:percent")
    book.metadata = NotebookNode(kernelspec={"name": "python3", "display_name": "Python 3",
                                             "language": "python"})
    if not book.cells or book.cells[0].cell_type != "markdown":
        raise Problem(f"{path}: must start with a markdown cell: title and caption")
    for number, cell in enumerate(book.cells):
        cell.id = f"cell-{number}"
    return book


class _ThisPython(KernelSpecManager):
    """Runs this very interpreter, whatever kernels the user has installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        quiet = ["--log-level=40", "--InteractiveShell.ast_node_interactivity=none"]
        return KernelSpec(argv=[sys.executable, "-m", "patronus.warm", "ipykernel_launcher", *quiet,
                                "-f", "{connection_file}"],
                          display_name="Python 3", language="python")


class _Kernel(AsyncKernelManager):
    def __init__(self, **keywords: object):
        super().__init__(**keywords)
        self.kernel_spec_manager = _ThisPython(parent=self)


def execute(book: NotebookNode, path: Path, kept: Path, handed: Given) -> None:
    """Run all cells in the working folder; write the executed notebook to `kept` in any case."""
    client = NotebookClient(book, kernel_manager_class=_Kernel, record_timing=False, timeout=3600,
                            resources={"metadata": {"path": os.getcwd()}})
    kernel = client.create_kernel_manager()
    place = socket_folder()
    if place is None:
        raise Problem(f"{gettempdir()}: the name of the temporary folder is too long for a socket; "
                      f"set TMPDIR to a folder of at most {LONGEST} letters")
    # kernels that start at once can take one another's ports, but not files
    with TemporaryDirectory(prefix="kernel-", dir=place) as sockets:
        kernel.transport, kernel.ip = "ipc", f"{sockets}/k"
        try:
            client.execute(env=_environment(kept.parent) | {GIVEN: json.dumps(handed._asdict())})
        except FAILURES as error:
            raise Problem(f"{_where(book, path)}: {_what(error)}; the traceback is in {kept}") \
                from error
        finally:
            save_text(kept, nbformat.writes(book))


def page(book: NotebookNode, name: str) -> str:
    """The executed notebook as one HTML file that loads nothing from outside."""
    nowhere = {option: "" for option in HTMLExporter.class_trait_names()
               if option.endswith("_url")}
    exporter = HTMLExporter(template_name="classic", **nowhere)  # the lab one loses alt texts
    return exporter.from_notebook_node(book, {"metadata": {"name": name}})[0]


def _environment(work: Path) -> dict[str, str]:
    """No clock, no user's start-up files, no windows, our own modules first."""
    paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "SOURCE_DATE_EPOCH": "0",
                         "PYTHONHASHSEED": "0", "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1",
                         "IPYTHONDIR": str((work / ".ipython").resolve())}


def _where(book: NotebookNode, path: Path) -> str:
    script = f"{path.parent.name}/{path.name}"
    for number, cell in enumerate(book.cells):
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            return f"{script}, cell {number} ({cell.source.splitlines()[0]})"
    return script


def _what(error: Exception) -> str:
    if isinstance(error, CellExecutionError):
        lines = re.sub(r"\x1b\[[\d;]*m", "", error.evalue).splitlines() or [""]
        return lines[0] if error.ename == "Problem" else f"{error.ename}: {lines[0]}"
    return f"{type(error).__name__}: {str(error).splitlines()[0]}"


def _deliver(work: Path, out: Path) -> list[Path]:
    """Copy what the script made, each file whole or not at all."""
    files = [file for file in sorted(work.iterdir()) if file.is_file()]
    for file in files:
        with whole(out / file.name) as part:
            shutil.copyfile(file, part)
    return [out / file.name for file in files]


def main() -> None:
    parser = given.parser("Make one figure or table.")
    parser.add_argument("id", help="a script in paper/figures or paper/tables")
    args = parser.parse_args()
    script(args.id)
    study = given.study_of(args)
    out = args.out or Path("results", study.scale, "paper", args.id)
    try:
        render(args.id, study, out)
    except NotApplicable as error:
        raise Problem(str(error)) from error
    print(f"{args.id}: done, in {out}/")


if __name__ == "__main__":
    guarded(main)
