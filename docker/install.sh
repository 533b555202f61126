#!/bin/sh
# Installs into the Python named by $PYTHON (default: python3). The Makefile, the images and the tests run this script.
#   install.sh [ARGUMENT ...]           tf1bn and everything that running and building it needs
#   install.sh lock NAME                what docker/locks/NAME.txt names, and no more
#   install.sh package [ARGUMENT ...]   tf1bn alone; what builds it is not there afterwards
# The ARGUMENTs go to the pip that installs tf1bn: "-e ." for a checkout that stays, nothing for a copy.
# A file whose hash is not in the lock is refused, and nothing but tf1bn is built. docker/lock.sh writes the locks.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
step=all
case ${1:-} in
    lock | package)
        step=$1
        shift
        ;;
esac

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "tf1bn needs Python 3.10 or newer; set PYTHON to one." >&2
    exit 1
}
# Progress goes to stderr: lines of pip on a terminal, and else one before each step that takes long.
say() { echo "tf1bn: $*" >&2; }
[ -t 2 ] && quiet= || quiet=--quiet
pip() { "$PYTHON" -m pip --disable-pip-version-check "$@" >&2; }
# A lock is complete, so nothing is resolved: tf_keras would bring TensorFlow with CUDA's helpers beside tensorflow-cpu.
locked() {
    lock=docker/locks/$1.txt
    shift
    pip install $quiet --no-deps --only-binary :all: --require-hashes --requirement "$lock" "$@"
}

case $step in
    all)
        say "installing TensorFlow and what else docker/locks/checkout.txt names: about 2.3 GB, and a minute or more"
        locked checkout
        ;;
    lock)
        say "installing what docker/locks/$1.txt names"
        locked "$1"
        exit
        ;;
    package)
        made=$(mktemp -d)
        trap 'rm -rf "$made"' EXIT
        locked build --target "$made"
        export PYTHONPATH="$made"
        ;;
esac
# The pinned build tools are there by now, so no second set is downloaded.
say "building the extension and installing tf1bn"
[ $# -gt 0 ] || set -- .
pip install $quiet --no-deps --no-build-isolation "$@"
