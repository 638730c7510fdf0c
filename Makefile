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

.PHONY: run build test clean

run: build
	@go build -buildvcs=false -o dist/local ./infra/local
	@exec dist/local -config '$(CONFIG)' -port '$(PORT)' -routes '$(ROUTES)' -dir '$(LOCAL_DIR)'

build:
	@CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags lambda.norpc -ldflags '-s -w' -o dist/bootstrap ./functions

test:
	go vet ./...
	go test -count=1 ./...

clean:
	rm -rf dist .local
