# Two commands: `make demo` and `make test`. Everything else is set up by them.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
LOCKED = $(VENV)/.locked-$(firstword $(shell cksum requirements.lock | tr ' ' '-'))
DEMO ?=
PYTEST ?=
NATIVE = taktwatch/libtaktwatch_native.so

.PHONY: demo test setup lint bench lock clean

demo: setup
	$(BIN)/python -m taktwatch demo $(DEMO)

test: setup lint
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(PYTEST)

lint: setup
	@if command -v cargo >/dev/null; then cargo test --quiet --offline --locked --manifest-path native/Cargo.toml; fi
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry . --config pyproject.toml
	$(BIN)/codespell

bench: setup
	@echo "Bus, engines, screen, the whole path and panels, one after the other: half an hour to an hour on four free cores"
	@echo "(the whole path: ten minutes); tables go into docs/benchmarks.md, which names the benchmarks left out here."
	$(BIN)/python benchmarks/bus.py
	$(BIN)/python benchmarks/engines.py --write
	$(BIN)/python benchmarks/screen.py --write
	$(BIN)/python benchmarks/pipeline.py --write docs/benchmarks.md
	$(BIN)/python benchmarks/panels.py --write docs/benchmarks.md

setup: $(LOCKED) $(NATIVE)
	@$(BIN)/python -c "import sys, importlib.metadata as m; d = m.distribution('taktwatch'); \
	  sys.exit('$(CURDIR)' not in (d.read_text('direct_url.json') or ''))" 2>/dev/null \
	  || $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .

# The locked set includes PyTorch with CUDA: about 3 GB, once. It is complete, so pip need not look for dependencies: where a
# package of the set wants another with an extra, pip 23 takes the newest there is, which has no hash here, and gives up.
$(LOCKED): requirements.lock
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "taktwatch needs Python 3.11 or newer; set PYTHON=..."; exit 1; }
	@echo "Setting up $(VENV) from requirements.lock (PyTorch included: about 3 GB, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	@rm -f $(VENV)/.locked-*
	@touch $@

# What folds a factory's results, compiled; it has no dependencies. Without it the same is done in Python, more slowly.
$(NATIVE): native/Cargo.toml native/Cargo.lock $(wildcard native/src/*.rs)
	@if command -v cargo >/dev/null; then \
	  cargo build --quiet --release --offline --locked --manifest-path native/Cargo.toml \
	    && cp native/target/release/libtaktwatch_native.so $@.new && mv $@.new $@ \
	    || echo "The compiled fold could not be built (Rust 1.78 or newer is needed): Python folds"; \
	else echo "No Rust compiler (cargo) here: Python folds results, at about 20,000 a second"; fi

# Needs uv; run after changing dependencies in pyproject.toml.
lock:
	uv pip compile pyproject.toml --extra all --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --output-file requirements.lock

clean:
	rm -rf build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
