# SPDX-License-Identifier: Apache-2.0
# Copyright The lbmatrix Authors

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

# Set any of these on the command line: make matrix SCENARIOS=... ARGS="--keep on-failure"
GO ?= go
# A set of scenarios: all, or ci (the ones every change runs).
SET ?= all
# Where the software under test comes from: auto, registry or go-module.
SOURCE ?= go-module
# The folder that runs land in.
RESULTS ?= results
# More arguments for the command that a target runs.
ARGS ?=
# How long each fuzz target runs, and how often each benchmark.
FUZZTIME ?= 2m
COUNT ?= 6
# A benchmark result to compare with (make bench BASE=old.txt).
BASE ?=

# What evidence-versions goes through: Kubernetes' last five minor versions, and what Kubespray, this project and MetalLB pin.
VERSIONS ?= kubernetes=v1.33.13,v1.34.4,v1.35.4,v1.36.3,v1.37.2,metallb=v0.13.9,v0.15.2,v0.16.1

SET_all :=
# The first look, on network namespaces: kube-proxy in every mode, each broken once as users break theirs. SCENARIOS=... runs others,
# and what is known to be bad (known-bad-metallb-l2, bad-ipvs-lax-arp); MUTATIONS=... other mutations, empty all of them.
NETNS := kube-proxy-iptables-metallb-l2 kube-proxy-nftables-metallb-l2 kube-proxy-ipvs-strictarp-metallb-l2
NETNS_MUTATIONS := no-l2-advertisement,strict-arp-reverted
SET_ci := kube-proxy-iptables-metallb-l2 cilium-kpr-dsr-metallb-l2
ifeq ($(origin SET_$(SET)),undefined)
$(error SET=$(SET): there is no such set of scenarios; sets: all ci)
endif
# The scenarios themselves; empty is all.
SCENARIOS ?= $(SET_$(SET))

empty :=
space := $(empty) $(empty)
E2E_RUN ?= TestMatrix$(if $(strip $(SCENARIOS)),/^($(subst $(space),|,$(strip $(SCENARIOS))))$$)
tool = $(GO) tool -modfile=.github/tools/go.mod
# What test binaries are compiled with: no debug information, which they are linked without, and
# no inlining in other modules. Most of a first `make test` is compiling those; it takes a fifth
# less. The race detector sees as much as ever.
lean = '-gcflags=all=-l -dwarf=false' '-gcflags=std=-dwarf=false' '-gcflags=github.com/lbmatrix/lbmatrix/...=-dwarf=false'
# What was skipped is listed at the end, with the reason, and what failed once more.
race = CGO_ENABLED=1 GORACE="atexit_sleep_ms=50 $${GORACE:-}" LBMATRIX_TEST_GOFLAGS="$(lean)" \
	$(tool) gotestsum --format standard-quiet -- -race -trimpath -vet=off $(lean) -timeout 10m

.PHONY: help
help: ## print this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: SET=all|ci SCENARIOS=\"...\" MUTATIONS=... (netns) SOURCE=auto|registry|go-module RESULTS=DIR ARGS=\"...\""

.PHONY: build
build: ## build bin/lbmatrix
	@$(GO) build -o bin/lbmatrix ./cmd/lbmatrix

.PHONY: matrix
matrix: docker ## run the scenarios on real clusters and print the matrix
	@bin/lbmatrix run --source $(SOURCE) --results $(RESULTS) $(ARGS) $(SCENARIOS)

# Those that were asked for; the first look's own where neither MUTATIONS, SCENARIOS nor ARGS say anything.
netns_mutations = $(strip $(if $(filter-out undefined,$(origin MUTATIONS)),$(MUTATIONS),$(if $(strip $(SCENARIOS) $(filter --mutations --mutations=% --skip-mutations%,$(ARGS))),,$(NETNS_MUTATIONS))))

.PHONY: netns
netns: build ## run the kube-proxy scenarios on network namespaces, ipvs in a guest where need be (root; no Docker)
	@.ci/need ip=iproute2 nsenter=util-linux curl=curl iptables=iptables nft=nftables ipset=ipset ipvsadm=ipvsadm
	@bin/lbmatrix run --provider netns --source $(SOURCE) --results $(RESULTS) $(ARGS) \
		$(if $(strip $(SCENARIOS)),$(SCENARIOS),$(NETNS)) $(if $(netns_mutations),--mutations $(netns_mutations))

.PHONY: test
# Vet runs in lint: here it would be computed once more for every dependency. -trimpath
# lets clones in different folders share what is built, and results; ARGS=-count=1 runs
# what has not changed, too. The race detector waits a second at the end of each process for
# reports of other goroutines; the tests end hundreds of processes.
test: ## run the tests that need no cluster, with the race detector
	@.ci/need cc=gcc,libc6-dev
	@$(race) $(ARGS) $$($(GO) list ./... | grep -v '/e2e$$')
	@$(race) -short $(ARGS) ./e2e

.PHONY: e2e
e2e: docker ## run the scenarios as Go tests on real clusters
	@LBMATRIX_RESULTS=$(abspath $(RESULTS)) LBMATRIX_SOURCE=$(SOURCE) $(GO) test ./e2e -run '$(E2E_RUN)' -timeout 60m -count=1 -v $(ARGS)

.PHONY: lint
lint: ## check format, vet, staticcheck, workflows, shell scripts, go.mod, generated files
	@GO="$(GO)" .ci/lint $(ARGS)

.PHONY: format
format: ## format the Go files
	@git ls-files --cached --others --exclude-standard --deduplicate -- '*.go' | xargs -r ls 2>/dev/null | xargs -r $(tool) gofumpt -w -lang go1.26 -modpath github.com/lbmatrix/lbmatrix

.PHONY: bench
bench: ## run the benchmarks into results/bench.txt; BASE=old.txt compares
	@mkdir -p $(RESULTS)
	@$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) $(ARGS) $$($(GO) list ./... | grep -v '/e2e$$') | tee $(RESULTS)/bench.txt
	@$(tool) benchstat $(BASE) $(RESULTS)/bench.txt

.PHONY: evidence
evidence: docker ## run the longer proofs (kill points, bring-up time); resumable
	@RESULTS="$(RESULTS)" SOURCE="$(SOURCE)" .ci/evidence $(ARGS)

.PHONY: evidence-netns
evidence-netns: build ## run the longer proofs of clusters on namespaces (cycles, kill -9, first answer); resumable
	@.ci/need ip=iproute2 nsenter=util-linux curl=curl iptables=iptables nft=nftables jq=jq
	@RESULTS="$(RESULTS)" SOURCE="$(SOURCE)" .ci/evidence-netns $(ARGS)

.PHONY: evidence-versions
evidence-versions: build ## run kube-proxy iptables and nftables with each Kubernetes and MetalLB of VERSIONS, on namespaces; resumable
	@.ci/need ip=iproute2 nsenter=util-linux curl=curl iptables=iptables nft=nftables jq=jq
	@last=$(RESULTS)/versions/latest; resume=; code=0; \
	if [ -e $$last/run.json ] && { ! grep -q '"ended"' $$last/run.json || grep -q '"interrupted": true' $$last/run.json; }; then resume="--resume $$last"; fi; \
	bin/lbmatrix run --provider netns --source $(SOURCE) --results $(RESULTS)/versions --skip-mutations --sweep $(VERSIONS) $$resume $(ARGS) \
		kube-proxy-iptables-metallb-l2 kube-proxy-nftables-metallb-l2 || code=$$?; \
	.ci/versions-table $$last || true; exit $$code

.PHONY: evidence-scale
evidence-scale: build ## how costs grow with nodes and VIPs (SIZES, MODES), on namespaces; resumable
	@.ci/need ip=iproute2 nsenter=util-linux curl=curl iptables=iptables nft=nftables jq=jq
	@RESULTS="$(RESULTS)" SOURCE="$(SOURCE)" .ci/evidence-scale

.PHONY: evidence-kill
evidence-kill: docker ## end runs, workers, instruments and the daemon at 25 points; resumable
	@RESULTS="$(RESULTS)" SOURCE="$(SOURCE)" .ci/evidence kill

.PHONY: evidence-instruments
evidence-instruments: build ## measure what the ARP instrument sees, beside arping and tcpdump; resumable (root)
	@GO="$(GO)" RESULTS="$(RESULTS)" .ci/evidence-instruments $(ARGS)

.PHONY: evidence-load
evidence-load: ## measure the traffic instruments (lateness, wrk, memory, stall, outages); resumable
	@.ci/need ip=iproute2 wrk=wrk jq=jq cyclictest=rt-tests
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags="-s -w" -o bin/lbprobe ./cmd/lbprobe
	@RESULTS="$(RESULTS)" GO="$(GO)" .ci/evidence-load $(ARGS)

.PHONY: images
images: docker ## build the software under test and bake the node images
	@bin/lbmatrix images bake --source $(SOURCE) $(ARGS) $(SCENARIOS)
	@bin/lbmatrix images list

.PHONY: docker
docker: build ## see that a Docker daemon answers; start one where none does (root, Debian)
	@bin/lbmatrix docker start

.PHONY: docker-stop
docker-stop: build ## stop the Docker daemon that make docker started
	@bin/lbmatrix docker stop $(ARGS)

.PHONY: fuzz
fuzz: ## fuzz every target for FUZZTIME each
	@GO="$(GO)" FUZZTIME="$(FUZZTIME)" .ci/fuzz

.PHONY: clean
clean: build ## remove what dead runs left (clusters, networks, processes) and bin/
	@bin/lbmatrix clean
	@rm -rf bin
