# The commands a visitor needs; each sets up what it lacks (Debian or Ubuntu, Rust toolchain).
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
RELEASE := target/$(HOST)/release/rbuild

.PHONY: all build demo test bench compare fuzz daemon-image check fmt clean

all: build

# The release binary, statically linked and at a fixed address: it is executed once for each step, and relocating
# it costs more than half a millisecond. (The explicit --target keeps build scripts dynamic.)
build:
	RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" cargo build --release --locked --target $(HOST) -p rbuild-cli
	@ls -l $(RELEASE)

# Builds rbuild, builds a real image with it, runs it.
demo: build
	scripts/demo.sh $(RELEASE)

# Everything: formatting, lints, unit tests, end-to-end tests as root and as an ordinary user.
test:
	scripts/test.sh

# Times rbuild beside its peers in the same run.
bench: build
	scripts/bench.sh $(RELEASE)

# Feeds the parsers with hostile input: FUZZ_SECONDS (1800) for each target, FUZZ_JOBS (2) at a time.
fuzz:
	scripts/fuzz.sh

# Builds a corpus of Dockerfiles with rbuild, BuildKit and buildah, and prints what differs in the images.
compare:
	cargo build --locked -p rbuild-cli
	scripts/compare.sh target/debug/rbuild

# Builds the image of the daemon for drivers of buildx, and looks at it.
daemon-image: build
	scripts/daemon-image.sh $(RELEASE)

check:
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt:
	cargo fmt

clean:
	cargo clean
