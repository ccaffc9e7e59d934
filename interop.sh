#!/bin/bash
# Runs the responder against what others wrote: OCSP clients and linters
# (docs/interop.md), and keys on a token (docs/hsm.md). Installs what that takes:
# Debian packages (for root; names them for others), and Python packages in
# target/interop/venv. Arguments are the clients to run; none: all, and the token.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")"
tests/packages.sh interop
venv=target/interop/venv
[ -x $venv/bin/pip ] || python3 -m venv $venv
$venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/interop/requirements.txt
[ $# -gt 0 ] || make hsm
exec make interop CLIENTS="$*"
