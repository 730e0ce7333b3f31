// Convolutions as implicit GEMMs. Part of kernels.cu.
#pragma once

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
