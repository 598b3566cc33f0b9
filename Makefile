# Two commands do everything:
#   make demo   builds the library and generates videos with the embedded model
#   make test   builds and runs every check
# A machine needs Rust, a C++ compiler and Python 3 with pip; libtorch is fetched into a
# per-user cache, unless LIBTORCH names a libtorch 2.11 folder.

CARGO  ?= cargo
PYTHON ?= python3
OUT    := out
LIB    := target/release/libcogvideox.so

# The link .libtorch serves cargo (through .cargo/config.toml) and the C examples alike.
EXAMPLE_FLAGS := -std=c11 -O2 -Wall -Wextra -Wpedantic -Werror -Iinclude
LINK_FLAGS    := -Ltarget/release -lcogvideox -lm -Wl,-rpath,'$$ORIGIN/../target/release' \
                 -Wl,-rpath-link,.libtorch/lib
EXAMPLES      := $(patsubst examples/c/%.c,$(OUT)/%,$(wildcard examples/c/*.c))

.PHONY: all build libtorch examples demo test lint bench check-device header clean

all: build examples

libtorch:
	@$(PYTHON) .cargo/fetch_libtorch.py

build: libtorch
	$(CARGO) build --release --locked

$(OUT)/%: examples/c/%.c include/cogvideox.h $(LIB)
	@mkdir -p $(OUT)
	$(CC) $(EXAMPLE_FLAGS) $< -o $@ $(LINK_FLAGS)

$(LIB): build

examples: build $(EXAMPLES)

# The main job on the embedded model: uncached, PAB and FasterCache, side by side.
demo: examples
	$(OUT)/compare --output $(OUT)

lint: libtorch
	@$(CARGO) fmt --version >/dev/null 2>&1 && $(CARGO) clippy --version >/dev/null 2>&1 \
		|| rustup component add rustfmt clippy
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings

test: lint examples
	$(CARGO) test --release --locked

# Side by side with diffusers; makes an environment of its own (about 5 GB) the first time.
bench: build
	$(PYTHON) tests/bench/bench.py

# CUDA against the CPU, and beside diffusers at full size: run it with a Python that has
# PyTorch 2.11 and diffusers, as in `make check-device PYTHON=venv/bin/python`.
DEVICE ?= cuda
check-device:
	$(PYTHON) tests/device/check.py --device $(DEVICE)

# Rewrites include/cogvideox.h from the Rust sources.
header: libtorch
	UPDATE_HEADER=1 $(CARGO) test --release --locked --test header

clean:
	rm -rf $(OUT)
	$(CARGO) clean
