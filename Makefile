# `make search`, `make search-nasnet` and `make test` each make the virtual environment .venv and install what they need.
# `make test-all` is `make test` and the storms: thousands of damaged logs, many kills.
# PYTHON=/path/to/python3.12 chooses the interpreter, RUN_DIR (NASNET_RUN_DIR) another folder for the run.
VENV ?= .venv
RUN_DIR ?= runs/digits
NASNET_RUN_DIR ?= runs/digits_cells
BIN = $(VENV)/bin

.PHONY: search search-nasnet test test-all lint clean

search: $(VENV)/.search
	$(BIN)/mnas-search --run_dir=$(RUN_DIR) --dataset=digits --num_trials=40 \
	    --proxy_image_size=24 --proxy_width_multiplier=0.25 --proxy_epochs=3 --deploy_image_size=64 --final_epochs=6

search-nasnet: $(VENV)/.search
	$(BIN)/nasnet-search --run_dir=$(NASNET_RUN_DIR) --dataset=digits --num_trials=24 \
	    --proxy_image_size=32 --proxy_cells=1 --proxy_filters=8 --proxy_epochs=3 \
	    --deploy_image_size=64 --deploy_cells=2 --deploy_filters=16 --final_epochs=6

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: test
	$(BIN)/python -m pytest -n 2 --dist worksteal -m storm

lint: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.search: setup.cfg pyproject.toml | $(BIN)/python
	@echo "installing TensorFlow, Keras and LiteRT into $(VENV) (about 700 MB to fetch the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml | $(BIN)/python
	@echo "installing TensorFlow, Keras, LiteRT and the test tools into $(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@ $(VENV)/.search

$(BIN)/python:
	@python=`sh tools/find_python.sh "$(PYTHON)"` && "$$python" -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist *.egg-info
