#!/bin/sh
# bases.sh NAME ...: makes images that STAND FOR the official ones of these names, for a machine that reaches no registry
# of images, such as python:3.12.13-slim-bookworm: Debian bookworm by debootstrap, in /usr/local the Python of this machine
# with that minor version (on the path or in ~/.pyenv/versions), and, where the name has no "slim", gcc. What differs from
# the official image, the Debian and the patch release of Python among it, is in the image's description.
# Needs root, buildah and debootstrap; $BUILDAH is the command to call (default: buildah). An image that is there stays.
set -eu
BUILDAH=${BUILDAH:-buildah}
debian=localhost/tf1bn-debian:bookworm
# What Python's own modules are linked with.
libraries=ca-certificates,libbz2-1.0,libdb5.3,libexpat1,libffi8,libgdbm6,liblzma5,libncursesw6,libnsl2,libreadline8,libsqlite3-0,libssl3,libtirpc3,libuuid1,zlib1g
say() { echo "bases: $*" >&2; }
fail() {
    say "$*"
    exit 2
}
for tool in ${BUILDAH%% *} debootstrap; do
    command -v "$tool" > /dev/null || fail "there is no $tool; on Debian: apt install buildah debootstrap"
done
[ "$(id -u)" = 0 ] || fail "debootstrap needs root"
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
there() { $BUILDAH inspect --type image "$1" > /dev/null 2>&1; }

if ! there "$debian"; then
    say "getting Debian bookworm"
    debootstrap --variant=minbase --include="$libraries" bookworm "$made/debian" > "$made/log" || {
        tail "$made/log" >&2
        exit 1
    }
    rm -rf "$made"/debian/var/cache/apt/* "$made"/debian/var/lib/apt/lists/*
    container=$($BUILDAH from scratch)
    $BUILDAH copy --quiet "$container" "$made/debian" / > /dev/null
    $BUILDAH commit --quiet --rm "$container" "$debian" > /dev/null
    rm -rf "$made/debian"
fi

for name in "$@"; do
    image=docker.io/library/$name
    ! there "$image" || continue
    version=$(echo "$name" | sed -n 's/^python:\([0-9]*\.[0-9]*\)\..*/\1/p')
    [ -n "$version" ] || fail "'$name' is not a name like python:3.12.13-slim-bookworm"
    prefix=
    for python in "$(command -v "python$version" || true)" "$HOME"/.pyenv/versions/"$version".*/bin/python; do
        # A shim of pyenv is there and fails where its version is not chosen; Debian's own Python has no folder of its own.
        prefix=$("$python" -c 'import sys; print(getattr(sys, "base_prefix", sys.prefix))' 2> /dev/null) || continue
        [ "$prefix" = /usr ] || break
        prefix=
    done
    [ -n "$prefix" ] || fail "there is no Python $version in a folder of its own, on the path or in ~/.pyenv/versions"
    exact=$("$prefix/bin/python$version" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
    say "making what stands for $name: Debian bookworm and the Python $exact of $prefix"
    root=$made/python
    mkdir -p "$root/bin" "$root/lib/python$version/site-packages"
    for file in python "python$version" "python${version}m"; do
        [ ! -e "$prefix/bin/$file" ] || cp -a "$prefix/bin/$file" "$root/bin/"
    done
    ln -sf "python$version" "$root/bin/python"
    cp -a "$prefix/include" "$root/"
    cp -a "$prefix"/lib/libpython* "$root/lib/"
    (cd "$prefix/lib" && tar -cf - --exclude=site-packages --exclude=test --exclude=__pycache__ --exclude='*.pyc' --exclude='*.a' \
        "python$version") | tar -xf - -C "$root/lib"
    for package in "$prefix/lib/python$version/site-packages"/pip* "$prefix/lib/python$version/site-packages"/setuptools* \
        "$prefix/lib/python$version/site-packages"/pkg_resources*; do
        [ ! -e "$package" ] || cp -a "$package" "$root/lib/python$version/site-packages/"
    done
    # Where it was is written down for what is compiled with it.
    grep -rlI --null "$prefix" "$root/lib/python$version" --include='_sysconfigdata*.py' --include=Makefile \
        | xargs -0 -r sed -i "s|$prefix|/usr/local|g"
    container=$($BUILDAH from --pull-never "$debian")
    $BUILDAH copy --quiet "$container" "$root" /usr/local > /dev/null
    $BUILDAH run --isolation chroot "$container" ldconfig
    case $name in
        *-slim-*) ;;
        *) $BUILDAH run --isolation chroot "$container" sh -c \
            'apt-get update -qq && apt-get install -qq -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*' \
            > "$made/log" 2>&1 || { tail "$made/log" >&2; exit 1; } ;;
    esac
    $BUILDAH config --cmd python --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin --env LANG=C.UTF-8 \
        --label "org.opencontainers.image.description=stands for the official $name; Debian bookworm with Python $exact" "$container"
    $BUILDAH commit --quiet --rm "$container" "$image" > /dev/null
    rm -rf "$root"
done
