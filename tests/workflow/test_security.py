"""What sources must never do: unpickle, extract blindly, trust a download, build a shell line."""

import ast
import io
import re
import tarfile
from pathlib import Path

import pytest

from analysis import features
from patronus.config import SAFE_NAME, method_names, names
from patronus.data import cifar10, fashion_mnist
from patronus.errors import Problem
from patronus.files import sha256

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("patronus", "baselines", "analysis", "paper", "benchmarks")
                 for path in (ROOT / folder).rglob("*.py"))
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
READERS = {"patronus/data/cifar10.py"}  # official pickles, read by an unpickler of arrays alone
EVALUATES = {"patronus/config.py"}  # type annotations of our own sources, without builtins
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
          "asyncio.create_subprocess_shell"}
EXTRACTS = re.compile(r"(?<!\.str)\.(extract(all)?|unpack_archive|download_and_extract_archive)$")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Every call in a file with the dotted text of what is called."""
    return [(ast.unparse(node.func), node) for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)]


def keyword(call: ast.Call, name: str) -> object:
    found = [word.value for word in call.keywords if word.arg == name]
    return ast.literal_eval(found[0]) if found else None


def faults(path: Path) -> list[str]:
    """What a file does that it must not, as lines."""
    tree, found = ast.parse(path.read_text()), []
    imported = {alias.name.split(".")[0] for node in ast.walk(tree)
                if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree)
                 if isinstance(node, ast.ImportFrom)}
    if imported & PICKLING and name_of(path) not in READERS:
        found.append(f"imports {imported & PICKLING}")
    for called, call in calls(path):
        bad = {
            "unpickles": called in ("pickle.load", "pickle.loads", "pickle.Unpickler"),
            "loads without weights_only":
                called == "torch.load" and keyword(call, "weights_only") is not True,
            "allows pickles": called in ("np.load", "numpy.load") and keyword(call, "allow_pickle"),
            "loads unsafe YAML": called.startswith("yaml.") and "load" in called
                and called not in ("yaml.safe_load", "yaml.safe_load_all"),
            "evaluates": called in ("eval", "exec") and name_of(path) not in EVALUATES,
            "calls a shell": called in SHELLS or keyword_is_true(call, "shell"),
            "starts a command that is no list": called.startswith("subprocess.")
                and not (call.args and isinstance(call.args[0], ast.List)),
            "extracts an archive": EXTRACTS.search(called) is not None}
        found += [f"line {call.lineno}: {what} ({called})" for what, is_so in bad.items() if is_so]
    return found


def keyword_is_true(call: ast.Call, name: str) -> bool:
    """Whether a keyword is given and is not a literal False."""
    found = [word.value for word in call.keywords if word.arg == name]
    return bool(found) and not (isinstance(found[0], ast.Constant) and found[0].value is False)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_source_unpickles_evaluates_extracts_or_calls_a_shell(path):
    assert faults(path) == []


@pytest.mark.parametrize("line", [
    "import pickle", "from joblib import load", "torch.load(f)",
    "torch.load(f, weights_only=False)", "np.load(f, allow_pickle=True)",
    "yaml.load(text)", "eval(text)", "os.system(f'ls {name}')",
    "subprocess.run(f'ls {name}', shell=True)", "subprocess.run('ls ' + name)",
    "tarfile.open(f).extractall(place)"])
def test_the_scan_sees_what_it_is_for(line, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "x.py").write_text(line + "\n")
    assert len(faults(tmp_path / "x.py")) > 0


def test_the_one_unpickler_gives_arrays_and_plain_values_only():
    reader = cifar10.Arrays(io.BytesIO())
    for module, name in (("os", "system"), ("builtins", "eval"), ("numpy", "load"),
                         ("numpy.f2py", "run_main"), ("posix", "system"), ("codecs", "decode")):
        with pytest.raises(Exception, match=f"asks for {module}.{name}"):
            reader.find_class(module, name)
    assert "verified(" in (ROOT / "patronus/data/cifar10.py").read_text()  # and MD5 comes first


# Shell commands


def shells() -> list[str]:
    """The text of each shell command in the Snakefile."""
    return re.findall(r"^ +shell: (.*)$", (ROOT / "Snakefile").read_text(), re.MULTILINE)


def test_shell_commands_of_the_workflow_take_only_what_was_checked():
    text = (ROOT / "Snakefile").read_text()
    assert len(shells()) == text.count("shell:") > 10
    defined = dict(re.findall(r'^(ON_\w+) = f?(.*)$', text, re.MULTILINE))
    allowed = {"log", "threads", "params.what", "params.only", "params.study", "params.raw",
               "wildcards.dataset", "wildcards.method", "wildcards.seed", "SCALE"}
    for line in [*shells(), *defined.values()]:
        assert set(re.findall(r"\{+([\w.]+)\}+", line)) <= allowed, line
    constrained = text.partition("wildcard_constraints:")[2].partition("\n\n")[0]
    assert "dataset=SAFE_NAME.pattern" in constrained and "method=SAFE_NAME.pattern" in constrained
    assert 'seed="[0-9]+"' in constrained


@pytest.mark.parametrize("name", ["a;b", "a b", "$(id)", "`id`", "../a", "a/b", "-rf", ".hidden",
                                  "a\nb", "a'b", 'a"b', "a&b", "a|b", "a>b", "*", "~", ""])
def test_a_hostile_name_is_no_name(name):
    assert not SAFE_NAME.fullmatch(name)


@pytest.mark.parametrize("kind", ["datasets", "methods", "scales", "recipes"])
def test_every_name_of_ours_is_a_safe_one(kind):
    found = [*names(kind), *(method_names() if kind == "methods" else [])]
    assert found and all(map(SAFE_NAME.fullmatch, found))


# Downloads


def literals(path: Path) -> list[str]:
    return [node.value for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_no_address_is_without_encryption():
    from cleanfid import downloads_helper

    plain = {(name_of(path), found) for path in SOURCES for text in literals(path)
             for found in re.findall(r"http://[\w./-]+", text) if "www.w3.org" not in found}
    assert plain == set()
    assert downloads_helper.inception_url.startswith("https://")


def test_downloads_are_asked_for_with_a_checksum_over_https(tmp_path, monkeypatch):
    from torchvision.datasets import utils

    asked = []

    def fetch(url, root, filename, md5):
        asked.append((url, md5))
        (Path(root) / filename).write_bytes(b"")

    monkeypatch.setattr(utils, "download_url", fetch)
    with pytest.raises(Problem, match="wrong checksum"):
        fashion_mnist.read(tmp_path / "a", fashion_mnist.Options())
    with pytest.raises(Problem, match="downloading failed"):
        cifar10.read(tmp_path / "b" / "set", cifar10.Options())
    assert len(asked) == 5
    assert all(url.startswith("https://") and re.fullmatch("[0-9a-f]{32}", md5)
               for url, md5 in asked)
    assert not any((tmp_path / "b").iterdir())


def test_downloaded_inception_weights_must_be_the_official_ones(tmp_path, monkeypatch):
    def fetch(folder):
        path = Path(folder, features.NAME)
        path.write_bytes(b"other weights")
        return str(path)

    monkeypatch.setattr("cleanfid.downloads_helper.check_download_inception", fetch)
    monkeypatch.setattr(features, "CACHE", tmp_path / "cache.pt")
    monkeypatch.setenv("PATRONUS_DOWNLOAD", "1")
    monkeypatch.delenv("PATRONUS_INCEPTION", raising=False)
    with pytest.raises(Problem, match="wrong checksum.*PATRONUS_INCEPTION"):
        features.inception_file()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "cache.pt").write_bytes(b"put there by someone else")  # the folder is everyone's
    with pytest.raises(Problem, match="cache.pt: has a wrong checksum; delete it"):
        features.inception_file()
    (tmp_path / "cache.pt").unlink()
    (tmp_path / "expected").write_bytes(b"other weights")
    monkeypatch.setattr(features, "SHA256", sha256(tmp_path / "expected"))
    assert features.inception_file() == tmp_path / "cache.pt"


def hostile(path: Path) -> None:
    """CIFAR-10's archive with entries that climb out of the folder."""
    with tarfile.open(path, "w:gz") as archive:
        for name in (*(f"cifar-10-batches-py/{name}" for name in cifar10.MD5), "../../climbed",
                     "/tmp/patronus-climbed", "cifar-10-batches-py/../../climbed"):
            entry = tarfile.TarInfo(name)
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"data"))
        link = tarfile.TarInfo("cifar-10-batches-py/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)


def test_an_archive_cannot_write_outside_of_its_folder(tmp_path, monkeypatch):
    from torchvision.datasets import utils

    monkeypatch.setattr(utils, "download_url",
                        lambda url, root, filename, md5: hostile(Path(root, filename)))
    place = tmp_path / "deep" / "down" / "set"
    cifar10.download(place)
    assert {path.name for path in place.iterdir()} == set(cifar10.MD5)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == \
        sorted(cifar10.MD5)
    assert not Path("/tmp/patronus-climbed").exists()
