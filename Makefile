# What can be made here: `make help`.
#
# PYTHON chooses the interpreter (3.11 or later), VENV the virtual environment.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
TESTS ?= tests

# Marker files: what is installed, and from which list.
RUNTIME := $(VENV)/.runtime
DEVELOPMENT := $(VENV)/.development

.DEFAULT_GOAL := help
.PHONY: help demo test faults bench check format docs lock clean systemd-analyze dovecot imapfilter hoodiecrow gcc

help: ## Say what can be made
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(RUNTIME) ## Watch sample mail being filed: an IMAP server inside, no account, no root
	@$(BIN)/mailrules demo $(ARGS)

test: $(DEVELOPMENT) dovecot hoodiecrow systemd-analyze gcc ## Run the tests (TESTS=tests/core for some of them)
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(TESTS) $(ARGS)

faults: $(DEVELOPMENT) dovecot ## Every fault at its full figures, for hours (ARGS="-k kill" for some of them)
	@MAILRULES_FAULTS=full $(BIN)/python -m pytest tests/faults $(ARGS)

bench: $(DEVELOPMENT) dovecot imapfilter ## Measure mailrules against its peers, for an hour (ARGS=--quick: whether it runs)
	@$(BIN)/python -m benchmarks $(ARGS)

check: $(DEVELOPMENT) systemd-analyze ## Lint, format, types, the systemd unit's exposure
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if command -v systemd-analyze >/dev/null; then \
		systemd-analyze security --offline=true --threshold=15 --no-pager systemd/mailrules.service | tail -n 1; \
		systemd-analyze security --offline=true --threshold=15 --no-pager systemd/mailrules.service >/dev/null; \
	fi

format: $(DEVELOPMENT) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DEVELOPMENT) ## Write docs/rules.md and man/mailrules.1 anew from the program
	$(BIN)/python docs/build.py

lock: $(DEVELOPMENT) ## Choose the newest versions of all dependencies
	$(PIP) install uv
	$(BIN)/uv $(LOCK) --upgrade -o requirements.lock
	$(BIN)/uv $(LOCK) --upgrade --group dev -c requirements.lock -o requirements-dev.lock
LOCK := pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet

clean: ## Remove the virtual environment and what was built
	rm -rf $(VENV) .lab dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- what the above stand on ---------------------------------------------------------------------------------
$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "mailrules needs Python 3.11 or later, and there is none here." >&2; \
		.ci/need python3 python3-venv; exit 1; \
	fi
	@# Debian ships venv in a package of its own; without it a half-made environment stays behind.
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { \
		rm -rf $(VENV); .ci/need python3-venv && $(PYTHON) -m venv $(VENV); }

$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing mailrules into $(VENV) (once) ..." >&2
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --editable .
	@touch $@

$(DEVELOPMENT): requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "Installing what the tests need into $(VENV) (once) ..." >&2
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(RUNTIME)

# On CI a missing tool is a failure; elsewhere it is said, and the rest goes on.
dovecot:
	@PATH="$$PATH:/usr/sbin:/sbin"; command -v dovecot >/dev/null || .ci/need dovecot-imapd dovecot-lmtpd || { \
		echo "LEFT OUT: every test against a real IMAP server." >&2; [ -z "$(CI)" ]; }

imapfilter:
	@command -v imapfilter >/dev/null || .ci/need imapfilter || echo "LEFT OUT: imapfilter, to compare with." >&2

# Gmail's extensions, in Node.js; Debian's npm is several hundred packages, so only CI installs that.
hoodiecrow: .lab/hoodiecrow/node_modules/.package-lock.json
.lab/hoodiecrow/node_modules/.package-lock.json: tests/lab/hoodiecrow/package-lock.json
	@{ command -v npm >/dev/null || { [ -n "$(CI)" ] && .ci/need nodejs npm; } && \
		tests/lab/install_hoodiecrow.sh >/dev/null && touch $@; } || { \
		echo "LEFT OUT: the tests against a server with Gmail's extensions (they need npm)." >&2; [ -z "$(CI)" ]; }

systemd-analyze:
	@command -v systemd-analyze >/dev/null || .ci/need systemd || { \
		echo "LEFT OUT: whether systemd understands systemd/mailrules.service, and its exposure." >&2; [ -z "$(CI)" ]; }

gcc:
	@command -v gcc >/dev/null || .ci/need gcc libc6-dev || { \
		echo "LEFT OUT: what happens when a write of the journal fails (it needs gcc)." >&2; [ -z "$(CI)" ]; }
