#!/bin/sh
# Installs into the Python named by $PYTHON (default: python3). The Makefile, the images and the tests run this script.
#   install.sh [ARGUMENT ...]           tf1bn and everything that running and building it needs
#   install.sh tests                    what the tests need besides
#   install.sh runtime                  what running it needs, and no more
#   install.sh package [ARGUMENT ...]   tf1bn alone; what builds it is not there afterwards
# The ARGUMENTs go to the pip that installs tf1bn: "-e ." for a checkout that stays, nothing for a copy.
# TENSORFLOW=tensorflow[and-cuda] brings CUDA.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
step=all
case ${1:-} in
    runtime | package | tests)
        step=$1
        shift
        ;;
esac
[ $# -gt 0 ] || set -- .

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "tf1bn needs Python 3.10 or newer; set PYTHON to one." >&2
    exit 1
}
# Progress goes to stderr: lines of pip on a terminal, and else one before each step that takes long.
say() { echo "tf1bn: $*" >&2; }
[ -t 2 ] && quiet= || quiet=--quiet
pip() { "$PYTHON" -m pip --disable-pip-version-check "$@" >&2; }
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
sed "s/^tensorflow==/${TENSORFLOW:-tensorflow}==/" requirements.txt > "$made/all"
sed '/^# build/,$d' "$made/all" > "$made/runtime"
sed -n '/^# build/,$p' "$made/all" > "$made/build"

case $step in
    all)
        say "installing TensorFlow and what else requirements.txt names: about 2.3 GB, and a minute or more"
        pip install $quiet --requirement "$made/all"
        ;;
    tests)
        say "installing what the tests need, tests/requirements.txt: about 0.2 GB"
        pip install $quiet --requirement tests/requirements.txt --constraint requirements.txt
        exit
        ;;
    runtime)
        # The pins of the rest hold too: TensorFlow itself needs setuptools.
        sed 's/\[.*\]//' "$made/all" > "$made/pins"
        say "installing TensorFlow and what else running tf1bn needs"
        pip install $quiet --requirement "$made/runtime" --constraint "$made/pins"
        exit
        ;;
    package)
        pip install $quiet --requirement "$made/build" --target "$made/tools"
        export PYTHONPATH="$made/tools"
        ;;
esac
# The pinned build tools are there by now, so no second set is downloaded.
say "building the extension and installing tf1bn"
pip install $quiet --no-deps --no-build-isolation "$@"
