// Steadying a film on the card: the last painting carried along the motion, and left in the next. On
// CPUs flow/carry.rs, steady.rs and detail.rs do the same, bit for bit; they say why. Part of kernels.cu.
#pragma once

// What a frame of a film is told besides its pixels: film.rs writes it.
struct Told {
    int follows; // whether there is a last painting for it
    int limit;   // of the errors of valid pixels, in 1/256
    int stays;   // part of the carried painting, in 1/256
    int strokes[2], edges[2]; // gain (1/32) and least (4ths) of the detail that is added
};

// Bytes of `Told` and what fills them up; the motion follows: across, down and error of each cell, f32.
constexpr int TOLD_BYTES = 64;

constexpr int FILM_THREADS = 128;

// Pixels of a row, and rows, that move as one.
constexpr int RUN = 8, RUN_ROWS = 2;

// The blur of what moved by half a pixel both ways.
constexpr int MOST_BLUR = 64;

// The byte that holds the blur of a pixel's run.
__device__ __forceinline__ unsigned char *blur_of(char *arena, const Layer &layer, int x, int y) {
    const int runs = (layer.frame_width + RUN - 1) / RUN;
    return reinterpret_cast<unsigned char *>(arena + layer.blur) + (y / RUN_ROWS) * runs + x / RUN;
}

// Displacements end here, in 1/256 pixel.
constexpr float FARTHEST = 8192.0f * 256.0f;

// A cell left of (or above) a place, and the part to the next one in 1/256.
struct Spot {
    int cell, part;
};

__device__ __forceinline__ Spot spot(int at, int side, int cells) {
    const int last = (2 * cells - 1) * side;
    int doubled = 2 * at;
    doubled = (doubled < side ? side : doubled < last ? doubled : last) - side;
    const int cell = doubled / (2 * side);
    Spot spot = {cell < cells - 2 ? cell : cells - 2, 0};
    spot.part = (doubled - 2 * side * spot.cell) * 256 / (2 * side);
    return spot;
}

// What a plane of cells holds at a place, times `scale`, in 1/256.
__device__ __forceinline__ int between(const float *plane, int width, Spot x, Spot y, float scale) {
    const float low = y.part * scale, high = 256.0f * scale - low;
    const float *upper = plane + y.cell * width + x.cell;
    int two[2];
    for (int i = 0; i < 2; ++i)
        two[i] = round_sum(high, upper[i], low, upper[width + i], FARTHEST);
    return two[0] + (((two[1] - two[0]) * x.part) >> 8);
}

// The last painting carried to where things are now, and where it can be trusted.
__device__ __forceinline__ void carry_painting(char *arena, const Layer &layer) {
    const int x = blockIdx.y * FILM_THREADS + threadIdx.x, y = blockIdx.x;
    const int width = layer.frame_width, height = layer.frame_height;
    if (x >= width)
        return;
    const size_t place = static_cast<size_t>(y) * width + x;
    unsigned char *valid = reinterpret_cast<unsigned char *>(arena + layer.valid) + place;
    const Told &told = *reinterpret_cast<const Told *>(arena + layer.told);
    if (!told.follows) {
        *valid = 0;
        return;
    }
    const int cells = layer.cells_x * layer.cells_y, side = layer.cell_side;
    const float *across = reinterpret_cast<const float *>(arena + layer.told + TOLD_BYTES);
    const float *down = across + cells, *error = down + cells;
    const int first_x = x / RUN * RUN, first_y = y / RUN_ROWS * RUN_ROWS;
    const auto column = [&](int at) { return spot(at, side, layer.cells_x); };
    const Spot row = spot(first_y + RUN_ROWS / 2, side, layer.cells_y);
    const auto at = [&](const float *plane, Spot column, float scale) {
        return between(plane, layer.cells_x, column, row, scale);
    };
    const Spot middle = column(first_x + RUN / 2);
    const int from_x = x * 256 + at(across, middle, side);
    const int from_y = y * 256 + at(down, middle, side);

    const int first = at(error, column(first_x), 1.0f);
    const int last = at(error, column(first_x + RUN), 1.0f);
    const int wrong = first + (((last - first) * (2 * (x - first_x) + 1)) >> 4);
    const auto within = [](int at, int length) { return -128 <= at && at <= length * 256 - 128; };
    const bool inside = within(from_x, width) && within(from_y, height);
    *valid = inside && wrong < told.limit ? 255 : 0;

    const int right = from_x & 255, low = from_y & 255, both = (right * low + 128) >> 8;
    const int weights[4] = {256 - right - low + both, right - both, low - both, both};
    if (x == first_x && y == first_y) {
        int left = 0;
        for (const int weight : weights)
            left += weight * weight;
        *blur_of(arena, layer, x, y) = (256 * 256 - left) / (256 * 256 * 3 / 4 / MOST_BLUR);
    }
    const unsigned char *painting = reinterpret_cast<const unsigned char *>(arena + layer.kept);
    unsigned char *carried = reinterpret_cast<unsigned char *>(arena + layer.carried) + place * 3;
    for (int channel = 0; channel < 3; ++channel) {
        int sum = 128;
        for (int i = 0; i < 4; ++i) {
            const int tap_x = clamp((from_x >> 8) + i % 2, width);
            const int tap_y = clamp((from_y >> 8) + i / 2, height);
            const size_t tap = static_cast<size_t>(tap_y) * width + tap_x;
            sum += painting[tap * 3 + channel] * weights[i];
        }
        carried[channel] = static_cast<unsigned char>(sum >> 8);
    }
}

// A value with a part of the detail in the middle of 3x3 others, which were blurred so.
__device__ __forceinline__ int add_detail(int value, const int (&near)[9], const int (&part)[2],
                                          int blur) {
    int mean = 0; // times 16
    for (int i = 0; i < 9; ++i)
        mean += near[i] * (2 - (i / 3 != 1)) * (2 - (i % 3 != 1));
    int detail = (16 * near[4] - mean + 2) >> 2;
    const auto bound = [](int value, int most) {
        return value < -most ? -most : value < most ? value : most;
    };
    detail -= bound(detail, part[1]);
    const int gain = (part[0] * blur + MOST_BLUR / 2) / MOST_BLUR;
    const int sum = value + ((detail * gain + 64) >> 7);
    return sum < 0 ? 0 : sum < 255 ? sum : 255;
}

// The painting with what stays of the carried one, and the detail that this takes.
__device__ __forceinline__ void keep_painting(char *arena, const Layer &layer) {
    const int x = blockIdx.y * FILM_THREADS + threadIdx.x, y = blockIdx.x;
    const int width = layer.frame_width, height = layer.frame_height;
    if (x >= width)
        return;
    const Told &told = *reinterpret_cast<const Told *>(arena + layer.told);
    const auto bytes = [&](unsigned long long place) {
        return reinterpret_cast<const unsigned char *>(arena + place);
    };
    const unsigned char *painted = bytes(layer.painted), *carried = bytes(layer.carried);
    const unsigned char *valid = bytes(layer.valid), *frame = bytes(layer.frame);
    const size_t place = static_cast<size_t>(y) * width + x;
    unsigned char *kept = reinterpret_cast<unsigned char *>(arena + layer.kept) + place * 3;
    const int blur = *blur_of(arena, layer, x, y);
    size_t near[9];
    for (int i = 0; i < 9; ++i)
        near[i] = static_cast<size_t>(clamp(y + i / 3 - 1, height)) * width +
                  clamp(x + i % 3 - 1, width);
    for (int channel = 0; channel < 3; ++channel) {
        int value = painted[place * 3 + channel];
        if (valid[place]) {
            int mixed[9], source[9];
            for (int i = 0; i < 9; ++i) {
                const size_t at = near[i] * 3 + channel;
                const int fresh = painted[at];
                const int sum = fresh * (256 - told.stays) + carried[at] * told.stays + 128;
                mixed[i] = valid[near[i]] ? sum >> 8 : fresh;
                source[i] = frame[at];
            }
            value = add_detail(mixed[4], mixed, told.strokes, blur);
            value = add_detail(value, source, told.edges, blur);
        }
        kept[channel] = static_cast<unsigned char>(value);
    }
}
