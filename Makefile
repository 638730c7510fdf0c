# make run    Keyreeve on this machine: http://localhost:8787
# make test   every test: test-go, test-console, test-synth, test-deploy and test-sam, which are below
# make build  dist/bootstrap, the binary that Lambda runs
# make clean  throws away what was built and all local data
#
# The binary has the console in it, which npm builds; NPM= leaves it out, as where there is
# no npm. make run takes CONFIG= (a name in infra/presets or a file), PORT=, ROUTES= (a route table),
# LAMBDAS= (a directory with the functions that it names, NAME/bootstrap) and LOCAL_DIR= (where
# data and the root key are kept).
CONFIG ?= default
PORT ?= 8787
ROUTES ?=
LAMBDAS ?=
LOCAL_DIR ?= .local

ifeq ($(origin NPM),undefined)
NPM := $(shell command -v npm)
endif

# What the binaries are made of. Asking make first saves a restart the second that go
# takes to find out that nothing has changed.
SOURCES := go.mod go.sum $(shell find authorizer functions infra pkg -path functions/console/web -prune -o -path functions/console/dist -prune -o \
  -type f ! -name '*_test.go' ! -path '*/testdata/*' -print)

.PHONY: run build test test-go clean

run: dist/bootstrap dist/local
	@exec dist/local -config '$(CONFIG)' -port '$(PORT)' -routes '$(ROUTES)' -lambdas '$(LAMBDAS)' -dir '$(LOCAL_DIR)'

build: dist/bootstrap

# The console: what of functions/console/dist is in every binary for Lambda.
WEB := functions/console/web
CONSOLE := $(if $(NPM),functions/console/dist/index.html.gz)
NO_CONSOLE := $(if $(NPM),,without-console)

.PHONY: without-console

# The sources look for packages beside them.
.local/console/installed: $(WEB)/package.json $(WEB)/package-lock.json
	mkdir -p .local/console && cp $^ .local/console
	cd .local/console && $(NPM) ci --ignore-scripts --no-audit --no-fund --loglevel=error || { echo 'npm cannot install what the console is built with. NPM= leaves it out.' >&2; exit 1; }
	ln -sfn ../../../.local/console/node_modules $(WEB)/node_modules
	@touch $@

functions/console/dist/index.html.gz: .local/console/installed $(shell find $(WEB) -name node_modules -prune -o -path $(WEB)/test -prune -o -type f -print)
	@node $(WEB)/build.mjs functions/console/dist || { echo 'The console does not build. NPM= leaves it out.' >&2; exit 1; }
	@touch $@

without-console:
	@if ls functions/console/dist/*.gz >/dev/null 2>&1; then echo 'Without npm: the console in this build is the one that was built last.' >&2; \
	else echo '*** There is no npm (Node.js 20 or later): this build is WITHOUT THE CONSOLE, and /console/ will answer 503. ***' >&2; fi

dist/bootstrap: $(SOURCES) $(CONSOLE) | $(NO_CONSOLE)
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags lambda.norpc -ldflags '-s -w' -o $@ ./functions
	@touch $@

dist/local: $(SOURCES)
	go build -buildvcs=false -o $@ ./infra/local
	@touch $@

test: test-go test-console test-synth test-deploy test-sam

# Prints a line per package, then what was skipped and why, then what failed.
test-go: $(CONSOLE)
	go vet ./...
	go run gotest.tools/gotestsum@v1.13.0 --format pkgname --format-hide-empty-pkg -- -count=1 -timeout 20m ./...

clean:
	rm -rf dist .local functions/console/dist/*.gz $(WEB)/node_modules $(WEB)/test/node_modules

# make test-console  the console: its types, then every page in Chromium against make run's
#                    gateway, which the tests start themselves (dist/local)
# make screenshots   a picture of every page, light and dark, in .local/screenshots
# make bench-console what the console weighs, what a page asks for and how soon it is there
#
# They want npm and Chromium; as root on a Debian machine Chromium is installed, and else
# they say what they skip.

.PHONY: test-console screenshots bench-console

.local/console-test/installed: $(WEB)/test/package.json $(WEB)/test/package-lock.json
	mkdir -p .local/console-test && cp $^ .local/console-test
	cd .local/console-test && $(NPM) ci --ignore-scripts --no-audit --no-fund --loglevel=error
	ln -sfn ../../../../.local/console-test/node_modules $(WEB)/test/node_modules
	@touch $@

# What the browser needs: nothing of it without npm.
BROWSER := $(if $(NPM),dist/bootstrap dist/local .local/console-test/installed)
in_chromium = $(if $(NPM),$(WEB)/test/chromium.sh 'make $@' node $(1),@echo 'SKIPPED: make $@ ran nothing: there is no npm (Node.js 20 or later)')

test-console: $(BROWSER)
	$(if $(NPM),cd $(WEB) && node_modules/.bin/tsc --noEmit -p .)
	$(call in_chromium,--test --test-concurrency=2 $(WEB)/test/*.test.mjs)

screenshots: $(BROWSER)
	mkdir -p .local/screenshots
	$(call in_chromium,$(WEB)/test/screenshots.mjs)

bench-console: $(BROWSER)
	$(if $(NPM),go run ./bench -part console)
	$(call in_chromium,$(WEB)/test/bench.mjs)

# make test-synth  the stack that cdk deploy would make: the template, and what cfn-lint
#                  and checkov say of it

CDK := .local/cdk/node_modules/.bin/cdk
CHECKS := .local/checks/bin

.PHONY: test-synth

# The binary for Lambda by architecture; the CDK app asks for the one that it deploys.
dist/lambda-arm64/bootstrap: GOARCH := arm64
dist/lambda-x86_64/bootstrap: GOARCH := amd64
dist/lambda-arm64/bootstrap dist/lambda-x86_64/bootstrap: $(SOURCES) $(CONSOLE) | $(NO_CONSOLE)
	CGO_ENABLED=0 GOOS=linux GOARCH=$(GOARCH) go build -trimpath -buildvcs=false -tags lambda.norpc -ldflags '-s -w' -o $@ ./functions
	@touch $@

dist/cdk-app: $(SOURCES)
	go build -buildvcs=false -o $@ ./infra
	@touch $@

$(CDK): infra/package.json infra/package-lock.json
	mkdir -p .local/cdk && cp $^ .local/cdk
	cd .local/cdk && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(CHECKS)/checkov: infra/requirements.txt
	python3 -m venv .local/checks
	$(CHECKS)/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Node 20 works, and jsii says at length that it is not supported any more.
test-synth: export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION = 20
test-synth: dist/cdk-app $(CDK) $(CHECKS)/checkov
	go test ./infra
	rm -rf .local/synth
	$(CDK) synth --quiet --output .local/synth/defaults
	$(CDK) synth --quiet --output .local/synth/everything -c stackName=Everything -c arch=x86_64 -c disposable=true \
	  -c preset=missinglettr -c alarmEmail=ops@example.com -c alertEmail=team@example.com -c corsOrigins='["https://a.example","https://b.example"]' \
	  -c domains='{"production":{"name":"api.example.com","certificateArn":"arn:aws:acm:eu-west-1:123456789012:certificate/a","hostedZoneId":"Z1"}}'
	$(CHECKS)/cfn-lint .local/synth/*/*.template.json
	$(CHECKS)/checkov --framework cloudformation --compact --quiet --skip-download -d .local/synth

# make test-sam    what cdk synth made, run by SAM in containers: sam local invoke with
#                  every sample event, sam local start-api with requests; as root on a
#                  Debian machine, and else it says what it skips

SAM := .local/sam/venv/bin/sam
SAM_RIE = $(firstword $(wildcard .local/sam/venv/lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64))

.PHONY: test-sam

$(SAM): infra/sam/requirements.txt
	python3 -m venv .local/sam/venv
	.local/sam/venv/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# The last line has a network of its own, so what has to be fetched is fetched before.
test-sam: export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION = 20
test-sam: dist/cdk-app dist/lambda-x86_64/bootstrap $(CDK) $(SAM)
	$(CDK) synth --quiet --output .local/sam/cdk.out -c arch=x86_64
	go build -buildvcs=false -o dist/sam ./infra/sam
	go test -c -tags sam -o dist/sam.test ./infra/sam
	AWS_ACCESS_KEY_ID=local AWS_REGION=eu-central-1 dist/sam -prepare -template .local/sam/cdk.out/Keyreeve.template.json
	infra/sam/engine.sh $(SAM_RIE) dist/sam.test -test.v -test.timeout 8m

# make test-deploy  cdk bootstrap, deploy, requests, deploy again and destroy, on an
#                   emulator of AWS on this machine's loopback; x86_64 Linux only

EMULATOR := .local/emulator/bin

.PHONY: test-deploy

$(EMULATOR)/ministack: infra/deploytest/requirements.txt
	python3 -m venv .local/emulator
	$(EMULATOR)/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Prints a line per flow, then what was skipped and why.
test-deploy: dist/cdk-app dist/lambda-x86_64/bootstrap $(CDK) $(EMULATOR)/ministack
	CDK=$(abspath $(CDK)) MINISTACK=$(abspath $(EMULATOR)/ministack) \
	  go run gotest.tools/gotestsum@v1.13.0 --format testname -- -count=1 -timeout 20m ./infra/deploytest
