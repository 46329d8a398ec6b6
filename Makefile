# Nothing but Python 3.11 to 3.13 has to be there: every target makes the virtual environment .venv, and installs into
# it what the target needs. `make PYTHON=/path/to/python3 test` says which Python; ARGS= passes options on.

.DEFAULT_GOAL := help
.PHONY: help demo learn serve test test-slow lint clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

SUITED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
  $$p -c '$(SUITED)' 2>/dev/null && echo $$p && break; done)
# Relative, so that the folder's own path may hold spaces.
VENV := .venv
RUN := $(VENV)/bin/python
ARGS ?=
MODEL ?= saved_models/default

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/demo.stamp  ## caption photographs with the default model (ARGS="PHOTO ..." takes your own)
	@$(RUN) training/photos.py $(ARGS)

learn: $(VENV)/train.stamp  ## train on drawn images, then caption new ones (minutes; ARGS=--retrain starts over)
	@$(RUN) training/demo.py $(ARGS)

serve: $(VENV)/devserver.stamp  ## serve MODEL=FOLDER as TensorFlow Serving would, for development (ARGS=--help)
	@$(RUN) serving/devserver.py "$(MODEL)" --name captioner $(ARGS)

test: lint  ## lint, then all quick tests
	@$(RUN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(VENV)/dev.stamp  ## the tests that take minutes each
	@$(RUN) -m pytest -m slow $(ARGS)

lint: $(VENV)/dev.stamp  ## style and types
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

clean:  ## delete .venv and caches of tools; runs/, cache/ and demo/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says that an extra is installed; it is only written when pip has succeeded.
$(VENV)/dev.stamp: pyproject.toml
	@$(call install,dev)
	@touch $(VENV)/demo.stamp $(VENV)/train.stamp $(VENV)/devserver.stamp $@

$(VENV)/demo.stamp: pyproject.toml
	@$(call install,demo)
	@touch $@

$(VENV)/train.stamp: pyproject.toml
	@$(call install,train)
	@touch $@

$(VENV)/devserver.stamp: pyproject.toml
	@$(call install,devserver)
	@touch $@

# An environment that does not run (half made, or its Python gone or too old) is made anew.
define install
set -e; \
if ! $(RUN) -c 'import pip; $(SUITED)' >/dev/null 2>&1; then \
  python="$(PYTHON)"; \
  "$$python" -c '$(SUITED)' 2>/dev/null || { \
    echo "make: expected Python 3.11 to 3.13, got '$$python'; say make PYTHON=/path/to/python3" >&2; exit 1; }; \
  rm -rf $(VENV); "$$python" -m venv $(VENV); \
fi; \
echo "installing captioner[$(1)] into $(VENV)"; \
$(RUN) -m pip install --disable-pip-version-check -e '.[$(1)]'
endef
