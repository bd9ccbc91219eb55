# The entry points: CI runs the same commands as people do.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# Which Python: PYTHON=python3.13 make ...; found by .ci/venv unless it is named.
export VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
CORES := $(shell getconf _NPROCESSORS_ONLN)
# Processes of `make test`, each with a Kafka of its own: two per core, since the tests wait more than they compute.
JOBS ?= $(shell echo $$(($(CORES) < 4 ? 2 * $(CORES) : 8)))

# $(call pytest,MARKERS,PROCESSES): tests that measure time run after all others, alone. With ARGS, either may find no test (5).
define pytest
@$(BIN)/python -m pytest -m "$(1) and not alone" -n $(2) --dist worksteal --durations 20 --durations-min 5 $(ARGS); \
	together=$$?; case $$together in 0|1|5) ;; *) exit $$together ;; esac; \
	$(BIN)/python -m pytest -m "$(1) and alone" $(ARGS); alone=$$?; \
	case $$together$$alone in 00|05|50) ;; *) exit 1 ;; esac
endef

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## create .venv with the command .venv/bin/telefonie, or update it
	@.ci/venv

.PHONY: run
run: setup ## run everything on an embedded Apache Kafka; ARGS="--input FILE" feeds a file instead
	@exec $(BIN)/telefonie run $(ARGS)

.PHONY: test
test: setup ## every test in its short form, including those on a real Apache Kafka; JOBS=n processes
	$(call pytest,not slow,$(JOBS))

.PHONY: faults
faults: setup ## the fault and security suites in their long form
	@$(BIN)/python -m pytest -m slow tests/faults tests/security $(ARGS)

.PHONY: alerts
alerts: setup ## the alerts and the dashboard in a real Prometheus, while things are broken (needs prometheus)
	@$(BIN)/python -m pytest tests/monitoring $(ARGS)

.PHONY: check
check: setup ## the fast checks: format, lint, types, unit and property tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@# Run from a directory where no codecs/ shadows the standard library's module of that name.
	@mkdir -p $(VENV)/types && ln -sfn ../../streams $(VENV)/types/streams
	@cd $(VENV)/types && ../bin/mypy --config-file ../../pyproject.toml
	$(call pytest,not kafka and not container and not cluster and not browser and not slow,$(CORES))

.PHONY: k8s-check
k8s-check: setup ## the manifests on a real Kubernetes control plane, built first where go is (ten minutes, once)
	@.ci/control-plane
	@$(BIN)/python -m pytest tests/deploy/test_control_plane.py $(ARGS)

.PHONY: format
format: setup ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: monitoring
monitoring: setup ## regenerate the dashboard and the PrometheusRule
	@$(BIN)/python -m k8s.monitoring

.PHONY: picture
picture: setup ## redraw docs/architecture.svg from the imports
	@PYTHONPATH=tests $(BIN)/python -m support.rooms

.PHONY: plots
plots: setup ## redraw the plots and fill in the tables of docs/performance.md, from benchmarks/results
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-plots.lock
	@$(BIN)/python -m benchmarks.plots

.PHONY: lock
lock: ## resolve the dependencies again (needs uv on the PATH)
	@.ci/lock

.PHONY: fuzz
fuzz: setup ## the fuzz targets for longer: codecs, HTTP, record batches; EXAMPLES=n for each test, DURATION=seconds
	@FUZZ_EXAMPLES=$${EXAMPLES:-20000} FUZZ_SECONDS=$${DURATION:-600} $(BIN)/python -m pytest tests/fuzz -o timeout=3600 $(ARGS)

.PHONY: sbom
sbom: setup ## the software bill of materials, CycloneDX JSON on stdout
	@$(BIN)/python .ci/sbom.py

.PHONY: audit
audit: setup ## check the pinned packages for known vulnerabilities; says so if that is not possible
	@$(BIN)/python .ci/audit.py

.PHONY: bench
bench: setup ## compare the worker with its peers, in one run; ARGS are passed on
	@$(BIN)/python -m benchmarks.compare $(ARGS)

.PHONY: figures
figures: setup ## measure everything in docs/performance.md, on an otherwise idle machine (30 minutes); then: make plots
	@$(BIN)/python -m benchmarks.figures $(ARGS)

.PHONY: soak
soak: setup ## a worker under load for ten minutes, killed every minute; ARGS="--minutes 60 --partitions 32 --workers 3" for more
	@$(BIN)/python -m benchmarks.soak --events 1000000000 --minutes 10 --faults 60 $(ARGS)
