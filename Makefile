# Every target installs what it lacks through the ordinary package managers and
# says what it is doing. "make help" lists them.

GO       ?= go
BIN      := bin/modelreg
FUZZTIME ?= 10s
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null)
export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/modelreg
	@echo "building $(BIN)"
	@$(GO) build -trimpath -ldflags "-s -w -X main.released=$(VERSION)" -o $(BIN) ./cmd/modelreg

.PHONY: demo
demo: build ## push, sign, verify and pull a real model through an embedded registry
	@bash tools/demo.sh $(BIN)

.PHONY: test
test: ## all unit tests, and the command-line scripts against the built binary
	@bash tools/test.sh

.PHONY: test-bin
test-bin: build ## the command-line scripts against the built binary
	MODELREG_BIN=$(CURDIR)/$(BIN) $(GO) test -count=1 -run '^TestScript' ./cmd/modelreg

.PHONY: race
race: ## the tests of the packages with goroutines, with the race detector
	@bash tools/race.sh

.PHONY: check
check: lint test race ## what to run before a commit

.PHONY: lint
lint: ## gofumpt, vet, staticcheck, go fix, tidy modules
	@bash tools/lint.sh

.PHONY: docs
docs: ## generate docs/cli and the rules in docs/scan.md
	$(GO) test -count=1 -run '^TestDocs$$' ./cmd/modelreg ./pkg/format/scan -args -write-docs

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s)
	@FUZZTIME=$(FUZZTIME) bash tools/fuzz.sh

.PHONY: cross
cross: ## build for Linux, macOS and Windows on amd64 and arm64
	@bash tools/cross.sh

.PHONY: peers
peers: ## build the registries and clients that the slow suite talks to (cached)
	@bash tools/peers.sh

.PHONY: e2e
e2e: build peers ## real clients, a stock registry and a real model of 90 MB
	@bash tools/e2e.sh

.PHONY: bench
bench: build ## pushes and pulls side by side with other tools, as ratios (docs/benchmarks.md)
	@bash tools/bench.sh

.PHONY: clean
clean: ## remove what was built here
	rm -rf bin dist
