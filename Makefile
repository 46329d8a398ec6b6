# Needs nothing but Python 3.11 to 3.13: every target makes the virtual environment .venv and installs what it needs
# there. `make PYTHON=/path/to/python3 test` chooses the Python; ARGS= passes options on.

.DEFAULT_GOAL := help
.PHONY: help demo learn serve test test-slow lint docs clean
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

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/demo.stamp  ## caption photographs with the default model (ARGS="PHOTO ..." for your own)
	@$(RUN) training/photos.py $(ARGS)

learn: $(VENV)/train.stamp  ## train on generated images, then caption new ones (takes minutes; ARGS=--retrain starts over)
	@$(RUN) training/demo.py $(ARGS)

serve: $(VENV)/devserver.stamp  ## serve MODEL=FOLDER over the protocols of TensorFlow Serving, for development (ARGS=--help)
	@$(RUN) serving/devserver.py "$(MODEL)" --name captioner $(ARGS)

test: lint  ## run lint, then every test that is not marked slow
	@$(RUN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(VENV)/dev.stamp  ## run the tests marked slow (minutes each)
	@$(RUN) -m pytest -m slow $(ARGS)

lint: $(VENV)/dev.stamp  ## check style (ruff) and types (mypy)
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

docs: $(VENV)/dev.stamp  ## rewrite the parts of the documents that are generated from the code
	@$(RUN) -m tests.project.generated

clean:  ## delete .venv and the caches of tools; keeps runs/, cache/ and demo/
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
