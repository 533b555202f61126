#!/bin/sh
# Install tf1bn and everything that running and testing it needs into the Python named by $PYTHON (default: python3).
# The Makefile, both Dockerfiles and a test run this one script. Arguments go to the pip that installs tf1bn itself:
# "-e ." for a checkout that stays, nothing for a copy. TENSORFLOW=tensorflow[and-cuda] brings CUDA.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
[ $# -gt 0 ] || set -- .

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "tf1bn needs Python 3.10 or newer; set PYTHON to one." >&2
    exit 1
}
pip() { "$PYTHON" -m pip --disable-pip-version-check "$@"; }
wanted=$(mktemp)
trap 'rm -f "$wanted"' EXIT
sed "s/^tensorflow==/${TENSORFLOW:-tensorflow}==/" requirements.txt > "$wanted"
pip install --quiet --requirement "$wanted"
# The build tools are pinned by requirements.txt and there by now, so no second set is downloaded.
pip install --quiet --no-deps --no-build-isolation "$@"
