# make run    Keyreeve on this machine: http://localhost:8787
# make test   every test
# make build  dist/bootstrap, the binary that Lambda runs
# make clean  throws away what was built and all local data
#
# make run takes CONFIG= (a name in infra/presets or a file), PORT=, ROUTES= (a route table)
# and LOCAL_DIR= (where data and the root key are kept).
CONFIG ?= default
PORT ?= 8787
ROUTES ?=
LOCAL_DIR ?= .local

# What the binaries are made of. Asking make first saves a restart the second that go
# takes to find out that nothing has changed.
SOURCES := go.mod go.sum $(shell find authorizer functions infra pkg -type f ! -name '*_test.go' ! -path '*/testdata/*')

.PHONY: run build test clean

run: dist/bootstrap dist/local
	@exec dist/local -config '$(CONFIG)' -port '$(PORT)' -routes '$(ROUTES)' -dir '$(LOCAL_DIR)'

build: dist/bootstrap

dist/bootstrap: $(SOURCES)
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags lambda.norpc -ldflags '-s -w' -o $@ ./functions
	@touch $@

dist/local: $(SOURCES)
	go build -buildvcs=false -o $@ ./infra/local
	@touch $@

# Prints a line per package, then what was skipped and why, then what failed.
test:
	go vet ./...
	go run gotest.tools/gotestsum@v1.13.0 --format pkgname --format-hide-empty-pkg -- -count=1 -timeout 20m ./...

clean:
	rm -rf dist .local
