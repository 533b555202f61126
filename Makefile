PYTHON ?= python3
BIN := .venv/bin
COUNT ?= 1000000
NAME ?= table
# The tests start many processes, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: reproduce test test-rest test-all mutants fuzz sanitize bench matrix wheels aarch64 lint locks images rebuild
reproduce: .venv/done ; $(BIN)/python -m tf1bn.reproduce $(ARGS)
# What each tier has: docs/design/testing.md. The first takes minutes; test-rest is what it leaves out, test-all both,
# without the images.
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal
test: .venv/tests ; $(PYTEST) $(ARGS)
test-rest: .venv/tests ; $(PYTEST) -m "slow or recordings or packaging or torch or browser or gpu" $(ARGS)
test-all: .venv/tests ; $(PYTEST) -m "not images" $(ARGS)
mutants: .venv/tests ; $(BIN)/python tests/support/mutants.py $(ARGS)
fuzz: .venv/tests
	$(BIN)/python tests/support/fuzz.py --count $(COUNT) $(ARGS)
	$(BIN)/python tests/support/fuzz.py --part recurrence --count $(COUNT) $(ARGS)
sanitize: .venv/tests ; $(BIN)/python tests/support/sanitize.py $(ARGS)
bench: .venv/done ; $(BIN)/python -m benchmarks $(NAME) $(ARGS)
NOX = $(BIN)/python -m pip install --quiet nox==2026.10.20 && $(BIN)/python -m nox
matrix: .venv/done ; $(NOX) $(ARGS)
wheels: .venv/done ; $(NOX) -s wheels wheels_aarch64 $(ARGS)
aarch64: .venv/done ; $(NOX) -s wheels_aarch64-3.11 aarch64 $(ARGS)
lint: .venv/tests
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/hadolint docker/Dockerfile docker/Dockerfile.checker docker/Dockerfile.gpu docker/tf1/Dockerfile
	$(BIN)/actionlint .github/workflows/ci.yml
# Without .venv, which an outdated lock would be installed into.
locks:
	@test -x build/uv/bin/uv || { $(PYTHON) -m venv build/uv && build/uv/bin/python -m pip install --quiet uv==0.13.9; }
	UV=build/uv/bin/uv docker/lock.sh $(ARGS)
images: ; $(PYTHON) docker/images.py $(ARGS)

.PHONY: docs
docs: .venv/docs
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m sphinx -E -W --keep-going -q -b html docs docs/_build/html $(ARGS)
	@echo "The pages are in docs/_build/html/index.html."

# Not installed for `make reproduce`, which needs none of it.
.venv/tests: .venv/done docker/locks/tests.txt
	PYTHON=$(BIN)/python docker/install.sh lock tests
	touch $@

.venv/docs: .venv/done docker/locks/docs.txt
	PYTHON=$(BIN)/python docker/install.sh lock docs
	touch $@

# Without its built extension the environment is not done, whatever the stamp says.
.venv/done: $(if $(and $(wildcard tf1bn/_native/_moments.*so),$(wildcard tf1bn/_native/_moving.*so),$(wildcard tf1bn/_native/_replay.*so)),,rebuild) docker/locks/checkout.txt setup.py pyproject.toml tf1bn/__init__.py $(wildcard ext/*.pyx ext/*.pxd ext/*.h)
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("tf1bn needs Python 3.10 or newer; set PYTHON to one.")'
	@echo "tf1bn: making .venv, which will be about 2.3 GB" >&2
	$(PYTHON) -m venv .venv
	PYTHON=$(BIN)/python docker/install.sh -e .
	touch $@
