# Every target first makes .venv if need be: nothing has to be installed by hand.
.DEFAULT_GOAL := help
.PHONY: help install demo test test-pages check clean

export RASA_TELEMETRY_ENABLED = false
export TF_CPP_MIN_LOG_LEVEL = 2
# Set, it would have each start of Rasa compile all anew, which takes longer than all the rest of it.
unexport PYTHONDONTWRITEBYTECODE

PYTHON := .venv/bin/python
MODEL := example_bot/models/example_bot.tar.gz
BOT_SOURCES := example_bot/config.yml example_bot/domain.yml $(wildcard example_bot/data/*.yml)

help:  ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile

install:  ## set up .venv with Python 3.10 and everything needed
	@scripts/set-up

demo: install  ## play the example bot with a local WhatsApp, no account needed
	@$(MAKE) --no-print-directory $(MODEL)
	@$(PYTHON) -m rasa_coexistence.simulator.demo

test: install  ## run all tests but those of the web pages
	@$(PYTHON) -m pytest -m "not browser" --numprocesses 3 --dist loadfile --no-loadscope-reorder

test-pages: install  ## run the tests of the web pages, which need a Chromium
	@$(PYTHON) -m pytest -m browser --numprocesses 2 --dist loadfile

check: install  ## lint, formatting and types
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

clean:  ## remove what the others made
	@rm -rf .venv .uv .rasa .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis example_bot/models
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MODEL): $(BOT_SOURCES) .venv/.set-up
	@scripts/train
