#!/bin/sh
# Installs what building repaint needs and this machine lacks, and says so before it does.
# Debian and Ubuntu: by itself, as root or with sudo. Other systems: names the packages and stops.
# demo.sh and test.sh read this file; it can also be run alone. A second run finds nothing to do.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
rust_wanted=$(sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' "$root/Cargo.toml")
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
export PATH

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Is version $1 (as in 1.95.0) version $2 (as in 1.95) or later?
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)" = "$2" ]
}

have_rust() {
    have cargo && have rustc && at_least "$(rustc --version | cut -d ' ' -f 2)" "$rust_wanted"
}

# bindgen loads libclang while building; clang-sys looks in these places among others.
have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return
    for file in /usr/lib/llvm-*/lib/libclang[.-][s0-9]*so* /usr/lib/*/libclang[.-][s0-9]*so* \
        /usr/lib64/libclang.so* /usr/lib/libclang.so* /usr/local/lib/libclang.so* \
        /Library/Developer/CommandLineTools/usr/lib/libclang.dylib \
        /Applications/Xcode.app/Contents/Developer/Toolchains/*/usr/lib/libclang.dylib \
        /opt/homebrew/opt/llvm/lib/libclang.dylib; do
        [ -e "$file" ] && return
    done
    return 1
}

compiles() {
    have cc && have c++ && printf '#include <stdio.h>\n' | c++ -E -x c++ - >/dev/null 2>&1
}

# Each line: a Debian package, a colon, what it is for.
missing() {
    compiles || say 'build-essential: a C and C++ compiler, for the parts of libraries in C'
    have pkg-config || say 'pkg-config: finds the FFmpeg libraries'
    have clang || say 'clang: reads the headers of FFmpeg and of the camera interface'
    have_libclang || say 'libclang-dev: the same, as a library'
    for library in avcodec avformat avutil avfilter swscale swresample; do
        if ! have pkg-config || ! pkg-config --exists "lib$library"; then
            say "lib$library-dev: FFmpeg, reads and writes video"
        fi
    done
    have ffprobe || say 'ffmpeg: makes and looks at videos in the tests'
    # The tests of the live window press keys on a virtual screen; test.sh asks for them.
    if [ "${with_tests:-no}" = yes ]; then
        have Xvfb || say 'xvfb: a virtual screen, for the tests'
        have xdotool || say 'xdotool: presses keys there, for the tests'
    fi
    if ! have_rust && ! have rustup; then
        have curl || say 'curl: downloads Rust'
        [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] ||
            [ -e /etc/ssl/cert.pem ] || say 'ca-certificates: checks who the download comes from'
    fi
}

install_packages() {
    packages=$(printf '%s\n' "$1" | cut -d : -f 1 | tr '\n' ' ')
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif have sudo; then
        as_root=sudo
    else
        fail "not root and no sudo; as root run: apt-get install $packages"
    fi
    say 'Installing with apt-get:'
    printf '%s\n' "$1" | sed 's/^/  /'
    # The lists of words are meant to split.
    # shellcheck disable=SC2086
    {
        $as_root apt-get update
        $as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends $packages
    }
}

name_packages() {
    say 'Missing here (by the names of Debian):'
    printf '%s\n' "$1" | sed 's/^/  /'
    if have dnf; then
        say 'On Fedora: sudo dnf install gcc gcc-c++ clang clang-devel pkgconf-pkg-config ffmpeg-free ffmpeg-free-devel curl'
    elif have pacman; then
        say 'On Arch: sudo pacman -S --needed base-devel clang pkgconf ffmpeg curl'
    elif [ "$(uname)" = Darwin ]; then
        say 'On macOS: xcode-select --install; brew install pkg-config ffmpeg'
    else
        say 'Install what this system calls these, then run this again.'
    fi
    exit 1
}

install_rust() {
    if have rustup; then
        say "Updating Rust with rustup: repaint needs $rust_wanted or later."
        rustup toolchain install stable --profile minimal --component clippy,rustfmt
        RUSTUP_TOOLCHAIN=stable
        export RUSTUP_TOOLCHAIN
        beside_default=yes
    else
        say "Installing Rust with rustup into $HOME: repaint needs $rust_wanted or later."
        installer=$(mktemp)
        if ! curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs -o "$installer"; then
            rm -f "$installer"
            fail 'could not download https://sh.rustup.rs: check the connection, or install Rust'
        fi
        RUSTUP_INIT_SKIP_PATH_CHECK=yes sh "$installer" -y --no-modify-path \
            --profile minimal --component clippy,rustfmt
        rm -f "$installer"
    fi
    have_rust || fail "no Rust $rust_wanted or later after the installation: see https://rustup.rs"
}

packages_missing=$(missing)
if [ -n "$packages_missing" ]; then
    if have apt-get && have dpkg; then
        install_packages "$packages_missing"
    else
        name_packages "$packages_missing"
    fi
fi
have_rust || install_rust
# Run alone, this cannot choose the toolchain of the shell that comes after it.
if [ "${0##*/}" = setup.sh ] && [ "${beside_default:-no}" = yes ]; then
    say 'The default toolchain is an older one. Build with: cargo +stable build'
    say 'Or make the new one the default: rustup default stable'
fi
