// The layers of the transformer network on tensor cores (compute capability 8.0 and later).
//
// A convolution is an implicit GEMM: a block copies the pixels that its outputs need into shared
// memory, normalised on the way, and each warp multiplies 32 of them with the weights by 16x8x16
// products of f16 with sums in f32. Activations lie in memory as f16, channels last, before their
// norm; sums for the norm are taken of the rounded values while they are in registers.
// README.md beside this file has the layout; program.rs makes the launches.
//
// The tests compile this file as C++ and run it thread by thread (tests/cuda/emulator.h).

#ifdef REPAINT_EMULATOR
#include "emulator.h"
#else
#include "gpu.h"
#endif

// What a launch is told; places are bytes from the start of the arena, 0 where there is nothing.
// The same as `Layer` in program.rs.
struct Layer {
    unsigned long long frame;    // RGB bytes of the frame
    unsigned long long center;   // the colour that the first layer takes for 0, RGB bytes
    unsigned long long carried;  // RGB bytes of the carried painting
    unsigned long long valid;    // a byte for each of its pixels
    unsigned long long painted;  // RGB bytes of the painting
    unsigned long long source;   // the layer before, f16
    unsigned long long scales;   // scale and shift for each of its channels, f32
    unsigned long long skip;     // added to it after the norm, f16
    unsigned long long keep;     // where the sum is kept for a later layer, f16
    unsigned long long weights;  // f16, in the order of the tensor cores' registers
    unsigned long long octets;   // where in the tile each 8 values of the products begin, i32
    unsigned long long affine;   // f32: scale, shift, epsilon, noise a channel; last: factor, bias
    unsigned long long output;   // f16; of a norm: scale and shift for each channel
    unsigned long long partials; // sum and squared deviations of each channel in each tile, f32
    int frame_width, frame_height;
    int source_width, source_height, source_octets;
    int width, height, octets_out; // of the output; of a doubling layer before the doubling
    int pixel;                     // bytes from one pixel of the tile to the next
    int steps;                     // of 16 summands
    int tiles_x, tiles_y;
    int tile, stage, sums; // places in shared memory, in bytes
    int floor;             // whether ReLU follows the source's norm
    int phases;
    int tile_rows, tile_columns; // of a norm: pixels of a tile
};

enum Kind { FIRST, PLAIN, STRIDED, DOUBLING, LAST };

// Sizes of a block by kind. A warp has two rows of 16 pixels, in the last layer one of 32.
template <Kind KIND> struct Shape {
    static constexpr int WARPS = KIND == FIRST || KIND == LAST ? 8 : 4;
    static constexpr int THREADS = 32 * WARPS;
    static constexpr int KERNEL_SIDE = KIND == FIRST || KIND == LAST ? 9 : 3;
    static constexpr int MARGIN = KERNEL_SIDE / 2;
    static constexpr int STEP = KIND == STRIDED ? 2 : 1;
    static constexpr int ROWS = KIND == LAST ? WARPS : 2 * WARPS;
    // The last layer's products are summed over columns afterwards: the outer ones give no pixel.
    static constexpr int COLUMNS = KIND == LAST ? 32 - (KERNEL_SIDE - 1) : 16;
    static constexpr int TILE_ROWS = STEP * (ROWS - 1) + KERNEL_SIDE;
    // Pixels of the first layer are read in pairs.
    static constexpr int TILE_COLUMNS =
        STEP * (COLUMNS - 1) + KERNEL_SIDE + (KIND == FIRST ? 2 : 0);
    static constexpr int TILE_PIXELS = TILE_ROWS * TILE_COLUMNS;
};

// Bytes of a pixel of the first layer's tile (R, G, B and nothing), and of its copy: the next
// multiple of 128, and half of that, so that odd and even pixels meet different banks.
constexpr int FIRST_PIXEL = 8;
constexpr int FIRST_COPY = Shape<FIRST>::TILE_PIXELS * FIRST_PIXEL / 128 * 128 + 192;

// Floats from one pixel's products to the next in the last layer: 27 are used, odd for the banks.
constexpr int LAST_PIXEL = 29;

__device__ __forceinline__ int clamp(int position, int size) {
    return position < 0 ? 0 : position < size ? position : size - 1;
}

// The place that `position` shows by reflection padding; far outside, some place.
__device__ __forceinline__ int reflect(int position, int size) {
    position = position < 0 ? -position : position;
    position = position < size ? position : 2 * (size - 1) - position;
    return clamp(position, size);
}

// The place in 0..size that `position` >= 0 shows in a row mirrored at its ends again and again.
__device__ __forceinline__ int mirrored(int position, int size) {
    if (position < size)
        return position;
    if (size == 1)
        return 0;
    const int period = 2 * (size - 1);
    position %= period;
    return position < period - position ? position : period - position;
}

// The frame's pixels as f16, twice: the second copy begins a pixel later, so that a pair of pixels
// is aligned wherever it begins. What all of them have in common is taken away, as the norm would:
// beside large values f16 would leave too little of their differences.
__device__ __forceinline__ void load_frame(const char *arena, const Layer &layer, char *tile,
                                           int top, int left) {
    using S = Shape<FIRST>;
    const unsigned char *frame = reinterpret_cast<const unsigned char *>(arena + layer.frame);
    const unsigned char *center = reinterpret_cast<const unsigned char *>(arena + layer.center);
    const float red = center[0], green = center[1], blue = center[2];
#pragma unroll
    for (int pixel = threadIdx.x; pixel < S::TILE_PIXELS; pixel += S::THREADS) {
        const int row = pixel / S::TILE_COLUMNS, column = pixel % S::TILE_COLUMNS;
        int y = reflect(top - S::MARGIN + row, layer.source_height);
        int x = reflect(left - S::MARGIN + column, layer.source_width);
        y = mirrored(y, layer.frame_height);
        x = mirrored(x, layer.frame_width);
        const unsigned char *rgb = frame + (static_cast<size_t>(y) * layer.frame_width + x) * 3;
        const uint2 value = {pack(rgb[0] - red, rgb[1] - green), pack(rgb[2] - blue, 0.0f)};
        *reinterpret_cast<uint2 *>(tile + pixel * FIRST_PIXEL) = value;
        if (pixel > 0)
            *reinterpret_cast<uint2 *>(tile + FIRST_COPY + (pixel - 1) * FIRST_PIXEL) = value;
    }
}

// Two values after their norm and what is added to them.
__device__ __forceinline__ unsigned normalize(unsigned raw, unsigned added, const float *scale,
                                              const float *shift, int floor) {
    const float2 two = unpack(raw), more = unpack(added);
    const float x = two.x * scale[0] + shift[0] + more.x;
    const float y = two.y * scale[1] + shift[1] + more.y;
    return floor ? pack(fmaxf(x, 0.0f), fmaxf(y, 0.0f)) : pack(x, y);
}

// The source's pixels, normalised, with what is added to them; what is kept goes out again.
template <Kind KIND>
__device__ __forceinline__ void load_source(char *arena, const Layer &layer, char *tile, int top,
                                            int left) {
    using S = Shape<KIND>;
    const int octets = layer.source_octets;
    const int octet = threadIdx.x % octets, first = threadIdx.x / octets;
    const int at_once = S::THREADS / octets;
    if (first >= at_once)
        return;
    float scale[8], shift[8];
    const float4 *scales = reinterpret_cast<const float4 *>(arena + layer.scales) + 4 * octet;
    for (int i = 0; i < 4; ++i) {
        const float4 two = scales[i];
        scale[2 * i] = two.x, shift[2 * i] = two.y;
        scale[2 * i + 1] = two.z, shift[2 * i + 1] = two.w;
    }
    const uint4 *source = reinterpret_cast<const uint4 *>(arena + layer.source);
    const uint4 *skip = reinterpret_cast<const uint4 *>(arena + layer.skip);
    uint4 *keep = reinterpret_cast<uint4 *>(arena + layer.keep);
    constexpr int BATCH = 4; // loads on their way at once
    for (int begin = first; begin < S::TILE_PIXELS; begin += BATCH * at_once) {
        uint4 raw[BATCH], more[BATCH];
        size_t places[BATCH];
        bool kept[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; ++i) {
            const int pixel = begin + i * at_once;
            const int row = pixel / S::TILE_COLUMNS, column = pixel % S::TILE_COLUMNS;
            const int above = top * S::STEP - S::MARGIN + row;
            const int before = left * S::STEP - S::MARGIN + column;
            const int y = KIND == DOUBLING ? clamp(above, layer.source_height)
                                           : reflect(above, layer.source_height);
            const int x = KIND == DOUBLING ? clamp(before, layer.source_width)
                                           : reflect(before, layer.source_width);
            places[i] = (static_cast<size_t>(y) * layer.source_width + x) * octets + octet;
            // Each pixel is kept by the block that has it inside, not in its margin.
            kept[i] = row >= S::MARGIN && row < S::MARGIN + S::ROWS && above == y &&
                      column >= S::MARGIN && column < S::MARGIN + S::COLUMNS && before == x;
            raw[i] = source[places[i]];
            more[i] = layer.skip ? skip[places[i]] : uint4{0, 0, 0, 0};
        }
#pragma unroll
        for (int i = 0; i < BATCH; ++i) {
            const int pixel = begin + i * at_once;
            if (pixel >= S::TILE_PIXELS)
                break;
            const uint4 done = {normalize(raw[i].x, more[i].x, scale, shift, layer.floor),
                                normalize(raw[i].y, more[i].y, scale + 2, shift + 2, layer.floor),
                                normalize(raw[i].z, more[i].z, scale + 4, shift + 4, layer.floor),
                                normalize(raw[i].w, more[i].w, scale + 6, shift + 6, layer.floor)};
            *reinterpret_cast<uint4 *>(tile + pixel * layer.pixel + octet * 16) = done;
            if (KIND == PLAIN && layer.keep && kept[i] && blockIdx.z == 0)
                keep[places[i]] = done;
        }
    }
}

// The carried painting as the network sees it, after the source's channels: R, G, B in 0..2 where
// they are valid, and where they are.
__device__ __forceinline__ void load_carried(const char *arena, const Layer &layer, char *tile,
                                             int top, int left) {
    using S = Shape<STRIDED>;
    const unsigned char *carried = reinterpret_cast<const unsigned char *>(arena + layer.carried);
    const unsigned char *valid = reinterpret_cast<const unsigned char *>(arena + layer.valid);
#pragma unroll
    for (int pixel = threadIdx.x; pixel < S::TILE_PIXELS; pixel += S::THREADS) {
        const int row = pixel / S::TILE_COLUMNS, column = pixel % S::TILE_COLUMNS;
        int y = reflect(top * S::STEP - S::MARGIN + row, layer.source_height);
        int x = reflect(left * S::STEP - S::MARGIN + column, layer.source_width);
        y = mirrored(y, layer.frame_height);
        x = mirrored(x, layer.frame_width);
        const size_t place = static_cast<size_t>(y) * layer.frame_width + x;
        const unsigned char *rgb = carried + place * 3;
        const float trust = valid[place] / 255.0f;
        const float part = trust / 127.5f;
        const uint4 value = {pack(rgb[0] * part, rgb[1] * part), pack(rgb[2] * part, trust), 0, 0};
        *reinterpret_cast<uint4 *>(tile + pixel * layer.pixel + layer.source_octets * 16) = value;
    }
}

// Sums over the pixels of a warp that the same columns of products have in other lanes.
__device__ __forceinline__ float sum_rows(float value) {
    value += shuffle_xor(value, 4);
    value += shuffle_xor(value, 8);
    return value + shuffle_xor(value, 16);
}

// Writes sum and squared deviations of each channel over the tile's pixels inside the picture.
// `values` are the rounded outputs, `inside[i][h]` says whether those of row h of matrix i count.
template <Kind KIND, int TILES>
__device__ __forceinline__ void write_partials(char *arena, const Layer &layer, char *shared,
                                               const unsigned (&values)[2][TILES][2],
                                               const bool (&inside)[2][2], int count, int part) {
    using S = Shape<KIND>;
    constexpr int CHANNELS = 8 * TILES;
    float *sums = reinterpret_cast<float *>(shared + layer.sums); // [WARPS][CHANNELS]
    float *means = sums + S::WARPS * CHANNELS;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int channel = threadIdx.x;
    float sum = 0.0f;
    for (int pass = 0; pass < 2; ++pass) {
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            float2 total = {0.0f, 0.0f};
            float2 mean = {0.0f, 0.0f};
            if (pass == 1) {
                mean.x = means[8 * tile + 2 * (lane % 4)];
                mean.y = means[8 * tile + 2 * (lane % 4) + 1];
            }
#pragma unroll
            for (int i = 0; i < 2; ++i) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const float2 two = unpack(values[i][tile][half]);
                    const float weight = inside[i][half] ? 1.0f : 0.0f;
                    const float x = two.x - mean.x, y = two.y - mean.y;
                    total.x += weight * (pass == 0 ? x : x * x);
                    total.y += weight * (pass == 0 ? y : y * y);
                }
            }
            total.x = sum_rows(total.x);
            total.y = sum_rows(total.y);
            if (lane < 4) {
                sums[warp * CHANNELS + 8 * tile + 2 * lane] = total.x;
                sums[warp * CHANNELS + 8 * tile + 2 * lane + 1] = total.y;
            }
        }
        __syncthreads();
        float total = 0.0f;
        if (channel < CHANNELS) {
            for (int w = 0; w < S::WARPS; ++w)
                total += sums[w * CHANNELS + channel];
            if (pass == 0) {
                sum = total;
                means[channel] = total / count;
            } else if (static_cast<int>(blockIdx.z) * CHANNELS + channel < 8 * layer.octets_out) {
                const size_t row = blockIdx.z * CHANNELS + channel;
                const size_t parts = layer.tiles_x * layer.tiles_y * layer.phases;
                const float2 both = {sum, total};
                reinterpret_cast<float2 *>(arena + layer.partials)[row * parts + part] = both;
            }
        }
        __syncthreads();
    }
}

// The last layer: a pixel of the painting is the sum over the kernel's columns of what the pixels
// there have for it.
__device__ __forceinline__ void write_painting(char *arena, const Layer &layer,
                                               const float *products, int top, int left) {
    using S = Shape<LAST>;
    const float4 *affine = reinterpret_cast<const float4 *>(arena + layer.affine);
    unsigned char *painted = reinterpret_cast<unsigned char *>(arena + layer.painted);
    for (int i = threadIdx.x; i < S::ROWS * S::COLUMNS * 3; i += S::THREADS) {
        const int row = i / (S::COLUMNS * 3), column = i / 3 % S::COLUMNS, color = i % 3;
        const int y = top + row, x = left + column;
        if (y >= layer.frame_height || x >= layer.frame_width)
            continue;
        const float *product = products + (row * 32 + column) * LAST_PIXEL + color;
        float sum = 0.0f;
#pragma unroll
        for (int tap = 0; tap < S::KERNEL_SIDE; ++tap)
            sum += product[tap * (LAST_PIXEL + 3)];
        const float value = sum * affine[color].x + affine[color].y + 0.5f;
        painted[(static_cast<size_t>(y) * layer.frame_width + x) * 3 + color] =
            static_cast<unsigned char>(fminf(fmaxf(value, 0.0f), 255.0f));
    }
}

// One step's weights for this lane: two registers for each 8 channels.
template <int LOADS, int WORDS>
__device__ __forceinline__ void load_weights(unsigned (&values)[LOADS][WORDS], const char *place) {
#pragma unroll
    for (int i = 0; i < LOADS; ++i) {
        if constexpr (WORDS == 4) {
            const uint4 four = *reinterpret_cast<const uint4 *>(place + i * 512);
            values[i][0] = four.x, values[i][1] = four.y;
            values[i][2] = four.z, values[i][3] = four.w;
        } else {
            const uint2 two = *reinterpret_cast<const uint2 *>(place + i * 256);
            values[i][0] = two.x, values[i][1] = two.y;
        }
    }
}

// One layer for one tile of pixels and 8 * TILES channels.
template <Kind KIND, int TILES>
__device__ __forceinline__ void convolve(char *arena, const Layer &layer, char *shared) {
    using S = Shape<KIND>;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int top = blockIdx.y * S::ROWS, left = blockIdx.x * S::COLUMNS;
    char *tile = shared + layer.tile;
    const int octet_count = 2 * layer.steps;
    int *octets = reinterpret_cast<int *>(shared);
    const int *table = reinterpret_cast<const int *>(arena + layer.octets);
    for (int i = threadIdx.x; i < octet_count * layer.phases; i += S::THREADS)
        octets[i] = table[i];
    if (KIND == FIRST) {
        load_frame(arena, layer, tile, top, left);
    } else {
        load_source<KIND>(arena, layer, tile, top, left);
        if (KIND == STRIDED && layer.valid)
            load_carried(arena, layer, tile, top, left);
    }
    __syncthreads();

    // The pixels of the warp's two matrices: this lane names one of their rows in each.
    const char *rows[2];
    for (int i = 0; i < 2; ++i) {
        const int row = KIND == LAST ? warp : 2 * warp + i;
        const int column = lane % 16 + (KIND == LAST ? 16 * i : 0);
        if (KIND == FIRST)
            rows[i] = tile + (row * S::TILE_COLUMNS + column / 2 * 2) * FIRST_PIXEL +
                      column % 2 * FIRST_COPY;
        else
            rows[i] = tile + (row * S::TILE_COLUMNS + column) * S::STEP * layer.pixel;
    }
    const int below = warp * 2 * 16; // first pixel of the warp in the staged output
    for (int phase = 0; phase < layer.phases; ++phase) {
        float sums[2][TILES][4] = {};
        constexpr int WORDS = TILES > 1 ? 4 : 2; // registers of weights in one load
        constexpr int LOADS = TILES > 1 ? TILES / 2 : 1;
        const char *weights =
            arena + layer.weights +
            (static_cast<size_t>(phase) * gridDim.z + blockIdx.z) * layer.steps * TILES * 256 +
            lane * WORDS * 4;
        const int *begins = octets + phase * octet_count + lane / 16;
        unsigned next[LOADS][WORDS];
        load_weights<LOADS, WORDS>(next, weights);
        for (int step = 0; step < layer.steps; ++step) {
            unsigned b[LOADS][WORDS];
#pragma unroll
            for (int i = 0; i < LOADS; ++i)
#pragma unroll
                for (int j = 0; j < WORDS; ++j)
                    b[i][j] = next[i][j];
            if (step + 1 < layer.steps)
                load_weights<LOADS, WORDS>(next, weights + (step + 1) * TILES * 256);
            const int begin = begins[2 * step];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                unsigned a[4];
                load_matrices(a, rows[i] + begin);
#pragma unroll
                for (int j = 0; j < TILES; ++j)
                    multiply(sums[i][j], a, b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
            }
        }
        if (KIND != DOUBLING)
            __syncthreads(); // the output takes the place of the tile
        char *stage = shared + layer.stage;
        if (KIND == LAST) {
            float *products = reinterpret_cast<float *>(stage);
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int j = 0; j < TILES; ++j)
#pragma unroll
                    for (int k = 0; k < 4; ++k) {
                        const int pixel = warp * 32 + 16 * i + lane / 4 + k / 2 * 8;
                        const int product = 8 * j + lane % 4 * 2 + k % 2;
                        if (product < S::KERNEL_SIDE * 3)
                            products[pixel * LAST_PIXEL + product] = sums[i][j][k];
                    }
            __syncthreads();
            write_painting(arena, layer, products, top, left);
            return;
        }
        constexpr int STAGE_PIXEL = (TILES | 1) * 16;
        unsigned values[2][TILES][2];
        bool inside[2][2];
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int column = lane / 4 + 8 * half;
                inside[i][half] = top + 2 * warp + i < layer.height && left + column < layer.width;
                char *pixel = stage + (below + 16 * i + column) * STAGE_PIXEL;
#pragma unroll
                for (int j = 0; j < TILES; ++j) {
                    const unsigned two = pack(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
                    values[i][j][half] = two;
                    *reinterpret_cast<unsigned *>(pixel + 16 * j + lane % 4 * 4) = two;
                }
            }
        const int high = layer.height - top < S::ROWS ? layer.height - top : S::ROWS;
        const int wide = layer.width - left < S::COLUMNS ? layer.width - left : S::COLUMNS;
        const int part = (blockIdx.y * layer.tiles_x + blockIdx.x) * layer.phases + phase;
        write_partials<KIND, TILES>(arena, layer, shared, values, inside, high * wide, part);

        uint4 *output = reinterpret_cast<uint4 *>(arena + layer.output);
        constexpr int GROWTH = KIND == DOUBLING ? 2 : 1;
        for (int i = threadIdx.x; i < S::ROWS * S::COLUMNS * TILES; i += S::THREADS) {
            const int pixel = i / TILES, octet = i % TILES;
            const int row = pixel / S::COLUMNS, column = pixel % S::COLUMNS;
            const int channel = blockIdx.z * TILES + octet;
            if (row >= high || column >= wide || channel >= layer.octets_out)
                continue;
            const int y = (top + row) * GROWTH + (KIND == DOUBLING ? phase / 2 : 0);
            const int x = (left + column) * GROWTH + (KIND == DOUBLING ? phase % 2 : 0);
            const size_t place = static_cast<size_t>(y) * layer.width * GROWTH + x;
            output[place * layer.octets_out + channel] =
                *reinterpret_cast<const uint4 *>(stage + pixel * STAGE_PIXEL + 16 * octet);
        }
        if (KIND == DOUBLING)
            __syncthreads(); // the next phase stages its output in the same place
    }
}

constexpr int NORM_THREADS = 256;

// Sums `value` over the threads of a block.
__device__ __forceinline__ float sum_block(float *shared, float value) {
    for (int lanes = 16; lanes > 0; lanes /= 2)
        value += shuffle_xor(value, lanes);
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < NORM_THREADS / 32; ++warp)
        sum += shared[warp];
    __syncthreads();
    return sum;
}

// Scale and shift of one channel's instance norm from the sums of its tiles: mean first, then the
// deviations from it, since a mean far from 0 leaves nothing of a sum of squares.
__device__ __forceinline__ void finish_norm(char *arena, const Layer &layer, char *shared) {
    const int channel = blockIdx.x;
    const int parts = layer.tiles_x * layer.tiles_y * layer.phases;
    const float2 *partials = reinterpret_cast<const float2 *>(arena + layer.partials);
    partials += static_cast<size_t>(channel) * parts;
    float *sums = reinterpret_cast<float *>(shared);
    const float area = static_cast<float>(layer.width) * layer.height * layer.phases;
    float total = 0.0f;
    for (int part = threadIdx.x; part < parts; part += NORM_THREADS)
        total += partials[part].x;
    const float mean = sum_block(sums, total) / area;
    float squares = 0.0f;
    for (int part = threadIdx.x; part < parts; part += NORM_THREADS) {
        const int place = part / layer.phases;
        const int rows = layer.height - place / layer.tiles_x * layer.tile_rows;
        const int columns = layer.width - place % layer.tiles_x * layer.tile_columns;
        const float count = (rows < layer.tile_rows ? rows : layer.tile_rows) *
                            (columns < layer.tile_columns ? columns : layer.tile_columns);
        const float2 both = partials[part];
        const float away = both.x / count - mean;
        squares += both.y + count * away * away;
    }
    const float variance = sum_block(sums, squares) / area;
    if (threadIdx.x == 0) {
        const float4 affine = reinterpret_cast<const float4 *>(arena + layer.affine)[channel];
        // A channel that differs by no more than rounding is constant.
        const float scale = variance > affine.w ? affine.x / sqrtf(variance + affine.z) : 0.0f;
        const float2 both = {scale, affine.y - mean * scale};
        reinterpret_cast<float2 *>(arena + layer.output)[channel] = both;
    }
}

#define CONVOLUTIONS(name, kind)                                                                 \
    KERNEL(name##_1, Shape<kind>::THREADS, (convolve<kind, 1>(arena, layer, shared)))            \
    KERNEL(name##_2, Shape<kind>::THREADS, (convolve<kind, 2>(arena, layer, shared)))            \
    KERNEL(name##_4, Shape<kind>::THREADS, (convolve<kind, 4>(arena, layer, shared)))            \
    KERNEL(name##_8, Shape<kind>::THREADS, (convolve<kind, 8>(arena, layer, shared)))

CONVOLUTIONS(first, FIRST)
CONVOLUTIONS(plain, PLAIN)
CONVOLUTIONS(strided, STRIDED)
CONVOLUTIONS(doubling, DOUBLING)
KERNEL(last_4, Shape<LAST>::THREADS, (convolve<LAST, 4>(arena, layer, shared)))
KERNEL(finish, NORM_THREADS, finish_norm(arena, layer, shared))
