# Everything a user or developer types. `make help` lists it.

GO       ?= go
VERSION  ?= v1.36.3+clipper.0.1.0
COMMIT   := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
VERSIONS := -X k8s.io/component-base/version.gitVersion=$(VERSION) -X k8s.io/component-base/version.gitCommit=$(COMMIT) \
            -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 \
            -X k8s.io/component-base/version.gitTreeState=clean
# The product is static, without cgo; tests are built the same way and so share its compiled packages. The
# shim alone needs C, to enter namespaces.
export CGO_ENABLED := 0
export GOFLAGS += -buildvcs=false # the commit is stamped below; git refuses to speak of another user's clone
SHIMTAGS := seccomp netgo osusergo runc_nocriu
SHIMPKGS := ./cmd/clipper-shim/... ./node/runtime/embedded/shim/...
SHIM     := node/runtime/embedded/bin/clipper-shim

.PHONY: help setup build up down test lint bench conformance clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what a bare Debian machine lacks: a C compiler and libseccomp for the shim
	@build/setup

# The copy: Linux keeps a file that the linker has written in large pieces of the page cache, and maps the whole of each that a
# process touches. An idle server counted 90 MB instead of 32.
build: setup ## build bin/clipper
	@echo "building the shim"
	@CGO_ENABLED=1 $(GO) build -tags "$(SHIMTAGS)" -ldflags '-s -w -linkmode external -extldflags -static' -o $(SHIM) ./cmd/clipper-shim
	@echo "building bin/clipper (a few minutes the first time)"
	@$(GO) build -ldflags '-s -w $(VERSIONS)' -o bin/clipper ./cmd/clipper
	@cp bin/clipper bin/clipper.copy && mv bin/clipper.copy bin/clipper

up: build ## a one-node cluster on this machine with the demo application on it
	@demo/up

down: ## remove the cluster and every trace of it
	@demo/down

test: build ## all tests; needs root, for containers and network namespaces
	@test/run

lint: ## formatting, vet, and the rules of the tree
	@unformatted=$$(find . -name '*.go' -not -path './.cache/*' -exec gofmt -l {} +) && test -z "$$unformatted" || { echo "$$unformatted"; exit 1; }
	@$(GO) vet $$($(GO) list ./... | grep -vxF "$$(CGO_ENABLED=1 $(GO) list $(SHIMPKGS))")
	@CGO_ENABLED=1 $(GO) vet -tags "$(SHIMTAGS)" $(SHIMPKGS)

bench: build ## the figures of bench/, in a form that benchstat reads
	@bench/run

conformance: build ## upstream's conformance specs: make conformance FOCUS='sig-network.*DNS', or LIST=test/conformance/sample.txt
	@test/conformance/against-sandbox $(if $(LIST),-l '$(abspath $(LIST))') $(if $(FOCUS),'$(FOCUS)')

clean: ## remove what was built
	rm -rf bin .cache $(SHIM)
