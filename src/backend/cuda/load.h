// What a block reads: the pixels that its outputs need, normalised, into shared memory. Part of
// kernels.cu, which has the layers' sizes.
#pragma once

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

// A factor for values that are to be rounded to f16. A calm sky has one value over and over, and its
// rounding error with it, which the layers after add up. So values are moved before, by about -3/8,
// -1/8, 1/8 and 3/8 of the distance between those of f16 (1/2048 to 1/1024 of a value) in the pixels
// of a square of four, and the errors cancel in the next sums (ordered dithering; Bayer 1973, "An
// optimum method for two-level rendition of continuous-tone pictures"). A 0 stays one, and a plain
// picture plain after a step of two pixels.
__device__ __forceinline__ float dither(int x, int y) {
    const int rank = 2 * ((x ^ y) & 1) + (y & 1); // 0 2, 3 1
    return 1.0f + 0.9f / 1024.0f * (0.25f * rank - 0.375f);
}

// Two values after their norm and what is added to them, times `factor` > 0.
__device__ __forceinline__ unsigned normalize(float2 two, float2 more, const float *scale,
                                              const float *shift, int floor, float factor) {
    const float x = (two.x * scale[0] + shift[0] + more.x) * factor;
    const float y = (two.y * scale[1] + shift[1] + more.y) * factor;
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
    // Nothing is added to what the first layer makes: the second half of its values lies in `more`.
    const bool single = KIND == STRIDED && layer.single;
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
            raw[i] = source[single ? 2 * places[i] : places[i]];
            more[i] = uint4{0, 0, 0, 0};
            if (single)
                more[i] = source[2 * places[i] + 1];
            else if (layer.skip)
                more[i] = skip[places[i]];
        }
#pragma unroll
        for (int i = 0; i < BATCH; ++i) {
            const int pixel = begin + i * at_once;
            if (pixel >= S::TILE_PIXELS)
                break;
            const int row = pixel / S::TILE_COLUMNS, column = pixel % S::TILE_COLUMNS;
            const float factor = KIND == STRIDED ? dither(column, row) : 1.0f;
            const auto two = [&](float2 values, float2 added, int channel) {
                return normalize(values, added, scale + channel, shift + channel, layer.floor,
                                 factor);
            };
            const auto pair = [](unsigned x, unsigned y) {
                return float2{as_float(x), as_float(y)};
            };
            const float2 none = {0.0f, 0.0f};
            uint4 done;
            if (single)
                done = {two(pair(raw[i].x, raw[i].y), none, 0),
                        two(pair(raw[i].z, raw[i].w), none, 2),
                        two(pair(more[i].x, more[i].y), none, 4),
                        two(pair(more[i].z, more[i].w), none, 6)};
            else
                done = {two(unpack(raw[i].x), unpack(more[i].x), 0),
                        two(unpack(raw[i].y), unpack(more[i].y), 2),
                        two(unpack(raw[i].z), unpack(more[i].z), 4),
                        two(unpack(raw[i].w), unpack(more[i].w), 6)};
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
