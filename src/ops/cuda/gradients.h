// Gradients of a convolution's kernel, and Gram matrices. Part of kernels.cu.
#pragma once

// `other` where `gate` is positive, else 0: the gradient before ReLU.
__device__ __forceinline__ void mask(char *arena, const Layer &layer) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index < layer.count)
        at(arena, layer.output)[index] =
            gated(at(arena, layer.other), at(arena, layer.gate), index);
}

// Sizes of a block of a kernel's gradient: three warps share the columns of the matrix (O, C K K),
// each with all of up to 64 outputs.
template <int KERNEL_SIDE> struct Columns {
    static constexpr int WARPS = 3;
    static constexpr int THREADS = 32 * WARPS;
    static constexpr int CHANNELS = KERNEL_SIDE == 1 ? 72 : KERNEL_SIDE == 3 ? 8 : 1;
    static constexpr int COUNT = CHANNELS * KERNEL_SIDE * KERNEL_SIDE; // 72 or 81
    static constexpr int TILES = (COUNT + 8 * WARPS - 1) / (8 * WARPS); // of a warp
    static constexpr int PITCH = TILE + 4; // from one output's pixels to the next: meets all banks
};

// The gradient of a kernel: `source` is the convolution's input, `other` the gradient of its output.
// A block sums over its part of the tiles of all pictures. With a kernel of 1x1 and both the same, and
// with parts that end where pictures do, it is a Gram matrix.
template <int KERNEL_SIDE, int STEP, int HIGH>
__device__ __forceinline__ void kernel_gradient(char *arena, const Layer &layer, char *shared) {
    using P = Patch<KERNEL_SIDE, STEP>;
    using C = Columns<KERNEL_SIDE>;
    constexpr int TAPS = KERNEL_SIDE * KERNEL_SIDE, OUTPUTS = 16 * HIGH;
    unsigned *upstream = reinterpret_cast<unsigned *>(shared); // [OUTPUTS][C::PITCH]
    unsigned *patch = upstream + OUTPUTS * C::PITCH;            // [C::CHANNELS][P::PITCH]
    int *places = reinterpret_cast<int *>(patch + C::CHANNELS * P::PITCH);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int first_output = blockIdx.z * OUTPUTS;
    const int first_channel = blockIdx.x * C::CHANNELS;
    const size_t area = static_cast<size_t>(layer.height) * layer.width;
    const size_t area_out = static_cast<size_t>(layer.rows) * layer.columns;
    const float *source = at(arena, layer.source), *other = at(arena, layer.other);
    const int tiles = layer.tiles_x * layer.tiles_y, all = tiles * layer.batch;
    const int begin = static_cast<long long>(all) * blockIdx.y / layer.parts;
    const int end = static_cast<long long>(all) * (blockIdx.y + 1) / layer.parts;

    int shifts[C::TILES]; // where in the patch this lane's column of each product begins
#pragma unroll
    for (int j = 0; j < C::TILES; ++j) {
        int column = (warp * C::TILES + j) * 8 + lane / 4;
        column = column < C::COUNT ? column : 0;
        const int tap = column % TAPS;
        shifts[j] = column / TAPS * P::PITCH + tap / KERNEL_SIDE * P::COLUMNS + tap % KERNEL_SIDE +
                    STEP * (lane % 4);
    }
    float sums[HIGH][C::TILES][4] = {};
    for (int index = begin; index < end; ++index) {
        const int picture = index / tiles, tile = index % tiles;
        const int top = tile / layer.tiles_x * TILE_ROWS;
        const int left = tile % layer.tiles_x * TILE_COLUMNS;
        __syncthreads();
        find_places<KERNEL_SIDE, STEP>(layer, places, top, left);
#pragma unroll 8
        for (int i = threadIdx.x; i < OUTPUTS * TILE; i += C::THREADS) {
            const int output = first_output + i / TILE, pixel = i % TILE;
            const int y = top + pixel / TILE_COLUMNS, x = left + pixel % TILE_COLUMNS;
            const bool inside = output < layer.outputs && y < layer.rows && x < layer.columns;
            const size_t plane = static_cast<size_t>(picture) * layer.outputs + output;
            const float value = other[inside ? plane * area_out + y * layer.columns + x : 0];
            upstream[i / TILE * C::PITCH + pixel] = inside ? round_tf32(value) : 0;
        }
        __syncthreads();
#pragma unroll 8
        for (int i = threadIdx.x; i < C::CHANNELS * P::PIXELS; i += C::THREADS) {
            const int channel = first_channel + i / P::PIXELS, place = places[i % P::PIXELS];
            const bool inside = channel < layer.channels && place >= 0;
            const size_t plane = static_cast<size_t>(picture) * layer.channels + channel;
            const float value = source[inside ? plane * area + place : 0];
            patch[i / P::PIXELS * P::PITCH + i % P::PIXELS] = inside ? round_tf32(value) : 0;
        }
        __syncthreads();
#pragma unroll 2
        for (int row = 0; row < TILE_ROWS; ++row) {
            unsigned a[HIGH][4];
#pragma unroll
            for (int i = 0; i < HIGH; ++i) {
                const unsigned *begin = upstream + (16 * i + lane / 4) * C::PITCH +
                                        row * TILE_COLUMNS + lane % 4;
                a[i][0] = begin[0], a[i][1] = begin[8 * C::PITCH];
                a[i][2] = begin[4], a[i][3] = begin[8 * C::PITCH + 4];
            }
#pragma unroll
            for (int j = 0; j < C::TILES; ++j) {
                const unsigned *begin = patch + shifts[j] + STEP * row * P::COLUMNS;
#pragma unroll
                for (int i = 0; i < HIGH; ++i)
                    multiply_tf32(sums[i][j], a[i], begin[0], begin[4 * STEP]);
            }
        }
    }
    float *output = at(arena, layer.output);
    const size_t columns = static_cast<size_t>(layer.channels) * TAPS;
#pragma unroll
    for (int i = 0; i < HIGH; ++i)
#pragma unroll
        for (int j = 0; j < C::TILES; ++j)
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const int row = first_output + 16 * i + lane / 4 + k / 2 * 8;
                const int column = (warp * C::TILES + j) * 8 + lane % 4 * 2 + k % 2;
                const size_t place = static_cast<size_t>(first_channel) * TAPS + column;
                if (row < layer.outputs && column < C::COUNT && place < columns)
                    output[(static_cast<size_t>(blockIdx.y) * layer.outputs + row) * columns +
                           place] = sums[i][j][k];
            }
}
