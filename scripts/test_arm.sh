#!/bin/sh
# Builds the painter and its tests for 64-bit ARM and runs them in QEMU: what x86-64 never compiles.
# Debian and Ubuntu, with Rust from rustup. Says so and passes where one of its parts is not to be had.
set -eu
# shellcheck source=scripts/setup.sh
. "$(dirname -- "$0")/setup.sh"
cd "$root"

target=aarch64-unknown-linux-gnu

skip() {
    say "skipped: the kernels for 64-bit ARM ($*)"
    exit 0
}

# Each line: a Debian package, a colon, what it is for.
missing_for_arm() {
    have aarch64-linux-gnu-gcc || say 'gcc-aarch64-linux-gnu: links programs for ARM'
    [ -e /usr/aarch64-linux-gnu/include/stdlib.h ] || say 'libc6-dev-arm64-cross: the C library for ARM'
    have qemu-aarch64 || say 'qemu-user: runs them here'
}

[ "$(uname -m)" != aarch64 ] || skip 'scripts/test.sh tests them on this machine'
have rustup || skip 'no rustup'
packages_missing=$(missing_for_arm)
if [ -n "$packages_missing" ]; then
    have apt-get || skip 'no apt-get'
    # It ends the shell that it runs in where it may not install.
    (install_packages "$packages_missing") || skip 'the packages above are not to be had'
fi
rustup target add "$target" || skip "no Rust for $target"

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu'
cargo test --locked --target "$target" --no-default-features --test kernels --test engine --test ops
cargo test --locked --target "$target" --no-default-features --lib kernels
say 'The kernels for 64-bit ARM passed.'
