"""DVC: results travel through a remote whole, tampering is found, git holds pointers only."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from patronus.files import sha256

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (".gitignore", ".gitattributes", ".dvcignore", "dvc.yaml")
SCALE = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())["scale"]
SHOWN = yaml.safe_load((ROOT / "dvc.yaml").read_text().replace("${scale}", SCALE))
RESULTS = f"results/{SCALE}"
(METRICS,) = SHOWN["metrics"]
(LOSSES,) = (plot["training_loss"]["y"] for plot in SHOWN["plots"] if "training_loss" in plot)
STAGES = ("data", "checkpoints", "measures")
WEIGHTS = f"{RESULTS}/checkpoints/celeba/patronus/seed0/model.safetensors"
HISTORY = "step,loss,noise\n0,1.1,1.1\n3,0.9,0.9\n"


@dataclass(frozen=True)
class Repo:
    """A repository, and a home folder of its own for what git and DVC would take from the user."""

    folder: Path

    def run(self, *command: object, code: int = 0) -> str:
        home = self.folder.parent / "home"
        own = {f"DVC_{name}_DIR": str(home / name)
               for name in ("SITE_CACHE", "GLOBAL_CONFIG", "SYSTEM_CONFIG")}
        done = subprocess.run(
            list(map(str, command)), cwd=self.folder, capture_output=True, text=True,
            env=os.environ | own | {"DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull,
                                    "GIT_CONFIG_NOSYSTEM": "1"})
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def git(self, *arguments: object) -> str:
        return self.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost",
                        *arguments)

    def dvc(self, *arguments: object, code: int = 0) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, code=code)

    def use(self, remote: Path | str, **options: object) -> None:
        self.dvc("remote", "add", "--force", "--default", "--local", "store", remote)
        for name, value in options.items():
            self.dvc("remote", "modify", "--local", "store", name, value)

    def digests(self) -> dict[str, str]:
        """Of every file that the tracked stages hold."""
        files = [f for stage in STAGES for f in (self.folder / RESULTS / stage).rglob("*")]
        return {str(f.relative_to(self.folder)): sha256(f) for f in files if f.is_file()}


@pytest.fixture(scope="module")
def maintainer(tmp_path_factory) -> Repo:
    """This project's settings and small results, added and pushed as docs/dvc.md says."""
    repo = Repo(tmp_path_factory.mktemp("dvc") / "maintainer")
    shutil.copytree(ROOT / "config", repo.folder / "config")
    (repo.folder / ".dvc").mkdir()
    for name in (*SETTINGS, ".dvc/config", ".dvc/.gitignore"):
        shutil.copy(ROOT / name, repo.folder / name)
    write_results(repo.folder)
    repo.git("init", "-q")
    repo.dvc("add", *(f"{RESULTS}/{stage}" for stage in STAGES))
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", "results")
    repo.use(repo.folder.parent / "store")
    repo.dvc("push")
    return repo


@pytest.fixture(scope="module")
def fresh(maintainer) -> Repo:
    """A fresh clone that knows the remote."""
    repo = Repo(maintainer.folder.parent / "fresh")
    maintainer.git("clone", "-q", maintainer.folder, repo.folder)
    repo.use(maintainer.folder.parent / "store")
    return repo


@pytest.fixture(scope="module")
def pulled(fresh) -> Repo:
    repo = Repo(shutil.copytree(fresh.folder, fresh.folder.parent / "pulled"))
    repo.dvc("pull")
    return repo


@pytest.fixture
def reviewer(pulled, tmp_path) -> Repo:
    """A pulled clone that a test may spoil."""
    return Repo(shutil.copytree(pulled.folder, tmp_path / "reviewer"))


def write_results(folder: Path) -> None:
    """What dvc.yaml shows, and weights and images beside it."""
    files = dict.fromkeys(LOSSES, HISTORY) | {
        METRICS: json.dumps({"celeba": {"patronus": {"seed0": {"tad.train": 0.25}}}}),
        WEIGHTS: "weights", f"{RESULTS}/data/celeba/train.npy": "images",
        f"{RESULTS}/paper/fig4/fig4.png": "a figure, not added"}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_git_holds_pointers_and_no_result(maintainer):
    tracked = maintainer.git("ls-files", "results").split()
    assert tracked == [f"{RESULTS}/{stage}.dvc" for stage in sorted(STAGES)]
    assert maintainer.git("status", "--porcelain") == ""


def test_fresh_clone_lacks_the_results_and_says_so(fresh):
    assert fresh.digests() == {}
    fresh.dvc("status", "-q", code=1)


def test_pulled_results_are_those_that_were_pushed(maintainer, pulled):
    assert WEIGHTS in maintainer.digests()
    assert pulled.digests() == maintainer.digests()
    pulled.dvc("status", "-q")


def test_one_stage_can_be_pulled_alone(fresh, tmp_path):
    repo = Repo(shutil.copytree(fresh.folder, tmp_path / "clone"))
    repo.dvc("pull", f"{RESULTS}/measures.dvc")
    assert {path.split("/")[2] for path in repo.digests()} == {"measures"}


def test_tampering_is_found_and_named_and_undone(maintainer, reviewer):
    with (reviewer.folder / WEIGHTS).open("a") as handle:  # in place: a link would spoil the cache
        handle.write("!")
    reviewer.dvc("status", "-q", code=1)
    assert WEIGHTS in reviewer.dvc("data", "status", "--granular")
    reviewer.dvc("checkout", "--force")
    assert reviewer.digests() == maintainer.digests()


def test_lost_file_is_found(reviewer):
    (reviewer.folder / WEIGHTS).unlink()
    reviewer.dvc("status", "-q", code=1)


def test_metrics_are_shown(pulled):
    shown = json.loads(pulled.dvc("metrics", "show", "--json"))
    assert shown[""]["data"] == {
        METRICS: {"data": {"celeba": {"patronus": {"seed0": {"tad.train": 0.25}}}}}}


def test_changed_setting_is_shown(reviewer):
    name = f"config/scales/{SCALE}.yaml"
    values = yaml.safe_load((reviewer.folder / name).read_text())
    steps = values["every"]["sample"]["steps"]
    values["every"]["sample"]["steps"] = steps + 1
    (reviewer.folder / name).write_text(yaml.safe_dump(values))
    found = json.loads(reviewer.dvc("params", "diff", "--json"))
    assert found[name]["every.sample.steps"] == {"old": steps, "new": steps + 1, "diff": 1}


def test_changed_measure_is_shown_between_commits(reviewer):
    text = (reviewer.folder / METRICS).read_text()
    (reviewer.folder / METRICS).write_text(text.replace("0.25", "0.5"))
    reviewer.dvc("add", "-q", f"{RESULTS}/measures")
    reviewer.git("commit", "-q", "-a", "-m", "measured again")
    found = json.loads(reviewer.dvc("metrics", "diff", "HEAD~1", "HEAD", "--json"))
    (change,) = found[METRICS].values()
    assert change == {"old": 0.25, "new": 0.5, "diff": 0.25}


def test_training_losses_are_plotted(pulled):
    shown = json.loads(pulled.dvc("plots", "show", "--json"))
    (plot,) = shown["data"]["training_loss"]
    rows = plot["content"]["data"]["values"]
    assert len({row["filename"] for row in rows}) == len(LOSSES)
    assert len(rows) == len(LOSSES) * 2
    assert {float(row["loss"]) for row in rows} == {1.1, 0.9}


def test_every_setting_is_among_the_parameters(reviewer):
    (reviewer.folder / "config" / "datasets" / "added.yaml").write_text("title: Added\n")
    found = json.loads(reviewer.dvc("params", "diff", "--json"))
    assert found == {"config/datasets/added.yaml": {"title": {"old": None, "new": "Added"}}}


def test_dvc_runs_nothing_and_reports_nothing(maintainer):
    assert "stages" not in SHOWN
    lines = (ROOT / ".dvc" / "config").read_text().split("\n")
    assert "    analytics = false" in lines
    assert not any("remote" in line for line in lines)
    assert maintainer.dvc("config", "cache.type").split() == ["reflink,copy"]


# Real servers on loopback. .ci/run installs what they need; elsewhere a test says what is missing.


def program(name: str) -> str:
    """Path of a server's program, also where only the administrator's PATH has it."""
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"]))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def serving(port: int, *command: object) -> Iterator[None]:
    """Run a server in the foreground until the block ends; it must answer within 30 seconds."""
    server = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(300):
            assert server.poll() is None, server.stderr.read()
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.communicate()


@pytest.fixture
def ssh_server(tmp_path) -> Iterator[tuple[str, dict]]:
    """Address of a folder behind sshd, with a host key and a user's key of its own."""
    if find_spec("dvc_ssh") is None:
        pytest.skip("dvc-ssh is not installed: make env")
    sshd, port = program("sshd"), free_port()
    for key in ("host", "user"):
        subprocess.run([program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f",
                        tmp_path / key], check=True)
    (tmp_path / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {tmp_path}/host\nPidFile none\n"
        f"AuthorizedKeysFile {tmp_path}/user.pub\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "Subsystem sftp internal-sftp\n")
    with privilege_separation(), serving(port, sshd, "-D", "-e", "-f", tmp_path / "sshd_config"):
        yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}{tmp_path}/store", \
            {"keyfile": tmp_path / "user"}


@contextmanager
def privilege_separation() -> Iterator[None]:
    """Root's sshd wants an empty folder that Debian makes when the service starts."""
    folder = Path("/run/sshd")
    wanted = os.geteuid() == 0 and not folder.exists()
    if wanted:
        folder.mkdir(mode=0o755)
    try:
        yield
    finally:
        if wanted:
            folder.rmdir()


@pytest.fixture
def http_server(tmp_path) -> Iterator[tuple[str, dict]]:
    """Address of a folder behind nginx, which takes files by PUT."""
    nginx, port = program("nginx"), free_port()
    (tmp_path / "store").mkdir()
    places = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in
                     ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers may not write here
    (tmp_path / "nginx.conf").write_text(
        f"{user} daemon off; pid {tmp_path}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ access_log {tmp_path}/access.log; {places} client_max_body_size 0;\n"
        f"server {{ listen 127.0.0.1:{port}; root {tmp_path}/store;\n"
        "location / { dav_methods PUT; create_full_put_path on; } } }\n")
    with serving(port, nginx, "-p", tmp_path, "-c", tmp_path / "nginx.conf"):
        yield f"http://127.0.0.1:{port}", {"method": "PUT"}


@pytest.mark.parametrize("server", ["ssh_server", "http_server"])
def test_results_travel_through_a_real_server(maintainer, tmp_path, request, server):
    address, options = request.getfixturevalue(server)
    sender = Repo(shutil.copytree(maintainer.folder, tmp_path / "sender"))
    sender.use(address, **options)
    sender.dvc("push")
    sent = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert any(path.read_text() == "weights" for path in sent)
    reader = Repo(tmp_path / "reader")
    maintainer.git("clone", "-q", maintainer.folder, reader.folder)
    reader.use(address, **{name: value for name, value in options.items() if name == "keyfile"})
    reader.dvc("pull")
    assert reader.digests() == maintainer.digests()
    assert reader.digests()


def test_server_without_the_files_is_told_apart_from_one_that_has_them(fresh, tmp_path, request):
    address, _ = request.getfixturevalue("http_server")
    reader = Repo(shutil.copytree(fresh.folder, tmp_path / "reader"))
    reader.use(address)
    reader.dvc("pull", code=1)
    assert reader.digests() == {}
