"""The map of the study: raw images -> prepare -> train -> encode, prior, sample, explain ->
measure -> figures and tables.

    snakemake --cores                      the whole study at the smoke scale
    snakemake --cores --config scale=gpu   another scale: a file in config/scales/
    snakemake fig4                         one figure or table, by its id
    snakemake computed                     all that figures and tables read, without them
    snakemake report                       every figure and table on one page
    snakemake -n                           what would run

What a job does is decided by config/ and by the sources of its stage; a digest of both is its
`key`, so a change reruns exactly what it touches. What a stage is: python -m patronus.train --help
"""

import os
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ["PYTHONPATH"] = os.pathsep.join([str(workflow.basedir), os.environ.get("PYTHONPATH", "")])

from paper import catalogue
from patronus import holder, warm
from patronus.carry import check_records
from patronus.config import SAFE_NAME, check_references, counterpart, load_study, restriction, \
    stage_folder
from patronus.errors import Problem
from patronus.raw import MANIFEST, data_root, identity, raw_folder
from patronus.resources import megabytes, minutes
from patronus.scheduling import one_timer
from patronus.sources import source_hash
from patronus.stage import fingerprint, imported


configfile: Path(workflow.basedir, "config", "config.yaml")


try:
    VERIFY = bool(config.pop("verify", False))  # read raw data whole, to see what times do not tell
    STUDY = load_study(**config)
    check_references(STUDY)
    FIGURES = catalogue.wanted(STUDY)
    if workflow.is_main_process:  # before anything runs: no result is lost or was tampered with
        if holder.claim():
            print("note: the lock of a Snakemake that was killed here is cleared", file=sys.stderr)
        check_records(STUDY.scale)
except Problem as error:
    sys.exit(f"error: {error}")
SCALE = STUDY.scale
ONLY = restriction(config)  # what --config says of datasets, methods and seeds, for the stages
RUN = "python -m " if STUDY.gpus else "python -m patronus.warm "  # one start for all, see there
DONE = "record.json"  # written last: a stage that has one is whole
ON_SET = f" --scale {SCALE} --dataset {{wildcards.dataset}} --threads {{threads}} > {{log}} 2>&1"
ON_CELL = " --method {wildcards.method} --seed {wildcards.seed}" + ON_SET


def made(stage, *files):
    """Files of a stage, with wildcards for the data set, or for data set, method and seed."""
    folder = stage_folder(stage, SCALE, "{dataset}", "{method}", "{seed}")
    return [str(folder / file) for file in files or [DONE]]


def log(stage, suffix="log"):
    folder = stage_folder(stage, SCALE, "{dataset}", "{method}", "{seed}")
    return f"{Path('logs', *folder.parts[1:])}.{suffix}"


def key(stage, module):
    """A function of the wildcards: digest of the settings and sources that decide the result."""
    digest = cache(lambda *cell: fingerprint(stage, module, STUDY, *cell))  # asked at every pass
    return lambda wildcards: digest(*wildcards)  # data set, or data set, method and seed


def limits(stage, **more):
    """The resources of a stage's jobs."""
    def cell(w):
        return STUDY.cell(w.dataset, w.method, w.seed) if hasattr(w, "method") else next(
            cell for cell in STUDY.cells.values() if cell.dataset == w.dataset)

    return {"runtime": lambda w: minutes(stage, cell(w), STUDY),
            "mem_mb": lambda w: megabytes(cell(w), STUDY), **more}


def manifest(dataset):
    """Of a generated stand-in; official data are no file of ours."""
    spec = STUDY.datasets[dataset]
    generated = STUDY.generated and spec.world
    folder = raw_folder(dataset, spec, data_root(SCALE, True), True)
    return str(folder / MANIFEST) if generated else []


@cache
def raw_data(dataset):
    """What the raw data of a set are, so that changed ones are prepared again."""
    return identity(next(c for c in STUDY.cells.values() if c.dataset == dataset),
                    STUDY.datasets[dataset], VERIFY)


def reference(wildcards):
    """The classifier that answers for a data set: its own, or that of the set without the tie."""
    cell = STUDY.cell(wildcards.dataset, wildcards.method, wildcards.seed)
    return stage_folder("references", SCALE, cell.reference or cell.dataset) / DONE


def learned_from(wildcards):
    """The data that a model is trained on; one that was imported is not trained again for them."""
    cell = STUDY.cell(wildcards.dataset, wildcards.method, wildcards.seed)
    record = str(cell.folder("data") / DONE)
    return ancient(record) if imported(cell) else record


def base(wildcards):
    """The trained model that a method stands on."""
    cell = STUDY.cell(wildcards.dataset, wildcards.method, wildcards.seed)
    return [STUDY.cell(cell.dataset, cell.base, cell.seed).folder("checkpoints") / DONE] \
        if cell.base else []


def fair(wildcards):
    """What the same method does where nothing is tied together."""
    cell = STUDY.cell(wildcards.dataset, wildcards.method, wildcards.seed)
    other = STUDY.cell(cell.reference, wildcards.method, wildcards.seed)
    return [other.folder(stage) / DONE for stage in ("data", "codes", "interventions")]


def unconditional(wildcards):
    """The errors of the same denoiser without a code, where the study has it."""
    cell = STUDY.cell(wildcards.dataset, wildcards.method, wildcards.seed)
    other = counterpart(cell, STUDY.cells.values())
    return other.folder("denoising") / DONE if other else []


def compared(wildcards):
    """What the measures read of other cells: codes by other seeds, the diagnosis of a planted tie."""
    cell = STUDY.cell(wildcards.dataset, wildcards.method, wildcards.seed)
    tied = STUDY.tied(cell)
    return [other.folder("codes") / DONE for other in STUDY.siblings(cell)] \
        + ([tied.folder("shortcut") / DONE] if tied else [])


def study_of(wildcards):
    """As much of the study as the measures of a cell compare it with, for the stage."""
    cell = STUDY.cell(wildcards.dataset, wildcards.method, wildcards.seed)
    tied = STUDY.tied(cell)
    datasets = [wildcards.dataset, *([tied.dataset] if tied else [])]
    seeds = [other.seed for other in STUDY.of(cell.dataset, cell.method)]
    return restriction({"datasets": datasets, "seeds": seeds})


wildcard_constraints:
    dataset=SAFE_NAME.pattern,  # names become parts of shell commands
    method=SAFE_NAME.pattern,
    seed="[0-9]+",


onstart:
    one_timer(workflow.scheduler)
    warm.start(workflow.is_main_process and workflow.local_exec and not workflow.touch
               and not STUDY.gpus and len(workflow.dag) > warm.FEW)


onsuccess:
    print(f"Figures and tables: results/{SCALE}/paper/", flush=True)


rule all:
    default_target: True
    input:
        f"results/{SCALE}/measures/table.csv",
        expand(f"results/{SCALE}/paper/{{name}}/{DONE}", name=FIGURES),


rule computed:
    input:
        f"results/{SCALE}/measures/table.csv",
        [file for name in FIGURES for file in catalogue.upstream(name, STUDY)],


rule report:
    input: expand(f"results/{SCALE}/paper/{{name}}/{DONE}", name=FIGURES)
    output: f"results/{SCALE}/report.html"
    params: only=ONLY, key=source_hash("paper.report")
    log: f"logs/{SCALE}/report.log"
    shell: RUN + f"paper.report --scale {SCALE} {{params.only}} > {{log}} 2>&1"


for dataset in filter(manifest, STUDY.datasets):

    rule:
        name: f"generate_{dataset}"
        output: manifest(dataset)
        params:  # `shell` runs after the loop: it must not read `dataset`
            key=fingerprint("raw", "patronus.generate", STUDY, dataset),
            what=f"--scale {SCALE} --dataset {dataset}",
        log: f"logs/{SCALE}/raw/{dataset}.log"
        shell: RUN + "patronus.generate {params.what} > {log} 2>&1"


rule prepare:
    input: lambda w: manifest(w.dataset)
    output: made("data", "train.npy", "test.npy", "table.csv", "meta.json", DONE)
    params: key=key("data", "patronus.prepare"), raw=lambda w: raw_data(w.dataset)
    log: log("data")
    benchmark: log("data", "tsv")
    threads: STUDY.threads
    resources: **limits("data")
    shell: RUN + "patronus.prepare --raw '{params.raw}'" + ON_SET


rule references:
    input: made("data")
    output: made("references", "classifier.safetensors", "classifier.json", DONE)
    params: key=key("references", "analysis.references")
    log: log("references")
    benchmark: log("references", "tsv")
    threads: STUDY.threads
    resources: **limits("references", gpu=STUDY.gpus)
    shell: RUN + "analysis.references" + ON_SET


rule train:
    input: learned_from, base
    output: made("checkpoints", "model.safetensors", "config.json", "history.csv", DONE)
    params: key=key("checkpoints", "patronus.train")
    log: log("checkpoints")
    benchmark: log("checkpoints", "tsv")
    threads: STUDY.threads
    resources: **limits("checkpoints", gpu=STUDY.gpus)
    shell: RUN + "patronus.train" + ON_CELL


rule encode:
    input: made("data"), made("checkpoints")
    output: made("codes")
    params: key=key("codes", "patronus.encode")
    log: log("codes")
    benchmark: log("codes", "tsv")
    threads: STUDY.threads
    resources: **limits("codes", gpu=STUDY.gpus)
    shell: RUN + "patronus.encode" + ON_CELL


rule prior:
    input: made("codes")
    output: made("priors")
    params: key=key("priors", "patronus.prior")
    log: log("priors")
    benchmark: log("priors", "tsv")
    threads: STUDY.threads
    resources: **limits("priors", gpu=STUDY.gpus)
    shell: RUN + "patronus.prior" + ON_CELL


rule sample:
    input: made("data"), made("checkpoints"), made("priors")
    output: made("samples")
    params: key=key("samples", "patronus.sample")
    log: log("samples")
    benchmark: log("samples", "tsv")
    threads: STUDY.threads
    resources: **limits("samples", gpu=STUDY.gpus)
    shell: RUN + "patronus.sample" + ON_CELL


rule explain:
    input: made("data"), made("checkpoints"), made("codes")
    output: made("explanations")
    params: key=key("explanations", "patronus.explain.__main__")
    log: log("explanations")
    benchmark: log("explanations", "tsv")
    threads: STUDY.threads
    resources: **limits("explanations", gpu=STUDY.gpus)
    shell: RUN + "patronus.explain" + ON_CELL


rule intervene:
    input: made("data"), made("checkpoints"), made("codes"), reference
    output: made("interventions")
    params: key=key("interventions", "analysis.interventions")
    log: log("interventions")
    benchmark: log("interventions", "tsv")
    threads: STUDY.threads
    resources: **limits("interventions", gpu=STUDY.gpus)
    shell: RUN + "analysis.interventions" + ON_CELL


rule vary_steps:
    input: made("data"), made("checkpoints"), made("codes"), reference
    output: made("steps")
    params: key=key("steps", "analysis.steps")
    log: log("steps")
    benchmark: log("steps", "tsv")
    threads: STUDY.threads
    resources: **limits("interventions", gpu=STUDY.gpus)
    shell: RUN + "analysis.steps" + ON_CELL


rule validate:
    input: made("data"), made("checkpoints"), made("codes"), reference
    output: made("validation")
    params: key=key("validation", "analysis.validation")
    log: log("validation")
    benchmark: log("validation", "tsv")
    threads: STUDY.threads
    resources: **limits("validation", gpu=STUDY.gpus)
    shell: RUN + "analysis.validation" + ON_CELL


rule diagnose:
    input: made("data"), made("codes"), made("interventions"), fair
    output: made("shortcut")
    params: key=key("shortcut", "analysis.shortcut")
    log: log("shortcut")
    benchmark: log("shortcut", "tsv")
    threads: STUDY.threads
    resources: **limits("shortcut", gpu=STUDY.gpus)
    shell: RUN + "analysis.shortcut" + ON_CELL


rule denoise:
    input: made("data"), made("checkpoints"), made("codes")
    output: made("denoising")
    params: key=key("denoising", "analysis.denoising")
    log: log("denoising")
    benchmark: log("denoising", "tsv")
    threads: STUDY.threads
    resources: **limits("denoising", gpu=STUDY.gpus)
    shell: RUN + "analysis.denoising" + ON_CELL


rule compare:
    input: made("denoising"), unconditional
    output: made("conditioning")
    params: key=key("conditioning", "analysis.conditioning")
    log: log("conditioning")
    benchmark: log("conditioning", "tsv")
    shell: RUN + "analysis.conditioning" + ON_CELL


rule match_seeds:
    input: lambda w: [c.folder("codes") / DONE for c in STUDY.of(w.dataset, w.method)]
    output: f"results/{SCALE}/stability/{{dataset}}/{{method}}/seed0/{DONE}"
    params:
        only=lambda w: f"--dataset {w.dataset} --method {w.method} " + restriction(
            {"seeds": [cell.seed for cell in STUDY.of(w.dataset, w.method)]}),
        key=source_hash("analysis.stability"),
    log: f"logs/{SCALE}/stability/{{dataset}}/{{method}}.log"
    benchmark: f"logs/{SCALE}/stability/{{dataset}}/{{method}}.tsv"
    shell: RUN + f"analysis.stability --scale {SCALE} {{params.only}} > {{log}} 2>&1"


rule count_costs:
    output: made("costs")
    params: key=key("costs", "analysis.costs")
    log: log("costs")
    benchmark: log("costs", "tsv")
    threads: STUDY.threads
    resources: **limits("costs", gpu=STUDY.gpus)
    shell: RUN + "analysis.costs" + ON_CELL


rule measure:
    input:
        made("data"), made("references"), made("codes"), made("samples"),
        made("interventions"), made("denoising"), made("explanations"), made("costs"), compared,
    output: made("measures", "measures.csv", DONE)
    params: key=key("measures", "analysis.measure"), study=study_of,
    log: log("measures")
    benchmark: log("measures", "tsv")
    threads: STUDY.threads
    resources: **limits("measures", gpu=STUDY.gpus)
    shell: RUN + "analysis.measure {params.study}" + ON_CELL


rule choose_images:
    input:
        made("data"), made("references"), made("checkpoints"), made("codes"), made("samples"),
        made("interventions"), made("denoising"),
    output: made("spread", "spread.csv", "spread.json", DONE)
    params: key=key("spread", "analysis.spread")
    log: log("spread")
    benchmark: log("spread", "tsv")
    threads: STUDY.threads
    resources: gpu=STUDY.gpus
    shell: RUN + "analysis.spread" + ON_CELL


rule collect:
    input: [cell.folder("measures") / DONE for cell in STUDY.benchmark.values()]
    output: f"results/{SCALE}/measures/table.csv", f"results/{SCALE}/measures/metrics.json"
    params: only=ONLY, key=source_hash("analysis.collect")
    log: f"logs/{SCALE}/collect.log"
    benchmark: f"logs/{SCALE}/collect.tsv"
    shell: RUN + f"analysis.collect --scale {SCALE} {{params.only}} > {{log}} 2>&1"


for name in FIGURES:

    rule:
        name: name
        input: catalogue.upstream(name, STUDY), catalogue.sources(name)
        output: f"results/{SCALE}/paper/{name}/{DONE}"
        params: what=f"{name} --scale {SCALE} {ONLY}"
        log: f"logs/{SCALE}/paper/{name}.log"
        benchmark: f"logs/{SCALE}/paper/{name}.tsv"
        shell: RUN + "paper.render {params.what} > {log} 2>&1"


if workflow.is_main_process:
    try:
        catalogue.refuse(sys.argv[1:], STUDY, [rule.name for rule in workflow.rules])
    except Problem as error:
        sys.exit(f"error: {error}")
