"""What everything stands on: seeds, files, sources, noise, checkpoints."""

import ast
import errno
import json
import os
import resource
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from patronus import checkpoint, files, sources, stage
from patronus.errors import Problem
from patronus.noise import batches, noise
from patronus.seeds import seed_for

# seeds


def test_seeds_never_change():
    """Every published result hangs on these."""
    assert seed_for("sample", "celeba", "ddpm", 0) == 8488105073306292100
    assert seed_for() == int("e3b0c44298fc1c14", 16) >> 1  # SHA-256 of nothing


def test_seeds_differ_by_name_and_by_where_names_are_cut():
    names = [("a", "bc"), ("ab", "c"), ("abc",), ("a", "b", "c"), ("a", "bc", 0), ("bc", "a")]
    assert len({seed_for(*n) for n in names}) == len(names)
    assert seed_for("a", 1) == seed_for("a", "1")
    assert all(0 <= seed_for("x", i) < 2**63 for i in range(100))


# noise


def test_noise_of_a_row_depends_on_names_and_row_only():
    whole = noise(range(10), (3, 4), "sample", 0)
    parts = [noise(rows, (3, 4), "sample", 0) for rows in batches(10, 3)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, noise(range(10), (3, 4), "sample", 1))
    assert len({row.sum().item() for row in whole}) == 10


def test_noise_is_standard_normal_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    found = noise(range(200), (1, 16, 16), "x")
    assert torch.equal(torch.get_rng_state(), before)
    assert abs(found.mean().item()) < 0.02
    assert found.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("count", "size"), [(10, 3), (9, 3), (2, 5), (1, 1)])
def test_batches_cover_every_row_once(count: int, size: int):
    found = batches(count, size)
    assert [i for rows in found for i in rows] == list(range(count))
    assert max(map(len, found)) <= size


# files


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file_appears_only_at_the_end(tmp_path):
    target = tmp_path / "sub" / "a.txt"
    with files.whole(target) as part:
        part.write_text("new")
        assert part.parent == target.parent
        assert not target.exists()
    assert target.read_text() == "new"
    assert left(target.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_part(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write_half() -> None:
        with files.whole(target) as part:
            part.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert target.read_text() == "old"
    assert left(tmp_path) == ["a.txt"]


def test_two_processes_write_to_different_parts(tmp_path, monkeypatch):
    with files.whole(tmp_path / "a") as mine:
        monkeypatch.setattr(os, "getpid", lambda: 1)
        with files.whole(tmp_path / "a") as other:
            assert mine != other
            other.write_text("2")
        mine.write_text("1")
    assert left(tmp_path) == ["a"]


def one_line(error: pytest.ExceptionInfo, *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_what_cannot_be_written_is_a_problem_with_a_cure(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(Problem) as error:
        files.save_text(tmp_path / "a.txt", "x")
    one_line(error, str(tmp_path / "a.txt"), os.strerror(code), "free space")
    assert left(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_a_problem_too(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Problem) as error:
        files.save_text(tmp_path / "file" / "a.txt", "x")
    one_line(error, "a.txt", "cannot be written")


@contextmanager
def tiny_disk():
    """Files of this process may hold 4 KiB: the same errors as a full disk.

    Never around more than the writing itself: pytest's own log may be a longer file by then.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("write", [
    lambda p: files.save_npy(p, np.zeros(10_000)),
    lambda p: files.save_npz(p, a=np.random.default_rng(0).random(10_000)),
    lambda p: files.save_json(p, {"a": "x" * 10_000}),
    lambda p: checkpoint.save(p.parent, nn.Linear(100, 100), {})],
    ids=["npy", "npz", "json", "checkpoint"])
def test_a_full_disk_is_a_problem_and_leaves_nothing(tmp_path, write):
    with pytest.raises(Problem, match="cannot be written"), tiny_disk():
        write(tmp_path / "a")
    assert left(tmp_path) == []


def test_saved_values_come_back(tmp_path):
    files.save_npy(tmp_path / "a.npy", np.arange(3))
    files.save_npz(tmp_path / "b.npz", x=np.eye(2))
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]
    assert np.load(tmp_path / "b.npz")["x"].tolist() == [[1, 0], [0, 1]]
    value = {"n": np.float64(0.5), "i": np.int64(2), "list": np.arange(2), "path": Path("x")}
    files.save_json(tmp_path / "c.json", value)
    assert files.load_json(tmp_path / "c.json") == {"n": 0.5, "i": 2, "list": [0, 1], "path": "x"}
    with pytest.raises(ValueError, match="[Oo]ut of range|JSON"):
        files.save_json(tmp_path / "d.json", {"x": float("nan")})
    assert left(tmp_path) == ["a.npy", "b.npz", "c.json"]


def test_json_that_cannot_be_read_is_a_problem(tmp_path):
    with pytest.raises(Problem) as error:
        files.load_json(tmp_path / "a.json")
    one_line(error, "a.json", "missing")
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(Problem) as error:
        files.load_json(tmp_path / "a.json")
    one_line(error, "a.json", "not valid JSON", "delete")


def test_sha256_of_a_file_is_the_standard_one(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == \
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_sha256_of_a_folder_sees_contents_and_names_and_not_where_it_is(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "sub").mkdir(parents=True)
        (folder / "a").write_text("1")
        (folder / "sub" / "b").write_text("2")
    first = files.sha256(one)
    assert files.sha256(two) == first
    (two / "sub" / "b").write_text("3")
    assert files.sha256(two) != first
    (two / "sub" / "b").write_text("2")
    (two / "a").rename(two / "c")
    assert files.sha256(two) != first


def test_move_works_across_disks(tmp_path, monkeypatch):
    source, target, replace = tmp_path / "a", tmp_path / "b", os.replace

    def other_disk(old, new):
        if Path(old) == source:
            raise OSError(errno.EXDEV, "other disk")
        replace(old, new)

    source.write_text("x")
    monkeypatch.setattr(os, "replace", other_disk)
    files.move(source, target)
    assert target.read_text() == "x"
    assert left(tmp_path) == ["b"]


def test_a_lock_is_for_one_at_a_time_and_ends_with_its_block(tmp_path):
    with files.locked(tmp_path / "w"), pytest.raises(Problem) as error, \
            files.locked(tmp_path / "w"):
        pass
    one_line(error, str(tmp_path / "w"), f"process {os.getpid()} works here")
    with files.locked(tmp_path / "w"), files.locked(tmp_path / "v"):
        pass


# sources


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """A copy of our sources that may be edited."""
    for package in sources.OURS:
        if (sources.ROOT / package).is_dir():
            shutil.copytree(sources.ROOT / package, tmp_path / package,
                            ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    sources.imports.cache_clear()
    sources.source_hash.cache_clear()


TRAINING = ("patronus.train", "baselines.ddpm")


def changed(copy: Path, file: str, text: str = "\n# edited\n") -> bool:
    """Whether an edit of `file` changes the digest of the training of a DDPM."""
    before = sources.source_hash(*TRAINING)
    path = copy / file
    path.write_text((path.read_text() if path.exists() else "") + text)
    forget()
    return sources.source_hash(*TRAINING) != before


@pytest.mark.parametrize("file", ["baselines/ddpm.py", "patronus/train.py", "patronus/unet.py",
                                  "patronus/diffusion.py", "patronus/prepared.py",
                                  "patronus/checkpoint.py", "patronus/seeds.py"])
def test_a_changed_dependency_changes_the_digest(copy, file):
    assert changed(copy, file)


@pytest.mark.parametrize("file", ["patronus/explain/what.py", "patronus/model.py",
                                  "baselines/untrained.py", "baselines/brand_new.py",
                                  "patronus/config.py", "patronus/stage.py", "patronus/errors.py"])
def test_an_unrelated_file_or_plumbing_does_not(copy, file):
    assert not changed(copy, file)


def parsed(text: str) -> set[str]:
    """What a source imports, by a walk over all of its syntax."""
    return {ast.unparse(node) for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Import | ast.ImportFrom)}


def scanned(text: str) -> set[str]:
    return {ast.unparse(node) for node in sources._statements(text)
            if isinstance(node, ast.Import | ast.ImportFrom)}


def test_the_quick_scan_finds_the_imports_of_every_source():
    files = [path for package in sources.OURS for path in (sources.ROOT / package).rglob("*.py")]
    assert len(files) > 100
    for path in files:
        assert scanned(path.read_text()) == parsed(path.read_text()), path


@pytest.mark.parametrize("text", [
    "from a import (\n    b,\n    c as d,  # why (here)\n)\n", "import a; import b",
    "def f():\n    from a import b\n", '"""Say\n\nfrom a import b\n"""\nimport c\n',
    "try:\n\timport a\nexcept ImportError:\n\tfrom b import c\n",
    "from a import \\\n    b, c\n", "x = 1\nimport a.b as c, d\n", "important = from_ = 1\n"])
def test_the_quick_scan_reads_every_form_of_import(text):
    assert scanned(text) == parsed(text)


def test_a_new_import_pulls_its_file_in(copy):
    assert changed(copy, "patronus/unet.py", "\ndef f():\n    from patronus import reading\n")
    assert changed(copy, "patronus/reading.py")


def test_the_closure_holds_ours_and_no_plumbing():
    names = {str(path.relative_to(sources.ROOT)) for path in sources.closure("baselines.untrained")}
    assert {"baselines/untrained.py", "patronus/model.py", "patronus/prototypes.py",
            "patronus/unet.py", "patronus/diffusion.py", "patronus/method.py"} <= names
    assert not names & {f"{name.replace('.', '/')}.py" for name in sources.PLUMBING}
    assert sources.file_of("patronus.no_such") is None
    assert sources.file_of("patronus") == sources.ROOT / "patronus" / "__init__.py"


# checkpoints


def saved(folder: Path, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 5))
    checkpoint.save(folder, model.to(memory_format=torch.channels_last), {"a": 1})
    return model


def refused(folder: Path, *words: str, model: nn.Module | None = None) -> None:
    with pytest.raises(Problem) as error:
        checkpoint.restore(model or saved(folder / "other"), folder / "model.safetensors")
    one_line(error, str(folder / "model.safetensors"), *words)


def test_a_checkpoint_comes_back_exactly(tmp_path):
    model, other = saved(tmp_path), saved(tmp_path / "other", seed=1)
    assert left(tmp_path) == ["config.json", "model.safetensors", "other"]
    checkpoint.restore(other, tmp_path / "model.safetensors")
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])
    assert files.load_json(tmp_path / "config.json") == {"a": 1}


def test_a_missing_checkpoint_says_so(tmp_path):
    refused(tmp_path, "missing", "train")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_checkpoint_says_so(tmp_path, keep: int):
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    refused(tmp_path, "not a whole safetensors file", "train again")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value: float):
    model = saved(tmp_path)
    model[2].bias.data[3] = value
    checkpoint.save(tmp_path, model, {})
    refused(tmp_path, "2.bias", "NaN", "train again")


@pytest.mark.parametrize("model", [nn.Linear(4, 5), nn.Sequential(
    nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 6))], ids=["other keys", "other shape"])
def test_weights_of_another_model_are_refused(tmp_path, model):
    saved(tmp_path)
    refused(tmp_path, "does not fit", "train again", model=model)


def test_a_stage_removes_what_only_an_earlier_run_wrote(tmp_path, monkeypatch):
    """A method that loses an ability must not leave its old arrays beside none.json."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stage", "--scale", "tiny", "--dataset", "celeba",
                                     "--method", "ddpm"])

    def first(job):
        (job.out / "train.npy").write_text("old")
        (job.out / "kept.txt").write_text("old")

    def second(job):
        files.save_text(job.out / "kept.txt", "new")
        files.save_text(job.out / "none.json", "{}")

    for work in (first, second):
        stage.run("codes", "patronus.encode", work, inputs=())
    folder = tmp_path / "results" / "tiny" / "codes" / "celeba" / "ddpm" / "seed0"
    assert sorted(f.name for f in folder.iterdir()) == ["kept.txt", "none.json", "record.json"]
    assert (folder / "kept.txt").read_text() == "new"
    assert len(json.loads((folder / "record.json").read_text())["outputs"]) == 2


def test_a_checkpoint_that_names_a_foreign_module_runs_nothing_of_it(tmp_path):
    files.save_json(tmp_path / "config.json", {"module": "antigravity", "shape": [3, 8, 8],
                                               "code_dim": None, "model": {}})
    with pytest.raises(Problem, match="names the module antigravity, which is no method"):
        checkpoint.load(tmp_path)
    assert "antigravity" not in sys.modules
