// The optimiser of a training. Part of kernels.cu.
#pragma once

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
