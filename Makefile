# Everything runs in .venv, made with plain pip from the versions in .constraints.txt.

PYTHON ?= $(shell for one in python3 python3.13 python3.12 python3.11; do \
	$$one -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$one && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# A process per processor, and a file stays in one process, so that its servers and browsers are
# started once. `PYTEST_ARGS=` is one process; tests by hand (`pytest tests/web`) are that anyway.
PYTEST_ARGS ?= --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench lock clean system

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo-installed ## Run the provider, two apps and an API (PORT_BASE moves the ports)
	@exec $(BIN)/python -m idp demo

test: lint system tests/interop/node_modules/.installed ## Run every check and test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.dev-installed ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev-installed tests/interop/node_modules/.installed ## Measure, next to npm oidc-provider
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

lock: ## Resolve the dependencies again (needs uv), after a change in pyproject.toml
	uv lock
	uv export --quiet --all-extras --all-groups --no-hashes --no-emit-project \
		--no-annotate --no-header --output-file .constraints.txt

clean: ## Remove what was made here: environments, caches, the demo and its data
	rm -rf $(VENV) .demo .test .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf tests/interop/node_modules dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what the targets above need ------------------------------------------------------------------

$(VENV)/.pip-installed:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) …"
	@$(PYTHON) -m venv $(VENV)
	@# Dependency groups (pyproject.toml) are known to pip from 25.1 on.
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.demo-installed: pyproject.toml .constraints.txt | $(VENV)/.pip-installed
	@echo "Installing …"
	@$(PIP) install --editable '.[demo]' --constraint .constraints.txt
	@touch $@

$(VENV)/.dev-installed: pyproject.toml .constraints.txt | $(VENV)/.pip-installed
	@echo "Installing what the tests need …"
	@$(PIP) install --editable '.[demo,otel,postgres,redis]' --group dev --constraint .constraints.txt
	@touch $@ $(VENV)/.demo-installed

# What cannot be installed is not an error here: the tests say at their end what they had to leave
# out, and fail for it when CI is set.
system:
	@missing=""; \
	command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
		command -v google-chrome >/dev/null || missing="$$missing chromium fonts-dejavu-core"; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	{ command -v rsyslogd || test -x /usr/sbin/rsyslogd; } >/dev/null || \
		missing="$$missing rsyslog rsyslog-gnutls rsyslog-openssl"; \
	command -v strace >/dev/null || missing="$$missing strace"; \
	command -v oidc-agent >/dev/null || missing="$$missing oidc-agent-cli"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing$$missing …"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -qq -y --no-install-recommends $$missing >/dev/null || true; \
	else \
		echo "Not installed, and not installable from here:$$missing"; \
	fi

tests/interop/node_modules/.installed: tests/interop/package-lock.json
	@if command -v npm >/dev/null; then \
		cd tests/interop && npm ci --silent --no-audit --no-fund && touch node_modules/.installed; \
	else \
		echo "npm is not installed: the clients that strangers wrote cannot be run"; \
	fi || true
