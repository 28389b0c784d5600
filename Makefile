# Two commands on a machine that has Python and make: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# What waited in vain on a busy machine, for a page or a kernel, is tried once more, and counted as rerun.
PATIENT = --reruns 1 --only-rerun TimeoutError --only-rerun 'Failed: Timeout'

.PHONY: demo test older lint bench pictures clean

demo: $(VENV)/demo.stamp ## a real notebook whose kernel is really killed, resumed to its end
	$(BIN)/jupyter resume demo

test: $(VENV)/test.stamp lint ## everything; ends with pytest's summary
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PATIENT) --nbval --nbval-cell-timeout 120 tests examples

older: $(VENV)/test.stamp $(VENV)/older.stamp ## the browser's tests with the oldest JupyterLab and Notebook that are meant to work
	$(VENV)/older/bin/python -m pip install --quiet --force-reinstall --no-deps .
	JUPYTER_RESUME_TEST_PYTHON=$(abspath $(VENV)/older/bin/python) $(BIN)/python -m pytest -n 2 --dist loadfile $(PATIENT) \
	  tests/test_browser.py tests/test_widget_browser.py tests/test_panel*.py

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/peers.stamp $(VENV)/test.stamp ## beside wandb, trackio and mlflow; about three quarters of an hour
	$(BIN)/python -m benchmarks --peers-python $(VENV)/peers/bin/python

pictures: $(VENV)/test.stamp ## those of docs/sidebar.md, by a browser
	JUPYTER_RESUME_PICTURES=docs/images $(BIN)/python -m pytest -q tests/test_pictures.py

SIDEBAR = $(shell find labextension/src labextension/style labextension/schema -type f) labextension/package.json labextension/yarn.lock

$(VENV)/%.stamp: pyproject.toml $(SIDEBAR)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

$(VENV)/older.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)/older
	$(VENV)/older/bin/python -m pip install --quiet 'jupyterlab==4.2.*' 'notebook==7.2.*' .
	touch $@

$(VENV)/peers.stamp: benchmarks/requirements-peers.txt
	$(PYTHON) -m venv $(VENV)/peers
	$(VENV)/peers/bin/python -m pip install --quiet -r $<
	touch $@

clean:
	rm -rf $(VENV) build dist artifacts jupyter_resume/labextension labextension/lib labextension/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis
