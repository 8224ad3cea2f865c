# make demo     set up, simulate one head, find its microbleeds, print planted against found
# make test     set up, then everything CI runs
# make bench    time and memory of one reading, kept in bench/results/
# make format   let ruff rewrite what scripts/check would refuse
# make clean    remove what the above made (bench/results stays)
#
# Linux without a CUDA card: add TORCH_INDEX=https://... as README.md says, or pip fetches several GB.

PYTHON ?=
TORCH_INDEX ?=
export TORCH_INDEX

BIN := .venv/bin
SETUP_INPUTS := pyproject.toml constraints.txt scripts/setup

.PHONY: demo test bench format clean
.DELETE_ON_ERROR:

demo: .venv/.petechia-train demo/.simulated
	$(BIN)/petechia detect demo/data -o demo/readings
	$(BIN)/python scripts/demo.py demo/data demo/readings

test: .venv/.petechia-test
	scripts/check

bench: .venv/.petechia-train
	$(BIN)/python bench/detect.py

format: .venv/.petechia-test
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf .venv demo build dist src/petechia.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# One head, always the same; the stamp is written last, so a broken run starts afresh.
demo/.simulated: .venv/.petechia-train
	rm -rf demo/data demo/readings
	$(BIN)/petechia simulate -o demo/data -n 1 --seed 7 --contrast swi --lesion-free-fraction 0
	@touch $@

.venv/.petechia-train: $(SETUP_INPUTS)
	PYTHON='$(PYTHON)' scripts/setup train
	@touch $@

.venv/.petechia-test: $(SETUP_INPUTS)
	PYTHON='$(PYTHON)' scripts/setup train,test
	@touch $@ .venv/.petechia-train
