# Needs Rust (rustup), a C compiler, Node.js 20 with npm, Python 3. `make test` installs the rest.
.DEFAULT_GOAL := help
.PHONY: help run test test-ops lint deny bench soak fuzz

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Run a node in development mode on http://127.0.0.1:8080; flags in ARGS="--redis redis://127.0.0.1:6379"
	cargo run --locked -p broadgate -- $(ARGS)

test: ## Install what the tests need, then lints, Rust and end-to-end tests, alerts, chart
	@.ci/test

test-ops: ## What operations needs, with real tools (Helm, promtool, buildah); some of it in CHECKS="chart image"
	@.ci/test-ops $(CHECKS)

lint: ## Formatting, clippy and documentation, warnings as errors
	@.ci/lint

deny: ## Licences, bans and sources of the dependencies (the first time builds cargo-deny: minutes)
	@.ci/deny

bench: ## Measure what the README promises, on a release build; flags in ARGS
	cargo build --release --locked -p broadgate -p broadgate-loadtest
	"$${CARGO_TARGET_DIR:-target}/release/broadgate-loadtest" suite $(ARGS)

soak: ## A release node under clients that come and go for SOAK_SECONDS (300); fails where its memory grows
	@.ci/soak

fuzz: ## Run each fuzz target for FUZZ_SECONDS (60); needs a nightly toolchain
	@.ci/fuzz
