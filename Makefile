# `make help` lists the targets; what is longer than a few lines is a script in .ci/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# A machine without a usable Go gets one here from `make setup`; elsewhere the
# directory does not exist. What that Go fetches and keeps stays in the checkout. A Go
# older than go.mod asks for fetches the newer one by itself, unless the environment
# forbids it.
SETUP_GO = /usr/local/lib/dormouse/go
export PATH := $(SETUP_GO)/bin:$(PATH)
export GOTOOLCHAIN ?= auto
export GOMODCACHE ?= $(call with_setup_go,$(CURDIR)/.cache/modules)
export GOCACHE ?= $(call with_setup_go,$(CURDIR)/.cache/go-build)
export GOFLAGS ?= $(call with_setup_go,-modcacherw)
with_setup_go = $(shell [ ! -e $(SETUP_GO) ] || echo $(1))

# How long `make fuzz` spends on each target.
export FUZZTIME ?= 20s

# More for `make test` to hand to go test, as in make test TESTFLAGS=-v.
TESTFLAGS ?=

.PHONY: help setup setup-test uninstall build run demo test check lint e2e bench fuzz fresh proto hooks

## help    this list
help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST))

## setup   install what building and running want: Go, a CRIU that works on this
##         kernel (as root on Debian; a second run only checks)
setup:
	@.ci/setup

## setup-test  install what only the tests want: gcc, Python, Node, e2fsprogs,
##         systemd-container, curl, skopeo, minisign, a registry, a NATS server
setup-test: setup
	@.ci/setup-test

## uninstall  remove what those two put outside the checkout
uninstall:
	@.ci/uninstall

## build   compile bin/dormouse and the example plugins in bin/plugins,
##         all static
build:
	@.ci/build

## run     serve the sample configuration from this checkout; state in .run,
##         Ctrl-C ends it
run: setup build
	exec bin/dormouse serve --config configs/sample.toml --root $(CURDIR)/.run

## demo    a guided tour: start, call, hibernate and wake the example plugins
demo: setup build
	@.ci/step 'compiling the tour' go build -o bin/tour ./test/demo
	@bin/tour

## test    every test, with the race detector; DORMOUSE_REQUIRE_CRIU=1 makes
##         a missing CRIU a failure instead of a skip
test: setup-test build
	@CGO_ENABLED=1 .ci/step 'testing, the first time after minutes of compiling' go test -race -timeout 30m $(TESTFLAGS) ./...

## check   the quick loop while writing: vet, build, short tests without race
check: build
	@.ci/step 'vetting' go vet ./...
	@.ci/step 'running the short tests' go test -short ./...

## lint    gofmt, a tidy go.mod, golangci-lint (its first build takes minutes)
lint: setup
	@.ci/lint

## e2e     only the tests with real hosts, plugins and checkpoints, never from
##         Go's cache; every fault at every point, every cycle. What takes longest
##         starts first, and one package more than there are cores, as many wait
e2e: setup-test build
	@DORMOUSE_FAULTS=all CGO_ENABLED=1 .ci/step 'testing with real hosts' \
		go test -race -count=1 -timeout 30m -p $$(($$(nproc) + 1)) ./test/faults ./hibernate/criu ./shell/process ./test/... ./cmd/... ./plugins/sdk/sdktest ./plugins/packager/archive ./internal/store/...

## bench   measure hibernation, wake and calls on this machine
bench: setup build
	@.ci/step 'compiling the measurements' go build -o bin/bench ./test/bench
	@bin/bench

## fuzz    run each fuzz target for FUZZTIME (20s)
fuzz: setup
	@.ci/fuzz

## fresh   make run and make test of the last commit, each as the first command on
##         a fresh Debian 12 and 13 (as root; an hour on two cores); FRESH="trixie
##         run" does only that
fresh:
	@.ci/fresh $(FRESH)

## proto   generate Go from every .proto, and the small C programs' objects
proto: setup-test
	@.ci/proto

## hooks   make git check format and vet before each commit
hooks:
	@.ci/pre-commit --install
