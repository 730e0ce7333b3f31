// The layers of the transformer network on tensor cores (compute capability 8.0 and later).
//
// A convolution is an implicit GEMM: a block copies the pixels that its outputs need into shared
// memory, normalised on the way, and each warp multiplies 32 of them with the weights by 16x8x16
// products of f16 with sums in f32. Activations lie in memory as f16 (those of the first layer as
// f32), channels last, before their norm; sums for the norm are taken of these values while they are
// in registers.
// README.md beside this file has the layout; program.rs makes the launches.
//
// The tests compile this file as C++ and run it thread by thread (tests/cuda/emulator.h).

#ifdef REPAINT_EMULATOR
#include "emulator.h"
#else
#include "gpu.h"
#endif

// What a launch is told; places are bytes from the start of the arena, 0 where there is nothing.
// The same as `Arguments` in program.rs.
struct Layer {
    unsigned long long frame;    // RGB bytes of the frame
    unsigned long long center;   // the colour that the first layer takes for 0, RGB bytes
    unsigned long long carried;  // RGB bytes of the carried painting
    unsigned long long valid;    // a byte for each of its pixels
    unsigned long long blur;     // a byte for each of its runs: what carrying took of their detail
    unsigned long long painted;  // RGB bytes of the painting
    unsigned long long told;     // of a film: what `Told` has, and the motion
    unsigned long long kept;     // of a film: RGB bytes of the steadied painting
    unsigned long long source;   // the layer before, f16, or f32 where `single`
    unsigned long long scales;   // scale and shift for each of its channels, f32
    unsigned long long skip;     // added to it after the norm, f16
    unsigned long long keep;     // where the sum is kept for a later layer, f16
    unsigned long long weights;  // f16, in the order of the tensor cores' registers
    unsigned long long octets;   // where in the tile each 8 values of the products begin, i32
    unsigned long long affine;   // f32: scale, shift, epsilon, noise a channel; last: factor, bias
    unsigned long long output;   // f16, of the first layer f32; of a norm: scale and shift
    unsigned long long partials; // sum and squared deviations of each channel in each tile, f32
    int frame_width, frame_height;
    int source_width, source_height, source_octets;
    int width, height, octets_out; // of the output; of a doubling layer before the doubling
    int pixel;                     // bytes from one pixel of the tile to the next
    int steps;                     // of 16 summands
    int tiles_x, tiles_y;
    int tile, stage, sums; // places in shared memory, in bytes
    int floor;             // whether ReLU follows the source's norm
    int single;            // whether the source is the first layer's output
    int phases;
    int tile_rows, tile_columns; // of a norm: pixels of a tile
    int cells_x, cells_y, cell_side; // of a film: the motion's cells, pixels along a side of one
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

#include "load.h"
#include "film.h" // uses load.h
#include "norm.h"

// Sums over the pixels of a warp that the same columns of products have in other lanes.
__device__ __forceinline__ float sum_rows(float value) {
    value += shuffle_xor(value, 4);
    value += shuffle_xor(value, 8);
    return value + shuffle_xor(value, 16);
}

// Writes sum and squared deviations of each channel over the tile's pixels inside the picture.
// `two(i, tile, h)` are two values as they lie in memory, `inside[i][h]` says whether those of row h
// of matrix i count.
template <Kind KIND, int TILES, typename Values>
__device__ __forceinline__ void write_partials(char *arena, const Layer &layer, char *shared,
                                               Values two, const bool (&inside)[2][2], int count,
                                               int part) {
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
                    const float2 values = two(i, tile, half);
                    const float weight = inside[i][half] ? 1.0f : 0.0f;
                    const float x = values.x - mean.x, y = values.y - mean.y;
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

// The first layer's output, as it is in the registers: four lanes have 32 bytes that belong together.
template <int TILES, typename Values>
__device__ __forceinline__ void write_single(char *arena, const Layer &layer, Values two,
                                             const bool (&inside)[2][2], int top, int left) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float2 *output = reinterpret_cast<float2 *>(arena + layer.output);
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            if (!inside[i][half])
                continue;
            const int y = top + 2 * warp + i, x = left + lane / 4 + 8 * half;
            const size_t octets =
                (static_cast<size_t>(y) * layer.width + x) * layer.octets_out + blockIdx.z * TILES;
#pragma unroll
            for (int j = 0; j < TILES; ++j)
                if (static_cast<int>(blockIdx.z) * TILES + j < layer.octets_out)
                    output[(octets + j) * 4 + lane % 4] = two(i, j, half);
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
        if (KIND != DOUBLING && KIND != FIRST)
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
                if constexpr (KIND == FIRST)
                    continue;
                char *pixel = stage + (below + 16 * i + column) * STAGE_PIXEL;
#pragma unroll
                for (int j = 0; j < TILES; ++j) {
                    const unsigned two = pack(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
                    values[i][j][half] = two;
                    *reinterpret_cast<unsigned *>(pixel + 16 * j + lane % 4 * 4) = two;
                }
            }
        const auto two = [&](int i, int j, int half) {
            if constexpr (KIND == FIRST)
                return float2{sums[i][j][2 * half], sums[i][j][2 * half + 1]};
            else
                return unpack(values[i][j][half]);
        };
        const int high = layer.height - top < S::ROWS ? layer.height - top : S::ROWS;
        const int wide = layer.width - left < S::COLUMNS ? layer.width - left : S::COLUMNS;
        const int part = (blockIdx.y * layer.tiles_x + blockIdx.x) * layer.phases + phase;
        write_partials<KIND, TILES>(arena, layer, shared, two, inside, high * wide, part);
        if constexpr (KIND == FIRST) {
            write_single<TILES>(arena, layer, two, inside, top, left);
            return;
        }

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
KERNEL(carry, FILM_THREADS, carry_painting(arena, layer))
KERNEL(keep, FILM_THREADS, keep_painting(arena, layer))
