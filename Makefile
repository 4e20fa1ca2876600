# The commands of this checkout. Everything they make lies in .paddock/ (and the usual build caches); `make clean` removes it.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test check bench faults gpu-check down clean

PYTHON ?= python3
BIN := .paddock/venv/bin
IN_ENVIRONMENT := $(PYTHON) local/bootstrap.py
PACKAGES := core/paddock_core operator/paddock_operator controlplane/paddock_controlplane gateway/paddock_gateway \
	serving/paddock_serving cli/paddock_cli local/paddock_local
CHECKS := $(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy $(PACKAGES) && $(BIN)/lint-imports --cache-dir .paddock/cache/imports

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null || grep '##' $(MAKEFILE_LIST)

demo: ## install, start the stack on this machine and tell the story; leaves it running
	@$(IN_ENVIRONMENT) $(BIN)/paddock local demo

test: ## install, build Kubernetes and what plays GPU nodes if need be, check the code and run every test
	@$(IN_ENVIRONMENT) sh -c '$(BIN)/paddock local build --gpu-nodes && $(CHECKS) && $(BIN)/pytest -o cache_dir=.paddock/cache/pytest tests e2e'

check: ## style, types and imports only
	@$(IN_ENVIRONMENT) sh -c '$(CHECKS)'

bench: ## measure all that docs/performance.md shows, and write it there
	@$(IN_ENVIRONMENT) $(BIN)/python -m bench

faults: ## kill, stop and cut off every part under load, at full length, and compare the ledger with what clients got
	@$(IN_ENVIRONMENT) sh -c '$(BIN)/paddock local build || exit 1; failed=0; \
		$(BIN)/python -m faults cluster || failed=1; $(BIN)/python -m faults bugs || failed=1; \
		$(BIN)/python -m faults || failed=1; \
		PADDOCK_QUOTA_RACES=1000 $(BIN)/pytest -q -s -o cache_dir=.paddock/cache/pytest tests/quotas || failed=1; \
		exit $$failed'

gpu-check: ## run the TensorRT-LLM engine, on a machine with a GPU
	@$(IN_ENVIRONMENT) $(BIN)/paddock-serving gpu-check

down: ## stop every stack of this checkout
	@if [ -x $(BIN)/paddock ]; then $(BIN)/paddock local down --all; fi

clean: ## stop everything and remove .paddock/
	@$(PYTHON) local/clean.py
