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

status: $(LIGHT)/complete  ## hours done and to do, what runs, what failed and why: make status STUDY=paper [WATCH=60]
	@$(NAMED); PYTHONPATH=workflow_scripts $(DRAWS)/python workflow_scripts/status.py "$$named" \
	  $${WATCH:+--watch="$$WATCH"}
