# `make help` lists the targets; what is longer than a few lines is a script in .ci/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# A machine without a usable Go gets one here from `make setup`; elsewhere the
# directory does not exist. A Go older than go.mod asks for fetches the newer
# one by itself, unless the environment forbids it.
export PATH := /usr/local/lib/dormouse/go/bin:$(PATH)
export GOTOOLCHAIN ?= auto

# How long `make fuzz` spends on each target.
export FUZZTIME ?= 20s

VERSION = $(shell git describe --always --dirty 2>/dev/null || echo dev)

# The version is in the ldflags; asking git a second time would only fail in
# checkouts that belong to another user.
STATIC = CGO_ENABLED=0 go build -trimpath -buildvcs=false

.PHONY: help setup build run demo test check lint e2e bench fuzz proto hooks

## help    this list
help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST))

## setup   install what is missing: Go, gcc, a CRIU that works on this kernel
##         (as root on Debian; a second run only checks)
setup:
	@.ci/setup

## build   compile bin/dormouse and the example plugins in bin/plugins,
##         all static
build:
	$(STATIC) -ldflags '-X main.version=$(VERSION)' -o bin/dormouse ./cmd/dormouse
	$(STATIC) -o bin/plugins/ ./plugins/examples/echo ./plugins/examples/counter

## run     serve the sample configuration from this checkout; state in .run,
##         Ctrl-C ends it
run: setup build
	exec bin/dormouse serve --config configs/sample.toml --root $(CURDIR)/.run

## demo    a guided tour: start, call, hibernate and wake the example plugins
demo: setup build
	go run ./test/demo

## test    every test, with the race detector; DORMOUSE_REQUIRE_CRIU=1 makes
##         a missing CRIU a failure instead of a skip
test: setup build
	CGO_ENABLED=1 go test -race ./...

## check   the quick loop while writing: vet, build, short tests without race
check: build
	go vet ./...
	go test -short ./...

## lint    gofmt, a tidy go.mod, golangci-lint (its first build takes minutes)
lint: setup
	@.ci/lint

## e2e     only the tests with real hosts, plugins and checkpoints, never from
##         Go's cache; every fault at every point, every cycle
e2e: setup build
	DORMOUSE_FAULTS=all CGO_ENABLED=1 go test -race -count=1 -timeout 30m ./cmd/... ./hibernate/criu ./plugins/sdk/sdktest ./shell/process ./test/...

## bench   measure hibernation, wake and calls on this machine
bench: setup build
	go run ./test/bench

## fuzz    run each fuzz target for FUZZTIME (20s)
fuzz: setup
	@.ci/fuzz

## proto   generate Go from every .proto, and the small C programs' objects
proto: setup
	@.ci/proto

## hooks   make git check format and vet before each commit
hooks:
	@.ci/pre-commit --install
