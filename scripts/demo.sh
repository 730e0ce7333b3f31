#!/bin/sh
# Installs what is missing, builds the program and paints samples/clip.mp4 into demo.mp4.
set -eu
# shellcheck source=scripts/setup.sh
. "$(dirname -- "$0")/setup.sh"
cd "$root"

cargo build --release --locked
"${CARGO_TARGET_DIR:-target}/release/repaint" video samples/clip.mp4 demo.mp4 --overwrite
