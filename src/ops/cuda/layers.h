// The layers between convolutions, and moved pictures. Part of kernels.cu.
#pragma once

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
