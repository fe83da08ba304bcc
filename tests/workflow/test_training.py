"""Training: what a kill costs, what is resumed, what is refused, what is told."""

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from patronus import checkpoint, train
from patronus.config import Train, load_study, method_names
from patronus.errors import Problem
from patronus.fabric import Fabric
from patronus.files import load_json, locked, save_json, save_npy, sha256
from patronus.method import to_unit
from patronus.model import Model
from patronus.sources import ROOT
from patronus.stage import Job

CELL = ("fashion_mnist", "patronus_modern", 0)  # v-prediction, EMA, cosine, running code scale
NAMES = ("test", 0)
IMAGES = np.random.default_rng(0).integers(0, 256, (48, 1, 16, 16), dtype=np.uint8)
SETTINGS = Train(batch_size=8, epochs=5, lr=1e-3, ema=0.99, schedule="cosine", warmup_steps=4,
                 code_lr_scale=2, clip=1.0)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


# killed and resumed, as a user would


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    """A folder with a prepared set and a `tiny` scale that saves whenever it may."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    path = tmp_path / "config" / "scales" / "tiny.yaml"
    scale = yaml.safe_load(path.read_text())
    scale |= {"datasets": [CELL[0]], "methods": [CELL[1]]}
    scale["every"] |= {"shape": [1, 16, 16]}
    scale["every"]["train"] |= {"epochs": 14, "batch_size": 8, "save_seconds": 1e-6, "ema": 0.99}
    path.write_text(yaml.safe_dump(scale))
    monkeypatch.setenv("PATRONUS_CONFIG", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "results" / "tiny" / "data" / CELL[0]
    save_npy(data / "train.npy", IMAGES)
    save_json(data / "meta.json", {"dataset": CELL[0], "title": "x", "generated": True,
                                   "shape": [1, 16, 16], "counts": {"train": 48}, "labels": {}})
    save_json(data / "record.json", {"outputs": {file: sha256(data / file) for file in
                                                 ("train.npy", "meta.json")}})
    return tmp_path


def start(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "patronus.train", "--scale", "tiny", "--dataset", CELL[0],
               "--method", CELL[1], "--seed", "0"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, env=os.environ | {"PYTHONPATH": str(ROOT),
                                                         "OMP_NUM_THREADS": "1"})


def kill_after_first_save(process: subprocess.Popen, state: Path) -> None:
    while not state.is_file():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.4))
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_and_resumed_ends_with_the_same_weights(study: Path):
    state = study / "work" / "tiny" / "checkpoints" / Path(*CELL[:2], "seed0") / "state.pt"
    out = study / "results" / "tiny" / "checkpoints" / Path(*CELL[:2], "seed0")
    process = start(study)
    kill_after_first_save(process, state)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "record.json").exists()  # no claim to be whole
    reached = torch.load(state, weights_only=True)["step"]
    assert 0 < reached < 84
    process = start(study)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert f"{reached}/84" in said
    found = load_file(out / "model.safetensors")
    history = (out / "history.csv").read_text()
    assert load_json(out / "record.json")["found"]["steps"] == 84

    shutil.rmtree(study / "work", ignore_errors=True)
    shutil.rmtree(out)
    cells = load_study("tiny")
    train.work(Job("checkpoints", cells.cell(*CELL), cells.datasets[CELL[0]], None, 1, "key"))
    expected = load_file(out / "model.safetensors")
    assert found.keys() == expected.keys()
    assert [key for key in found if not torch.equal(found[key], expected[key])] == []
    assert (out / "history.csv").read_text() == history

    model = checkpoint.load(out)
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    fresh = checkpoint.build(*(load_json(out / "config.json")[key] for key in checkpoint.BUILDS))
    assert any(not torch.equal(value, expected[key]) for key, value in fresh.state_dict().items())


STANDING = [name for name in method_names()
            if next(iter(load_study("tiny", methods=[name]).cells.values())).base]


@pytest.mark.parametrize("method", STANDING)
def test_a_method_without_the_model_it_stands_on_is_refused_with_the_cure(study: Path, method):
    studied = load_study("tiny", methods=[method, "ddpm"])
    cell = studied.cell(CELL[0], method, 0).model_copy(update={"base": None})
    with pytest.raises(Problem, match=f"methods/{method}.yaml: .*`base: ddpm`") as error:
        train.work(Job("checkpoints", cell, studied.datasets[CELL[0]], None, 1, "key"))
    assert "\n" not in str(error.value)
    assert not (study / "results" / "tiny" / "checkpoints").exists()


# the loop itself


@pytest.mark.parametrize(("precision", "denoiser"), [
    ("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_half_precision_reaches_the_denoiser_and_spares_the_distances(
        tmp_path, precision, denoiser):
    net, seen = model(), {}

    def see(name: str):
        return lambda _module, _given, answer: seen.update({name: answer.dtype})

    net.denoiser.first.register_forward_hook(see("denoiser"))
    net.prototypes.encoder.register_forward_hook(see("encoder"))
    net.prototypes.register_forward_hook(see("s"))
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    state = train.State(fabric, net, SETTINGS, 1, tmp_path, "a")
    loss = state.update(0, to_unit(torch.from_numpy(IMAGES[:8])))["loss"]
    assert seen == {"denoiser": denoiser, "encoder": torch.float32, "s": torch.float32}
    assert loss.dtype == torch.float32
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def model() -> Model:
    torch.manual_seed(3)
    return Model((1, 16, 16), 4, base=8, multipliers=(1, 1), encoder_channels=(4, 4, 4, 8),
                 prediction="v", normalise_code=True)


def fitted(folder: Path, key: str = "a", net: nn.Module | None = None, array=IMAGES,
           transform=to_unit, **changes) -> tuple[dict[str, Tensor], dict]:
    found = train.fit(train.fabric_for("32-true", 0), net or model(), array,
                      SETTINGS.model_copy(update=changes), NAMES, folder, transform, key)
    return found[0].state_dict(), found[1]


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, two[key]) for key, value in one.items())


class Interrupted(Exception):
    pass


def fail_at(step: int):
    """A transform that raises at its `step`-th call."""
    calls = []

    def transform(rows: Tensor) -> Tensor:
        calls.append(0)
        if len(calls) > step:
            raise Interrupted
        return to_unit(rows)

    return transform


@pytest.mark.parametrize("changes", [{}, {"ema": None, "schedule": "constant", "clip": None}],
                         ids=["modern", "published"])
def test_interrupted_in_one_process_and_resumed_ends_the_same(tmp_path, changes):
    changes |= {"epochs": 7.5, "save_seconds": 1e-6}  # 45 steps
    whole, found = fitted(tmp_path / "whole", **changes)
    with pytest.raises(Interrupted):
        fitted(tmp_path / "parts", transform=fail_at(30), **changes)
    assert torch.load(tmp_path / "parts" / "state.pt", weights_only=True)["step"] == 21
    parts, again = fitted(tmp_path / "parts", **changes)
    assert same(whole, parts)
    assert found["history"] == again["history"]
    assert (found["steps"], found["images_seen"]) == (45, 45 * 8)


def test_a_finished_run_is_not_trained_again(tmp_path):
    first, _ = fitted(tmp_path)
    again, _ = fitted(tmp_path, transform=fail_at(0))
    assert same(first, again)


def test_a_state_of_other_settings_is_not_resumed(tmp_path, capsys):
    fitted(tmp_path, "other", lr=0.1)
    mine, found = fitted(tmp_path, "a")
    fresh, _ = fitted(tmp_path / "fresh", "a")
    assert same(mine, fresh)
    assert "starting afresh" in capsys.readouterr().out
    assert len(found["history"].splitlines()) == 4  # header, steps 0, 20 and 29


@pytest.mark.parametrize("spoil", [lambda b: b[:1000], lambda b: b"", lambda b: b"no state",
                                   lambda b: b[:2000] + b"\0" * 500 + b[2500:]],
                         ids=["cut", "empty", "text", "zeroed"])
def test_a_spoilt_state_is_a_problem_that_names_file_and_cure(tmp_path, spoil):
    fitted(tmp_path, epochs=0.2)
    path = tmp_path / "state.pt"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(Problem) as error:
        fitted(tmp_path, epochs=0.2)
    assert str(path) in str(error.value) and "delete it" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_second_start_of_a_stage_writes_nothing_while_the_first_one_runs(study: Path):
    folder = study / "work" / "tiny" / "checkpoints" / Path(*CELL[:2])
    with locked(folder, "seed0"):  # as the first one holds it
        second = start(study)
        said = second.communicate()[0].splitlines()
    assert second.returncode == 1
    assert said[-1] == (f"error: {folder.relative_to(study)}/seed0: process {os.getpid()} works "
                        "here; wait for it or end it, then run again")
    assert not list((study / "results" / "tiny").glob("checkpoints/**/*.*"))
    third = start(study)  # the lock went with its holder
    assert third.wait() == 0, third.stdout.read()


def test_a_second_trainer_in_a_folder_is_refused_in_one_line(tmp_path):
    with locked(tmp_path), pytest.raises(Problem) as error:
        fitted(tmp_path)
    assert f"process {os.getpid()} works here" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "state.pt").exists()
    fitted(tmp_path, epochs=0.2)  # the lock went with its holder


class Explodes(nn.Module):
    """The loss becomes NaN at step `last`."""

    def __init__(self, last: int):
        super().__init__()
        self.weight, self.last, self.calls = nn.Parameter(torch.ones(4)), last, 0

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        return {"loss": self.weight.sum() * (float("nan") if self.calls > self.last else 1)}


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("last", [0, 3, 25])
def test_a_loss_that_is_not_a_number_stops_with_the_cure(tmp_path, clip, last: int):
    with pytest.raises(Problem) as error:
        fitted(tmp_path, net=Explodes(last), epochs=10, clip=clip, save_seconds=1e-6)
    text = str(error.value)
    assert "train.lr" in text and "train.clip" in text and "nan" in text and "\n" not in text
    if (tmp_path / "state.pt").exists():
        saved = torch.load(tmp_path / "state.pt", weights_only=True)
        assert saved["model"]["weight"].isfinite().all()

@pytest.mark.parametrize(("clip", "norm"), [(1.0, 1.0), (None, 9.0)])
def test_the_norm_of_the_gradient_is_clipped_and_not_its_entries(tmp_path, clip, norm):
    """100 entries of 0.9, norm 9, none of which is above 1."""
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(100))

        def loss(self, x):
            return {"loss": 0.9 * self.weight.sum()}

    state = train.State(Fabric(accelerator="cpu", devices=1), Flat(),
                        SETTINGS.model_copy(update={"clip": clip, "ema": None}), 1, tmp_path, "a")
    state.update(0, torch.zeros(1))
    (gradient,) = (p.grad for p in state.model.parameters())
    assert gradient.norm().item() == pytest.approx(norm)


def test_the_learning_rate_warms_up_and_falls_as_a_cosine():
    flat = SETTINGS.model_copy(update={"warmup_steps": 0, "schedule": "constant"})
    assert [train.lr_factor(s, 100, flat) for s in (0, 50, 99)] == [1, 1, 1]
    warm = flat.model_copy(update={"warmup_steps": 10})
    assert [train.lr_factor(s, 100, warm) for s in (0, 4, 9, 50)] == [0.1, 0.5, 1, 1]
    cosine = flat.model_copy(update={"schedule": "cosine"})
    found = [train.lr_factor(s, 100, cosine) for s in range(100)]
    assert found == sorted(found, reverse=True)
    assert found[0] == 1 and found[50] == pytest.approx(0.5) and 0 < found[99] < 0.001


def test_the_code_learns_at_its_own_rate_and_frozen_parameters_not_at_all():
    net = model()
    net.prototypes.vectors.requires_grad_(False)
    groups = train.optimizer(net, SETTINGS).param_groups
    assert [group["base_lr"] for group in groups] == [1e-3, 2e-3]
    code = {id(p) for p in net.prototypes.encoder.parameters()}
    assert {id(p) for p in groups[1]["params"]} == code
    everything = {id(p) for group in groups for p in group["params"]}
    assert everything == {id(p) for p in net.parameters() if p.requires_grad}
    assert {group["weight_decay"] for group in groups} == {0.01}


class Walks(nn.Module):
    """One weight, pulled to ten."""

    def __init__(self):
        super().__init__()
        self.weight, self.path = nn.Parameter(torch.zeros(1)), []

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        self.path.append(self.weight.item())
        return {"loss": (self.weight - 10).square().sum()}


def test_the_result_is_the_average_of_the_weights(tmp_path):
    """Decay min(ema, (1 + k) / (10 + k)) after step k; the first weights start it."""
    average, net = None, Walks()
    found, _ = fitted(tmp_path, net=net, schedule="constant", lr=0.1, warmup_steps=0, clip=None)
    visited = [*net.path[1:], net.weight.item()]
    for k, weight in enumerate(visited, 1):
        decay = min(0.99, (1 + k) / (10 + k))
        average = weight if average is None else decay * average + (1 - decay) * weight
    assert found["weight"].item() == pytest.approx(average, rel=1e-4)
    assert found["weight"].item() < net.weight.item()


# order and history


@pytest.mark.parametrize(("count", "size"), [(48, 8), (50, 8), (7, 7), (5, 1)])
def test_an_epoch_visits_every_image_at_most_once_and_each_in_its_own_order(count, size):
    steps = count // size
    epochs = [torch.cat([train.batch_rows(count, size, e * steps + s, NAMES)
                         for s in range(steps)]).tolist() for e in range(3)]
    for rows in epochs:
        assert len(rows) == len(set(rows)) == steps * size
        assert set(rows) <= set(range(count))
    assert count == 1 or epochs[0] != epochs[1] != epochs[2]
    assert train.batch_rows(count, size, 0, NAMES).tolist() == epochs[0][:size]
    assert count < 20 or train.batch_rows(count, size, 0, ("test", 1)).tolist() != epochs[0][:size]


def test_training_sees_the_rows_of_its_order(tmp_path):
    seen: list[int] = []
    array = np.arange(48, dtype=np.float32)[:, None]
    fitted(tmp_path, net=Walks(), array=array, epochs=2,
           transform=lambda rows: seen.extend(rows[:, 0].int().tolist()) or rows)
    assert sorted(seen[:48]) == sorted(seen[48:]) == list(range(48))
    assert seen[:48] != seen[48:]


def test_every_step_draws_its_own_noise(tmp_path):
    seeds: list[int] = []
    fitted(tmp_path, net=Walks(), epochs=2,
           transform=lambda rows: seeds.append(torch.initial_seed()) or to_unit(rows))
    assert len(set(seeds)) == len(seeds) == 12


def test_fewer_images_than_a_batch_are_one_batch(tmp_path):
    _, found = fitted(tmp_path, array=IMAGES[:5], epochs=3)
    assert (found["steps"], found["images_seen"]) == (3, 15)


def test_the_history_is_a_table_of_the_losses(tmp_path):
    torch.manual_seed(3)
    net = Model((1, 16, 16), 4, base=8, multipliers=(1, 1), distinct_weight=0.1)
    _, found = fitted(tmp_path, net=net)
    table = pd.read_csv(io.StringIO(found["history"]))
    assert list(table.columns) == ["step", "loss", "noise", "distinct"]
    assert table["step"].tolist() == [0, 20, 29]
    assert np.isfinite(table.to_numpy()).all()
    np.testing.assert_allclose(table["loss"], table["noise"] + 0.1 * table["distinct"], rtol=1e-5)


def test_the_loss_falls(tmp_path):
    _, found = fitted(tmp_path, array=np.full_like(IMAGES, 200), epochs=7, lr=4e-3)
    table = pd.read_csv(io.StringIO(found["history"]))
    assert table["loss"].iloc[-2:].mean() < 0.5 * table["loss"].iloc[0]


# close to what the hardware gives


class Waits(TorchDispatchMode):
    """Counts operations that make a CPU wait for a GPU: numbers read, sizes that depend on data."""

    NAMES = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal")

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.seen += [name] if name in self.NAMES else []
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("changes", [{}, {"ema": None, "clip": None}], ids=["modern", "published"])
def test_no_step_waits_for_the_device(tmp_path, changes):
    fabric = train.fabric_for("32-true", 0)
    settings = SETTINGS.model_copy(update=changes)
    state = train.State(fabric, model(), settings, 100, tmp_path, "key")
    x = to_unit(torch.from_numpy(IMAGES[:8]))
    state.update(0, x)  # the optimiser makes its state
    with Waits() as waits:
        losses = state.update(1, x)
    assert not waits.seen
    with Waits() as waits:
        state.log(1, losses)
    assert waits.seen  # reading a loss is what waits


@pytest.mark.skipif(not shutil.which("g++")
                    or not Path(sysconfig.get_paths()["include"], "Python.h").is_file(),
                    reason="torch.compile needs a C++ compiler and Python's headers")
def test_a_compiled_denoiser_learns_the_same_and_keeps_its_names(tmp_path):
    plain, found = fitted(tmp_path / "plain", epochs=1)
    compiled, again = fitted(tmp_path / "compiled", epochs=1, compile=True)
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, atol=2e-3, rtol=0)
    assert pd.read_csv(io.StringIO(again["history"]))["loss"].to_numpy() == pytest.approx(
        pd.read_csv(io.StringIO(found["history"]))["loss"].to_numpy(), rel=1e-3)


# several processes, as several GPUs would


TWO = """
import sys
from pathlib import Path
import numpy as np
import torch
from lightning_fabric import Fabric
from patronus.config import Train
from patronus.method import to_unit
from patronus.model import Model
from patronus.train import fit

def go(fabric, folder):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Model((1, 16, 16), 8, base=8, multipliers=(1, 2), encoder_channels=(8, 8, 8, 16),
                  dropout=0.0)
    images = np.random.default_rng(0).integers(0, 256, (32, 1, 16, 16), dtype=np.uint8)
    model, found = fit(fabric, model, images, Train(batch_size=8, epochs=2, lr=1e-3, ema=0.9),
                       ("two", 0), Path(folder, "work"), to_unit, "key")
    torch.save(model.state_dict(), Path(folder, f"rank{fabric.global_rank}.pt"))
    Path(folder, f"rank{fabric.global_rank}.csv").write_text(found["history"])

if __name__ == "__main__":
    several = {"devices": 2, "strategy": "ddp_spawn"} if sys.argv[2] == "2" else {"devices": 1}
    Fabric(accelerator="cpu", **several).launch(go, sys.argv[1])
"""


def test_two_processes_train_as_one_with_the_whole_batch_would(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    for devices in (1, 2):
        (tmp_path / str(devices)).mkdir()
        subprocess.run([sys.executable, script, tmp_path / str(devices), str(devices)], check=True,
                       capture_output=True,
                       env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    one, first, second = (torch.load(tmp_path / name, weights_only=True)
                          for name in ("1/rank0.pt", "2/rank0.pt", "2/rank1.pt"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    # sums of float32 in another order, which Adam makes steps of where a gradient is nothing else
    apart = sum((first[key] - one[key]).square().sum() for key in one).sqrt()
    assert apart < 1e-3 * sum(weight.square().sum() for weight in one.values()).sqrt()
    alone, *losses = (pd.read_csv(tmp_path / name)["loss"]
                      for name in ("1/rank0.csv", "2/rank0.csv", "2/rank1.csv"))
    assert (losses[0] != losses[1]).all(), "each process must see its own images and noise"
    np.testing.assert_allclose((losses[0] + losses[1]) / 2, alone, rtol=1e-4)
