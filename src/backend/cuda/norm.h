// What a norm scales and shifts its channels by. Part of kernels.cu.
#pragma once

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
