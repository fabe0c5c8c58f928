# make train   installs what is needed and trains V50 on simulated planets; ARGS="local=debug" passes overrides
# make test    linters, type checks and tests
# make faults  kills, starves and corrupts runs; prints faults tried and survived. Takes long, not part of make test
# make docs    the site, in build/site; a warning is an error
# make reference   writes anew what follows from declarations: reference pages, outputs on pages, error texts
# make kaggle  the wheels that a Kaggle notebook installs from, in build/kaggle
PYTHON ?= $(if $(shell command -v python3.11),python3.11,python3)
VENV := .venv
BIN := $(VENV)/bin
KAGGLE_PYTHONS := 3.11 3.12 3.13
KAGGLE_PLATFORMS := manylinux_2_28_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 manylinux_2_5_x86_64

.PHONY: train test lint faults docs reference kaggle clean

train: $(VENV)/train.stamp
	$(strip $(BIN)/spectramind train $(ARGS))

test: lint
	$(BIN)/pytest -n 2

faults: $(VENV)/dev.stamp
	$(BIN)/pytest tests -m fault -n 2 --dist worksteal --timeout 3600

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo --no-cache

docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The tests that compare such files write them when they are told to; then all of them are compared.
reference: $(VENV)/dev.stamp
	$(BIN)/python docs/reference.py
	UPDATE_DOCS=1 UPDATE_ERRORS=1 $(BIN)/pytest -n 2 tests/config/test_docs.py tests/config/test_errors.py

# Two packages are built here, for they are published as sources or not at all. Of the others pip takes, on Kaggle, the
# wheels for the Python that is there. What setuptools has left in build/lib would be packed too.
kaggle: | $(VENV)/pip.stamp
	rm -rf build/kaggle build/lib
	$(BIN)/pip wheel --quiet --no-deps -c constraints.txt -w build/kaggle antlr4-python3-runtime .
	for version in $(KAGGLE_PYTHONS); do $(BIN)/pip download --quiet --no-deps --only-binary :all: \
	    --python-version $$version $(addprefix --platform ,$(KAGGLE_PLATFORMS)) --find-links build/kaggle \
	    -c constraints.txt -r examples/kaggle/packages.txt -d build/kaggle || exit 1; done
	du -sh build/kaggle

$(VENV)/pip.stamp:
	$(PYTHON) -m venv $(VENV)
	touch $@

# Torch comes first and by itself: with the pinned version pip finds a CPU build where there is one, and an open range
# would bring several gigabytes of CUDA packages.
$(VENV)/train.stamp: pyproject.toml constraints.txt | $(VENV)/pip.stamp
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[train]"
	touch $@

$(VENV)/dev.stamp: $(VENV)/train.stamp
	$(BIN)/pip install --quiet -c constraints.txt -e ".[train,dev]"
	touch $@

$(VENV)/docs.stamp: pyproject.toml constraints.txt | $(VENV)/pip.stamp
	$(BIN)/pip install --quiet -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
