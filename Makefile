# `make reproduce` runs the study, `make test` its tests; each sets up .venv by itself first.

SHELL := bash
SCALE ?= smoke
PYTHON ?=
ARGS ?=

export PYTHONUNBUFFERED := 1
export DVC_NO_ANALYTICS := 1
export ITERATIVE_DO_NOT_TRACK := 1
export MPLBACKEND := Agg

# Named after the lock's checksum: a changed lock is installed, an unchanged one costs nothing.
stamp := .venv/.lock-$(shell cksum < requirements.lock | tr ' ' '-')

# Stages start `python` themselves, hence the PATH. It is not exported: .venv is made by another.
run := PATH="$$PWD/.venv/bin:$$PATH" python

candidates := $(if $(PYTHON),"$(PYTHON)",python3.12 python3.11 python3 python)

define shell_functions
supported() { case "$$("$$1" --version 2>&1)" in "Python 3.11."*|"Python 3.12."*) ;; *) false ;; esac; }; \
first_supported() { for each in "$$@"; do if supported "$$each"; then echo "$$each"; return; fi; done; \
  echo "No Python 3.11 or 3.12 among: $$*. Install one, or name it: make env PYTHON=/path/to/python3.12" >&2; \
  return 1; }
endef

.PHONY: help env reproduce reproduce-all publish restore check report test test-long bench lint clean-env

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

env: $(stamp) ## set up .venv from requirements.lock (PYTHON=... chooses the Python of a new one)

reproduce: env ## run the whole study (SCALE=smoke, gpu or paper; ARGS=... for Snakemake)
	@$(run) -m snakemake --cores all --config scale=$(SCALE) $(ARGS)
	@echo "Figures and tables: results/$(SCALE)/paper/"

reproduce-all: ## the same with every method, where the scale has only some
	@$(MAKE) --no-print-directory reproduce ARGS="methods=all $(ARGS)"

publish: env ## send results to the DVC remote (SCALE=...; ARGS=--private where no one else reads it)
	@$(run) -m patronus.carry publish --scale $(SCALE) $(ARGS)

# --forceall: Snakemake then knows the sources and settings of each result, and sees a later edit.
restore: env ## bring back published results, check every digest, tell Snakemake (SCALE=..., ARGS="datasets=...")
	@$(run) -m patronus.carry restore --scale $(SCALE) $(ARGS)
	@$(run) -m snakemake computed --touch --forceall --cores 1 --quiet all \
	  --config scale=$(SCALE) $(ARGS) > /dev/null
	@echo "Snakemake knows them as whole. One figure: snakemake fig3 --config scale=$(SCALE)"

check: env ## compare every result here with the published ones (SCALE=...)
	@$(run) -m patronus.carry check --scale $(SCALE)

report: env ## every figure and table with caption, script, record and run time on one page (SCALE=...)
	@echo "Figures and tables that are missing or stale are drawn first: minutes, a line for each"
	@$(run) -m snakemake report --cores all --config scale=$(SCALE) $(ARGS)
	@echo "results/$(SCALE)/report.html"

# Without ARGS as two processes side by side, one thread each; the lines of the second come last.
test: env ## run all tests (ARGS=... for pytest)
	@if [ -n "$(ARGS)" ]; then $(run) -m pytest $(ARGS); exit; fi; \
	export OMP_NUM_THREADS=1; log=$$(mktemp); \
	$(run) -m pytest tests/workflow > "$$log" 2>&1 & \
	$(run) -m pytest tests/contract tests/numerics; first=$$?; \
	wait $$!; second=$$?; cat "$$log"; rm "$$log"; exit $$((first || second))

test-long: env ## run what takes long: every source edited, twenty kills, a real Slurm
	@$(run) -m pytest -m long $(ARGS)
	@PATH="$$PWD/.venv/bin:$$PATH" tests/workflow/slurm/run

bench: env ## time what benchmarks/ compares, half an hour and more (sampling: once SCALE=real is trained)
	@set -e; for name in tad prepare startup explain growth devices study train; do \
	  OMP_NUM_THREADS=1 $(run) -m benchmarks.$$name; done
	@[ ! -d results/real/measures/fashion_mnist ] || $(run) -m benchmarks.sample
	@$(run) -m benchmarks.plots

lint: env ## check the style of the code
	@$(run) -m ruff check .

clean-env: ## remove .venv
	@rm -rf .venv

# The stamp comes last and the old one goes first: an interrupted installation is done again.
$(stamp):
	@set -euo pipefail; $(shell_functions); \
	if ! supported .venv/bin/python || ! .venv/bin/python -m pip --version > /dev/null 2>&1; then \
	  python=$$(first_supported $(candidates)); \
	  echo "Creating .venv with $$("$$python" --version)"; \
	  "$$python" -m venv --clear .venv; \
	fi; \
	rm -f .venv/.lock-*; \
	total=$$(grep -c == requirements.lock); \
	echo "Installing the $$total packages of requirements.lock into .venv: a few minutes, 6 GB"; \
	.venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock \
	  | awk -v total="$$total" \
	    '/^(Collecting|Ignoring|Requirement)/ && ++n % 40 == 0 { print "  " n " of " total; fflush() } \
	     /^Installing collected/ { print "  unpacking"; fflush() }'; \
	.venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps \
	  --no-build-isolation --editable .; \
	touch $@; \
	echo "The environment stands: .venv"
