# A table of contents: every rule calls one tool. `make demo` and `make test` need nothing before
# them on Debian 12 but a Rust toolchain; they install the Debian packages they need and say which.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TARGET := x86_64-unknown-linux-gnu
BUILD := build
AGENT := target/$(TARGET)/agent/repave-agent
# Static, so that the agent is the whole of its initramfs and runs in any target.
# Relocations of a static-pie are its own to apply; packed (DT_RELR), they take a thirtieth. Functions
# with the same code are one (no address of a function is compared), and no panic unwinds through C.
# Of zstd's decoders only those for offsets and tables of a chunk: 63 KB less, at the same speed (0024).
STATIC := CFLAGS="-fno-asynchronous-unwind-tables -DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT \
    -DHUF_FORCE_DECOMPRESS_X1" RUSTFLAGS="-C target-feature=+crt-static \
    -C link-arg=-Wl,-z,pack-relative-relocs -C link-arg=-Wl,--icf=all"
VM_TEST_THREADS ?= 2
CUTS ?= 300
ON ?= tiny
SEED ?= 1
# All, unless some are named: `make fuzz FUZZ_TARGETS="gpt efi" FUZZ_SECONDS=60`.
FUZZ_TARGETS ?= $(sort $(notdir $(wildcard tests/fuzz/corpus/*)))
FUZZ_SECONDS ?= 600

.PHONY: help deps image repave targets size demo check sim sim-exhaustive sim-replay sim-mutants test test-full torture fuzz \
	openapi bench bench-format bench-balance bench-controller fmt clean

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

deps: ## Install the Debian packages that building and testing need
	@./initramfs/deps.sh

image: deps ## build/: repave-agent, repave-default.efi, default-disk.img
	$(STATIC) cargo build --locked --profile agent --target $(TARGET) -p repave-agent
	mkdir -p $(BUILD)
	install -m 755 $(AGENT) $(BUILD)/repave-agent
	install -m 644 "$$(kernel-config/build.sh)" $(BUILD)/vmlinuz
	initramfs/build.sh $(BUILD)/repave-agent $(BUILD)/vmlinuz $(BUILD)/repave-default.efi
	initramfs/burn.sh --output $(BUILD)/default-disk.img --size 8G --uki $(BUILD)/repave-default.efi \
	    --config initramfs/agent.json.example

repave: ## build/: repave, the operator's command, and repave-controller, the daemon
	cargo build --locked --release -p repave-controller
	mkdir -p $(BUILD)
	install -m 755 target/release/repave target/release/repave-controller $(BUILD)

targets: deps ## Build (or find in the cache) the target images that demo and tests use
	@for name in tiny memtest web db; do tests/targets/build.sh $$name; done

size: image ## Bytes of agent, kernel, initramfs and UKI, against their bars
	@initramfs/size.sh $(BUILD)/repave-agent $(BUILD)/vmlinuz $(BUILD)/repave-default.efi

demo: image repave targets ## A controller balances three virtual servers between web and db
	cargo run --locked --quiet -p repave-vm --bin demo

check: deps ## Format, lints, docs, floors, licences
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	cargo run --locked --quiet -p repave-house
	bash -n initramfs/*.sh kernel-config/*.sh tests/targets/*.sh tests/fuzz/*.sh controller/tests/common/*.sh \
	    agent/benches/*/*.sh tests/sim/*.sh
	for mutant in tests/sim/mutants/*.patch; do patch --quiet --dry-run --strip=1 <$$mutant || exit 1; done

test: image targets ## Unit, golden, hostile, simulator and VM tests
	initramfs/check-reproducible.sh $(BUILD)/repave-agent $(BUILD)/vmlinuz
	cargo test --locked --workspace --exclude repave-vm
	cargo test --locked -p repave-vm -- --test-threads=$(VM_TEST_THREADS)

SEEDS ?= 0..10_000
# What was done is remembered by the commit that it was done with, if it is one.
SIM_STATE = $$(git diff --quiet HEAD 2>/dev/null && echo $(BUILD)/sim/$$(git rev-parse --short=12 HEAD).done || true)

sim: ## Live simulated servers: SEEDS=a..b goes on where it was, SEEDS=n tells one seed's events
	cargo build --locked --quiet --profile sim -p repave-sim
	target/sim/sim $(SEEDS) $(SIM_STATE)

sim-exhaustive: ## Cut power and fail calls at every instant of whole simulated purposings
	cargo run --locked --quiet -p repave-sim -- exhaustive

sim-replay: ## Live a server's field log again: DUMP=file, docs/simulator.md
	cargo run --locked --quiet -p repave-sim -- replay $(DUMP)

sim-mutants: ## Show that the simulator finds bugs that are put in on purpose
	tests/sim/mutants.sh

test-full: test ## What does not fit into test: longer roads on virtual machines
	cargo test --locked -p repave-vm --features full -- --test-threads=$(VM_TEST_THREADS)

torture: image targets ## Power cuts in virtual machines until CUTS= are done; also ON=debian SEED= AGAIN=
	cargo run --locked --quiet -p repave-vm --bin torture -- --target $(ON) --seed $(SEED) \
	    $(if $(AGAIN),--again $(AGAIN),--cuts $(CUTS))

fuzz: deps ## Fuzz each of FUZZ_TARGETS for FUZZ_SECONDS of CPU time, docs/fuzzing.md
	@tests/fuzz/fuzz.sh $(FUZZ_SECONDS) $(FUZZ_TARGETS)

openapi: ## Write docs/openapi.json anew, from the API's handlers
	REPAVE_WRITE_OPENAPI=1 cargo test --locked -p repave-controller --test api the_description_that_is_committed

bench: image ## How fast images are written, beside other tools; table and build/bench/report.json
	agent/benches/transfer/deps.sh
	cargo bench --locked -p repave-agent --bench transfer -- $(BENCH)

bench-format: ## What chunk size, level, digest and packs cost, of IMAGES= or cached ones; build/bench/format.json
	cargo bench --locked -p repave-image-codec --bench format -- $(IMAGES)

bench-balance: ## How long one round of balancing takes for 100,000 servers
	cargo bench --locked -p repave-controller --bench balance

bench-controller: ## How large a pool one controller bears: 20,000 servers, rate, memory
	cargo bench --locked -p repave-controller --bench controller

fmt: ## Format the sources
	cargo fmt --all

clean: ## Remove what was built here; caches outside the tree stay
	rm -rf $(BUILD) target
