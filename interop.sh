#!/bin/bash
# Asks the responder with OCSP clients and linters that others wrote: docs/interop.md.
# Installs what that takes: Debian packages (for root; names them for others), and
# Python packages in target/interop/venv. Arguments are the clients to run; none: all.
set -euo pipefail
cd "$(dirname "$0")"
tests/packages.sh interop
venv=target/interop/venv
[ -x $venv/bin/pip ] || python3 -m venv $venv
$venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/interop/requirements.txt
exec make interop CLIENTS="$*"
