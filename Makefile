# Two commands do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What computes nothing takes the environment that is there, else a small one without torch.
LIGHT := $(if $(wildcard $(VENV)/complete),$(VENV),$(VENV)-light)
DRAWS = $$(test -e $(VENV)/complete && echo $(VENV)/bin || echo $(VENV)-light/bin)
CONFIG ?= config/config.yaml
HOW ?= --wait

STUDY ?= paper

# What a user gives reaches the recipes through the environment as it was typed, and stands there in
# quotes: neither make nor a shell takes a $$ or a backtick in a folder's name for a command.
GIVEN := $(filter-out file,$(origin CONFIG) $(origin STUDY))
FREE := PYTHON TORCH_INDEX CONFIG HOW STUDY PROFILE GPUS FIG MODEL IMAGES ARCH AGAINST AGAINST_ARCH NAME WEIGHTS SECTION BENCH WATCH FROM REPLACE MEND LOCKED BAD CLASSES OF
$(foreach name,$(FREE),$(eval override $(name) := $$(value $(name))))
export $(FREE)

# What is no variable of ours would be dropped without a word, and AGAINTS=other compare nothing.
NEAREST = python3 -c 'import difflib, sys; given, *known = sys.argv[1:]; near = difflib.get_close_matches(given.upper(), [word.upper() for word in known]); print("; nearest: " + next(word for word in known if word.upper() == near[0]) if near else "")' 2> /dev/null
QUOTED = '$(subst ','\'',$(1))'
# What a variable may be: $(call WORD,HOW,--wait --cancel), or a number: $(call COUNT,GPUS).
WORD = [[ -z "$${$(1)}" || " $(2) " == *" $${$(1)} "* ]] || { printf "%s=%s: it is one of: %s%s\n" $(1) \
	  "$${$(1)}" "$(2)" "$$($(NEAREST) "$${$(1)}" $(2))"; exit 1; }
COUNT = [[ "$${$(1)}" =~ ^[0-9]*$$ ]] || { printf "%s=%s: it is a whole number\n" $(1) "$${$(1)}"; exit 1; }
OURS := $(FREE) $(shell sed -nE 's/^([A-Z_]+) *[:?]?=.*/\1/p' $(firstword $(MAKEFILE_LIST)))
STRAY := $(firstword $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(filter-out $(OURS),$(name)))))
ifneq ($(STRAY),)
$(error there is no variable '$(STRAY)'$(shell $(NEAREST) $(call QUOTED,$(STRAY)) $(FREE)))
endif

# The config of a study by its name, as the shell's $$named: make figure FIG=fig3 STUDY=paper
CONFIGS = config/*.yaml studies/*/study.yaml
KNOWN = sed -nE 's/^study: *([^ ]+).*/\1/p' $(CONFIGS) 2>/dev/null | paste -sd ' ' -
NAMED = named="$$CONFIG"; if test "$$named" = config/config.yaml; then named=; \
	  if [[ "$$STUDY" =~ ^[A-Za-z0-9_-]+$$ ]]; then \
	    named=$$(grep -lsxE -e "study: *$$STUDY( .*)?" $(CONFIGS) | head -n 1); fi; fi; \
	  test -n "$$named" || { printf "there is no study '%s', only: %s%s\n" "$$STUDY" "$$($(KNOWN))" \
	    "$$($(NEAREST) "$$STUDY" $$($(KNOWN)))"; exit 1; }; \
	  $(DRAWS)/python workflow_scripts/check.py "$$named" --syntax || exit 1
# Of one's own: CONFIG=my.yaml, or STUDY= with its name.
OWN = test -n "$(GIVEN)" || { printf "make $@ CONFIG=my.yaml (or STUDY=<name>): name your config; there are the studies %s\n" "$$($(KNOWN))"; exit 1; }; \
	  $(NAMED)
RESULTS = "$$(sed -nE 's/^results: *"?([^" ]+).*/\1/p' "$$named")"
PAGE = printf "Open %s/report/index.html.\n" $(RESULTS)
DRAWN_FROM = test -d $(RESULTS)/figures/data || { printf "%s: nothing to draw from is here yet; run the study (make study) or fetch its results (make fetch)\n" $(RESULTS); exit 1; }
# Rules that take tables and figures' data alone: with them Snakemake can start no other job.
DRAWING := figure $(shell sed -n 's/^rule \(fig_[a-z_]*\):.*/\1/p' rules/*.smk)

# Tests compute on a core for each process: threads of OpenBLAS that wait for one cost many times more
# than they bring. By file over the cores there are, four at most.
PYTEST = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest
SPREAD = -n auto --maxprocesses 4 --dist loadscope

TARGETS := $(shell sed -nE 's/^([a-z-]+):.*[#]{2} .*/\1/p' $(firstword $(MAKEFILE_LIST)))
.PHONY: $(TARGETS)

help:           ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# A virtual environment of a Python that will do; one that was made by another is made anew.
WILL_DO = -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else "This is Python %d.%d, and 3.11 or newer is needed: load it, or name it: make setup PYTHON=python3.11" % v)'
define fresh
if ! { test -x $(1)/bin/python && $(1)/bin/python $(WILL_DO) 2> /dev/null; }; then \
	  "$$PYTHON" $(WILL_DO) && rm -rf $(1) && "$$PYTHON" -m venv $(1); fi
endef

# The environment is complete when the stamp is newer than the pins; pip prints its progress.
$(VENV)/complete: envs/requirements-light.txt envs/requirements.txt envs/requirements-dev.txt
	@echo "Setting up $(VENV): about 6 GB and a few minutes, once."
	@$(call fresh,$(VENV))
	@test -z "$$TORCH_INDEX" || { $(BIN)/python -m pip uninstall -q -y torch torchvision && \
	  $(BIN)/python -m pip install --disable-pip-version-check --index-url "$$TORCH_INDEX" \
	    $$(grep -hE '^torch(vision)?==' envs/requirements.txt); }
	@test -z "$$LOCKED" || $(BIN)/python -m pip install --disable-pip-version-check --require-hashes \
	  -r envs/requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check -r envs/requirements-dev.txt
	@touch $@

# Another build of torch takes the place of the one that is there.
ifneq ($(and $(value TORCH_INDEX),$(filter setup,$(MAKECMDGOALS))),)
.PHONY: $(VENV)/complete
endif

$(VENV)-light/complete: envs/requirements-light.txt
	@echo "Setting up $(VENV)-light: 0.6 GB and a minute, once (make setup makes the whole one, for what computes)."
	@$(call fresh,$(VENV)-light)
	@$(VENV)-light/bin/python -m pip install -q --disable-pip-version-check \
	  $${LOCKED:+--require-hashes} -r envs/requirements-light.$$(test -n "$$LOCKED" && echo lock || echo txt)
	@touch $@

setup: $(VENV)/complete  ## set up the environment in .venv, once
	@PYTHONPATH=workflow_scripts $(BIN)/python -c 'from tokenscope.forward.device import pick_device; print("Jobs of device: auto compute on:", pick_device("auto"))'
	@echo "Complete. Now: source $(BIN)/activate"

demo: $(VENV)/complete  ## run the embedded study into results/demo (CPU, minutes, no download)
	$(BIN)/snakemake --profile profiles/local --configfile config/demo.yaml -- all
	@echo "Done. Open results/demo/report/index.html."

small-vits: $(VENV)/complete  ## train small ViTs with 0, 1, 4 and 16 registers (CPU, a quarter of an hour, no download)
	$(BIN)/snakemake --profile profiles/local --configfile config/small-vits-demo.yaml -- all
	@echo "Done. Read results/small-vits-demo/tables/register_counts.md, or open results/small-vits-demo/report/index.html."

phantoms: $(VENV)/complete  ## judge every backbone whose answer is known (CPU, minutes, no download)
	$(BIN)/snakemake --profile profiles/local --configfile config/phantoms.yaml -- phantoms
	@echo "Done. Read results/phantoms/tables/controls.md."

test: $(VENV)/complete  ## pass the tests
	$(PYTEST) tests $(SPREAD)

test-quick: $(VENV)/complete  ## pass the tests that take seconds (under two minutes in all)
	$(PYTEST) tests -m "not slow and not browser and not slurm and not attack"

attack: $(VENV)/complete  ## try bad input of every kind (minutes) and print what became of it
	$(PYTEST) tests/attack $(SPREAD)

calibrate: $(VENV)/complete  ## count anew how often the instrument errs (an hour or more), and keep the counts
	$(BIN)/snakemake --profile profiles/local --configfile config/calibrate.yaml -- calibration
	cp results/calibrate/tables/calibration.csv config/calibration.csv

calibrate-kinds: $(VENV)/complete  ## count anew how often the answers of the kinds err (minutes), and keep the counts
	PYTHONPATH=workflow_scripts $(BIN)/python -m tokenscope.calibration.kinds config/kinds_calibration.csv

new: $(VENV)/complete  ## write a study of your own: make new NAME=mine MODEL=<timm id|file|folder> IMAGES=<folder>
	@test -n "$$NAME" -a -n "$$MODEL" -a -n "$$IMAGES" || { echo "make new NAME=<of the study> MODEL=<timm id, weights file (with ARCH=<timm id>) or Hugging Face folder> IMAGES=<folder> [WEIGHTS=<folder of local weights>] [BAD=skip]"; exit 1; }
	@$(BIN)/python workflow_scripts/new.py --name="$$NAME" --model="$$MODEL" \
	  --images="$$IMAGES" --arch="$$ARCH" --weights="$$WEIGHTS" $${BAD:+--bad="$$BAD"}

check: $(VENV)/complete  ## would it run, at which cost, what is missing? make check CONFIG=my.yaml
	@$(OWN); $(BIN)/python workflow_scripts/check.py "$$named" $${PROFILE:+--profile="$$PROFILE"}

study: $(VENV)/complete  ## run a study of your own on this machine: make study CONFIG=my.yaml [GPUS=4]
	@$(call COUNT,GPUS); $(OWN); $(BIN)/snakemake --profile profiles/local $${GPUS:+--resources gpu="$$GPUS"} \
	  --configfile "$$named" -- all && $(PAGE)

diagnose: $(VENV)/complete  ## does it have artifacts? make diagnose MODEL=<timm id|file|folder> IMAGES=<folder>
	@test -n "$$MODEL" -a -n "$$IMAGES" || { echo "make diagnose MODEL=<timm id, weights file (with ARCH=<timm id>) or Hugging Face folder> IMAGES=<folder> [AGAINST=<second backbone>] [BAD=skip] [CLASSES=<list>]"; exit 1; }
	@$(BIN)/python workflow_scripts/diagnose.py --model="$$MODEL" --images="$$IMAGES" \
	  --arch="$$ARCH" --against="$$AGAINST" --against-arch="$$AGAINST_ARCH" --name="$$NAME" \
	  $${WEIGHTS:+--weights="$$WEIGHTS"} $${BAD:+--bad="$$BAD"} $${CLASSES:+--classes="$$CLASSES"}

compare: $(LIGHT)/complete  ## diagnoses in one table: make compare OF="mine another" (names or folders; else all)
	@PYTHONPATH=workflow_scripts $(DRAWS)/python workflow_scripts/compare.py $$OF

figure: $(LIGHT)/complete  ## draw a figure from small files alone: make figure FIG=fig3 STUDY=paper
	@test -n "$$FIG" || { echo "make figure FIG=fig3 STUDY=paper: name a figure"; exit 1; }
	@$(NAMED); $(DRAWN_FROM); $(DRAWS)/snakemake --profile profiles/local --nolock --allowed-rules $(DRAWING) \
	  --configfile "$$named" --config figure="$$FIG" -- figure

report: $(LIGHT)/complete  ## a report of what there is, of a study half done: make report STUDY=paper (or CONFIG=)
	@$(NAMED); $(DRAWS)/snakemake --profile profiles/local --nolock --allowed-rules report --force \
	  --configfile "$$named" --config partial=True -- report && $(PAGE)

pack: $(LIGHT)/complete  ## pack what figures and report are made from, to be copied: make pack STUDY=paper
	@$(NAMED); PYTHONPATH=workflow_scripts $(DRAWS)/python workflow_scripts/pack.py "$$named"

fetch: $(LIGHT)/complete  ## somebody's packed study: make fetch FROM=<file, address or DOI> STUDY=paper
	@test -n "$$FROM" || { echo "make fetch FROM=<file, address or DOI of a packed study> STUDY=paper"; exit 1; }
	@$(call WORD,REPLACE,yes); PYTHONPATH=workflow_scripts $(DRAWS)/python workflow_scripts/fetch.py --study="$$STUDY" \
	  $${REPLACE:+--replace} -- "$$FROM"

publish: $(LIGHT)/complete  ## what a data repository and a hub want of a study: make publish STUDY=paper
	@$(NAMED); PYTHONPATH=workflow_scripts $(DRAWS)/python workflow_scripts/publish.py "$$named"

verify: $(LIGHT)/complete  ## every file of a study against its checksum: make verify STUDY=paper
	@$(call WORD,MEND,yes); $(NAMED); PYTHONPATH=workflow_scripts $(DRAWS)/python workflow_scripts/verify.py "$$named" \
	  $${MEND:+--mend}

dry-run: $(LIGHT)/complete  ## show what the paper study would run on a cluster
	@$(DRAWS)/snakemake --profile slurm -n

forecast: $(LIGHT)/complete  ## what it would cost on a cluster: make forecast CONFIG=my.yaml
	@$(NAMED); $(DRAWS)/snakemake --profile slurm -n --configfile "$$named" --config forecast=full -- all

weights: $(VENV)/complete  ## all that needs the network, beforehand: make weights STUDY=paper (or CONFIG=)
	@$(NAMED); $(BIN)/snakemake --profile profiles/local --config forecast=none \
	  --configfile "$$named" -- weights && echo "Weights and heads are here: jobs need no network."

doctor: $(VENV)/complete  ## does this site's Slurm run a study? make doctor STUDY=paper (or CONFIG=)
	@$(NAMED); $(BIN)/python workflow_scripts/doctor.py "$$named" $${PROFILE:+--profile="$$PROFILE"}

controller: $(VENV)/complete  ## submit the controller itself to Slurm: make controller STUDY=paper (or CONFIG=)
	@$(NAMED); $(BIN)/python workflow_scripts/doctor.py --controller && \
	  sbatch profiles/slurm/controller.sh "$$named"

status: $(LIGHT)/complete  ## hours done and to do, what runs, what failed and why: make status STUDY=paper [WATCH=60]
	@$(call COUNT,WATCH); $(NAMED); PYTHONPATH=workflow_scripts $(DRAWS)/python workflow_scripts/status.py "$$named" \
	  $${WATCH:+--watch="$$WATCH"}

resume: $(VENV)/complete  ## on Slurm, after the controller died: wait for its jobs, go on: make resume STUDY=paper (HOW=--cancel)
	@$(call WORD,HOW,--wait --cancel); $(NAMED); $(BIN)/python workflow_scripts/resume.py $$HOW && \
	  $(BIN)/snakemake --unlock --configfile "$$named" && \
	  $(BIN)/snakemake --profile slurm --configfile "$$named"

checks: $(VENV)/complete  ## formatting, linters and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/snakefmt --check .
	$(BIN)/mypy
	$(BIN)/snakemake --lint

bench: $(VENV)/complete  ## measure speed side by side, into results/bench: make bench SECTION=stores
	PYTHONPATH=workflow_scripts:tests:tests/helpers $(BIN)/python -m bench $$SECTION $$BENCH

accept: $(VENV)/complete  ## ten minutes on one GPU: is this machine as promised? [IMAGES=<ImageNet's validation set>]
	PYTHONPATH=workflow_scripts $(BIN)/python workflow_scripts/accept.py --images="$$IMAGES"

conformance: $(VENV)/complete  ## is what is read what the model computes? all ViTs of timm (minutes, no download)
	PYTHONPATH=workflow_scripts $(BIN)/python -m tokenscope.backbones.conformance results/conformance

zoo: $(VENV)/complete  ## write config/architectures.csv anew from timm
	PYTHONPATH=workflow_scripts $(BIN)/python -m tokenscope.backbones.architecture_table \
	  $$($(BIN)/python -c "import csv; tables = ['config/backbones.csv', 'config/zoo.csv']; \
	     print(*dict.fromkeys(row['timm_id'] for table in tables for row in csv.DictReader(open(table))))") > config/architectures.tmp
	mv config/architectures.tmp config/architectures.csv

locks:          ## write the locks of envs/ anew: all packages, all platforms, with hashes (needs uv)
	@command -v uv > /dev/null || { echo "make locks needs uv: pip install uv, in any environment"; exit 1; }
	@for pins in envs/requirements-light envs/requirements; do \
	  uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --no-header \
	    --no-annotate --no-emit-index-url --no-emit-find-links $$pins.txt -o $$pins.lock || exit 1; done

# Where nothing is listed, the pins must be among those that are up to date: else no registry answered.
outdated: $(VENV)/complete  ## which pins have newer versions
	@pins="$$(sed -nE 's/^([A-Za-z0-9_.-]+)==.*/\1/p' envs/requirements*.txt | tr '_' '.' | paste -sd '|' -)"; \
	known() { $(BIN)/python -m pip list "$$1" --retries 1 --disable-pip-version-check --format=columns \
	  | grep -iE "^($$2$$pins) "; }; \
	known --outdated 'Package|' || { known --uptodate > /dev/null \
	  && echo "All pins are the newest versions." \
	  || { echo "No package registry answers here: whether pins have newer versions is not known."; exit 1; }; }

schema: $(VENV)/complete  ## write the schema that editors complete a config by
	PYTHONPATH=workflow_scripts $(BIN)/python -m tokenscope.config_file.editor_schema

clean:          ## remove results and Snakemake's records, keep the environment
	rm -rf results .snakemake

.DEFAULT:
	@printf "make has no target '%s'%s (make help lists them)\n" $(call QUOTED,$@) \
	  "$$($(NEAREST) $(call QUOTED,$@) $(TARGETS))"; exit 1
