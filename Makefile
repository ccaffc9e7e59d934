# What a developer runs, and what CI runs: the same. `make help` lists it.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help check test hsm mysql interop bench bench-cluster fmt lint doc demo install

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

check: ## all that CI runs: install what the tests need, then test, interop and hsm
	./test.sh
	./interop.sh

test: lint ## lint, all tests (real nginx, Apache and MariaDB), documentation
	cargo test --workspace --locked
	@$(MAKE) --no-print-directory doc

hsm: ## test keys on a token (SoftHSM and pkcs11-provider; installs them)
	tests/packages.sh hsm
	cargo test --locked --test hsm

mysql: ## all tests of the whole, with MySQL in place of MariaDB (Debian's, from unstable, in target/)
	tests/packages.sh mysql
	[ -n "$$MYSQL_ROOT" ] || $(MAKE) target/mysql
	MYSQL_ROOT=$${MYSQL_ROOT:-$(CURDIR)/target/mysql} \
		cargo test --locked --test mysql --test integration -- --skip mariadb --skip galera

# With all that it is linked with, beside the system; also where the mirror is behind.
target/mysql:
	rm -rf $@.part
	mkdir -p target
	mmdebstrap --mode=chrootless --variant=extract --include=mysql-server-core \
		--aptopt='Acquire::Check-Valid-Until "false"' sid $@.part http://deb.debian.org/debian
	mv $@.part $@

interop: ## other people's clients and linters; ./interop.sh installs them first
	cargo test --locked --test interop -- $(CLIENTS)

bench: ## the whole program under load, beside others; PARTS='repeats questions' for some
	tests/packages.sh bench
	cargo bench --locked --bench load -- $(PARTS)

bench-cluster: ## three databases, two responders, and what clients get while parts fail
	tests/packages.sh bench-cluster
	cargo bench --locked --bench cluster -- $(TIMERS)

fmt: ## format the Rust files
	cargo fmt --all

lint: ## formatting, clippy, shellcheck
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --test hsm --test mysql --test interop --locked -- -D warnings
	shellcheck *.sh .ci/run tests/*.sh

doc: ## the documentation of the code, without a broken link
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

demo: ## a CA, a responder and a question on this machine, in a throwaway folder
	./demo.sh

install: ## install on this machine (root); ./install.sh --help knows more
	./install.sh
