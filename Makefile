# The same commands that people and CI use. Everything is made where it is missing, and cached.

.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# Stack local is greenhouse's; any other is in the account that the shell points at.
THERE = $(if $(filter local,$(or $(STACK),local)),env="$$($(BIN)/python -m greenhouse env)" && eval "$$env" &&)

# Given with the command or not at all: an exported RELEASE would make a list a deployment.
RELEASE :=
DEVICE :=
NAME :=
YES :=

.PHONY: help setup up down start plan status console logs rollback new-device abandon-device lint env preview deploy drift images lock ci-roles ci-stacks ci-comment check test test-quick test-matrices bench pictures train clean

help:  ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {gsub(/\$$\$$/, "$$", $$2); printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## install the Python packages into .venv

up: $(STAMP)  ## set everything up, pulumi up on stack local, show the device's answers
	@$(BIN)/python -m greenhouse up

down: $(STAMP)  ## pulumi destroy on stack local, stop everything, prove that nothing is left
	@$(BIN)/python -m greenhouse down

start: $(STAMP)  ## start greenhouse (cloud, providers, device) without deploying anything
	@$(BIN)/python -m greenhouse start

plan: $(STAMP)  ## what an update does to each device: make plan [STACK=dev] [DESTROY=1] [PREVIEW=file] [FAIL_ON=removed,rights]
	@$(THERE) $(BIN)/python -m fleet plan --stack $(or $(STACK),local) $(if $(DESTROY),--destroy) $(if $(PREVIEW),--preview $(PREVIEW)) $(if $(FAIL_ON),--fail-on $(FAIL_ON))

status: $(STAMP)  ## devices, health, releases, last answers, drift: make status [STACK=dev] [WATCH=1] [JSON=1] [FAIL=1]
	@$(THERE) $(BIN)/python -m fleet status $(if $(STACK),--stack $(STACK)) $(if $(WATCH),--watch) $(if $(JSON),--json) $(if $(FAIL),--fail)

console: $(STAMP)  ## the same in a browser, live: make console [STACK=dev] [PORT=8321]
	@$(THERE) $(BIN)/python -m fleet console $(if $(STACK),--stack $(STACK)) $(if $(PORT),--port $(PORT))

logs: $(STAMP)  ## a component's log on a device: make logs [STACK=dev] [DEVICE=press-1] [COMPONENT=com.ml.consumer]
	@$(THERE) $(BIN)/python -m fleet logs $(DEVICE) $(if $(STACK),--stack $(STACK)) $(if $(COMPONENT),--component $(COMPONENT))

rollback: $(STAMP)  ## list the kept releases, or deploy one: make rollback [STACK=dev] [RELEASE=r1234abcd|previous|newest]
	@$(THERE) $(BIN)/python -m fleet rollback --stack $(or $(STACK),local) $(if $(RELEASE),--release $(RELEASE))

new-device: $(STAMP)  ## write one more stack file: make new-device NAME=press-3 [FROM=dev] [GROUP=] [ARCH=] [REGION=]
	@$(BIN)/python -m fleet new-device $(NAME) $(if $(FROM),--from $(FROM)) $(if $(GROUP),--group $(GROUP)) $(if $(ARCH),--arch $(ARCH)) $(if $(REGION),--region $(REGION))

abandon-device: $(STAMP)  ## wait no more for a device that is gone for good: make abandon-device DEVICE=press-1 [STACK=dev] [YES=1]
	@$(THERE) $(BIN)/python -m fleet abandon-device $(DEVICE) --stack $(or $(STACK),local) $(if $(YES),--yes)

lint: $(STAMP)  ## check recipes for both runtimes, or list the rules: make lint [RECIPE="recipe.yaml components/"]
	@$(BIN)/python -m fleet lint $(or $(RECIPE),--rules)

env: $(STAMP)  ## print what points a shell at greenhouse: eval "$$(make -s env)"
	@$(BIN)/python -m greenhouse env

preview: $(STAMP)  ## pulumi preview on stack local
	@eval "$$($(BIN)/python -m greenhouse env)" && pulumi preview --stack local --non-interactive

deploy: $(STAMP)  ## pulumi up without questions: make deploy STACK=dev
	@$(THERE) pulumi up --stack $(or $(STACK),local) --yes --non-interactive --suppress-outputs

drift: $(STAMP)  ## fail where the account isn't what the tree says: make drift [STACK=dev]
	@$(THERE) pulumi preview --stack $(or $(STACK),local) --non-interactive --refresh --expect-no-changes

images: $(STAMP)  ## build the device's images, for each engine and architecture: make images [BUILD_IMAGE=] [RUNTIME_IMAGE=]
	@for build in "linux/amd64 evaluator" "linux/arm64 evaluator" "linux/amd64 xgboost" "linux/arm64 xgboost"; do \
	  set -- $$build; $(BIN)/python -m greenhouse.toolchain.build --platform $$1 --target $$2 --quiet $(foreach base,BUILD_IMAGE RUNTIME_IMAGE,$(if $($(base)),--build-arg $(base)=$($(base)))) edge || exit 1; done

ci-roles: $(STAMP)  ## the workflows' roles as a template: make ci-roles REPOSITORY=owner/name ACCOUNT= STATE_BUCKET= STATE_KEY=
	@$(BIN)/python -m fleet ci roles --repository $(REPOSITORY) --account $(ACCOUNT) --state-bucket $(STATE_BUCKET) --state-key $(STATE_KEY)

ci-stacks: $(STAMP)  ## which stacks a change touches, as a workflow reads it: make ci-stacks [SINCE=commit]
	@$(BIN)/python -m fleet ci stacks $(if $(SINCE),--since $(SINCE))

ci-comment:  ## write the plans of a pull request into its comment (by a workflow's environment)
	@$(PYTHON) -m fleet.ci.comment

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" pyproject.toml

lock: $(STAMP)  ## write requirements*.txt anew from pyproject.toml: make lock [ARGS=--upgrade]
	@$(LOCK) $(ARGS) --group dev --output-file requirements-dev.txt
	@$(LOCK) --constraint requirements-dev.txt --output-file requirements.txt
	@$(LOCK) --constraint requirements-dev.txt --group dev --group bench --output-file requirements-bench.txt

check: $(STAMP)  ## ruff, mypy --strict, actionlint, zizmor, and whether the locks are what pyproject.toml says
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy .
	@$(BIN)/python -m greenhouse.toolchain.actionlint && $(BIN)/zizmor --offline --quiet --persona pedantic .github/workflows
	@$(MAKE) --silent lock && git diff --exit-code --stat -- requirements.txt requirements-dev.txt requirements-bench.txt \
	  || { echo "The locks differ from pyproject.toml: commit what make lock has written." >&2; exit 1; }

TESTS = $(BIN)/python -m greenhouse.toolchain && $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test: $(STAMP)  ## the tests: pure, greenhouse, the whole way, one row of each kind of sabotage and crash
	@$(TESTS) -m "not live and not matrix"

test-quick: $(STAMP)  ## the tests that need neither a Docker engine nor the Pulumi CLI
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not live and not docker and not whole"

test-matrices: $(STAMP)  ## every other row: whatever is broken or killed, up fails with its reason and the next one converges
	@$(TESTS) -m matrix

bench: $(STAMP)  ## the figures of docs/benchmarks.md: make bench [ARGS="--only NAME"]
	@$(BIN)/python -m tests.bench $(ARGS)

pictures: $(STAMP)  ## record the pictures of README from a run of greenhouse
	@$(BIN)/python -m tests.docs.pictures

train: $(STAMP)  ## train the model again from the wine tables: make train DATA=folder
	@$(BIN)/python -m edge.training $(if $(DATA),--data $(DATA))

clean:  ## throw away what a broken greenhouse left here (make down is the clean way)
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m greenhouse stop; fi
	@rm -rf .greenhouse

$(STAMP): requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "This needs Python 3.11 or newer, and $(PYTHON) is older: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "Python packages into .venv (two minutes the first time: pulumi-aws alone is 270 MB) …" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements-dev.txt
	@touch $(STAMP)
