#!/bin/sh
# install.sh RELEASE: the real TensorFlow 1.x into the Python named by $PYTHON (default: python), and the article's
# listings, where they lie beside this script, made ready for that Python. docker/tf1/Dockerfile and a test run it.
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python}
release=${1:-}
case $release in
    1.4) needed=2.7 ;;
    1.15) needed=3.7 ;;
    *)
        echo "RELEASE is '$release'; there are 1.4, on Python 2.7, and 1.15, on Python 3.7." >&2
        exit 2
        ;;
esac
found=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$found" != "$needed" ]; then
    echo "TensorFlow $release needs Python $needed; $PYTHON is Python $found. Set PYTHON to another." >&2
    exit 2
fi
pip() { "$PYTHON" -m pip --disable-pip-version-check "$@"; }
pip install --quiet --no-deps --require-hashes --requirement "requirements-$release.txt"
pip check

for listing in listing*.py; do
    [ -f "$listing" ] || continue
    if [ "$needed" = 2.7 ]; then
        # The comments are Chinese, and Python 2 wants to be told.
        sed -i '1i # -*- coding: utf-8 -*-' "$listing"
    else
        "$PYTHON" -m lib2to3 --write --nobackups --no-diffs --fix=print "$listing"
    fi
done
