# Every target sets up what it needs and means `--stack local`. Other environments: `fab --list`.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E)
machines := systemd-container debootstrap iproute2 openssh-client git age
browser := chromium libnss3-tools nginx-light nftables openssl
firefox := firefox-esr openssl
load := nginx-light openssl wrk
PYTEST := $(SUDO) .venv/bin/pytest
FAB := install -m 0755 ansible-free-deploy/fab .venv/bin/fab
# Tests start `fab` a thousand times. Where PYTHONDONTWRITEBYTECODE is set, as in many containers, each start would compile all
# that it imports, which is half of its time. Of the left out packages a test imports little or nothing.
COMPILE := .venv/bin/python -m compileall -q -j 0 -x '/(pulumi_aws|pulumi_gcp|botocore|moto)/' .venv/lib infra ansible-free-deploy

.PHONY: help up down test check bench soak chromium machines browser firefox load image
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
up: .venv/run machines ## two machines on this host, the example shipped, deployed and checked
	@$(SUDO) .venv/bin/fab up --stack local
down: .venv/run ## remove them: machines, mounts, bridge, processes and state
	@$(SUDO) .venv/bin/fab down --stack local --yes
test: .venv/test machines browser ## every test, on real machines and in a real browser
	$(PYTEST) -m "not soak" -n 3 --dist loadfile --no-loadscope-reorder --durations=40
check: .venv/test ## format, lint and types
	.venv/bin/ruff check . && .venv/bin/ruff format --check -q . && .venv/bin/mypy
bench: export PYTHONDONTWRITEBYTECODE := # Python keeps bytecode unless told otherwise, and so it is measured
bench: .venv/test machines load ## the figures in docs/benchmarks.md, as ratios within one run
	$(SUDO) .venv/bin/python -m tests.bench.pair
	.venv/bin/python -m tests.bench.cost
	$(SUDO) .venv/bin/python -m tests.bench.https
	$(SUDO) .venv/bin/python -m tests.bench.previews
	$(SUDO) .venv/bin/python -m tests.bench.peers $(PEERS)
soak: .venv/test machines browser firefox ## the long tests
	$(PYTEST) -m soak

chromium: .venv/run ## what `fab doctor --browser` needs: Chromium, and the package that drives it
	@for name in chromium google-chrome chromium-browser chrome; do command -v $$name >/dev/null && exit; done; infra/local/packages.sh chromium
	@.tools/bin/uv sync --quiet --frozen --no-dev --group browser --inexact --no-python-downloads

machines browser firefox load: %:
	@infra/local/packages.sh $($*)
image: .venv/test machines
	@$(SUDO) .venv/bin/python -c 'from infra.local.image import ensure; ensure()'
.venv/run: pyproject.toml uv.lock ansible-free-deploy/fab | .tools
	@.tools/bin/uv sync --quiet --frozen --no-dev --inexact --no-python-downloads && $(FAB) && touch $@
.venv/test: pyproject.toml uv.lock ansible-free-deploy/fab | .tools
	@.tools/bin/uv sync --quiet --frozen --inexact --no-python-downloads && $(FAB) && { $(COMPILE) || echo "the start of what can't be compiled is slower"; } && touch $@ .venv/run
.tools:
	@infra/local/packages.sh python3-venv && python3 -m venv $@.new && $@.new/bin/pip install -q uv && mv $@.new $@
