# Every target sets up what it needs: a machine with Python 3.11, pip and make is enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
STAMP := $(VENV)/.installed
RUN := $(VENV)/bin/python -m

.PHONY: demo install test test-slow benchmark docs lint format clean

demo: install
	$(VENV)/bin/agentgym run babyai-goto-redball

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "make: needs Python 3.11; name it with PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[all,dev]"
	@touch $(STAMP)

# One process for each core, one thread in each.
test: lint
	OMP_NUM_THREADS=1 $(RUN) pytest -m "not slow" -n auto

# Minari records with jax, Gymnasium's preprocessing of Atari needs OpenCV: nothing else here needs them.
test-slow: install
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt "minari[create]" opencv-python-headless
	$(VENV)/bin/python -m pip install --quiet --no-deps highway-env
	$(RUN) pytest -m slow -rs

benchmark: install
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt "minari[create]"
	$(VENV)/bin/python tests/benchmarks/acting.py
	$(VENV)/bin/python tests/benchmarks/data.py
	$(VENV)/bin/python tests/benchmarks/training.py
	$(VENV)/bin/python tests/benchmarks/update_cost.py
	$(VENV)/bin/python tests/benchmarks/stem.py
	$(VENV)/bin/python tests/benchmarks/optimizer.py data/benchmarks/optimizer
	$(VENV)/bin/python tests/benchmarks/gpu.py
	$(VENV)/bin/python tests/benchmarks/recording.py
	$(VENV)/bin/python tests/benchmarks/compression.py
	$(VENV)/bin/agentgym run babyai-goto-redball --quiet
	$(VENV)/bin/python tests/benchmarks/rollouts.py runs/babyai-goto-redball
	$(VENV)/bin/python tests/benchmarks/edge.py

docs: install
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --quiet
	@echo "build/site/index.html"

lint: install
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

format: install
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

clean:
	rm -rf $(VENV)
