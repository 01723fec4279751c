# The environment is made on first use, and again when what it is made from has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))

.DEFAULT_GOAL := help
.PHONY: help figures table gpu lab lab-solutions slides book notebooks editions test test-faults test-browser lint clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

figures: $(READY) ## the whole path on the digits: figures and results in figures/
	$(BIN)/python -m lirf_kit figures

table: $(READY) ## the results over 5 training seeds with 5 deposit sets each
	$(BIN)/python -m lirf_kit table --seeds 5

gpu: $(READY) ## everything that needs a GPU, into benchmarks/gpu-*
	$(BIN)/python -m lirf_kit gpu

lab: $(READY) ## open the notebooks in JupyterLab, to work in; what you have changed is kept
	$(BIN)/python -m lirf_kit editions --only student
	$(BIN)/jupyter lab --notebook-dir editions/student --LabApp.default_url=/lab/tree/notebooks

lab-solutions: $(READY) ## open the notebooks with their solutions and outputs in JupyterLab
	$(BIN)/jupyter lab --notebook-dir notebooks

slides: $(READY) ## slides for class from the drawings and figures, as PNG and PDF, into slides/
	$(BIN)/python -m lirf_kit slides

book: $(READY) ## the notebooks, the guide and the API reference as a website, into book/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html book book/_build/html
	@echo "open book/_build/html/index.html in a browser"

notebooks: $(READY) ## run every notebook and write it back with its outputs
	home=$$(mktemp -d); LIRF_KIT_HOME=$$home LIRF_KIT_STATIC=1 TQDM_DISABLE=1 OMP_NUM_THREADS=1 $(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.timeout=300 \
		--ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False $(NOTEBOOKS); \
		status=$$?; rm -rf $$home; exit $$status

editions: $(READY) ## write editions/student and editions/instructor from the notebooks; what was changed is kept
	$(BIN)/python -m lirf_kit editions

test: $(READY) ## the tests, then every notebook
	$(BIN)/python -m pytest tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbval-lax --nbval-cell-timeout=300 notebooks

test-faults: $(READY) ## kills, damaged files, full disks, broken servers: how many, and what they did
	LIRF_KIT_FAULTS=1 $(BIN)/python -m pytest tests/faults

test-browser: $(READY) ## the explorer and the notebooks in a real browser; needs chromium
	@command -v chromium > /dev/null || command -v chromium-browser > /dev/null || command -v google-chrome > /dev/null || \
		{ echo "a browser is needed: sudo apt-get install chromium"; exit 1; }
	$(BIN)/python -m pytest tests/browser

lint: $(READY) ## check the style, and that imports go one way
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

clean: ## remove the environment and what tools left behind
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache .import_linter_cache test-artifacts
	rm -rf book/_build book/api book/notebooks book/routes.md
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev,browser,gpu,cluster]'
	@touch $@
