"""The study as typed configuration: config/*.yaml in, one `Cell` per data set, method and seed out.

A cell's settings are merged from small files, later ones winning:
recipe, data set, method, then the scale (for all; for the data set; for the method). Every error
of every file is reported at once, with the file that set the value. No torch here: the Snakefile
imports this module.
"""

import ast
import itertools
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
)

from patronus.errors import Problem
from patronus.sources import ROOT, file_of


def _number(value: object) -> object:
    """YAML reads yes, no, on and off as truth values, which Python counts as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("must be a number, and YAML reads yes, no, on and off as truth values")
    return value


def _distinct(values: list) -> list:
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"names {twice[0]} more than once")
    return values


def _grouped(width: int | None) -> int | None:
    if width is not None and (width <= 0 or width % 8):
        raise ValueError("must be a multiple of 8, since features are normalised in 8 groups")
    return width


Int = Annotated[int, BeforeValidator(_number)]
Float = Annotated[float, BeforeValidator(_number)]
Positive = Annotated[Int, Field(gt=0)]
Count = Annotated[Int, Field(ge=0)]
Rate = Annotated[Float, Field(gt=0)]
Fraction = Annotated[Float, Field(ge=0, lt=1)]
Names = Annotated[list[str], AfterValidator(_distinct)]
Plant = tuple[str, str, Annotated[Float, Field(ge=0, le=1)]]  # attribute, attribute, strength
Shape = tuple[Literal[1, 3], Annotated[Int, Field(ge=8)], Annotated[Int, Field(ge=8)]]
Kind = Literal["max", "thrice", "max_random", "thrice_random", "twice", "q95", "q50", "q05"]
Track = Literal["", "matched", "published", "supervised"]  # baselines/README.md; "": one for both
LARGEST = 10_000  # values in a configuration file, its aliases unfolded
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
SAFE_TYPES = {"int": Int, "float": Float, "bool": bool, "str": str, "tuple": tuple, "None": None,
              "Literal": Literal, "dict": dict}
# What options of these names may be, whichever method has them (given the type it declares)
_WIDTHS = Annotated[tuple[Positive, ...], Field(min_length=1)]
LIMITS = {"base": AfterValidator(_grouped), "ddpm_base": AfterValidator(_grouped),
          "dropout": Field(ge=0, lt=1), "masked": Field(ge=0, le=1),
          **dict.fromkeys(("blocks", "timesteps", "penalty_every", "ramp_steps", "inversion_steps",
                           "fitted_times", "fit_images", "k", "t", "block", "eta"), Field(gt=0))}
LISTS = {**dict.fromkeys(("multipliers", "ddpm_multipliers", "encoder_channels",
                          "encoder_kernels", "encoder_strides"), _WIDTHS),
         "encoder_paddings": Annotated[tuple[Count, ...], Field(min_length=1)]}


class Strict(BaseModel):
    """Unknown keys are errors and nothing is changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Train(Strict):
    """One training loop for all methods."""

    batch_size: Positive = 128
    epochs: Rate = 100  # passes over the training images; a part of one is allowed
    lr: Rate = 1e-5
    code_lr_scale: Rate = 1.0  # lr of the code's parameters (Method.code_parameters) over lr
    weight_decay: Annotated[float, Field(ge=0)] = 0.01  # AdamW's own default
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)  # of AdamW
    warmup_steps: Count = 0
    schedule: Literal["constant", "cosine"] = "constant"
    clip: Rate | None = None  # largest gradient norm
    ema: Fraction | None = None  # decay of the averaged weights, which then are the result
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    compile: bool = False  # torch.compile of the denoiser: a minute at the start, less a step
    save_seconds: Rate = 120.0  # how much work a kill may cost


class Prior(Strict):
    """Latent diffusion over codes, shared by every method (patronus.md section 2)."""

    base: Positive = 64
    multipliers: tuple[Positive, ...] = (1, 2, 4)
    blocks: Positive = 3
    dropout: Fraction = 0.2
    timesteps: Positive = 100
    lr: Rate = 1e-4
    batch_size: Positive = 256
    epochs: Rate = 200


class Sample(Strict):
    """Generated images a cell is measured on."""

    count: Positive = 10_000  # unconditional; conditional ones: as many test images at most
    # 20 steps of DPM-Solver++(2M) stay within 2 % of 1000 of DDIM (benchmarks/results/sample.json)
    steps: Positive = 20  # of the solver, eta = 0; of inversions always DDIM's
    solver: Literal["ddim", "dpm"] = "dpm"
    reuse: Positive = 1  # steps for which the features of the denoiser's way down are kept
    int8: bool = False  # round the denoiser's weights
    half: bool = False  # run the denoiser in bfloat16
    batch_size: Positive = 256


class Explain(Strict):
    """How much of what, where and when is computed (patronus.md section 4)."""

    dims: Positive = 100  # at most so many prototypes, those of largest spread first
    images: Positive = 20  # random test images of each
    steps: Positive = 100  # of DDIM and of its inversion
    batch_size: Positive = 64
    curves: Positive = 12  # prototypes followed through time
    sweeps: Positive = 6  # prototypes swept from 0 to 3
    pairs: Positive = 4  # interpolations


class Intervene(Strict):
    """Code dimensions set in test images, answered by a classifier (measures.md B)."""

    dims: Positive = 100  # so many of largest spread, and the best of each part beside them
    images: Positive = 100  # random test images, at most
    tolerance: Annotated[float, Field(ge=0)] = 0.02  # half a 95 % interval at which it stops
    kinds: tuple[Kind, ...] = get_args(Kind)  # what dimensions are set to
    steps: Positive = 50  # of DDIM and of its inversion
    batch_size: Positive = 128

    @field_validator("kinds")
    @classmethod
    def _with_max(cls, kinds: tuple) -> tuple:
        if "max" not in kinds:
            raise ValueError("must hold 'max', on which most measures stand")
        return kinds


class Denoising(Strict):
    """Held-out denoising error with and without the code (measures.md B10)."""

    images: Positive = 1000
    times: Positive = 50  # evenly over 1..T-1
    batch_size: Positive = 256


class Classifier(Strict):
    """The set's own small classifier: features for FD-cls, answers for causal tests."""

    width: Positive = 32
    epochs: Rate = 20
    batch_size: Positive = 128
    lr: Rate = 1e-3


class Shortcut(Strict):
    """A set whose training images tie attributes together, and who can tell."""

    reference: str  # the data set without the tie: its classifier answers
    pairs: list[tuple[str, str]]  # raising what shows the first must not change the second


class Keep(Strict):
    """Which training images stay: those that carry one of the combinations of labels."""

    any_of: list[dict[str, Literal[0, 1]]]
    # on the whole official set: how many images it has, and how many carry each combination
    images: Positive | None = None
    counts: list[Positive] = []


class Dataset(Strict):
    """config/datasets/<name>.yaml."""

    title: str
    reader: str  # patronus/data/<reader>.py
    folder: str  # below the data root
    shape: Shape  # prepared (C, H, W)
    code_dim: Positive  # m: prototypes, and the code size of every method in the matched track
    labels: Literal["classes", "attributes"]  # one column of classes, or many columns
    white: Annotated[Int, Field(ge=255, le=65535)] | None = None  # 16-bit level that becomes 255
    world: str | None = None  # patronus/worlds/<world>.py stands in at generated scales
    images: Positive = 100_000  # about so many official ones to train on: limits of cluster jobs
    study: bool = True  # in the study by default; False: only when named
    public: bool = False  # its terms allow passing its images on
    methods: list[str] | None = None  # that meet it by default; None: all
    keep: Keep | None = None  # None: all training images
    plant: Plant | None = None  # into the stand-in's training images
    shortcut: Shortcut | None = None  # such a set serves the diagnosis and enters no table
    options: dict = {}  # of the reader
    train: dict = {}
    model: dict[str, dict] = {}  # by method module


class MethodFile(Strict):
    """config/methods/<name>.yaml; optional for a file in baselines/."""

    title: str
    module: str
    recipe: str = "published"
    track: Track = ""
    base: str | None = None  # the trained method it stands on, of the same data set and seed
    study: bool = True  # in the study by default; False: only when named
    code_dim: Positive | None = None  # wins over the data set's and a scale's for all methods
    train: dict = {}
    options: dict = {}  # keyword arguments of the module's Model


class Recipe(Strict):
    """config/recipes/<name>.yaml."""

    train: dict = {}
    model: dict[str, dict] = {}


class MethodOverrides(Strict):
    """What a scale changes for a method."""

    code_dim: Positive | None = None
    train: dict = {}
    prior: dict = {}
    sample: dict = {}
    explain: dict = {}
    intervene: dict = {}
    denoising: dict = {}
    model: dict[str, dict] = {}


class Overrides(MethodOverrides):
    """What a scale changes for all cells, or for a data set and so for all methods alike."""

    shape: Shape | None = None
    classifier: dict = {}
    # under by_dataset: cells of this set beside the grid, as seeds by method
    also: dict[str, list[Count]] = {}


class Generated(Strict):
    """Size of a generated stand-in; `plant` ties attribute b to a: [a, b, strength]."""

    train: Positive
    test: Positive
    seed: Count = 0
    plant: dict[str, Plant] = {}  # by data set; else what the data set says itself


class Scale(Strict):
    """config/scales/<name>.yaml."""

    about: str  # one line, shown by the tools
    generated: Generated | None = None  # None: official data
    datasets: Names | None = None  # None: every set that says `study: true`
    methods: Names | None = None  # None: every method that does not say `study: false`
    seeds: Annotated[list[Count], AfterValidator(_distinct)] = [0]
    figures: Names | None = None  # None: every figure and table found
    threads: Positive = 1
    gpus: Count = 0
    inception: bool = True  # also measure FID with the official features, when they are there
    every: Overrides = Overrides()
    by_dataset: dict[str, Overrides] = {}
    by_method: dict[str, MethodOverrides] = {}


class Cell(Strict):
    """Everything that decides one trained model and what is made of it."""

    scale: str
    dataset: str
    method: str
    seed: Count
    title: str
    module: str
    recipe: str
    generated: bool
    shape: Shape
    code_dim: Positive
    labels: Literal["classes", "attributes"]
    threads: Positive
    gpus: Count
    inception: bool
    train: Train
    prior: Prior
    sample: Sample
    explain: Explain
    classifier: Classifier
    model: dict
    track: Track = ""
    base: str | None = None  # the method whose trained model this one starts from
    intervene: Intervene = Intervene()
    denoising: Denoising = Denoising()
    reference: str | None = None  # the data set whose classifier answers; None: its own
    shortcut: list[tuple[str, str]] = []  # pairs tied together in training; none in a benchmark set

    def folder(self, stage: str) -> Path:
        """results/<scale>/<stage>/<dataset>[/<method>/seed<k>]."""
        return stage_folder(stage, self.scale, self.dataset, self.method, self.seed)


class Study(Strict):
    """What one run of the Snakefile makes."""

    scale: str
    about: str
    generated: Generated | None
    datasets: dict[str, Dataset]
    figures: list[str] | None
    threads: int
    gpus: int
    cells: dict[tuple[str, str, int], Cell]

    @property
    def benchmark(self) -> dict[tuple[str, str, int], Cell]:
        """The cells that tables compare: not those of the shortcut diagnosis."""
        return {key: cell for key, cell in self.cells.items() if not cell.shortcut}

    def of(self, dataset: str, method: str) -> list[Cell]:
        """The cells of a method on a data set: one for each training seed."""
        return [cell for cell in self.cells.values()
                if (cell.dataset, cell.method) == (dataset, method)]

    def siblings(self, cell: Cell) -> list[Cell]:
        """The same method trained on the same data set by the other seeds."""
        return [other for other in self.of(cell.dataset, cell.method) if other.seed != cell.seed]

    def tied(self, cell: Cell) -> Cell | None:
        """The same method and seed on a data set that ties attributes of this one, if there is one.

        Of several: the one with most pairs; of equals, the strongest planted tie.
        """
        found = [other for other in self.cells.values() if other.shortcut
                 and (other.reference, other.method, other.seed)
                 == (cell.dataset, cell.method, cell.seed)]
        return max(found, key=lambda one: (len(one.shortcut), self._strength(one.dataset)),
                   default=None)

    def _strength(self, dataset: str) -> float:
        """Of a tie, from 0 (none) to 1 (total, as that of chosen images)."""
        if self.generated is None:
            return 1.0
        plant = self.generated.plant.get(dataset) or self.datasets[dataset].plant
        return abs(2 * plant[2] - 1) if plant else 1.0

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(cell.method for cell in self.cells.values()))

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(cell.seed for cell in self.cells.values()))

    def cell(self, dataset: str, method: str, seed: int) -> Cell:
        try:
            return self.cells[dataset, method, int(seed)]
        except KeyError:
            raise Problem(f"{dataset}/{method}/seed{seed}: is not in scale '{self.scale}'; "
                          f"it has {', '.join(self.datasets)} x {', '.join(self.methods)}") \
                from None


UNCONDITIONAL = "baselines.ddpm"  # module of the denoiser without condition


def counterpart(cell: Cell, cells: Iterable[Cell]) -> Cell | None:
    """Of `cells` the same denoiser without condition, by the same recipe; None if there is none."""
    same = [other for other in cells if other.module == UNCONDITIONAL
            and (other.dataset, other.seed, other.recipe)
            == (cell.dataset, cell.seed, cell.recipe)
            and cell.model.get("denoiser", "patronus") == "patronus"
            and all(cell.model.get(key) in (value, None)  # None or absent: the default
                    for key, value in other.model.items())]
    return min(same, key=lambda other: other.method, default=None)


PER_DATASET = ("raw", "data", "references")


def stage_folder(stage: str, scale: str, dataset: str, method: str = "", seed: int = 0) -> Path:
    """The one place that knows where a stage's results lie (relative to the working folder)."""
    base = Path("results", scale, stage, dataset)
    return base if stage in PER_DATASET else base / method / f"seed{seed}"


def config_folder() -> Path:
    """config/, or the folder that the environment variable PATRONUS_CONFIG names."""
    return Path(os.environ.get("PATRONUS_CONFIG", ROOT / "config"))


def names(kind: str) -> list[str]:
    """Names of the YAML files in config/<kind>."""
    return sorted(path.stem for path in (config_folder() / kind).glob("*.yaml"))


def method_names() -> list[str]:
    """Methods with a YAML file, then those that are only a file in baselines/."""
    files = (path.stem for path in sorted((ROOT / "baselines").glob("[a-z]*.py")))
    return list(dict.fromkeys(itertools.chain(names("methods"), files)))


def load_study(scale: str | None = None, **only: object) -> Study:
    """Read, merge and check everything.

    `only` may hold datasets, methods or seeds to restrict the grid; methods="all" are those that a
    scale without a list of its own has. Raises Problem that lists every error found, one a line.
    """
    errors: list[str] = []
    unknown = sorted(set(only) - {"datasets", "methods", "seeds"})
    if unknown:
        raise Problem(f"--config {unknown[0]}: unknown key; known are scale, datasets, methods, "
                      "seeds")
    scale = str(scale or _yaml(config_folder() / "config.yaml").get("scale"))
    spec = _load("scales", scale, Scale, errors)
    if spec is None:
        raise Problem("\n".join(errors))
    wanted = {key: _listed(only.get(key) if only.get(key) is not None else getattr(spec, key))
              for key in ("datasets", "methods", "seeds")}
    if wanted["methods"] == ["all"]:
        wanted["methods"] = None
    for key, values in wanted.items():
        if values == []:
            raise Problem(f"--config {key}: names none; name one or leave it out")
    strange = [seed for seed in wanted["seeds"] if not str(seed).isdecimal()]
    if strange:
        raise Problem(f"--config seeds: must be whole numbers, 0 or more (got {strange[0]!r})")
    datasets = {name: _load("datasets", name, Dataset, errors)
                for name in wanted["datasets"] or names("datasets")}
    if not wanted["datasets"]:
        datasets = {name: d for name, d in datasets.items() if d is None or d.study}
    methods = {name: _load_method(name, errors) for name in wanted["methods"] or method_names()}
    if not wanted["methods"]:
        methods = {name: m for name, m in methods.items() if m is None or m.study}
    grid = [*itertools.product(datasets, methods, map(int, wanted["seeds"]))]
    also = _also(spec, datasets, wanted, only)
    methods |= {m: _load_method(m, errors) for _, m, _ in also if m not in methods}
    recipes = {name: _load("recipes", name, Recipe, errors)
               for name in {method.recipe for method in methods.values() if method}}
    cells = {}
    for d, m, seed in dict.fromkeys(grid + also):
        dataset, method = datasets[d], methods[m]
        named = (wanted["methods"] and only.get("methods")) or not dataset or not dataset.methods
        if dataset and method and recipes[method.recipe] and (named or m in dataset.methods):
            layers = _layers(scale, spec, d, dataset, m, method, recipes[method.recipe])
            cells[d, m, seed] = _cell(scale, spec, d, dataset, m, method, seed, layers, errors)
    _check_names(scale, spec, datasets, recipes, errors)
    errors += [f"methods/{name}.yaml: base: unknown {method.base!r}; known are "
               f"{', '.join(method_names())}" for name, method in methods.items()
               if method and method.base and method.base not in method_names()]
    if errors:
        raise Problem("\n".join(dict.fromkeys(errors)))
    shaped = {d: _shaped(dataset, _pick(spec, d)) for d, dataset in datasets.items()}
    return Study(scale=scale, about=spec.about, generated=spec.generated, datasets=shaped,
                 figures=spec.figures, threads=spec.threads, gpus=spec.gpus, cells=cells)


def _also(spec: Scale, datasets: dict, wanted: dict, only: dict) -> list[tuple[str, str, int]]:
    """The cells that the scale names beside its grid, as far as `only` leaves them."""
    kept = {key: {str(one) for one in wanted[key]} for key in ("methods", "seeds")
            if only.get(key) is not None and wanted[key]}
    return [(d, m, seed) for d in datasets if d in spec.by_dataset
            for m, seeds in spec.by_dataset[d].also.items() for seed in seeds
            if m in kept.get("methods", {m}) and str(seed) in kept.get("seeds", {str(seed)})]


def check_references(study: Study) -> None:
    """Raises Problem if a cell stands on something that the study lacks.

    That is the classifier of another data set, or the trained model of another method.
    """
    for cell in study.cells.values():
        if cell.base and (cell.dataset, cell.base, cell.seed) not in study.cells:
            raise Problem(f"{cell.method}: stands on a trained {cell.base}; name that method too")
        if cell.reference and cell.reference not in study.datasets:
            raise Problem(f"{cell.dataset}: its answers come from the classifier of "
                          f"{cell.reference}; name that data set too")


@cache
def options(module: str) -> type[Strict]:
    """The keyword-only arguments of `module`'s class Model, as a typed schema.

    They are read from the source without importing it, so checking a study needs no torch.
    """
    path = file_of(module)
    if path is None:
        raise Problem(f"{module}: there is no such module; add the file or mend `module:`")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise Problem(f"{path.relative_to(ROOT)}, line {error.lineno}: is no valid Python "
                      f"({error.msg})") from error
    init = next((f for c in tree.body if isinstance(c, ast.ClassDef) and c.name == "Model"
                 for f in c.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
    if init is None:
        raise Problem(f"{path.name}: has no class Model with an __init__; see baselines/README.md")
    fields = {}
    for arg, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
        try:
            kind = eval(compile(ast.Expression(arg.annotation), path.name, "eval"),
                        {"__builtins__": {}}, SAFE_TYPES)
            fields[arg.arg] = (_limited(arg.arg, kind), ast.literal_eval(default))
        except (TypeError, NameError, ValueError) as error:
            raise Problem(f"{path.name}: option {arg.arg}: needs a literal default and a type made "
                          f"of {', '.join(SAFE_TYPES)} ({error})") from error
    return create_model(f"{module}.Model", __base__=Strict, **fields)


def _limited(name: str, kind: object) -> object:
    """The type of an option, held to what options of that name may be."""
    if name in LISTS:
        return LISTS[name] | None if type(None) in get_args(kind) else LISTS[name]
    return Annotated[kind, LIMITS[name]] if name in LIMITS else kind


def _side(model: BaseModel, size: int) -> int:
    """Positions along one side of the prototype encoder's feature map (docs/model.md section 1)."""
    layers = zip(model.encoder_kernels, model.encoder_strides, model.encoder_paddings, strict=True)
    for kernel, stride, padding in layers:
        size = (size + 2 * padding - kernel) // stride + 1
        if size < 1:
            break
    return size


def _check_encoder(model: BaseModel, shape: Shape, where: str) -> None:
    """Raises Problem if the layers of a prototype encoder do not fit each other or the images."""
    if not hasattr(model, "encoder_kernels"):
        return
    counts = {key: len(getattr(model, key)) for key in LISTS if hasattr(model, key)
              and key.startswith("encoder_")}
    if len(set(counts.values())) > 1:
        raise Problem(f"{where}: the encoder's layers are counted differently: "
                      f"{', '.join(f'{key} has {n}' for key, n in counts.items())}; give each the "
                      "same number")
    if min(_side(model, side) for side in shape[1:]) < 1:
        raise Problem(f"{where}: encoder_kernels and encoder_strides leave nothing of images of "
                      f"{shape[1]}x{shape[2]}; make them smaller, or add encoder_paddings")


def restriction(only: dict) -> str:
    """The command-line options that restrict a stage's study as `only` restricts load_study."""
    listed = {axis: _listed(only.get(axis)) for axis in ("datasets", "methods", "seeds")}
    return " ".join(f"--{axis} {','.join(map(str, some))}" for axis, some in listed.items() if some)


def _cell(scale, spec, d, dataset, m, method, seed, layers, errors) -> Cell | None:
    merged: dict = {key: {} for key in ("train", "prior", "sample", "explain", "intervene",
                                        "denoising", "classifier", "model")}
    origin: dict[str, str] = {}
    for source, part in layers:
        for section, values in part.items():
            merged[section] |= values
            origin |= {f"{section}.{key}": source for key in values}
    shaped = _shaped(dataset, [*_pick(spec, d), method, *filter(None, [spec.by_method.get(m)])])
    try:
        model = options(method.module).model_validate(merged.pop("model"))
        _check_encoder(model, shaped.shape, f"scales/{scale}.yaml: model of {m} on {d}")
        step = 2 ** max(0, len(getattr(model, "multipliers", None) or ()) - 1)
        if any(side % step for side in shaped.shape[1:]):
            raise Problem(f"scales/{scale}.yaml: the sides of {d}, {shaped.shape[1:]}, must be a "
                          f"multiple of {step} for {m}; mend shape here or in datasets/{d}.yaml")
        return Cell(
            scale=scale, dataset=d, method=m, seed=seed, title=method.title, module=method.module,
            recipe=method.recipe, track=method.track, base=method.base,
            generated=_is_generated(spec, dataset),
            shape=shaped.shape, code_dim=shaped.code_dim, labels=dataset.labels,
            threads=spec.threads, gpus=spec.gpus, inception=spec.inception,
            reference=dataset.shortcut.reference if dataset.shortcut else None,
            shortcut=dataset.shortcut.pairs if dataset.shortcut else [],
            model=model.model_dump(), **merged)
    except ValidationError as error:
        prefix = "model." if error.title.endswith(".Model") else ""
        errors += _lines(error, origin, prefix, f"scales/{scale}.yaml")
    except Problem as error:
        errors.append(str(error))
    return None


def explained(scale: str | None, dataset: str, method: str, seed: int = 0) \
        -> list[tuple[str, object, str]]:
    """Every setting of one cell: (key, value, the file that set it, or "default").

    Raises Problem as `load_study` does.
    """
    study = load_study(scale, datasets=[dataset], methods=[method], seeds=[seed])
    cell = study.cell(dataset, method, seed)
    origin = _origins(study.scale, dataset, method)
    values = cell.model_dump(mode="json")
    rows = [(f"{key}.{name}", one, origin.get(f"{key}.{name}", "default"))
            for key, value in values.items() if isinstance(value, dict)
            for name, one in value.items()]
    return [(key, value, origin.get(key, "default")) for key, value in values.items()
            if not isinstance(value, dict)] + rows


def _origins(scale: str, d: str, m: str) -> dict[str, str]:
    """The file that sets each key of a cell, of those that a file sets."""
    errors: list[str] = []
    spec, dataset = _load("scales", scale, Scale, errors), _load("datasets", d, Dataset, errors)
    method = _load_method(m, errors)
    recipe = _load("recipes", method.recipe, Recipe, errors)
    found = {f"{section}.{key}": source
             for source, part in _layers(scale, spec, d, dataset, m, method, recipe)
             for section, values in part.items() for key in values}
    files = {f"scales/{scale}.yaml": ("scale", "generated", "threads", "gpus", "inception"),
             f"datasets/{d}.yaml": ("dataset", "labels", "reference", "shortcut", "shape",
                                    "code_dim"),
             f"methods/{m}.yaml": ("method", "title", "module", "recipe", "track", "base")}
    if m not in names("methods"):
        files[f"baselines/{m}.py"] = files.pop(f"methods/{m}.yaml")
    found |= {key: file for file, keys in files.items() for key in keys}
    found |= {"code_dim": f"methods/{m}.yaml"} if method.code_dim else {}
    return found | {key: f"scales/{scale}.yaml" for part in _pick(spec, d, m)
                    for key in ("shape", "code_dim") if getattr(part, key, None) is not None}


def _layers(scale, spec, d, dataset, m, method, recipe):
    """(file, {section: values}) from the weakest to the strongest."""
    module = method.module
    yield f"recipes/{method.recipe}.yaml", {"train": recipe.train,
                                            "model": recipe.model.get(module, {})}
    yield f"datasets/{d}.yaml", {"train": dataset.train, "model": dataset.model.get(module, {})}
    yield f"methods/{m}.yaml", {"train": method.train, "model": method.options}
    for part in _pick(spec, d, m):
        sections = part.model_dump(exclude={"shape", "code_dim", "also"}, exclude_defaults=True)
        sections["model"] = sections.get("model", {}).get(module, {})
        yield f"scales/{scale}.yaml", sections


def _pick(spec: Scale, dataset: str, method: str = "") -> list[MethodOverrides]:
    found = (spec.every, spec.by_dataset.get(dataset), spec.by_method.get(method))
    return [part for part in found if part]


def _shaped(dataset: Dataset, parts: list[MethodOverrides]) -> Dataset:
    changes = {key: value for part in parts for key in ("shape", "code_dim")
               if (value := getattr(part, key, None)) is not None}
    return dataset.model_copy(update=changes)


def _is_generated(spec: Scale, dataset: Dataset) -> bool:
    return spec.generated is not None and dataset.world is not None


def _check_names(scale, spec, datasets, recipes, errors) -> None:
    """Names that stand in files as keys: a misspelt one would change nothing, silently."""
    plant = spec.generated.plant if spec.generated else {}
    for key, used, known in (("by_dataset", spec.by_dataset, names("datasets")),
                             ("by_method", spec.by_method, method_names()),
                             ("generated.plant", plant, names("datasets"))):
        errors += [f"scales/{scale}.yaml: {key}.{name}: unknown; known are {', '.join(known)}"
                   for name in used if name not in known]
    errors += [f"scales/{scale}.yaml: by_dataset.{d}.also.{name}: unknown; known are "
               f"{', '.join(method_names())}" for d, part in spec.by_dataset.items()
               for name in part.also if name not in method_names()]
    if spec.every.also:
        errors.append(f"scales/{scale}.yaml: every.also: names cells of one data set; move it "
                      "under by_dataset")
    parts = [(f"scales/{scale}.yaml", part) for part in
             (spec.every, *spec.by_dataset.values(), *spec.by_method.values())]
    parts += [(f"datasets/{name}.yaml", part) for name, part in datasets.items()]
    parts += [(f"recipes/{name}.yaml", part) for name, part in recipes.items()]
    errors += [f"{source}: model.{module}: there is no such module"
               for source, part in parts if part for module in part.model
               if file_of(module) is None]
    errors += [f"datasets/{name}.yaml: {key}: unknown {value!r}; known are {', '.join(known)}"
               for name, part in datasets.items() if part
               for key, values, known in (
                   ("shortcut.reference", [part.shortcut.reference] if part.shortcut else [],
                    names("datasets")),
                   ("methods", part.methods or [], method_names()))
               for value in values if value not in known]
    errors += [f"datasets/{name}.yaml: {key}: there is no patronus/{folder}/{value}.py"
               for name, part in datasets.items() if part
               for key, folder, value in (("reader", "data", part.reader),
                                          ("world", "worlds", part.world))
               if value and file_of(f"patronus.{folder}.{value}") is None]


def _listed(value: object) -> list | None:
    """None, a list, one value, or text such as "celeba,ffhq" from a command line."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if value is None or isinstance(value, list) else [value]


def _load(kind: str, name: str, schema: type[Strict], errors: list[str]):
    path = config_folder() / kind / f"{name}.yaml"
    if not SAFE_NAME.fullmatch(str(name)):  # it becomes part of paths and of shell commands
        errors.append(f"{kind}/{name}.yaml: a name begins with a letter or digit and holds only "
                      "these and _ . -; rename it")
        return None
    if not path.is_file():
        errors.append(f"{kind}/{name}.yaml: does not exist; known are {', '.join(names(kind))}")
        return None
    try:
        return schema.model_validate(_yaml(path))
    except ValidationError as error:
        errors += _lines(error, {}, "", f"{kind}/{name}.yaml")
    except Problem as problem:
        errors.append(str(problem))
    return None


def _load_method(name: str, errors: list[str]) -> MethodFile | None:
    if name in names("methods"):
        return _load("methods", name, MethodFile, errors)
    if file_of(f"baselines.{name}"):
        return MethodFile(title=name, module=f"baselines.{name}")
    errors.append(f"methods/{name}.yaml: does not exist; known are {', '.join(method_names())}")
    return None


def _yaml(path: Path) -> dict:
    try:
        value = _parsed(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise Problem(f"{path.parent.name}/{path.name}: does not exist; known are "
                      f"{', '.join(p.stem for p in sorted(path.parent.glob('*.yaml')))}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        why = " ".join(str(getattr(error, "problem", None) or error).split())
        raise Problem(f"{path.parent.name}/{path.name}: is not valid YAML (line "
                      f"{mark.line + 1 if mark else '?'}: {why}); mend that line") from error
    if not isinstance(value, dict):
        raise Problem(f"{path.parent.name}/{path.name}: must be a mapping of keys to values; mend "
                      "it")
    return value


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """yaml's safe loader (libyaml's where PyYAML has it: ten times faster), refusing two traps.

    A key that stands twice, of which the last would win silently; and aliases of aliases, which
    a file of a few lines can make fill the memory.
    """

    def __init__(self, text: str):
        super().__init__(text)
        self.flattened: set[int] = set()

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _size(node, {}) > LARGEST:
            raise yaml.MarkedYAMLError(problem="its aliases unfold without end",
                                       problem_mark=node.start_mark)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Called for each mapping before its `<<` are replaced by what they stand for.

        Called again where another mapping merges that one, when it holds both.
        """
        seen = set()
        for key, _ in [] if id(node) in self.flattened else node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands there twice",
                                           problem_mark=key.start_mark)
            seen.add(str(key.value))
        self.flattened.add(id(node))
        super().flatten_mapping(node)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node unfolds to; `known` by node, so that each is counted once."""
    if id(node) not in known:
        known[id(node)] = LARGEST  # of one that holds itself
        parts = node.value if isinstance(node, yaml.SequenceNode) else \
            [value for _, value in node.value] if isinstance(node, yaml.MappingNode) else []
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def _parsed(text: str) -> object:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _lines(error: ValidationError, origin: dict, prefix: str, default: str) -> list[str]:
    lines = []
    for item in error.errors():
        key = prefix + ".".join(map(str, item["loc"]))
        source = origin.get(".".join(key.split(".")[:2]), default)
        what = "unknown key" if item["type"] == "extra_forbidden" else item["msg"]
        lines.append(f"{source}: {key}: {what} (got {item['input']!r}); mend or remove it")
    return lines
