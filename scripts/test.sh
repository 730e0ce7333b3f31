#!/bin/sh
# Installs what is missing, then runs every check that a change has to pass.
set -eu
# setup.sh reads it.
# shellcheck disable=SC2034
with_tests=yes
# shellcheck source=scripts/setup.sh
. "$(dirname -- "$0")/setup.sh"
cd "$root"

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

if ! cargo clippy --version >/dev/null 2>&1 || ! cargo fmt --version >/dev/null 2>&1; then
    have rustup || fail 'no clippy or rustfmt: install them beside cargo'
    say 'Installing clippy and rustfmt with rustup: the checks below need them.'
    rustup component add clippy rustfmt
fi

for script in scripts/*.sh; do
    step sh -n "$script"
done
if have shellcheck; then
    step shellcheck -x scripts/*.sh .ci/run
fi
step cargo fmt --check
step cargo clippy --locked --all-targets -- -D warnings
step env RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --lib
step cargo clippy --locked --no-default-features --all-targets -- -D warnings
# setup.sh refuses a compiler older than the stated rust-version; where rustup has exactly that
# one, it must build the program too.
if have rustup && rustup toolchain list | grep -q "^${rust_wanted}[.-]"; then
    toolchain=$(rustup toolchain list | grep "^${rust_wanted}[.-]" | head -n 1 | cut -d ' ' -f 1)
    step cargo "+$toolchain" check --locked --lib --bins
fi
step cargo test --locked
say
say 'All checks passed.'
