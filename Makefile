# The same commands that people and CI use. Everything is made where it is missing, and cached.

.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help up down start status logs env preview check test test-quick bench train clean

help:  ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {gsub(/\$$\$$/, "$$", $$2); printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(STAMP)  ## set everything up, pulumi up on stack local, show the device's answers
	@$(BIN)/python -m greenhouse up

down: $(STAMP)  ## pulumi destroy on stack local, stop everything, prove that nothing is left
	@$(BIN)/python -m greenhouse down

start: $(STAMP)  ## start greenhouse (cloud, providers, device) without deploying anything
	@$(BIN)/python -m greenhouse start

status: $(STAMP)  ## which processes of greenhouse run
	@$(BIN)/python -m greenhouse status

logs: $(STAMP)  ## a component's log on the device: make logs COMPONENT=com.ml.xgboost
	@$(BIN)/python -m greenhouse logs $(COMPONENT)

env: $(STAMP)  ## print what points a shell at greenhouse: eval "$$(make -s env)"
	@$(BIN)/python -m greenhouse env

preview: $(STAMP)  ## pulumi preview on stack local
	@eval "$$($(BIN)/python -m greenhouse env)" && pulumi preview --stack local --non-interactive

check: $(STAMP)  ## ruff and mypy --strict
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy .

test: $(STAMP)  ## every test but the live ones: pure, greenhouse, and the whole way
	@$(BIN)/python -m pytest

test-quick: $(STAMP)  ## the tests that need neither a Docker engine nor the Pulumi CLI
	@$(BIN)/python -m pytest -m "not live and not docker and not whole"

bench: $(STAMP)  ## the figures of docs/benchmarks.md: make bench [ARGS="--only NAME"]
	@$(BIN)/python -m tests.bench $(ARGS)

train: $(STAMP)  ## train the model again from the wine tables: make train DATA=folder
	@$(BIN)/python -m edge.training $(if $(DATA),--data $(DATA))

clean:  ## throw away what a broken greenhouse left here (make down is the clean way)
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m greenhouse stop; fi
	@rm -rf .greenhouse

$(STAMP): requirements.txt requirements-dev.txt
	@echo "Python packages into .venv (two minutes the first time: pulumi-aws alone is 270 MB) …" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $(STAMP)
