# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROTOS := $(wildcard proto/gocom/v1/*.proto)

.DEFAULT_GOAL := help

.PHONY: help setup proto proto-check demo test slow fuzz lint e2e kills soak bench certify train

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(STAMP): pyproject.toml constraints.txt deploy/requirements/slim.txt deploy/requirements/nets.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --progress-bar off -c constraints.txt -e '.[dev]'
	touch $@

setup: $(STAMP)  ## virtual environment with everything in it (several GB: torch)

proto: $(STAMP)  ## generate the stubs from proto/
	$(BIN)/python -m gocom.deploy.generate_stubs proto

proto-check: $(STAMP)  ## lint the protos, and fail when the committed stubs are stale
	cd proto && ../$(BIN)/buf lint
	$(BIN)/python -m gocom.deploy.generate_stubs --check proto

demo: $(STAMP)  ## photos across a lossy channel, pictures and a table in out/demo
	$(BIN)/gocom demo --out out/demo

# Two processes with a thread each: torch gains little from a second thread, and half of the tests wait for services. The
# integration tests come first: they are the long ones, and what is short fills the end. A process that dies is not
# replaced: with loadscope the others may then wait for each other without end (pytest-xdist issue 1378).
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder --max-worker-restart=0

test: $(STAMP)  ## unit and integration tests, without those that take long
	$(PYTEST) -m "not slow" tests/integration tests/unit tests/fuzz

slow: $(STAMP)  ## the tests that take long: studies, kernels, packaging
	$(PYTEST) -m slow tests/integration tests/unit tests/fuzz

fuzz: $(STAMP)  ## 2,000 cases of every message and decoder, then the coverage-guided fuzzer: make fuzz SECONDS=60
	GOCOM_FUZZ_CASES=2000 $(BIN)/python -m pytest tests/fuzz
	$(BIN)/python tests/fuzz/packets.py --seconds $(or $(SECONDS),60)

lint: $(STAMP) proto-check  ## ruff, mypy, buf
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

e2e: $(STAMP)  ## the containers, and every fault on every service (skips where there is no Docker engine)
	$(BIN)/python -m pytest tests/e2e -v -rs

bench: $(STAMP)  ## time of each stage, pictures/s end to end, packets/s through the emulator beside a relay
	$(BIN)/python -m gocom.evaluation.benches.bench

certify: $(STAMP)  ## every fault of the channel against its closed form, with figures: out/channel/index.html
	$(BIN)/gocom channel certify

soak: $(STAMP)  ## does anything grow? make soak IMAGES=3000 MINUTES=0: plot in out/soak
	$(BIN)/python -m gocom.evaluation.benches.soak --images $(or $(IMAGES),3000) --minutes $(or $(MINUTES),0)

kills: $(STAMP)  ## 1,000 pictures while each service is killed 20 times: none lost, none twice
	$(BIN)/python -m pytest tests/faults -v -s

train: $(STAMP)  ## train the bundled nets: make train DATA=folder-of-tars HELD_OUT=images [MINUTES=40]
	$(BIN)/pip install --quiet --no-deps -c constraints.txt stlpips-pytorch
	$(BIN)/python -m gocom.training.vq_tokenizer --data $(DATA) --held-out $(HELD_OUT) --minutes $(or $(MINUTES),40) \
		--out build/models/vq_tokenizer
	$(BIN)/python -m gocom.training.token_denoiser --data $(DATA) --held-out $(HELD_OUT) --minutes $(or $(MINUTES),40) \
		--tokenizer build/models/vq_tokenizer --out build/models/token_denoiser
	$(BIN)/python -m gocom.training.lami_go_tables --data $(DATA) --held-out $(HELD_OUT) \
		--tokenizer build/models/vq_tokenizer --out build/models/lami_go_tables
	$(BIN)/python -m gocom.training.vae --data $(DATA) --held-out $(HELD_OUT) --minutes $(or $(MINUTES),40) \
		--start-from build/models/vq_tokenizer --out build/models/vae_stage1
	$(BIN)/python -m gocom.training.vae --decoder-only --start-from build/models/vae_stage1 --data $(DATA) \
		--held-out $(HELD_OUT) --minutes $(or $(MINUTES),40) --out build/models/vae
	$(BIN)/python -m gocom.training.feature_quantizer --data $(DATA) --vae build/models/vae --out build/models/feature_quantizer
	$(BIN)/python -m gocom.training.feature_imputer --data $(DATA) --held-out $(HELD_OUT) --minutes $(or $(MINUTES),40) \
		--vae build/models/vae --out build/models/feature_imputer
