// Sums over blocks, channels, parts and differences. Part of kernels.cu.
#pragma once

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
