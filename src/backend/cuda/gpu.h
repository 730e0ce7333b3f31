// What the kernels ask of a GPU; tests/cuda/emulator.h does the same on a CPU.
#pragma once

#include <cuda_fp16.h>

struct Layer;

#define KERNEL(name, threads, call)                                                              \
    extern "C" __global__ void __launch_bounds__(threads)                                        \
        name(char *__restrict__ arena, const __grid_constant__ Layer layer) {                    \
        extern __shared__ __align__(128) char shared[];                                          \
        call;                                                                                    \
    }

// Two f16 values, the first in the low half, finite whatever comes.
__device__ __forceinline__ unsigned pack(float low, float high) {
    const float most = 65504.0f;
    low = fminf(fmaxf(low, -most), most);
    high = fminf(fmaxf(high, -most), most);
    const __half2 both = __floats2half2_rn(low, high);
    return *reinterpret_cast<const unsigned *>(&both);
}

// a * b + c * d, each product and the sum rounded, not beyond `most`, as the nearest whole number.
__device__ __forceinline__ int round_sum(float a, float b, float c, float d, float most) {
    const float sum = __fadd_rn(__fmul_rn(a, b), __fmul_rn(c, d));
    return __float2int_rn(fminf(fmaxf(sum, -most), most));
}

__device__ __forceinline__ float as_float(unsigned bits) { return __uint_as_float(bits); }

__device__ __forceinline__ float2 unpack(unsigned both) {
    return __half22float2(*reinterpret_cast<const __half2 *>(&both));
}

// Lane l of a warp names row l % 8 of 8x8 matrix l / 8 (16 bytes a row); value i of the result are
// columns 2 * (lane % 4) and the next of row lane / 4 of matrix i.
__device__ __forceinline__ void load_matrices(unsigned (&values)[4], const char *row) {
    const unsigned place = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(values[0]), "=r"(values[1]), "=r"(values[2]), "=r"(values[3])
                 : "r"(place)
                 : "memory");
}

// sums += a * b for 16x16 values of a, 16x8 of b.
__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0,
                                         unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The nearest value with 10 bits of fraction, as the tensor cores take it.
__device__ __forceinline__ unsigned round_tf32(float value) {
    unsigned rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
    return rounded;
}

// sums += a * b for 16x8 values of a, 8x8 of b, all rounded.
__device__ __forceinline__ void multiply_tf32(float (&sums)[4], const unsigned (&a)[4], unsigned b0,
                                              unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ float shuffle_xor(float value, int lanes) {
    return __shfl_xor_sync(0xffffffffu, value, lanes);
}
