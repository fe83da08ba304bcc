"""A warm Python: libraries are imported once, and each job starts as a copy of that process.

    python -m patronus.warm patronus.train --scale smoke ...    as python -m patronus.train ...

Most of what a small job costs is importing torch, SciPy and the like. Where Snakemake runs more
than a few jobs, on this machine and without a GPU, the Snakefile starts a server, which imports
libraries (and none of our modules that a job runs) and forks for each client. Where there is no
server, the command above runs the module itself: alone, under Slurm, with a GPU, on macOS.
`PATRONUS_WARM=0 snakemake ...` starts none.

A job ends with its client, and its client as the job ends. The server ends with Snakemake, once the
jobs that outlive it have ended. Jobs are the server's children, so Snakemake's benchmark files hold
the client's processor time and memory, not theirs; seconds there and record.json hold.
"""

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress

VARIABLE = "PATRONUS_WARM"  # where the server listens; given by a user, 0 to have none
FEW = 10  # jobs, or less: the server, which starts more slowly than one job, does not pay
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LIBRARIES = (  # ours is only the first, for how it imports Fabric; it is forgotten again
    "patronus.fabric", "torch._dynamo", "torch.utils.flop_counter", "safetensors.torch", "pandas",
    "pydantic.root_model", "tqdm", "yaml", "scipy.linalg", "scipy.ndimage", "scipy.optimize",
    "scipy.stats", "sklearn.cluster", "sklearn.decomposition", "sklearn.ensemble",
    "sklearn.linear_model", "sklearn.model_selection", "torchmetrics", "torchvision",
    "cleanfid.fid", "matplotlib.pyplot", "matplotlib.backends.backend_pdf", "seaborn", "jupytext",
    "nbclient", "nbconvert",
    # not ipykernel.kernelapp, which reads its parent from the environment when it is imported
    "IPython.core.shellapp", "ipykernel.ipkernel", "ipykernel.zmqshell", "ipykernel.control")


def start(wanted: bool) -> None:
    """Start a server for the jobs of this process if `wanted`; else see that they find none."""
    import subprocess
    import tempfile

    from patronus.files import socket_folder

    declined, place = os.environ.pop(VARIABLE, "") == "0", socket_folder()
    if not wanted or declined or not place or not hasattr(os, "pidfd_open"):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX) as listener:
        folder = tempfile.mkdtemp(prefix="patronus-", dir=place)  # this user's alone
        address = os.path.join(folder, "warm")
        listener.bind(address)
        listener.listen(64)
        subprocess.Popen(
            [sys.executable, "-m", "patronus.warm", "--serve", str(listener.fileno()),
             str(os.getpid())], pass_fds=[listener.fileno()], start_new_session=True,
            env=os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.environ[VARIABLE] = address


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("error: name a module to run: python -m patronus.warm MODULE ARGUMENTS")
    if sys.argv[1] == "--serve":
        _serve(socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3]))
        return
    if os.environ.get(VARIABLE):
        _hand_over()
    _run()


def _run() -> None:
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


# The client


def _hand_over() -> None:
    """Have the server run the command and end as that ends; return if no server takes it."""
    job = {"argv": sys.argv, "path": sys.path, "cwd": os.getcwd(), "env": dict(os.environ)}
    text = json.dumps(job).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(os.environ[VARIABLE])
            server.sendall(text[socket.send_fds(server, [text], [0, 1, 2]):])
            if not server.recv(1):
                return
        except OSError:
            return
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: server.send(bytes([number])))
        answer = _answer(server)
    if not answer:
        sys.exit("error: the server of warm Pythons was killed, and its jobs with it; run the same "
                 "command again")
    _end(int(answer))


def _answer(server: socket.socket) -> bytes:
    """The job's exit code, or nothing if the server died. A kernel ends with who started it."""
    parent = os.getppid()
    server.settimeout(1 if os.environ.get("JPY_PARENT_PID") == str(parent) else None)
    while True:
        try:
            return server.recv(9)
        except TimeoutError:
            if os.getppid() != parent:
                _end(1)
        except ConnectionError:
            return b""


def _end(code: int) -> None:
    """End at once with this exit code, or by the signal of this negative number."""
    if code < 0:
        with suppress(OSError):  # nobody handles SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 255)


# The server


def _serve(listener: socket.socket, parent: int) -> None:
    """Fork for clients; in each child run what its client asks for."""
    code, handle = [1], os.pidfd_open(os.getppid())
    atexit.register(_leave, os.getpid(), code)  # before libraries register theirs: called last
    _import_libraries()
    server = _Server(listener, handle)
    if os.getppid() != parent or len(os.listdir("/proc/self/task")) > 1:
        server.retire()
    if server.run():
        try:
            _run()
            code[0] = 0
        except SystemExit as error:  # Python says it, or what went wrong, and then calls _leave
            said = error.code
            code[0] = said & 255 if isinstance(said, int) else int(said is not None)
            raise
        except KeyboardInterrupt:
            code[0] = -signal.SIGINT
            raise


def _import_libraries() -> None:
    """What fails here fails again in the job, and is told there."""
    from importlib import import_module

    for name in LIBRARIES:
        with suppress(Exception):
            import_module(name)
    for name in [name for name in sys.modules if name.split(".")[0] == "patronus"]:
        del sys.modules[name]  # a job reads sources as they are then
    gc.collect()
    gc.freeze()


def _leave(server: int, code: list[int]) -> None:
    """End a child here: to take all libraries down as well takes longer than many a job."""
    if os.getpid() != server:
        gc.collect()  # closes files
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        _end(code[0])


class _Server:
    """One thread, so that what is forked is whole."""

    def __init__(self, listener: socket.socket, parent: int):
        self.watch, self.listener = selectors.DefaultSelector(), listener
        self._on(listener, self._accept)
        self._on(parent, self.retire)

    def _on(self, source: socket.socket | int, action: object) -> None:
        self.watch.register(source, selectors.EVENT_READ, action)

    def run(self) -> bool:
        """False when the parent and all jobs have ended; True in each child."""
        while self.watch.get_map():
            key, _ = self.watch.select()[0]
            if key.data():
                return True
        return False

    def _accept(self) -> bool:
        client, _ = self.listener.accept()
        try:
            job, handles = _received(client)
            pid = os.fork()
        except (OSError, ValueError):
            client.close()
            return False
        if not pid:
            self._close(client)
            _become(job, handles)
            return True
        for handle in handles:
            os.close(handle)
        with suppress(OSError):  # the child does so too: whoever is first
            os.setpgid(pid, pid)
        with suppress(OSError):
            client.send(b"+")
        handle = os.pidfd_open(pid)
        self._on(client, lambda: self._heard(client, pid))
        self._on(handle, lambda: self._ended(client, pid, handle))
        return False

    def _heard(self, client: socket.socket, pid: int) -> None:
        """Signals for the job, or the end of the client and so of the job."""
        said = b""
        with suppress(ConnectionError):
            said = client.recv(9)
        for number in said:
            os.kill(pid, number)
        if not said:
            self.watch.unregister(client)
            os.killpg(pid, signal.SIGKILL)

    def _ended(self, client: socket.socket, pid: int, handle: int) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(OSError):
            client.sendall(str(code).encode())
        with suppress(KeyError):  # it ended first
            self.watch.unregister(client)
        self.watch.unregister(handle)
        client.close()
        os.close(handle)

    def retire(self) -> None:
        """Take no more jobs: Snakemake ended, or a fork would not be whole."""
        import shutil

        shutil.rmtree(os.path.dirname(self.listener.getsockname()), ignore_errors=True)
        for key in list(self.watch.get_map().values()):
            if key.data in (self._accept, self.retire):
                self.watch.unregister(key.fileobj)
        self.listener.close()

    def _close(self, client: socket.socket) -> None:
        """What a child does not need."""
        for key in list(self.watch.get_map().values()):
            os.close(key.fileobj) if isinstance(key.fileobj, int) else key.fileobj.close()
        self.watch.close()
        client.close()


def _received(client: socket.socket) -> tuple[dict, list[int]]:
    """The job of a client, and its stdin, stdout and stderr."""
    client.settimeout(10)
    text, handles, _, _ = socket.recv_fds(client, 2**16, 3)
    while not text.endswith(b"\n"):
        more = client.recv(2**16)
        if not more:
            raise ConnectionError
        text += more
    client.settimeout(None)
    return json.loads(text), handles


def _become(job: dict, handles: list[int]) -> None:
    """Be the process that the client would have been."""
    import ctypes
    import importlib
    import tempfile

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no job without a server
    os.setpgid(0, 0)
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.argv[:], sys.path[:] = job["argv"], job["path"]
    sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())
    tempfile.tempdir = None
    importlib.invalidate_caches()
    cores = len(os.sched_getaffinity(0))
    _set_up_libraries(min(cores, int(os.environ.get(THREADS[0]) or cores)))  # as libraries do


def _set_up_libraries(threads: int) -> None:
    """What libraries take from the environment, or from chance, when they are imported."""
    import matplotlib as mpl
    import numpy as np
    import threadpoolctl
    import torch

    np.random.seed()  # noqa: NPY002 -- no child draws what another draws
    if "MPLBACKEND" in os.environ:
        mpl.rcParams["backend"] = os.environ["MPLBACKEND"]
    if threads > 1:
        threadpoolctl.threadpool_limits(threads)
        torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
