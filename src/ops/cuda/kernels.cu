// The operators of training on NVIDIA GPUs (compute capability 8.0 and later).
//
// Everything in memory is f32, planes of rows: (N, C, H, W). Convolutions and their gradients are
// implicit GEMMs of 16x8x8 products on tensor cores: operands rounded to tf32 (10 bits, as cuDNN
// has them in PyTorch's fast mode), sums in f32. No sum depends on the order in which blocks run, so
// that a training can be repeated bit by bit.
//
// The tests compile this file as C++ and run it thread by thread (tests/cuda/emulator.h).

#ifdef REPAINT_EMULATOR
#include "emulator.h"
#else
#include "gpu.h"
#endif

// What a launch is told; places are bytes from the start of the arena, which on a GPU is address 0;
// a place of 0 means that there is nothing. The same as `Arguments` in launches.rs.
struct Layer {
    unsigned long long source;  // what the kernel works on
    unsigned long long other;   // a second input
    unsigned long long gate;    // of the second: it counts where this is positive
    unsigned long long weights; // packed by `pack_kernel`; a norm's scale
    unsigned long long bias;    // of a convolution; a norm's shift
    unsigned long long output;
    unsigned long long sums; // parts of sums, which a later launch adds up
    int batch, channels, height, width; // of the source
    int outputs, rows, columns;         // of the output
    int margin;                         // of the padding
    int mirrored;                       // whether it mirrors the picture instead of being 0
    int spread;                         // 2: zeros lie between the source's pixels
    int relu;                           // whether ReLU comes last
    int turned;                         // whether `pack_kernel` turns a kernel for the gradient
    int kernel;                         // its side
    int tiles_x, tiles_y;
    int parts;        // that sums are split into
    int count;        // of values
    float numbers[7]; // each kernel says which
};

__device__ __forceinline__ const float *at(const char *arena, unsigned long long place) {
    return reinterpret_cast<const float *>(arena + place);
}

__device__ __forceinline__ float *at(char *arena, unsigned long long place) {
    return reinterpret_cast<float *>(arena + place);
}

// Sizes of a convolution's tile: 128 pixels of the output, each m-tile of a product two rows of 8.
constexpr int TILE_ROWS = 16, TILE_COLUMNS = 8, TILE = TILE_ROWS * TILE_COLUMNS;

// Channels that go through shared memory at once: the summands of one product.
constexpr int CHUNK = 8;

template <int KERNEL_SIDE, int STEP> struct Patch {
    static constexpr int ROWS = STEP * (TILE_ROWS - 1) + KERNEL_SIDE;
    static constexpr int COLUMNS = STEP * (TILE_COLUMNS - 1) + KERNEL_SIDE;
    static constexpr int PIXELS = ROWS * COLUMNS;
    // From one channel to the next: 8 more than a multiple of 16, so that 4 channels of 8
    // neighbours meet all banks.
    static constexpr int PITCH = (PIXELS + 7) / 16 * 16 + 8;
};

// Where the pixels of a patch lie in a plane of the source; -1 outside.
template <int KERNEL_SIDE, int STEP>
__device__ __forceinline__ void find_places(const Layer &layer, int *places, int top, int left) {
    using P = Patch<KERNEL_SIDE, STEP>;
    for (int i = threadIdx.x; i < P::PIXELS; i += blockDim.x) {
        int y = top * STEP - layer.margin + i / P::COLUMNS;
        int x = left * STEP - layer.margin + i % P::COLUMNS;
        bool inside = true;
        if (layer.mirrored) {
            y = y < 0 ? -y : y, x = x < 0 ? -x : x;
            y = y < layer.height ? y : 2 * (layer.height - 1) - y;
            x = x < layer.width ? x : 2 * (layer.width - 1) - x;
        } else if (layer.spread == 2) {
            inside = y >= 0 && x >= 0 && y % 2 == 0 && x % 2 == 0;
            y /= 2, x /= 2;
        }
        inside = inside && y >= 0 && x >= 0 && y < layer.height && x < layer.width;
        places[i] = inside ? y * layer.width + x : -1;
    }
}

__device__ __forceinline__ float gated(const float *values, const float *gate, size_t place) {
    const float value = values[place];
    return gate && !(gate[place] > 0.0f) ? 0.0f : value;
}

// Packs a kernel (O, C, K, K) in the order in which `convolve` reads it: by block of outputs, chunk
// of channels, place in the kernel, pair of 8 outputs, lane. `outputs` and `channels` are those of
// the convolution that it is packed for: of one turned for the gradient, C and O.
__device__ __forceinline__ void pack_kernel(char *arena, const Layer &layer) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= layer.count)
        return;
    const int taps = layer.kernel * layer.kernel;
    const int chunks = (layer.channels + CHUNK - 1) / CHUNK;
    const int tiles = layer.parts; // of 8 outputs in a block
    // With one tile of outputs a lane has 2 values, else 4: two tiles'.
    const int paired = tiles > 1 ? 2 : 1;
    int rest = index;
    const int which = rest % 2;
    rest /= 2;
    int tile = rest % paired;
    rest /= paired;
    const int lane = rest % 32;
    rest /= 32;
    tile += rest % (tiles / paired) * paired;
    rest /= tiles / paired;
    const int tap = rest % taps;
    rest /= taps;
    const int chunk = rest % chunks, block = rest / chunks;
    const int output = (block * tiles + tile) * 8 + lane / 4;
    const int channel = chunk * CHUNK + lane % 4 + 4 * which;
    float value = 0.0f;
    if (output < layer.outputs && channel < layer.channels) {
        const float *kernel = at(arena, layer.source);
        value = layer.turned
                    ? kernel[(static_cast<size_t>(channel) * layer.outputs + output) * taps + taps -
                             1 - tap]
                    : kernel[(static_cast<size_t>(output) * layer.channels + channel) * taps + tap];
    }
    reinterpret_cast<unsigned *>(arena + layer.output)[index] = round_tf32(value);
}

constexpr int CONVOLUTION_THREADS = 128;

template <int TILES>
__device__ __forceinline__ void load_kernel(unsigned (&values)[TILES][2], const char *packed) {
    if constexpr (TILES == 1) {
        const uint2 both = *reinterpret_cast<const uint2 *>(packed);
        values[0][0] = both.x, values[0][1] = both.y;
    } else {
#pragma unroll
        for (int i = 0; i < TILES / 2; ++i) {
            const uint4 all = *reinterpret_cast<const uint4 *>(packed + i * 512);
            values[2 * i][0] = all.x, values[2 * i][1] = all.y;
            values[2 * i + 1][0] = all.z, values[2 * i + 1][1] = all.w;
        }
    }
}

// A block makes 128 pixels of 8 * TILES * ACROSS outputs of one picture, with ACROSS warps side by
// side in the outputs. Channels come through shared memory 8 at a time, the next 8 on their
// way in registers meanwhile. With several parts each sums over some of the channels only.
template <int KERNEL_SIDE, int STEP, int TILES, int ACROSS>
__device__ __forceinline__ void convolve(char *arena, const Layer &layer, char *shared) {
    using P = Patch<KERNEL_SIDE, STEP>;
    constexpr int THREADS = CONVOLUTION_THREADS;
    constexpr int TAPS = KERNEL_SIDE * KERNEL_SIDE;
    constexpr int HIGH = TILE / 16 * ACROSS / (THREADS / 32); // m-tiles of a warp
    constexpr int LOADS = (CHUNK * P::PIXELS + THREADS - 1) / THREADS; // of a thread for a chunk
    constexpr int AT_ONCE = LOADS < 12 ? LOADS : 12; // more would take registers from the sums
    constexpr int STEP_BYTES = TILES * 256; // of packed kernel for a warp's step
    float *stages = reinterpret_cast<float *>(shared); // [2][CHUNK][PITCH]
    int *places = reinterpret_cast<int *>(stages + 2 * CHUNK * P::PITCH);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int side = warp % ACROSS, first = warp / ACROSS * HIGH;
    const int top = blockIdx.x / layer.tiles_x * TILE_ROWS;
    const int left = blockIdx.x % layer.tiles_x * TILE_COLUMNS;
    const int block = blockIdx.y * ACROSS + side;
    const int chunks = (layer.channels + CHUNK - 1) / CHUNK;
    const int picture = blockIdx.z / layer.parts, part = blockIdx.z % layer.parts;
    const int begin = chunks * part / layer.parts, end = chunks * (part + 1) / layer.parts;
    const int area = layer.height * layer.width;
    const float *source =
        at(arena, layer.source) + static_cast<size_t>(picture) * layer.channels * area;
    find_places<KERNEL_SIDE, STEP>(layer, places, top, left);
    __syncthreads();

    float coming[AT_ONCE];
    const auto fetch = [&](int chunk, int first) {
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i) {
            const int index = threadIdx.x + (first + i) * THREADS;
            const int channel = chunk * CHUNK + index / P::PIXELS;
            const int place = places[index % P::PIXELS];
            // Whatever lies outside is read from somewhere and left out below: a branch around
            // each load would wait for it.
            coming[i] = source[(channel < layer.channels ? channel : 0) * area +
                               (place < 0 ? 0 : place)];
        }
    };
    const auto arrive = [&](int chunk, int first, float *stage) {
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i) {
            const int index = threadIdx.x + (first + i) * THREADS;
            const int channel = chunk * CHUNK + index / P::PIXELS;
            if (index < CHUNK * P::PIXELS) {
                const bool inside = channel < layer.channels && places[index % P::PIXELS] >= 0;
                reinterpret_cast<unsigned *>(
                    stage)[index / P::PIXELS * P::PITCH + index % P::PIXELS] =
                    inside ? round_tf32(coming[i]) : 0;
            }
        }
    };

    const auto bring = [&](int chunk, float *stage) {
        for (int first = 0; first < LOADS; first += AT_ONCE) {
            fetch(chunk, first);
            arrive(chunk, first, stage);
        }
    };

    float sums[HIGH][TILES][4] = {};
    const char *packed = arena + layer.weights +
                         (static_cast<size_t>(block) * chunks + begin) * TAPS * STEP_BYTES +
                         lane * (TILES > 1 ? 16 : 8);
    unsigned b[TILES][2];
    load_kernel<TILES>(b, packed);
    bring(begin, stages);
    for (int chunk = begin; chunk < end; ++chunk) {
        __syncthreads();
        if (chunk + 1 < end && LOADS == AT_ONCE)
            fetch(chunk + 1, 0);
        const unsigned *stage =
            reinterpret_cast<const unsigned *>(stages + (chunk - begin) % 2 * CHUNK * P::PITCH) +
            lane % 4 * P::PITCH + STEP * (2 * first * P::COLUMNS + lane / 4);
#pragma unroll 3
        for (int tap = 0; tap < TAPS; ++tap) {
            unsigned next[TILES][2];
            packed += STEP_BYTES;
            const bool more = tap + 1 < TAPS || chunk + 1 < end;
            load_kernel<TILES>(next, more ? packed : packed - STEP_BYTES);
            const unsigned *corner = stage + tap / KERNEL_SIDE * P::COLUMNS + tap % KERNEL_SIDE;
#pragma unroll
            for (int i = 0; i < HIGH; ++i) {
                const unsigned *pixel = corner + STEP * 2 * i * P::COLUMNS;
                const unsigned a[4] = {pixel[0], pixel[STEP * P::COLUMNS], pixel[4 * P::PITCH],
                                       pixel[4 * P::PITCH + STEP * P::COLUMNS]};
#pragma unroll
                for (int j = 0; j < TILES; ++j)
                    multiply_tf32(sums[i][j], a, b[j][0], b[j][1]);
            }
#pragma unroll
            for (int j = 0; j < TILES; ++j)
                b[j][0] = next[j][0], b[j][1] = next[j][1];
        }
        if (chunk + 1 < end) {
            float *other = stages + (chunk + 1 - begin) % 2 * CHUNK * P::PITCH;
            if (LOADS == AT_ONCE)
                arrive(chunk + 1, 0, other);
            else
                bring(chunk + 1, other);
        }
    }

    const float *bias = at(arena, layer.bias);
    float *output = at(arena, layer.output);
    const bool whole = layer.parts == 1;
    const size_t first_plane =
        (static_cast<size_t>(part) * layer.batch + picture) * layer.outputs;
    if (!whole)
        output = at(arena, layer.sums);
    const int x = left + lane / 4;
#pragma unroll
    for (int j = 0; j < TILES; ++j)
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int channel = (block * TILES + j) * 8 + lane % 4 * 2 + k % 2;
            if (channel >= layer.outputs || x >= layer.columns)
                continue;
            const float shift = whole && layer.bias ? bias[channel] : 0.0f;
            const size_t plane = first_plane + channel;
#pragma unroll
            for (int i = 0; i < HIGH; ++i) {
                const int y = top + 2 * (first + i) + k / 2;
                const float value = sums[i][j][k] + shift;
                if (y < layer.rows)
                    output[(plane * layer.rows + y) * layer.columns + x] =
                        whole && layer.relu ? fmaxf(value, 0.0f) : value;
            }
        }
}

// Adds up the parts of a convolution in `sums`.
__device__ __forceinline__ void join_parts(char *arena, const Layer &layer) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= layer.count)
        return;
    const float *sums = at(arena, layer.sums);
    float sum = 0.0f;
    for (int part = 0; part < layer.parts; ++part)
        sum += sums[static_cast<size_t>(part) * layer.count + index];
    if (layer.bias)
        sum += at(arena, layer.bias)[index / (layer.rows * layer.columns) % layer.outputs];
    at(arena, layer.output)[index] = layer.relu ? fmaxf(sum, 0.0f) : sum;
}

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

constexpr int PLANE_THREADS = 512;

// Sums of two values over a block.
__device__ __forceinline__ float2 sum_block(float *shared, float2 value) {
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        value.x += shuffle_xor(value.x, lanes);
        value.y += shuffle_xor(value.y, lanes);
    }
    const int warps = blockDim.x / 32, warp = threadIdx.x / 32;
    __syncthreads(); // the last call's readers
    if (threadIdx.x % 32 == 0)
        shared[2 * warp] = value.x, shared[2 * warp + 1] = value.y;
    __syncthreads();
    float2 sum = {0.0f, 0.0f};
    for (int i = 0; i < warps; ++i)
        sum.x += shared[2 * i], sum.y += shared[2 * i + 1];
    return sum;
}

// The sum of all values of a channel.
__device__ __forceinline__ void sum_channel(char *arena, const Layer &layer, char *shared) {
    const int channel = blockIdx.x;
    const float *source = at(arena, layer.source);
    const int area = layer.height * layer.width;
    float2 total = {0.0f, 0.0f};
    for (int picture = 0; picture < layer.batch; ++picture) {
        const size_t plane = (static_cast<size_t>(picture) * layer.channels + channel) * area;
        for (int i = threadIdx.x; i < area; i += PLANE_THREADS)
            total.x += source[plane + i];
    }
    total = sum_block(reinterpret_cast<float *>(shared), total);
    if (threadIdx.x == 0)
        at(arena, layer.output)[channel] = total.x;
}

// Adds up `parts` arrays of `count` values that follow each other, for each y of the grid.
__device__ __forceinline__ void reduce_parts(char *arena, const Layer &layer) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= layer.count)
        return;
    const size_t first = blockIdx.y * layer.parts;
    const float *source = at(arena, layer.source);
    float sum = 0.0f;
    for (int part = 0; part < layer.parts; ++part)
        sum += source[(first + part) * layer.count + index];
    at(arena, layer.output)[static_cast<size_t>(blockIdx.y) * layer.count + index] = sum;
}

// The sum of squares of `source` less `other`, which has `channels` values and is repeated, or is
// 0; times numbers[0]. A block sums some of it.
__device__ __forceinline__ void square_difference(char *arena, const Layer &layer, char *shared) {
    const float *source = at(arena, layer.source);
    const float *other = layer.other ? at(arena, layer.other) : nullptr;
    float2 total = {0.0f, 0.0f};
    for (int i = blockIdx.x * PLANE_THREADS + threadIdx.x; i < layer.count;
         i += gridDim.x * PLANE_THREADS) {
        const float value = source[i] - (other ? other[i % layer.channels] : 0.0f);
        total.x += value * value;
    }
    total = sum_block(reinterpret_cast<float *>(shared), total);
    if (threadIdx.x == 0)
        at(arena, layer.output)[blockIdx.x] = total.x * layer.numbers[0];
}

// Its gradient of `source`; that of the sum is the one value of `weights`.
__device__ __forceinline__ void difference_back(char *arena, const Layer &layer) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= layer.count)
        return;
    const float *other = layer.other ? at(arena, layer.other) : nullptr;
    const float value =
        at(arena, layer.source)[index] - (other ? other[index % layer.channels] : 0.0f);
    at(arena, layer.output)[index] = 2.0f * layer.numbers[0] * value * *at(arena, layer.weights);
}

// Mean and inverse deviation of a plane: mean first, since a mean far from 0 leaves nothing of a
// sum of squares.
__device__ __forceinline__ float2 plane_statistics(const float *plane, int area, float epsilon,
                                                   float *shared) {
    float2 total = {0.0f, 0.0f};
    for (int i = threadIdx.x; i < area; i += PLANE_THREADS)
        total.x += plane[i];
    const float mean = sum_block(shared, total).x / area;
    total = {0.0f, 0.0f};
    for (int i = threadIdx.x; i < area; i += PLANE_THREADS)
        total.y += (plane[i] - mean) * (plane[i] - mean);
    const float variance = sum_block(shared, total).y / area;
    return {mean, 1.0f / sqrtf(variance + epsilon)};
}

// Instance norm of a plane; numbers[0] is its epsilon.
__device__ __forceinline__ void normalize_plane(char *arena, const Layer &layer, char *shared) {
    const int area = layer.height * layer.width, channel = blockIdx.x % layer.channels;
    const size_t plane = static_cast<size_t>(blockIdx.x) * area;
    const float *source = at(arena, layer.source) + plane;
    float *output = at(arena, layer.output) + plane;
    const float2 found = plane_statistics(source, area, layer.numbers[0],
                                          reinterpret_cast<float *>(shared));
    const float factor = at(arena, layer.weights)[channel] * found.y;
    const float offset = at(arena, layer.bias)[channel] - found.x * factor;
    for (int i = threadIdx.x; i < area; i += PLANE_THREADS) {
        const float value = source[i] * factor + offset;
        output[i] = layer.relu ? fmaxf(value, 0.0f) : value;
    }
}

// The gradients of an instance norm: of its input `source` for the gradient `other`, counted where
// `gate` is positive; `sums` gets the plane's gradients of scale, then those of shift.
__device__ __forceinline__ void normalize_back(char *arena, const Layer &layer, char *shared) {
    const int area = layer.height * layer.width, channel = blockIdx.x % layer.channels;
    const size_t plane = static_cast<size_t>(blockIdx.x) * area;
    const float *source = at(arena, layer.source) + plane;
    const float *other = at(arena, layer.other) + plane;
    const float *gate = layer.gate ? at(arena, layer.gate) + plane : nullptr;
    float *output = at(arena, layer.output) + plane;
    float *shared_sums = reinterpret_cast<float *>(shared);
    const float2 found = plane_statistics(source, area, layer.numbers[0], shared_sums);
    float2 total = {0.0f, 0.0f};
    for (int i = threadIdx.x; i < area; i += PLANE_THREADS) {
        const float gradient = gated(other, gate, i);
        total.x += gradient * ((source[i] - found.x) * found.y);
        total.y += gradient;
    }
    total = sum_block(shared_sums, total);
    if (threadIdx.x == 0) {
        float *sums = at(arena, layer.sums);
        const int picture = blockIdx.x / layer.channels;
        sums[picture * 2 * layer.channels + channel] = total.x;
        sums[(picture * 2 + 1) * layer.channels + channel] = total.y;
    }
    const float factor = at(arena, layer.weights)[channel] * found.y;
    const float mean_product = total.x / area, mean_gradient = total.y / area;
    for (int i = threadIdx.x; i < area; i += PLANE_THREADS) {
        const float normal = (source[i] - found.x) * found.y;
        output[i] = factor * (gated(other, gate, i) - mean_gradient - normal * mean_product);
    }
}

// The largest of each 2x2 values.
__device__ __forceinline__ void pool_largest(char *arena, const Layer &layer) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= layer.count)
        return;
    const int x = index % layer.columns, y = index / layer.columns % layer.rows;
    const size_t plane = index / (layer.columns * layer.rows);
    const float *source =
        at(arena, layer.source) + (plane * layer.height + 2 * y) * layer.width + 2 * x;
    at(arena, layer.output)[index] = fmaxf(fmaxf(source[0], source[1]),
                                           fmaxf(source[layer.width], source[layer.width + 1]));
}

// Its gradient `other` goes to the first of the largest; rows and columns left over get none.
__device__ __forceinline__ void pool_gradient(char *arena, const Layer &layer) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= layer.count)
        return;
    const int x = index % layer.width, y = index / layer.width % layer.height;
    const size_t plane = index / (layer.width * layer.height);
    float value = 0.0f;
    if (x / 2 < layer.columns && y / 2 < layer.rows) {
        const float *source =
            at(arena, layer.source) + (plane * layer.height + y / 2 * 2) * layer.width + x / 2 * 2;
        int largest = 0;
        float most = source[0];
        for (int i = 1; i < 4; ++i) {
            const float found = source[i / 2 * layer.width + i % 2];
            if (found > most)
                most = found, largest = i;
        }
        if (largest == y % 2 * 2 + x % 2)
            value = at(arena, layer.other)[(plane * layer.rows + y / 2) * layer.columns + x / 2];
    }
    at(arena, layer.output)[index] = value;
}

// Every pixel twice in both directions.
__device__ __forceinline__ void enlarge_twice(char *arena, const Layer &layer) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= layer.count)
        return;
    const int x = index % layer.columns, y = index / layer.columns % layer.rows;
    const size_t plane = index / (layer.columns * layer.rows);
    at(arena, layer.output)[index] =
        at(arena, layer.source)[(plane * layer.height + y / 2) * layer.width + x / 2];
}

// Its gradient, of the small picture.
__device__ __forceinline__ void enlarge_gradient(char *arena, const Layer &layer) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= layer.count)
        return;
    const int x = index % layer.columns, y = index / layer.columns % layer.rows;
    const size_t plane = index / (layer.columns * layer.rows);
    const float *source =
        at(arena, layer.source) + (plane * layer.height + 2 * y) * layer.width + 2 * x;
    at(arena, layer.output)[index] =
        (source[0] + source[1]) + (source[layer.width] + source[layer.width + 1]);
}

// Adds the gradients of mirrored pixels to those of the pixels that they show. The source has a
// margin around the output.
__device__ __forceinline__ void fold_margin(char *arena, const Layer &layer) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= layer.count)
        return;
    const int x = index % layer.columns, y = index / layer.columns % layer.rows;
    const size_t plane = index / (layer.columns * layer.rows);
    const float *source = at(arena, layer.source) + plane * layer.height * layer.width;
    // Itself, and what shows it beyond the first and the last.
    const int ys[3] = {y, -y, 2 * (layer.rows - 1) - y};
    const int xs[3] = {x, -x, 2 * (layer.columns - 1) - x};
    float sum = 0.0f;
    for (int i = 0; i < 3; ++i) {
        const bool shown = i == 0 || (ys[i] != y && ys[i] >= -layer.margin &&
                                      ys[i] < layer.rows + layer.margin);
        for (int j = 0; shown && j < 3; ++j)
            if (j == 0 || (xs[j] != x && xs[j] >= -layer.margin &&
                           xs[j] < layer.columns + layer.margin))
                sum += source[(ys[i] + layer.margin) * layer.width + xs[j] + layer.margin];
    }
    at(arena, layer.output)[index] = sum;
}

// Pictures moved: `other` says for each pixel where it comes from (x, y), by interpolation between
// four pixels; places outside count as the nearest inside.
__device__ __forceinline__ void move_picture(char *arena, const Layer &layer) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= layer.count)
        return;
    const int area = layer.height * layer.width;
    const size_t plane = index / area;
    const float2 place = reinterpret_cast<const float2 *>(
        arena + layer.other)[plane / layer.channels * area + index % area];
    const float x = fminf(fmaxf(place.x, 0.0f), layer.width - 1);
    const float y = fminf(fmaxf(place.y, 0.0f), layer.height - 1);
    const int last_x = layer.width > 1 ? layer.width - 2 : 0;
    const int last_y = layer.height > 1 ? layer.height - 2 : 0;
    const int left = static_cast<int>(x) < last_x ? static_cast<int>(x) : last_x;
    const int top = static_cast<int>(y) < last_y ? static_cast<int>(y) : last_y;
    const int right = left + 1 < layer.width ? left + 1 : left;
    const int bottom = top + 1 < layer.height ? top + 1 : top;
    const float fx = x - left, fy = y - top;
    const float *source = at(arena, layer.source) + plane * area;
    const float above = source[top * layer.width + left] * (1.0f - fx) * (1.0f - fy) +
                        source[top * layer.width + right] * fx * (1.0f - fy);
    const float below = source[bottom * layer.width + left] * (1.0f - fx) * fy +
                        source[bottom * layer.width + right] * fx * fy;
    at(arena, layer.output)[index] = above + below;
}

// One of the variables of a training, in a table at `source`: places of what belongs to it, of
// `count` values each.
struct Variable {
    unsigned long long gradient, weight, first, second, average, count;
};

// The sum of the squares of a variable's gradient.
__device__ __forceinline__ void sum_squares(char *arena, const Layer &layer, char *shared) {
    const Variable variable =
        reinterpret_cast<const Variable *>(arena + layer.source)[blockIdx.x];
    const float *gradient = at(arena, variable.gradient);
    float2 total = {0.0f, 0.0f};
    for (size_t i = threadIdx.x; i < variable.count; i += PLANE_THREADS)
        total.x += gradient[i] * gradient[i];
    total = sum_block(reinterpret_cast<float *>(shared), total);
    if (threadIdx.x == 0)
        at(arena, layer.output)[blockIdx.x] = total.x;
}

// A step of Adam. `first` and `second` are the means of the gradients and of their squares, `average`
// that of the weights. numbers: what the gradient is multiplied with; beta1; beta2; the rate over the
// first correction; one over the root of the second; epsilon; what stays of the average.
__device__ __forceinline__ void step_adam(char *arena, const Layer &layer) {
    const Variable variable =
        reinterpret_cast<const Variable *>(arena + layer.source)[blockIdx.y];
    const float beta1 = layer.numbers[1], beta2 = layer.numbers[2], kept = layer.numbers[6];
    float *weights = at(arena, variable.weight), *average = at(arena, variable.average);
    float *firsts = at(arena, variable.first), *seconds = at(arena, variable.second);
    for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < variable.count;
         i += gridDim.x * blockDim.x) {
        const float gradient = at(arena, variable.gradient)[i] * layer.numbers[0];
        const float first = firsts[i] * beta1 + gradient * (1.0f - beta1);
        const float second = seconds[i] * beta2 + gradient * gradient * (1.0f - beta2);
        const float root = sqrtf(second) * layer.numbers[4] + layer.numbers[5];
        const float weight = weights[i] - first / root * layer.numbers[3];
        weights[i] = weight;
        firsts[i] = first;
        seconds[i] = second;
        average[i] = average[i] * kept + weight * (1.0f - kept);
    }
}

#define CONVOLUTIONS(name, side, step)                                                             \
    KERNEL(name##_8, CONVOLUTION_THREADS, (convolve<side, step, 1, 1>(arena, layer, shared)))       \
    KERNEL(name##_16, CONVOLUTION_THREADS, (convolve<side, step, 2, 1>(arena, layer, shared)))      \
    KERNEL(name##_32, CONVOLUTION_THREADS, (convolve<side, step, 4, 1>(arena, layer, shared)))      \
    KERNEL(name##_64, CONVOLUTION_THREADS, (convolve<side, step, 4, 2>(arena, layer, shared)))

#define GRADIENTS(name, side, step)                                                                \
    KERNEL(name##_gradient_16, Columns<side>::THREADS,                                             \
           (kernel_gradient<side, step, 1>(arena, layer, shared)))                                  \
    KERNEL(name##_gradient_32, Columns<side>::THREADS,                                             \
           (kernel_gradient<side, step, 2>(arena, layer, shared)))                                  \
    KERNEL(name##_gradient_64, Columns<side>::THREADS,                                             \
           (kernel_gradient<side, step, 4>(arena, layer, shared)))

constexpr int VALUE_THREADS = 256;

CONVOLUTIONS(three, 3, 1)
CONVOLUTIONS(strided, 3, 2)
CONVOLUTIONS(nine, 9, 1)
GRADIENTS(one, 1, 1)
GRADIENTS(three, 3, 1)
GRADIENTS(strided, 3, 2)
GRADIENTS(nine, 9, 1)
KERNEL(packed, VALUE_THREADS, pack_kernel(arena, layer))
KERNEL(joined, VALUE_THREADS, join_parts(arena, layer))
KERNEL(masked, VALUE_THREADS, mask(arena, layer))
KERNEL(summed, PLANE_THREADS, sum_channel(arena, layer, shared))
KERNEL(reduced, VALUE_THREADS, reduce_parts(arena, layer))
KERNEL(squared, PLANE_THREADS, square_difference(arena, layer, shared))
KERNEL(squared_back, VALUE_THREADS, difference_back(arena, layer))
KERNEL(normed, PLANE_THREADS, normalize_plane(arena, layer, shared))
KERNEL(normed_back, PLANE_THREADS, normalize_back(arena, layer, shared))
KERNEL(pooled, VALUE_THREADS, pool_largest(arena, layer))
KERNEL(pooled_back, VALUE_THREADS, pool_gradient(arena, layer))
KERNEL(enlarged, VALUE_THREADS, enlarge_twice(arena, layer))
KERNEL(enlarged_back, VALUE_THREADS, enlarge_gradient(arena, layer))
KERNEL(folded, VALUE_THREADS, fold_margin(arena, layer))
KERNEL(moved, VALUE_THREADS, move_picture(arena, layer))
KERNEL(squares, PLANE_THREADS, sum_squares(arena, layer, shared))
KERNEL(stepped, VALUE_THREADS, step_adam(arena, layer))
