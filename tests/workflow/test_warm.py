"""Jobs that start from a warm Python: as if each were a fresh one, and never without its client.

Nothing is timed here; benchmarks/startup.py does that.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from patronus import warm

ROOT = Path(__file__).resolve().parents[2]
WAIT = 600  # seconds, on a machine that has other things to do
STARTER = """
import os, sys
from patronus import warm
warm.start(True)
print(os.environ[warm.VARIABLE], flush=True)
sys.stdin.read()
"""


@contextmanager
def started() -> Iterator[tuple[subprocess.Popen, psutil.Process, str]]:
    """A process that has started a server as Snakemake does, the server, and where it listens."""
    with subprocess.Popen([sys.executable, "-c", STARTER], cwd=ROOT, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        address = parent.stdout.readline().strip()
        (server,) = psutil.Process(parent.pid).children()
        yield parent, server, address
        parent.kill()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[psutil.Process, str]]:
    with started() as (_, process, address):
        yield process, address


def client(folder: Path, text: str, address: str, *arguments: str, **variables: str) \
        -> subprocess.Popen:
    """Start the module of this text, by the server at `address` or, where that is none, alone."""
    (folder / "job.py").write_text(text)
    clean = {key: value for key, value in os.environ.items() if key not in warm.THREADS}
    return subprocess.Popen(
        [sys.executable, "-m", "patronus.warm", "job", *arguments], cwd=folder, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # `make test` ignores it
        env=clean | {"PYTHONPATH": str(ROOT), warm.VARIABLE: address} | variables)


@pytest.fixture
def both(server, tmp_path) -> Callable[..., list[tuple[int, str, str]]]:
    """Exit code, stdout and stderr of a module: alone, and by the server."""
    def run(text: str, *arguments: str, **variables: str) -> list[tuple[int, str, str]]:
        found = []
        for address in ("", server[1]):
            with client(tmp_path, text, address, *arguments, **variables) as process:
                said = process.communicate("typed\n", timeout=WAIT)
            found.append((process.returncode, *said))
        return found

    return run


def gone(pid: int) -> bool:
    """Whether a process ends."""
    with suppress(psutil.NoSuchProcess):
        for _ in range(10 * WAIT):
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
            time.sleep(0.1)
        return False
    return True


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    (mask,) = (line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines()
               if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


# As a fresh Python


def test_a_job_gets_what_its_client_was_given(both):
    alone, warmed = both("""
import os, sys, tempfile
print(__name__, sys.argv[1:], os.getcwd(), sys.path, ascii(os.environ["GIVEN"]), sys.stdin.read())
print(tempfile.gettempdir(), sys.executable)
print(ascii({key: value for key, value in os.environ.items() if key != "PATRONUS_WARM"}))
""", "--a", "b c", GIVEN="\udcff ü\n", TMPDIR="/")
    assert alone == warmed
    assert alone[0] == 0
    assert "__main__ ['--a', 'b c']" in alone[1] and "typed" in alone[1]


def test_a_job_by_the_server_has_libraries_and_none_of_our_modules(both):
    alone, warmed = both("""
import sys
print(*(name in sys.modules for name in ("torch", "sklearn.ensemble", "seaborn", "debugpy")))
print([name for name in sys.modules if name.startswith(("patronus.", "analysis", "paper"))])
import torch
print(torch.cuda.is_initialized())
""")
    assert alone[1].splitlines()[0] == "False False False False"
    assert warmed[1].splitlines() == ["True True True False", "[]", "False"]


@pytest.mark.parametrize("text", [
    "print('unfinished line', end='')",
    "import sys; sys.exit(3)", "import sys; sys.exit(-1)", "import sys; sys.exit(256)",
    "import sys; sys.exit('error: a line')",
    "import os; os._exit(7)", "import os; os.kill(os.getpid(), 15)",
    "import os; os.kill(os.getpid(), 9)", "raise KeyboardInterrupt", "import os; os.close(1)",
    "import atexit; atexit.register(print, 'at exit'); print('first')",
    "import threading, time; "
    "threading.Thread(target=lambda: (time.sleep(0.5), print('a thread'))).start()",
    "import sys; sys.kept = open('kept', 'w'); sys.kept.write('x'); print(sys.kept.name)",
    "import argparse; argparse.ArgumentParser().parse_args(['--nosuch'])",
])
def test_a_job_ends_as_it_would_alone(both, text):
    alone, warmed = both(text)
    assert warmed[:2] == alone[:2]
    assert warmed[2].splitlines()[-1:] == alone[2].splitlines()[-1:]


def test_an_error_shows_its_traceback(both):
    alone, warmed = both("def fail():\n    raise ValueError('wrong')\n\nfail()\n")
    for code, out, said in (alone, warmed):
        assert (code, out) == (1, "")
        assert "line 2, in fail" in said and said.endswith("ValueError: wrong\n")


def test_a_job_has_the_threads_that_it_is_given(both):
    for threads in {"1", str(len(os.sched_getaffinity(0)))}:
        alone, warmed = both("""
import sklearn.ensemble, scipy.linalg, threadpoolctl, torch
print(torch.get_num_threads(), [torch.ones(99, 99) @ torch.ones(99, 99)][0].sum())
print(sorted((one["user_api"], one["num_threads"]) for one in threadpoolctl.threadpool_info()))
""", **dict.fromkeys(warm.THREADS, threads))
        assert alone == warmed
        assert alone[1].startswith(threads)


def test_a_job_draws_with_the_backend_that_it_is_given(both):
    alone, warmed = both("import matplotlib.pyplot as p; p.figure(); print(p.get_backend())",
                         MPLBACKEND="svg")
    assert alone == warmed == (0, "svg\n", "")


def test_no_two_jobs_draw_the_same_by_chance(both):
    text = "import numpy, random; print(numpy.random.random(), random.random())"
    assert len({found for _ in range(2) for _, found, _ in both(text)}) == 4


def test_an_edited_module_is_seen_by_the_next_job(both, tmp_path):
    for value in ("one", "another"):
        (tmp_path / "other.py").write_text(f"print('{value}')\n")
        assert [found[1] for found in both("import other")] == [f"{value}\n"] * 2


# Together with its client


SLEEPER = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    print(os.getpid(), flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    sys.exit(5)
"""


@pytest.fixture
def sleeper(server, tmp_path) -> Iterator[tuple[subprocess.Popen, int]]:
    """A client whose job sleeps, and the job's id."""
    with client(tmp_path, SLEEPER, server[1]) as process:
        pid = int(process.stdout.readline())
        assert psutil.Process(pid).ppid() == server[0].pid
        while not catches(process.pid, signal.SIGTERM):  # its job is quicker
            time.sleep(0.1)
        yield process, pid
        process.kill()


def test_a_killed_client_takes_its_job_with_it(sleeper):
    process, pid = sleeper
    process.kill()
    assert gone(pid)


def test_a_killed_job_ends_its_client_alike(sleeper):
    process, pid = sleeper
    os.kill(pid, signal.SIGKILL)
    assert process.wait(WAIT) == -signal.SIGKILL


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 5), (signal.SIGTERM, -15)])
def test_a_signal_reaches_the_job(sleeper, number, code):
    process, pid = sleeper
    process.send_signal(number)
    assert process.wait(WAIT) == code
    assert gone(pid)


def test_a_kernel_does_not_outlive_who_started_it(server, tmp_path):
    (tmp_path / "job.py").write_text(SLEEPER)
    code = ("import os, subprocess, sys; os.environ['JPY_PARENT_PID'] = str(os.getpid()); "
            "subprocess.run([sys.executable, '-m', 'patronus.warm', 'job'])")
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE,
                          text=True, env=os.environ | {"PYTHONPATH": str(ROOT),
                                                       warm.VARIABLE: server[1]}) as starter:
        pid = int(starter.stdout.readline())
        starter.kill()
        assert gone(pid)


def test_a_server_has_one_thread_and_a_private_folder(server, both):
    assert both("pass")[1][0] == 0  # it has imported all
    assert server[0].num_threads() == 1
    assert Path(server[1]).parent.stat().st_mode & 0o777 == 0o700


# Without a server


def test_a_server_ends_with_its_parent_and_lets_its_jobs_end(tmp_path):
    with started() as (parent, server, address):
        text = "print('begins', flush=True); input(); print('ends')"
        with client(tmp_path, text, address) as job:
            assert job.stdout.readline() == "begins\n"
            assert len(server.children()) == 1
            parent.kill()
            while Path(address).exists():
                time.sleep(0.1)
            with client(tmp_path, "input(); print('alone')", address) as late:
                assert late.communicate("\n", timeout=WAIT)[0] == "alone\n"
            assert job.communicate("\n", timeout=WAIT)[0] == "ends\n"
            assert job.returncode == 0
        assert gone(server.pid)
        assert not Path(address).parent.exists()


def test_a_server_ends_with_its_parent_while_it_still_imports():
    with started() as (parent, server, address):
        parent.kill()
        parent.wait()
        assert gone(server.pid)
        assert not Path(address).parent.exists()


def test_a_killed_server_takes_its_jobs_with_it_and_the_client_says_so(tmp_path):
    with started() as (_, server, address):
        with client(tmp_path, SLEEPER, address) as process:
            pid = int(process.stdout.readline())
            server.kill()
            assert "the server of warm Pythons was killed" in process.communicate(timeout=WAIT)[1]
            assert process.returncode == 1 and gone(pid)
        with client(tmp_path, "print('alone')", address) as process:  # nobody listens there
            assert process.communicate(timeout=WAIT) == ("alone\n", "")
        shutil.rmtree(Path(address).parent)


@pytest.mark.parametrize("address", ["/nosuch/warm", "0"])
def test_a_job_runs_alone_where_there_is_no_server(tmp_path, address):
    with client(tmp_path, "import sys; print('alone'); sys.exit(4)", address) as process:
        assert process.communicate(timeout=WAIT) == ("alone\n", "")
    assert process.returncode == 4


def test_a_client_without_a_module_says_how(tmp_path):
    done = subprocess.run([sys.executable, "-m", "patronus.warm"], cwd=ROOT, text=True,
                          capture_output=True)
    assert done.returncode == 1 and "python -m patronus.warm MODULE" in done.stderr


# The Snakefile


def snakemake(clone: Path, work: Path, *arguments: str, **variables: str) -> subprocess.Popen:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PATRONUS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "-s", str(clone / "Snakefile"), "--directory",
         str(work), "--profile", str(clone / "profiles" / "default"), "--cores", "1", *arguments],
        env=clean | variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


STUDY = ("results/tiny/measures/table.csv", "fig4", "--config", "scale=tiny",
         "datasets=fashion_mnist", "methods=patronus")


def servers(process: subprocess.Popen) -> int:
    """How many servers a run of Snakemake has started by the time that it ends."""
    found = set()
    while process.poll() is None:
        with suppress(psutil.Error):
            found |= {child.pid for child in psutil.Process(process.pid).children()
                      if "--serve" in child.cmdline()}
        time.sleep(0.2)
    assert process.returncode == 0, process.stdout.read()
    return len(found)


@pytest.fixture(scope="module")
def made(clone, tmp_path_factory) -> Path:
    """Where a part of the study was made with a server."""
    work = tmp_path_factory.mktemp("made")
    with snakemake(clone, work, *STUDY, "--quiet", "all") as process:
        assert servers(process) == 1
    return work


def test_the_study_has_the_same_bytes_without_a_server(clone, made, digests, tmp_path):
    with snakemake(clone, tmp_path, *STUDY, "--quiet", "all", PATRONUS_WARM="0") as process:
        assert servers(process) == 0
    assert digests(tmp_path) == digests(made)
    assert {".safetensors", ".npy", ".pdf", ".csv"} <= {Path(name).suffix for name in digests(made)}


ELSEWHERE = """
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(non_local_exec=True, implies_no_shared_fs=False,
                                 job_deploy_sources=False)


class Executor(RemoteExecutor):
    def run_job(self, job):
        raise SystemExit("no job is run")

    def cancel_jobs(self, active_jobs):
        pass

    async def check_active_jobs(self, active_jobs):
        return
        yield
"""


@pytest.fixture
def asked(clone, made, tmp_path) -> Callable[..., str]:
    """What a run says when it comes to start a server, True or False; nothing where it does not."""
    spied = shutil.copytree(clone, tmp_path / "spied")
    with (spied / "patronus" / "warm.py").open("a") as handle:
        handle.write("\n\ndef start(wanted):\n    sys.exit(f'asked: {wanted}')\n")
    (tmp_path / "snakemake_executor_plugin_elsewhere").mkdir()
    (tmp_path / "snakemake_executor_plugin_elsewhere" / "__init__.py").write_text(ELSEWHERE)

    def run(*arguments: str) -> str:
        work = shutil.copytree(made, tmp_path / "work", dirs_exist_ok=True)
        with snakemake(spied, work, *arguments, PYTHONPATH=str(tmp_path)) as process:
            said = process.communicate(timeout=WAIT)[0]
        return said.partition("asked: ")[2].split("\n")[0] or said.splitlines()[-1]

    return run


def test_only_runs_of_many_jobs_on_this_machine_start_a_server(asked):
    assert asked("--forceall", *STUDY) == "True"
    assert asked(*STUDY, "--forcerun", "collect") == "False"  # few
    assert asked("--forceall", "--touch", *STUDY) == "False"
    assert asked("--forceall", "--executor", "elsewhere", "--jobs", "1", *STUDY) == "False"
    assert "dry-run" in asked("--forceall", "-n", *STUDY)
    assert "Nothing to be done" in asked(STUDY[0], *STUDY[2:])  # its source makes nothing stale


@pytest.mark.parametrize(("scale", "start"), [("tiny", "python -m patronus.warm "),
                                              ("gpu", "python -m ")])
def test_commands_go_to_the_server_where_no_gpu_is_asked_for(clone, tmp_path, scale, start):
    with snakemake(clone, tmp_path, "-n", "-p", "--config", f"scale={scale}",
                   "datasets=fashion_mnist", "methods=patronus") as process:
        said = process.communicate(timeout=WAIT)[0]
    assert f"{start}patronus.train --method patronus" in said
    assert f"{start}paper.render fig4 --scale {scale}" in said
