PYTHON ?= python3
BIN := .venv/bin
COUNT ?= 1000000

.PHONY: reproduce test fuzz sanitize bench bench-moments bench-bounds bench-wall bench-layer bench-recorder bench-audit matrix wheels lint rebuild
reproduce: .venv/done ; $(BIN)/python -m tf1bn.reproduce $(ARGS)
test: .venv/done ; $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)
fuzz: .venv/done
	$(BIN)/python tests/fuzz.py --count $(COUNT) $(ARGS)
	$(BIN)/python tests/fuzz.py --part recurrence --count $(COUNT) $(ARGS)
sanitize: .venv/done ; $(BIN)/python tests/sanitize.py $(ARGS)
bench: .venv/done ; $(BIN)/python benchmarks/table.py $(ARGS)
bench-moments: .venv/done ; $(BIN)/python benchmarks/moments.py $(ARGS)
bench-bounds: .venv/done ; $(BIN)/python benchmarks/bounds.py $(ARGS)
bench-wall: .venv/done ; $(BIN)/python benchmarks/wall_time.py $(ARGS)
bench-layer: .venv/done ; $(BIN)/python benchmarks/layer.py $(ARGS)
bench-recorder: .venv/done ; $(BIN)/python benchmarks/recorder.py $(ARGS)
bench-audit: .venv/done ; $(BIN)/python benchmarks/audit.py $(ARGS)
matrix: .venv/done ; $(BIN)/python -m pip install --quiet nox==2026.10.20 && $(BIN)/python -m nox $(ARGS)
wheels: .venv/done ; $(BIN)/python -m pip install --quiet nox==2026.10.20 && $(BIN)/python -m nox -s wheels $(ARGS)
lint: .venv/done ; $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/hadolint docker/Dockerfile docker/Dockerfile.gpu docker/tf1/Dockerfile

# Without its built extension the environment is not done, whatever the stamp says.
.venv/done: $(if $(and $(wildcard tf1bn/_native/_moments.*so),$(wildcard tf1bn/_native/_moving.*so),$(wildcard tf1bn/_native/_replay.*so)),,rebuild) requirements.txt setup.py pyproject.toml tf1bn/__init__.py $(wildcard ext/*.pyx ext/*.pxd ext/*.h)
	$(PYTHON) -m venv .venv
	PYTHON=$(BIN)/python docker/install.sh -e .
	touch $@
