# Everything a newcomer types. Each target sets up what it needs, once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out
SEED ?= 1

.PHONY: setup demo test test-slow validators matrix lint bench bench-kernels bench-mediapipe train clean

setup: $(VENV)/.everything

# The demo needs the embedded engine only, not the people renderer or the tests' tools.
$(VENV)/.engine: pyproject.toml requirements.txt requirements/headless.txt
	@echo "Setting up $(VENV), once: a few minutes, most of it PyTorch."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; $(PYTHON) is " + sys.version.split()[0] + ". Install it, or name one: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[headless]"
	touch $@

$(VENV)/.everything: $(VENV)/.engine $(wildcard requirements/*.txt)
	$(BIN)/python -m pip install --quiet --editable ".[headless,people,train,dev]"
	touch $@

demo: $(VENV)/.engine
	$(BIN)/mannequin demo --out $(OUT)/demo

test: setup
	$(BIN)/python -m pytest

# Other people's checks; without PyPI their tests are skipped, the others still run.
test-slow: setup
	-$(MAKE) --no-print-directory validators
	$(BIN)/python -m pytest -m slow

validators: $(VENV)/.validators

$(VENV)/.validators: tests/house/validators.txt
	$(PYTHON) -m venv $(VENV)/validators
	$(VENV)/validators/bin/python -m pip install --quiet --requirement $<
	touch $@

matrix: setup
	COMFYUI_DIRS="$(COMFYUI_DIRS)" $(BIN)/python tests/hosts/matrix.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/house

bench: setup
	$(BIN)/mannequin bench pose-transfer --seed $(SEED) --pairs 200 --out $(OUT)/pose_transfer.json
	$(BIN)/mannequin bench leffa --seed $(SEED) --out $(OUT)/leffa.json
	for name in face subjects hands pose; do \
		$(BIN)/mannequin bench $$name --seed $(SEED) --out $(OUT)/$$name.json || exit; \
	done

bench-kernels: setup
	$(BIN)/mannequin bench kernels --seed $(SEED) --out docs/results/kernels.json

# Another finder of hands, on the pictures that `mannequin bench hands` left.
bench-mediapipe: $(VENV)/.mediapipe
	$(VENV)/mediapipe/bin/python lab/benchmarks/mediapipe_hands.py $(OUT)/hands.npz

$(VENV)/.mediapipe: lab/benchmarks/mediapipe.txt
	$(PYTHON) -m venv $(VENV)/mediapipe
	$(VENV)/mediapipe/bin/python -m pip install --quiet --requirement $<
	touch $@

train: setup
	$(BIN)/mannequin train tiny

clean:
	rm -rf $(VENV) out build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
