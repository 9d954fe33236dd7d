# Everything the book needs is a target here, and continuous integration calls only these.
# A fresh machine needs Python 3.11 or newer and make: `make book`, then open the page it prints.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

# One thread, so that sums have one order on every machine and two chapters can run side by side.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help environment book serve test nbval references experiments weights timings \
	lint format types links picture lock publish clean clean-all check-machine check-packages

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

book: environment check-packages ## execute the chapters, build the site, print the page to open
	@$(RUN) -m pipeline.build

serve: book ## build the site and serve it on this machine
	@$(RUN) -m pipeline.serve

test: environment check-packages ## run every test (what continuous integration runs)
	@$(RUN) -m pytest

nbval: environment check-packages ## run every chapter again and compare all outputs strictly
	@$(RUN) -m pipeline.execute --again --strict

references: environment check-packages ## run changed chapters and store their outputs as references
	@$(RUN) -m pipeline.execute --references

experiments: environment check-packages ## run the recorded experiments whose code or data changed
	@$(RUN) -m pipeline.records experiments $(if $(AGAIN),--force)

weights: environment check-packages ## train the weight files whose code or data changed
	@$(RUN) -m pipeline.records weights $(if $(AGAIN),--force)

# AGAIN=1 makes the two targets above run also what is up to date.

timings: environment ## show seconds and memory of every chapter's last run
	@$(RUN) -m pipeline.timings

lint: environment ## check style and format
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

format: environment ## repair style and format where a tool can
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

types: environment ## check types
	@$(RUN) -m mypy

links: book ## check the links between the pages
	@$(RUN) -m pipeline.site.links _build/html

picture: book ## take the picture of a page that README.md shows (needs a browser)
	@$(RUN) -m pipeline.site.browser _build/html "book/recurrence/rnn.html#the-recurrence" --picture docs/page.png

publish: book ## push the built site to the branch that GitHub Pages serves
	@$(RUN) -m pipeline.publish

lock: ## write requirements.lock from the newest versions that requirements.txt allows
	@$(PYTHON) pipeline/doctor.py machine
	@rm -rf $(VENV)-lock
	@$(PYTHON) -m venv $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip install -q --upgrade -r requirements.txt
	@$(VENV)-lock/bin/python -m pipeline.lock
	@rm -rf $(VENV)-lock

environment: $(READY) ## create or update the environment (.venv)

check-machine:
	@$(PYTHON) pipeline/doctor.py machine

check-packages: environment
	@$(RUN) -m pipeline.doctor packages

# An environment that was cut short has no .ready file and is completed here.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) pipeline/doctor.py machine
	@test -x $(RUN) && $(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing the packages of requirements.lock (about 1.5 GB on disk; some minutes)"
	@$(RUN) -m pip install -q -r requirements.lock || $(PYTHON) pipeline/doctor.py install
	@$(RUN) -m pip install -q --no-deps --no-build-isolation -e .
	@touch $(READY)

clean: ## remove what was built (chapters will run again)
	rm -rf _build

clean-all: clean ## remove the environment too
	rm -rf $(VENV)
