# Needs nothing but python3 (3.11 or newer), make and the package registry.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: train test test-oldest lint format docs site bench dist clean

# Train on the bundled digits; every other argument goes in ARGS: make train ARGS="mnist --epochs 8"
train: .venv/installed
	$(BIN)/mlpax train $(ARGS)

test: .venv/developed
	$(BIN)/python -m pytest $(ARGS)

# A part of the tests that calls every dependency, with the oldest versions that pyproject.toml allows.
OLDEST = tests/test_recipes.py tests/test_scores.py tests/test_plots.py tests/engine/test_losses.py \
  tests/engine/test_training.py tests/data/test_kinds.py tests/data/test_tables.py tests/data/test_formats.py \
  tests/estimators/test_mlp.py tests/model/test_model.py tests/model/test_onnx.py tests/serve/test_requests.py \
  tests/cli/test_main.py
test-oldest:
	test -d .venv-oldest || $(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-oldest.txt \
	  --editable '.[dask,export,log,serve]' beartype httpx2 hypothesis jsonschema pandas pyarrow pytest pytest-xdist safetensors
	.venv-oldest/bin/python -m pytest $(OLDEST) -o filterwarnings=default $(ARGS)  # old versions warn of new ones

# Style, then types, then the files for the code host.
lint: .venv/developed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/wish.yml
	$(BIN)/zizmor --offline --quiet --persona pedantic .github

format: .venv/developed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The pages of the reference, from the source.
docs: .venv/installed
	$(BIN)/python docs/generate.py

# The site, in build/site; a warning is an error.
site: .venv/developed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python docs/build_site.py

# Half an hour of a quiet machine; rewrites benchmarks/results and the tables of README.md and docs/benchmarks.md.
bench: .venv/developed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks $(ARGS)

# Two wheels for every Python from 3.11, and the sources that they are built from. One wheel has the native library,
# for Linux as old as here.
dist: .venv/developed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dist]'
	rm -rf build/plain build/native build/sources dist
	$(BIN)/python -m build --sdist --outdir dist .
	mkdir -p build/sources
	tar -xzf dist/*.tar.gz -C build/sources --strip-components 1
	CC=false CXX=false $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/plain build/sources
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/native build/sources
	$(BIN)/wheel tags --remove --python-tag py3 --abi-tag none --platform-tag any build/plain/*.whl
	$(BIN)/wheel tags --remove --python-tag py3 --abi-tag none build/native/*.whl
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist build/native/*.whl
	mv build/plain/*.whl dist
	$(BIN)/twine check --strict dist/*
	ls -l dist

clean:
	rm -rf .venv .venv-oldest build dist

# The environment is made again when what it is made from changes.
NATIVE = $(wildcard src/mlpax/engine/native/*.cpp src/mlpax/engine/native/*.h)

.venv/installed: pyproject.toml constraints.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mlpax needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/developed: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
