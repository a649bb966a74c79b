# What a contributor runs. Every target makes the environment first where it is missing or out of date.

SHELL := bash
PYTHON := .venv/bin/python
export JAVA_HOME := $(shell source environment/ensure.sh && find_java_home)

.PHONY: help setup ready lock check test test-slow test-oldest-spark bench docs clean

help:
	@echo "make setup       the environment, looked through again from the first step (also after HOROVOD_* changed)"
	@echo "make lock        environment/lock.txt from the ranges in setup.py"
	@echo "make check       linters, types, shell scripts, generated pages"
	@echo "make test        the fast tests (a few minutes)"
	@echo "make test-slow   the others: real data, longer training, whole commands"
	@echo "make test-oldest-spark   the fast tests on the oldest supported Spark"
	@echo "make bench       every benchmark; results in benchmarks/results"
	@echo "make docs        docs/tables.md, configuration.md, mappings.md and files.md, the README's stages"
	@echo "make clean       removes .venv, caches and var/ with every output in it"

setup:
	@rm -f .venv/complete-*
	@bash environment/ensure.sh dev

ready:
	@bash environment/ensure.sh dev

lock: ready
	@$(PYTHON) environment/lock.py

check: ready
	$(PYTHON) environment/lock.py --check
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy setup.py environment lib jobs
	.venv/bin/shellcheck -x -P SCRIPTDIR spark-submit.sh environment/*.sh .ci/run
	$(PYTHON) -m purchasepath.docs --check

test: ready
	$(PYTHON) -m pytest -m "not slow" --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-slow: ready
	$(PYTHON) -m pytest -m slow --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Beside .venv, not in it: a PySpark of the oldest line that setup.py allows comes first on the path.
OLDEST_SPARK := 4.0.5
test-oldest-spark: ready
	@[[ -d var/pyspark-$(OLDEST_SPARK) ]] || $(PYTHON) -m pip install --quiet --no-deps --target var/pyspark-$(OLDEST_SPARK) pyspark==$(OLDEST_SPARK)
	PYTHONPATH=$(CURDIR)/var/pyspark-$(OLDEST_SPARK) SPARK_HOME=$(CURDIR)/var/pyspark-$(OLDEST_SPARK)/pyspark \
	  $(PYTHON) -m pytest -m "not slow" --numprocesses 2 --dist loadfile --no-loadscope-reorder

bench: ready
	@$(PYTHON) -m pip install --quiet $$($(PYTHON) -c "import setup; print(*setup.BENCH)")
	@for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(PYTHON) "$$benchmark" || exit $$?; done

docs: ready
	$(PYTHON) -m purchasepath.docs

clean:
	rm -rf .venv var build dist spark-warehouse .mypy_cache .ruff_cache .hypothesis lib/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
