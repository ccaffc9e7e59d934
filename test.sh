#!/bin/bash
# Installs the Debian packages that the tests need (for root; names them for others),
# builds, and runs formatting, lints, all tests and documentation.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")"
tests/packages.sh tests
exec make test
