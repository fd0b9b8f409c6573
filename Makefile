# Every target can be run again at any time; what is done already is not done twice.
# Needed beforehand: Python 3.11 or newer, make and git; for `make test` also a Chromium or Chrome. A C compiler is used if there is one.

VENV := .venv
BIN := $(VENV)/bin
APP_STAMP := $(VENV)/.installed-app
DEV_STAMP := $(VENV)/.installed-dev
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3
BROWSERS := chromium google-chrome chromium-browser google-chrome-stable

# Two workers, a file's tests in one of them: files share expensive fixtures, and the browser tests share one app.
# Files are handed out in alphabetical order, so that the slow browser tests start early.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder
# More for `streamlit run`, for instance ARGS="--server.port 8600 --server.fileWatcherType auto".
ARGS ?=

PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-input $(if $(CI),--quiet --progress-bar off)

.DEFAULT_GOAL := help
.PHONY: help app test lint format clean chromium compiler

help: ## Show what there is to do
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

app: $(APP_STAMP) ## Install what the app needs and open it in the browser
	$(BIN)/python -m streamlit run app.py $(ARGS)

test: lint chromium compiler ## Check style and types, then run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(DEV_STAMP) ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

format: $(DEV_STAMP) ## Bring the code into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove the virtual environment and caches; runs, sets and checkpoints stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last thing that a new environment gets: an environment whose making was interrupted has none and is made again.
$(BIN)/pip:
	@for python in $(PYTHONS); do \
		command -v $$python >/dev/null 2>&1 || continue; \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		echo "Creating $(VENV) with $$($$python --version)"; \
		$$python -m venv --clear $(VENV) && exit 0; \
		echo "$$python could not create $(VENV); on Debian and Ubuntu install its venv package, for instance python3.11-venv" >&2; exit 1; \
	done; echo "No Python 3.11 or newer found; install one and run make again" >&2; exit 1

$(APP_STAMP): requirements.txt | $(BIN)/pip
	@echo "Installing requirements.txt into $(VENV); the first time this downloads a few gigabytes"
	$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(DEV_STAMP): requirements-dev.txt $(APP_STAMP)
	$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@

chromium:
	@found() { for name in $(BROWSERS); do command -v $$name >/dev/null 2>&1 && return 0; done; return 1; }; \
	found && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		apt-get update -qq </dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium </dev/null; \
	fi; \
	found || { echo "The browser tests need Chromium or Chrome: install one so that 'chromium' or 'google-chrome' starts it" >&2; exit 1; }

compiler:
	@command -v cc >/dev/null 2>&1 && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		apt-get update -qq </dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc </dev/null; \
	fi; \
	command -v cc >/dev/null 2>&1 || echo "No C compiler: fields go through PyTorch, and the tests of the compiled passes are skipped"
