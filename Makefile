# Each target makes the virtual environment that it needs, from nothing but Python >= 3.11.
PYTHON ?= python3
VENV   ?= .venv
PIP     = pip install --quiet --disable-pip-version-check
ENVS    = $(foreach e,run test check,$(VENV)/$(e)/.ready)

.PHONY: run test coverage lint types imports docs notebooks bench-smoke kernels check clean
.SECONDARY: $(ENVS)

EXTRA_run   = report
EXTRA_test  = test
EXTRA_check = test,lint,docs,notebooks,bench,cuda

$(VENV)/%/.ready: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "primeattn needs Python >= 3.11: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "the venv module is missing: apt install python3-venv (Debian, Ubuntu)"; exit 1; }
	@echo "Making the environment $(VENV)/$* (once; a few minutes on a slow network)"
	@$(PYTHON) -m venv $(VENV)/$*
	@$(VENV)/$*/bin/$(PIP) -e ".[$(EXTRA_$*)]"
	@touch $@

OUTPUT ?= primeattn-report
run: $(VENV)/run/.ready            ## the main job: compare passages of real text, write a report
	$(VENV)/run/bin/primeattn compare $(FILES) --output "$(OUTPUT)"

test: $(VENV)/test/.ready          ## JIT pass, then the CUDA simulator pass; files shared among processes
	$(VENV)/test/bin/python -m pytest -n auto --dist loadfile
	NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1 $(VENV)/test/bin/python -m pytest -n auto --dist loadfile

coverage: $(VENV)/test/.ready      ## line coverage, kernels included (the JIT is off, so sizes must be small)
	NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1 $(VENV)/test/bin/python -m pytest --cov --cov-report=term

lint: $(VENV)/check/.ready
	$(VENV)/check/bin/ruff check .
	$(VENV)/check/bin/ruff format --check .

types: $(VENV)/check/.ready
	$(VENV)/check/bin/mypy

imports: $(VENV)/check/.ready
	$(VENV)/check/bin/lint-imports --config setup.cfg

docs: $(VENV)/check/.ready         ## docs/_build/html/index.html
	$(VENV)/check/bin/sphinx-build -W --keep-going -q -b html docs docs/_build/html

notebooks: $(VENV)/check/.ready    ## execute every notebook from its text form
	PATH="$(CURDIR)/$(VENV)/check/bin:$$PATH" $(VENV)/check/bin/python scripts/notebooks.py

bench-smoke: $(VENV)/check/.ready  ## every asv benchmark once, at sizes that take no time
	cd asv_benchmarks && ../$(VENV)/check/bin/asv machine --yes >/dev/null \
	  && PRIMEATTN_SMOKE=1 ../$(VENV)/check/bin/asv run --quick --python=same --show-stderr --launch-method forkserver

kernels: $(VENV)/check/.ready      ## every CUDA kernel to sm_90 machine code, without a GPU
	$(VENV)/check/bin/python scripts/compile_kernels.py

check: lint types imports docs notebooks bench-smoke kernels

clean:                             ## caches and built pages, not the environments
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	rm -rf docs/_build docs/api/generated asv_benchmarks/results asv_benchmarks/html .mypy_cache .ruff_cache .pytest_cache
