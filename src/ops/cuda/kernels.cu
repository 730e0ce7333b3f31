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

#include "convolution.h"
#include "gradients.h" // uses convolution.h
#include "sums.h"
#include "layers.h" // uses sums.h
#include "adam.h"   // uses sums.h

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
