# Everything here works with nothing prepared but Python >= 3.11, make and a network.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# Each target is one job, and they share .venv: two at once would get in each other's way.
.NOTPARALLEL:

PORT ?= 12345

.PHONY: help
help: ## Show this list
	@echo "make TARGET, where TARGET is one of:"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-11s  %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Settings, with examples:"
	@echo "  PORT=12346          the broker's port (run, broker, demo)"
	@echo "  UI_PORT=8600        the page's port (run, ui, demo); the next free one if it is taken"
	@echo "  ARGS='-k frames'    arguments for pytest (test, check) or for the program (bench, mutants, mutmut, fuzz, crash, soak, screenshots)"
	@echo "  PYTHON=python3.13   what to make .venv with"

.PHONY: run
run: install ## Start the broker and the page on this machine, and say where they are
	@exec .venv/bin/python -m scripts.run

.PHONY: test
test: develop ## Run all tests
	@exec .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: demo
demo: install ## Start a broker and the page, with people there to chat with
	@exec .venv/bin/python -m scripts.demo

.PHONY: broker
broker: install ## Start only the broker, on all addresses of this machine
	@exec .venv/bin/securechat-broker --host 0.0.0.0 --port "$(PORT)"

.PHONY: ui
ui: install ## Start only the page
	@exec .venv/bin/python -m scripts.run page

.PHONY: check
check: lint test ## Check all that must hold before a change lands: style, types, imports, tests

.PHONY: lint
lint: develop ## Check style, types and imports, without the tests
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

.PHONY: format
format: develop ## Put the code into its form
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

.PHONY: bench
bench: develop ## Measure how fast it is
	@exec .venv/bin/python -m bench $(ARGS)

.PHONY: screenshots
screenshots: develop ## Take the pictures of the page in docs/ anew, in every state
	@exec .venv/bin/python -m scripts.screenshots $(ARGS)

.PHONY: mutants
mutants: develop ## Take each check out of the code in turn, and see that a test notices
	@exec .venv/bin/python -m scripts.mutants $(ARGS)

.PHONY: mutmut
mutmut: develop ## Change core/ in thousands of small ways, and see that a test notices; takes most of an hour
	@exec .venv/bin/python -m scripts.survivors $(ARGS)

.PHONY: fuzz
fuzz: develop ## Feed every parser of remote bytes with what it should refuse, 60 s each
	@exec .venv/bin/python -m scripts.fuzz $(ARGS)

.PHONY: crash
crash: develop ## Kill everything at random, some 200 times, and see that no message is lost or doubled
	@exec .venv/bin/python -m scripts.crash $(ARGS)

.PHONY: soak
soak: develop ## Let 200 clients come and go for ten minutes: no loss, and memory stays flat
	@exec .venv/bin/python -m scripts.crash.soak $(ARGS)

.PHONY: clean
clean: ## Remove what make and the tests made
	rm -rf .venv mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build test-results *.egg-info

.PHONY: install
install: ## Install into .venv what SecureChat needs (the others do it by themselves)
	@sh scripts/python.sh scripts/install.py

.PHONY: develop
develop: ## Install into .venv what the tests need, too
	@sh scripts/python.sh scripts/install.py dev
