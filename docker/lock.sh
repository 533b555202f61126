#!/bin/sh
# Writes docker/locks/*.txt: all packages, each with its version and the hashes of its files, for Python 3.10 to 3.13 on
# Linux. `make locks` runs it. What is pinned by hand comes from requirements.txt and those of tests and docs; all else stays
# at the version that is locked as long as it fits. $UV is uv's command (default: uv); the ARGUMENTs go to it: --upgrade
# takes the newest of what is not pinned by hand.
set -eu
cd "$(dirname "$0")/.."
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mkdir -p docker/locks
# lock NAME ARGUMENT ...: the lock of the requirements on stdin.
lock() {
    name=$1
    shift
    echo "tf1bn: docker/locks/$name.txt" >&2
    "${UV:-uv}" pip compile --quiet --universal --python-version 3.10 --no-build --generate-hashes \
        --custom-compile-command "make locks" --output-file "docker/locks/$name.txt" "$@" -
}
lock checkout "$@" < requirements.txt
runtime() { sed '/^# build/,$d' requirements.txt; }
# The same versions in every lock, so that what is tested is what an image has.
pins=docker/locks/checkout.txt
sed -n '/^# build/,$p' requirements.txt | lock build --constraint "$pins" "$@"
lock tests --constraint "$pins" "$@" < tests/requirements.txt
lock docs --constraint "$pins" "$@" < docs/requirements.txt
runtime | grep -E '^(numpy|rich)==' | lock checker --constraint "$pins" "$@"
runtime | sed 's/^tensorflow==/tensorflow[and-cuda]==/' | lock gpu --constraint "$pins" "$@"
# tf_keras asks for the package `tensorflow`, which tensorflow-cpu is under another name.
echo 'tensorflow; python_version < "3"' > "$made/overrides"
runtime | sed 's/^tensorflow==/tensorflow-cpu==/' | lock cpu --constraint "$pins" --override "$made/overrides" "$@"
