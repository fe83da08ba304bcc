"""What is imported before any work is done: nobody waits for libraries that a command does not use.

Nothing is timed here; benchmarks/startup.py does that.
"""

import re
import subprocess
import sys

import pytest

from patronus.sources import OURS, ROOT


def modules_without_torch() -> list[str]:
    """Those that say so in their docstring, figures and tables aside, which are no modules."""
    files = [path for package in OURS for path in sorted((ROOT / package).rglob("*.py"))
             if re.search(r"No torch\b", path.read_text().partition('"""\n')[0])]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]


def loaded(modules: list[str], among: tuple[str, ...]) -> list[str]:
    """Which of `among` a fresh Python has loaded once it has imported `modules`."""
    code = (f"import importlib, sys; [importlib.import_module(m) for m in {modules!r}]; "
            f"print(*[name for name in {among!r} if name in sys.modules])")
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, text=True,
                          capture_output=True).stdout.split()


def test_modules_that_say_they_need_no_torch_load_none():
    modules = modules_without_torch()
    assert {"patronus.config", "patronus.prepared", "analysis.stability"} <= set(modules)
    assert loaded(modules, ("torch", "torchvision", "lightning_fabric")) == []


def test_the_snakefile_loads_no_data_frames_and_no_statistics():
    imported = re.findall(r"^(?:from|import) ((?:patronus|paper|analysis)[\w.]*)",
                          (ROOT / "Snakefile").read_text(), re.MULTILINE)
    assert len(imported) > 5
    assert loaded(imported, ("torch", "pandas", "scipy", "sklearn", "matplotlib")) == []


@pytest.mark.parametrize(("module", "unwanted"), [
    ("patronus.train", ("torchmetrics", "torchvision", "sklearn", "scipy")),
    ("patronus.encode", ("torchmetrics", "torchvision", "sklearn", "scipy", "lightning_fabric")),
    ("analysis.references", ("torchmetrics", "sklearn")),
])
def test_stages_load_what_they_use(module, unwanted):
    assert loaded(["torch", module], unwanted) == []


def test_torchmetrics_can_still_be_imported_after_fabric():
    code = ("from patronus.fabric import Fabric; import torchmetrics; "
            "assert torchmetrics.__version__ and Fabric(accelerator='cpu', devices=1)")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
