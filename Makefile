# People and CI use the same commands. Missing tools are made and cached.

.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
COMMANDS := $(BIN)/fleet $(BIN)/greenhouse

# These count only on the command line. An exported RELEASE would turn a list into a deployment.
RELEASE :=
DEVICE :=
NAME :=
YES :=

# Values reach a recipe as environment variables only. make expands nothing in them, and the shell has
# them in quotes. So no name is run as code.
GIVEN := STACK DEVICE COMPONENT RELEASE NAME FROM GROUP ARCH REGION DESTROY PREVIEW FAIL_ON WATCH JSON FAIL PORT YES \
  RECIPE SINCE ROWS FILE REPOSITORY ACCOUNT STATE_BUCKET STATE_KEY BUILD_IMAGE RUNTIME_IMAGE ARGS DATA PLUGINS
$(foreach name,$(GIVEN),$(if $(filter-out undefined,$(origin $(name))),\
  $(eval override $(name) := $$(value $(name)))$(eval export $(name))))

# Stack local is greenhouse's. Any other stack is in the account of the shell's credentials.
WITH = case "$${STACK:-local}" in local) there="$$($(BIN)/python -m greenhouse env $(1))" && eval "$$there";; esac &&
THERE = $(call WITH,)
ASKS_AWS = $(call WITH,--no-tools)

.PHONY: help setup up down start plan status console logs rollback prune sbom new-device abandon-device lint model ask env preview deploy drift images pin lock ci-roles ci-stacks ci-comment check test test-quick test-matrices bench pictures train clean

help:  ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {gsub(/\$$\$$/, "$$", $$2); printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) $(COMMANDS)  ## install the Python packages into .venv, and the commands fleet and greenhouse

up: $(STAMP) $(COMMANDS)  ## start greenhouse, pulumi up on stack local, show the device's answers: make up [PLUGINS=real]
	@$(BIN)/python -m greenhouse up

down: $(STAMP)  ## pulumi destroy on stack local, stop greenhouse, check that nothing is left
	@$(BIN)/python -m greenhouse down

start: $(STAMP) $(COMMANDS)  ## start greenhouse (cloud, providers, device) without deploying anything
	@$(BIN)/python -m greenhouse start

plan: $(STAMP)  ## show what an update does to each device: make plan [STACK=dev] [DESTROY=1] [PREVIEW=file] [FAIL_ON=removed,rights]
	@$(THERE) $(BIN)/python -m fleet plan --stack="$${STACK:-local}" $${DESTROY:+--destroy} $${PREVIEW:+--preview="$$PREVIEW"} $${FAIL_ON:+--fail-on="$$FAIL_ON"}

status: $(STAMP)  ## show devices, health, releases, last answers, drift: make status [STACK=dev] [WATCH=1] [JSON=1] [FAIL=1]
	@$(ASKS_AWS) $(BIN)/python -m fleet status $${STACK:+--stack="$$STACK"} $${WATCH:+--watch} $${JSON:+--json} $${FAIL:+--fail}

console: $(STAMP)  ## show the same live in a browser: make console [STACK=dev] [PORT=8321]
	@$(ASKS_AWS) $(BIN)/python -m fleet console $${STACK:+--stack="$$STACK"} $${PORT:+--port="$$PORT"}

logs: $(STAMP)  ## show a component's log on a device: make logs [STACK=dev] [DEVICE=press-1] [COMPONENT=com.ml.consumer]
	@$(ASKS_AWS) $(BIN)/python -m fleet logs $${STACK:+--stack="$$STACK"} $${COMPONENT:+--component="$$COMPONENT"} -- $${DEVICE:+"$$DEVICE"}

rollback: $(STAMP)  ## list the kept releases, or deploy one: make rollback [STACK=dev] [RELEASE=r1234abcd|previous|newest]
	@$(THERE) $(BIN)/python -m fleet rollback --stack="$${STACK:-local}" $${RELEASE:+--release="$$RELEASE"}

prune: $(STAMP)  ## list old releases that no device needs, or remove them: make prune [STACK=dev] [YES=1]
	@$(THERE) $(BIN)/python -m fleet prune --stack="$${STACK:-local}" $${YES:+--yes}

sbom: $(STAMP)  ## show packages, licences and files of a release's images: make sbom [STACK=dev] [RELEASE=r1234abcd] [JSON=1]
	@$(ASKS_AWS) $(BIN)/python -m fleet sbom --stack="$${STACK:-local}" $${RELEASE:+--release="$$RELEASE"} $${JSON:+--json}

new-device: $(STAMP)  ## write a stack file for another device: make new-device NAME=press-3 [FROM=dev] [GROUP=] [ARCH=] [REGION=]
	@$(BIN)/python -m fleet new-device $${FROM:+--from="$$FROM"} $${GROUP:+--group="$$GROUP"} $${ARCH:+--arch="$$ARCH"} $${REGION:+--region="$$REGION"} -- $${NAME:+"$$NAME"}

abandon-device: $(STAMP)  ## stop waiting for a device that is gone for good: make abandon-device DEVICE=press-1 [STACK=dev] [YES=1]
	@$(ASKS_AWS) $(BIN)/python -m fleet abandon-device --stack="$${STACK:-local}" $${YES:+--yes} -- $${DEVICE:+"$$DEVICE"}

lint: $(STAMP)  ## check recipes for both runtimes, or list the rules: make lint [RECIPE="recipe.yaml components/"]
	@$(BIN)/python -m fleet lint $${RECIPE:---rules}

model: $(STAMP)  ## describe a model file and the commands that release it: make model FILE=model.json [DATA=rows.csv]
	@$(BIN)/python -m fleet model $${DATA:+--data="$$DATA"} -- $${FILE:+"$$FILE"}

ask: $(STAMP)  ## ask the model on greenhouse's device for predictions or its features: make ask [ROWS=rows.json] [STACK=local]
	@$(BIN)/python -m greenhouse ask $${STACK:+--stack="$$STACK"} $${ROWS:+--rows="$$ROWS"}

env: $(STAMP) $(COMMANDS)  ## print the variables that point a shell at greenhouse: eval "$$(make -s env)"
	@$(BIN)/python -m greenhouse env

preview: $(STAMP)  ## pulumi preview on stack local
	@there="$$($(BIN)/python -m greenhouse env)" && eval "$$there" && pulumi preview --stack local --non-interactive

deploy: $(STAMP)  ## pulumi up without questions: make deploy STACK=dev
	@$(THERE) pulumi up --stack="$${STACK:-local}" --yes --non-interactive --suppress-outputs

drift: $(STAMP)  ## fail if the account differs from the tree: make drift [STACK=dev]
	@$(THERE) pulumi preview --stack="$${STACK:-local}" --non-interactive --refresh --expect-no-changes

images: $(STAMP)  ## build the device's images for each engine and architecture: make images [BUILD_IMAGE=] [RUNTIME_IMAGE=]
	@for build in "linux/amd64 evaluator" "linux/arm64 evaluator" "linux/amd64 xgboost" "linux/arm64 xgboost"; do \
	  set -- $$build; $(BIN)/python -m greenhouse.toolchain.docker_build --platform $$1 --target $$2 --quiet $${BUILD_IMAGE:+--build-arg="BUILD_IMAGE=$$BUILD_IMAGE"} $${RUNTIME_IMAGE:+--build-arg="RUNTIME_IMAGE=$$RUNTIME_IMAGE"} edge || exit 1; done

pin: $(STAMP)  ## write the current digests of the base images into edge/Dockerfile
	@$(BIN)/python -m greenhouse.toolchain.pin_base_images

ci-roles: $(STAMP)  ## print a template of the workflows' two roles: make ci-roles REPOSITORY=owner/name ACCOUNT= STATE_BUCKET= STATE_KEY=
	@$(BIN)/python -m fleet ci roles --repository="$$REPOSITORY" --account="$$ACCOUNT" --state-bucket="$$STATE_BUCKET" --state-key="$$STATE_KEY"

ci-stacks: $(STAMP)  ## print the stacks that a change affects, for a workflow: make ci-stacks [SINCE=commit]
	@$(BIN)/python -m fleet ci stacks $${SINCE:+--since="$$SINCE"}

ci-comment:  ## write the plans of a pull request into its comment with gh (in a workflow)
	@text="$$(env -u GH_TOKEN $(PYTHON) -m fleet.ci.comment)" && \
	  printf '%s\n' "$$text" | gh pr comment "$$PULL_REQUEST" --edit-last --create-if-none --body-file -

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" pyproject.toml

lock: $(STAMP)  ## write requirements*.txt from pyproject.toml: make lock [ARGS=--upgrade]
	@$(LOCK) $$ARGS --group dev --output-file requirements-dev.txt
	@$(LOCK) --constraint requirements-dev.txt --output-file requirements.txt
	@$(LOCK) --constraint requirements-dev.txt --group dev --group bench --output-file requirements-bench.txt

check: $(STAMP)  ## run ruff, mypy --strict, actionlint, zizmor, and compare the locks with pyproject.toml
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy .
	@$(BIN)/python -m greenhouse.toolchain.actionlint && $(BIN)/zizmor --offline --quiet --persona pedantic .github/workflows
	@$(MAKE) --silent lock && git diff --exit-code --stat -- requirements.txt requirements-dev.txt requirements-bench.txt \
	  || { printf '%s\n' "The locks differ from pyproject.toml." "make lock has just written them anew. Commit them:" "    git add requirements.txt requirements-dev.txt requirements-bench.txt" >&2; exit 1; }

TESTS = $(BIN)/python -m greenhouse.toolchain && $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

test: $(STAMP)  ## run all tests, with one case of each kind of failure and crash
	@$(TESTS) -m "not live and not matrix"

test-quick: $(STAMP)  ## run the tests that need neither a Docker engine nor the Pulumi CLI
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not live and not docker and not whole"

test-matrices: $(STAMP)  ## run the remaining cases of failure and crash (slow)
	@$(TESTS) -m matrix

bench: $(STAMP)  ## measure the figures of docs/benchmarks.md: make bench [ARGS="--only NAME"]
	@$(BIN)/python -m tests.bench $$ARGS

pictures: $(STAMP)  ## record README's pictures from a run of greenhouse
	@$(BIN)/python -m tests.docs.pictures

train: $(STAMP)  ## train the model again from the wine tables: make train DATA=FOLDER
	@$(BIN)/python -m edge.training $${DATA:+--data="$$DATA"}

clean:  ## remove what a broken greenhouse left here (make down is the clean way)
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m greenhouse stop; fi
	@rm -rf .greenhouse

$(STAMP): requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { printf '%s\n' "$(PYTHON) is too old." "This needs Python 3.11 or newer. Name one:" "    make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "Python packages into .venv (two minutes the first time: pulumi-aws alone is 270 MB) …" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements-dev.txt
	@touch $(STAMP)

# for a shell with .venv/bin on its PATH, as `make env` makes it; from whatever folder
$(COMMANDS): $(STAMP)
	@printf '%s\n' '#!/bin/sh' 'here="$$(dirname "$$0")"' 'PYTHONPATH="$$here/../.." exec "$$here/python" -m $(@F) "$$@"' > $@
	@chmod +x $@
