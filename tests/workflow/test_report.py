"""The page with everything on it: whole, truthful, loading nothing, and working in a browser."""

import base64
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from PIL import Image

from paper import catalogue, codecheck, report
from patronus.config import Study, load_study
from patronus.errors import Problem
from patronus.files import save_text
from patronus.record import Record

ROOT = Path(__file__).resolve().parents[2]
STUDY = load_study("tiny").model_copy(update={"figures": ["fig3", "emergence", "tab1"]})
SHEETS = {"fig3": ["fig3"], "emergence": ["emergence_celeba", "emergence_fashion_mnist"]}
ODD = "a <b> & \"c\""  # what a careless page would not survive
# In the browser: open everything, follow every link, look at every picture, tell what was loaded.
PROBE = """<!doctype html><body><iframe id="page" src="report.html" width="1000" height="700">
</iframe><pre id="told"></pre><script>
const frame = document.getElementById("page");
frame.onload = async () => {
  const inside = frame.contentDocument, view = frame.contentWindow;
  inside.querySelectorAll("details").forEach(one => one.open = true);
  const links = [...inside.querySelectorAll("a")], dead = [];
  for (const link of links) {
    link.click();
    await new Promise(done => setTimeout(done, 5));
    const goal = inside.querySelector(":target");
    const top = goal ? goal.getBoundingClientRect().top : NaN;
    if (!(goal && "#" + goal.id === link.getAttribute("href") && top < 700)) dead.push(link.href);
  }
  const told = {
    dead, links: links.length, title: inside.title,
    images: [...inside.images].map(one => [one.alt, one.complete && one.naturalWidth]),
    loaded: view.performance.getEntriesByType("resource").map(one => one.name)
      .filter(name => !name.startsWith("data:")),
    wide: inside.documentElement.scrollWidth > 1000,
  };
  document.getElementById("told").textContent = JSON.stringify(told);
};
</script></body>"""


class Page(HTMLParser):
    """Everything that a page points to, and the ids it has."""

    def __init__(self, text: str):
        super().__init__()
        self.points: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = dict(attrs)
        self.points += [given[key] for key in ("src", "href", "srcset", "data", "action")
                        if key in given]
        self.ids += [given["id"]] if "id" in given else []

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Results as the rules leave them, with pictures and numbers of no meaning, and their page."""
    folder, here = tmp_path_factory.mktemp("report"), Path.cwd()
    os.chdir(folder)
    try:
        for name in STUDY.figures:
            stand_on(name)
        for name in STUDY.figures:
            figure(name)
        save_text(Path("results", "tiny", "report.html"), report.build(STUDY))
    finally:
        os.chdir(here)
    return folder


def stand_on(name: str) -> None:
    """The stages that a figure reads, each on one training, with records."""
    for path in catalogue.needs(name, STUDY):
        if path.parts[2:4] == ("measures", "table.csv"):
            save_text(path, "no record lies beside this one\n")
            continue
        training = Path("results", "tiny", "checkpoints", *path.parent.parts[3:])
        for stage, inputs in ((training, []), (path.parent, [training])):
            record = Record(stage.parts[2], ["patronus.errors"], {"said": ODD}, inputs)
            record.started -= 75  # so long it took
            save_text(path, ODD)
            record.write(stage, [path] if stage == path.parent else [])


def figure(name: str) -> None:
    folder, path = Path("results", "tiny", "paper", name), catalogue.script(name)
    record = Record("paper", [catalogue.module(path)], {"id": name},
                    catalogue.needs(name, STUDY))
    for sheet in SHEETS.get(name, []):
        held = BytesIO()
        Image.new("RGB", (640, 360), "teal").save(held, "PNG")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{sheet}.png").write_bytes(held.getvalue())
    save_text(folder / f"{name}.md", f"| method | value |\n|---|--:|\n| {name} | 0.25 |\n")
    record.write(folder, sorted(folder.iterdir()))


@pytest.fixture(scope="module")
def text(made) -> str:
    return (made / "results" / "tiny" / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_every_figure_and_table_is_there_with_caption_script_record_and_run_time(made, page):
    for name in STUDY.figures:
        path = catalogue.script(name)
        title, caption = report.caption(path)
        record = (made / "results" / "tiny" / "paper" / name / "record.json").read_text()
        assert page.ids.count(name) == 1
        for part in (title, path.read_text(), json.dumps(json.loads(record), indent=1),
                     f"snakemake {name}"):
            assert part in page.text, (name, part[:60])
        assert re.sub(r"\W", "", caption)[:80] in re.sub(r"\W", "", page.text)
    assert "0.25" in page.text  # the table's number
    assert "75." in page.text or "1 min" in page.text


def test_pictures_are_the_files_themselves(made, page):
    held = [base64.b64decode(point.partition(",")[2]) for point in page.points
            if point.startswith("data:image/png;base64,")]
    files = sorted((made / "results").rglob("*.png"))
    assert len(held) == len(files) == 3
    assert sorted(held) == sorted(file.read_bytes() for file in files)


def test_page_points_to_itself_only(page):
    assert "#jobs" in page.points
    assert [point[:60] for point in page.points if not point.startswith(("#", "data:"))] == []
    assert {point[1:] for point in page.points if point[0] == "#"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_style_loads_nothing(text):
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert "url(" not in style and "@import" not in style
    assert "<script" not in text
    assert "default-src 'none'" in text


def test_odd_letters_of_records_are_shown_and_not_obeyed(text, page):
    assert ODD not in text
    assert json.dumps(ODD) in page.text


def test_every_job_that_a_figure_stands_on_is_listed_once(made, page):
    records = [path for path in (made / "results" / "tiny").glob("[!p]*/**/record.json")]
    wanted = {report._anchor(path.relative_to(made).parent) for path in records}
    assert {one for one in page.ids if one.startswith("job-")} == wanted
    assert f"made from {len(wanted)} other jobs" in page.text


def test_page_is_the_same_twice(made, text, monkeypatch):
    monkeypatch.chdir(made)
    assert report.build(STUDY) == text


def test_missing_figure_is_named(made, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(made, tmp_path / "copy"))
    Path("results", "tiny", "paper", "fig3", "record.json").unlink()
    with pytest.raises(Problem, match=r"paper/fig3/record\.json: missing.*snakemake fig3"):
        report.build(STUDY)


# In a browser


@pytest.fixture(scope="module")
def told(made) -> dict:
    """What Chromium says of the page, and every request that it made."""
    folder = made / "results" / "tiny"
    save_text(folder / "probe.html", PROBE)
    with served(folder) as (port, asked):
        dom = chromium(made, "--dump-dom", "--virtual-time-budget=60000",
                       f"http://127.0.0.1:{port}/probe.html")
    found = re.search(r'<pre id="told">(.+?)</pre>', dom, re.DOTALL)
    assert found, dom[-2000:]
    told = json.loads(found.group(1).replace("&amp;", "&"))
    return told | {"asked": sorted(set(asked) - {"/favicon.ico"})}


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """A server of `folder` on loopback: its port, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()


def chromium(folder: Path, *arguments: str) -> str:
    """Run a real one, to which no name on the network can be resolved; returns what it prints."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") \
        or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed")
    done = subprocess.run(
        [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--disable-background-networking", "--no-first-run", "--window-size=1100,900",
         f"--user-data-dir={folder / 'browser'}",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", *arguments],
        capture_output=True, text=True, timeout=500, env=os.environ | {"HOME": str(folder)})
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_browser_shows_every_picture(told):
    assert [alt for alt, _ in told["images"]] == [s for sheets in SHEETS.values() for s in sheets]
    assert {width for _, width in told["images"]} == {640}


def test_browser_follows_every_link(told, page):
    assert told["dead"] == []
    assert told["links"] == sum(point[0] == "#" for point in page.points) > 10


def test_browser_asks_for_nothing_but_the_page(told):
    assert told["loaded"] == []
    assert told["asked"] == ["/probe.html", "/report.html"]


def test_browser_finds_the_page_no_wider_than_its_window(told):
    assert told["title"] == "Patronus, scale tiny"
    assert not told["wide"]


# What is told to others


def test_codecheck_manifest_is_what_the_rules_make():
    assert codecheck.FILE.read_text("utf-8") == codecheck.text(load_study()), \
        "run python -m paper.codecheck"
    said = yaml.safe_load(codecheck.FILE.read_text("utf-8"))
    study = load_study()
    assert codecheck.FILE.read_text("utf-8").count("\n---\n") == 1
    assert [Path(one["file"]).parent.name for one in said["manifest"]] == catalogue.wanted(study)
    for one in said["manifest"]:
        name = Path(one["file"]).parent.name
        assert one["comment"].endswith(f"(command: snakemake {name})")
    assert said["paper"]["authors"][0] == {"name": "Nina Weng"}
    assert {"title", "reference"} <= said["paper"].keys()


def test_codecheck_lists_what_a_study_of_fewer_figures_makes():
    study: Study = load_study("tiny").model_copy(update={"figures": ["fig3", "tab1"]})
    files = [one["file"] for one in codecheck.manifest(study)["manifest"]]
    assert files == ["results/tiny/paper/fig3/fig3.html", "results/tiny/paper/tab1/tab1.csv"]


def test_citation_is_complete_and_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{cited["version"]}"' in project
    assert f'license = "{cited["license"]}"' in project
    (paper,) = cited["references"]
    assert paper["url"] == "https://arxiv.org/abs/2503.22782"
