#!/bin/sh
# Builds repaint for 64-bit Windows on Debian or Ubuntu: a folder with the program and FFmpeg's libraries, which runs
# where it is put. `scripts/windows.sh test` builds the tests instead and runs them in Wine.
# FFMPEG_DIR names an FFmpeg for Windows (bin, include, lib); without it one is built from the system's sources.
set -eu
# shellcheck source=scripts/setup.sh
. "$(dirname -- "$0")/setup.sh"
cd "$root"

host=x86_64-w64-mingw32
target=x86_64-pc-windows-gnu
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}"
work="$CARGO_TARGET_DIR/windows"
mkdir -p "$work"

# Each line: a Debian package, a colon, what it is for.
missing_for_windows() {
    have $host-gcc || say 'gcc-mingw-w64-x86-64: compiles and links programs for Windows'
    [ -e /usr/$host/lib/libz.a ] || say 'libz-mingw-w64-dev: zlib for Windows'
    [ "${1:-}" != test ] || have wine || say 'wine: runs them here'
    have nasm || say "nasm: assembles FFmpeg's fast loops"
    have make || say 'make: builds FFmpeg'
}

# x264, libvpx, Opus and FFmpeg from the packages' sources: some twelve minutes on two cores.
build_ffmpeg() {
    prefix=$1
    (
        mkdir -p "$work/sources" && cd "$work/sources"
        apt-get source --download-only ffmpeg x264 libvpx opus ||
            fail "apt knows no sources: add deb-src to its lists, or let FFMPEG_DIR name an FFmpeg for Windows"
        for archive in *.orig.tar.?z; do
            tar xf "$archive"
        done
        export PKG_CONFIG_LIBDIR="$prefix/lib/pkgconfig"
        jobs=$(nproc)
        (cd x264-* && ./configure --host=$host --cross-prefix=$host- --enable-static --disable-cli \
            --prefix="$prefix" && make -j"$jobs" install)
        (cd opus-* && CFLAGS='-O2 -D_FORTIFY_SOURCE=0' ./configure --host=$host --disable-shared \
            --disable-extra-programs --disable-doc --disable-stack-protector --prefix="$prefix" &&
            make -j"$jobs" install)
        (cd libvpx-* && CROSS=$host- ./configure --target=x86_64-win64-gcc --disable-examples \
            --disable-tools --disable-docs --disable-unit-tests --prefix="$prefix" && make -j"$jobs" install)
        cd ffmpeg-*
        ./configure --arch=x86_64 --target-os=mingw32 --cross-prefix=$host- --enable-shared --disable-static \
            --enable-gpl --enable-libx264 --enable-libvpx --enable-libopus --disable-doc --disable-debug \
            --pkg-config=pkg-config --pkg-config-flags=--static --extra-cflags="-I$prefix/include" \
            --extra-ldflags="-L$prefix/lib -static-libgcc" --prefix="$prefix"
        make -j"$jobs" install
        cp /usr/$host/lib/zlib1.dll /usr/$host/lib/libwinpthread-1.dll "$prefix/bin"
    )
}

packages_missing=$(missing_for_windows "${1:-}")
if [ -n "$packages_missing" ]; then
    have apt-get || fail 'no apt-get: this script knows Debian and Ubuntu only'
    install_packages "$packages_missing"
fi
have rustup || fail "no rustup: it has Rust's library for Windows"
rustup target add "$target"
if [ -z "${FFMPEG_DIR:-}" ]; then
    FFMPEG_DIR="$work/ffmpeg"
    [ -e "$FFMPEG_DIR/bin/zlib1.dll" ] || build_ffmpeg "$FFMPEG_DIR"
fi
export FFMPEG_DIR
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=$host-gcc
# MinGW's headers draw in the processor's intrinsics; bindgen stumbles over those for tiles.
export BINDGEN_EXTRA_CLANG_ARGS_x86_64_pc_windows_gnu="--target=$host -I/usr/$host/include \
-D__AMXINTRIN_H -D__AMXFP16INTRIN_H -D__AMXCOMPLEXINTRIN_H"

if [ "${1:-}" = test ]; then
    export WINEDEBUG=-all WINEPREFIX="$work/wine" WINEPATH="Z:$FFMPEG_DIR/bin;Z:$work"
    # Wine before 9 lacks the one function of Windows that Rust's library takes random numbers from.
    printf '%s\n' '#include <windows.h>' 'BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);' \
        '__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) {' \
        '    return SystemFunction036(data, (ULONG)size);' '}' |
        $host-gcc -shared -x c -o "$work/bcryptprimitives.dll" - -ladvapi32
    export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine
    # The three that are skipped make films with libx265 and zscale, which this FFmpeg lacks.
    cargo test --locked --no-fail-fast --target "$target" -- \
        --skip dolby_vision_that_nothing_else_can_show_is_told \
        --skip films_of_high_dynamic_range_become_those_of_standard_range \
        --skip what_belongs_to_the_picture_and_is_lost_is_told
    say 'The tests passed in Wine.'
else
    cargo build --locked --release --target "$target"
    folder="$work/repaint"
    mkdir -p "$folder"
    $host-strip -o "$folder/repaint.exe" "$CARGO_TARGET_DIR/$target/release/repaint.exe"
    cp "$FFMPEG_DIR"/bin/*.dll "$folder"
    say "$(du -sh "$folder" | cut -f 1) in $folder: copy it to Windows, and run repaint.exe there."
fi
