#!/bin/sh
# Installs into the Python named by $PYTHON (default: python3). The Makefile, the images and the tests run this script.
#   install.sh [ARGUMENT ...]           tf1bn and everything that running, building and testing it needs
#   install.sh runtime                  what running it needs, and no more
#   install.sh package [ARGUMENT ...]   tf1bn alone; what builds it is not there afterwards
# The ARGUMENTs go to the pip that installs tf1bn: "-e ." for a checkout that stays, nothing for a copy.
# TENSORFLOW=tensorflow[and-cuda] brings CUDA.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
step=all
case ${1:-} in
    runtime | package)
        step=$1
        shift
        ;;
esac
[ $# -gt 0 ] || set -- .

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "tf1bn needs Python 3.10 or newer; set PYTHON to one." >&2
    exit 1
}
pip() { "$PYTHON" -m pip --disable-pip-version-check "$@"; }
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
sed "s/^tensorflow==/${TENSORFLOW:-tensorflow}==/" requirements.txt > "$made/all"
sed '/^# build/,$d' "$made/all" > "$made/runtime"
sed -n '/^# build/,/^# tests/p' "$made/all" > "$made/build"

case $step in
    all) pip install --quiet --requirement "$made/all" ;;
    runtime)
        # The pins of the rest hold too: TensorFlow itself needs setuptools.
        sed 's/\[.*\]//' "$made/all" > "$made/pins"
        pip install --quiet --requirement "$made/runtime" --constraint "$made/pins"
        exit
        ;;
    package)
        pip install --quiet --requirement "$made/build" --target "$made/tools"
        export PYTHONPATH="$made/tools"
        ;;
esac
# The pinned build tools are there by now, so no second set is downloaded.
pip install --quiet --no-deps --no-build-isolation "$@"
