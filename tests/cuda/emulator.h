// Runs CUDA kernels on the CPU, thread by thread, for the tests.
//
// Each thread of a block is a fiber that runs until it meets its warp or its block. A warp's
// operation is done once all 32 lanes have brought their operands; a barrier opens once all threads
// stand at it. REPAINT_EMULATOR_BACKWARDS runs lanes and warps in the other order: where the result
// changes, a barrier is missing. Shared memory begins as NaN, guards lie behind it.
#pragma once

#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <ucontext.h>
#include <vector>

#define __device__
#define __forceinline__ inline

struct uint2 { unsigned x, y; };
struct uint4 { unsigned x, y, z, w; };
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
struct Dim { unsigned x, y, z; };

struct Layer;
using Body = void (*)(char *arena, const Layer &layer, char *shared);

namespace emulator {

enum class Wait { NOTHING, WARP, BLOCK, DONE };
enum class Operation { MATRICES, PRODUCT, TF32_PRODUCT, SHUFFLE };

// What a lane brings to an operation of its warp, and takes away.
struct Operands {
    Operation operation;
    const char *row;
    unsigned a[4], b[2], values[4];
    float sums[4], value;
    int lanes;
};

// Entered by its context, left and entered again by jumps: contexts would ask the kernel for the mask
// of signals each time, which takes as long as all else.
struct Fiber {
    ucontext_t context;
    jmp_buf place;
    bool begun;
    std::vector<char> stack;
    Wait wait;
    Operands operands;
};

struct Kernel {
    std::string name;
    unsigned threads;
    Body body;
};

inline std::vector<Kernel> &kernels() {
    static std::vector<Kernel> all;
    return all;
}

struct Registered {
    Registered(const char *name, unsigned threads, Body body) {
        kernels().push_back({name, threads, body});
    }
};

inline Dim thread_place, block_place, grid_size, block_size;
inline jmp_buf scheduler;
inline std::vector<Fiber> fibers;
inline char *arena_start, *shared_start;
inline const Layer *layer_now;
inline Body body_now;

[[noreturn]] inline void fail(const std::string &what) {
    std::fprintf(stderr, "emulator: %s\n", what.c_str());
    std::exit(1);
}

// f16 by rounding to the nearest, ties to even; values are finite and within range.
inline uint16_t to_half(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint16_t sign = bits >> 16 & 0x8000;
    const float size = std::fabs(value);
    if (size < 6.103515625e-05f) // below the normal values: steps of 2^-24
        return sign | static_cast<uint16_t>(std::nearbyint(size * 16777216.0f));
    bits &= 0x7fffffff;
    bits += 0xfff + (bits >> 13 & 1);
    return sign | static_cast<uint16_t>((bits >> 13) - (112 << 10));
}

inline float from_half(uint16_t half) {
    const int exponent = half >> 10 & 31;
    const float fraction = half & 1023;
    float size = exponent == 0 ? std::ldexp(fraction, -24)
                               : std::ldexp(1024.0f + fraction, exponent - 25);
    if (exponent == 31)
        size = fraction ? NAN : INFINITY;
    return half & 0x8000 ? -size : size;
}

inline float half_of(unsigned both, int which) { return from_half(both >> 16 * which & 0xffff); }

// A value that was rounded to 10 bits of fraction.
inline float tf32_value(unsigned bits) {
    if (bits & 0x1fff)
        fail("a factor of a product was not rounded");
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline void wait(Wait what) {
    Fiber &self = fibers[thread_place.x];
    const unsigned thread = thread_place.x;
    self.wait = what;
    if (!_setjmp(self.place))
        _longjmp(scheduler, 1);
    thread_place.x = thread;
}

inline Operands &bring(Operation operation) {
    Operands &mine = fibers[thread_place.x].operands;
    mine.operation = operation;
    return mine;
}

inline void run_fiber() {
    body_now(arena_start, *layer_now, shared_start);
    fibers[thread_place.x].wait = Wait::DONE;
    _longjmp(scheduler, 1);
}

// Runs a thread until it waits.
inline void enter(Fiber &fiber) {
    if (_setjmp(scheduler))
        return;
    if (fiber.begun)
        _longjmp(fiber.place, 1);
    fiber.begun = true;
    setcontext(&fiber.context);
}

// Does the operation that the 32 lanes from `first` on have brought.
inline void operate(Fiber *first) {
    const Operation operation = first[0].operands.operation;
    for (int lane = 0; lane < 32; ++lane)
        if (first[lane].operands.operation != operation)
            fail("lanes of a warp meet in different operations");
    if (operation == Operation::MATRICES) {
        for (int lane = 0; lane < 32; ++lane)
            for (int i = 0; i < 4; ++i) {
                const char *row = first[8 * i + lane / 4].operands.row;
                if (reinterpret_cast<uintptr_t>(row) % 16)
                    fail("a row of a matrix is not aligned to 16 bytes");
                std::memcpy(&first[lane].operands.values[i], row + lane % 4 * 4, 4);
            }
    } else if (operation == Operation::PRODUCT) {
        float a[16][16], b[16][8];
        for (int lane = 0; lane < 32; ++lane) {
            const Operands &mine = first[lane].operands;
            const int row = lane / 4, column = lane % 4 * 2;
            for (int i = 0; i < 2; ++i) {
                a[row][column + i] = half_of(mine.a[0], i);
                a[row + 8][column + i] = half_of(mine.a[1], i);
                a[row][column + 8 + i] = half_of(mine.a[2], i);
                a[row + 8][column + 8 + i] = half_of(mine.a[3], i);
                b[column + i][row] = half_of(mine.b[0], i);
                b[column + 8 + i][row] = half_of(mine.b[1], i);
            }
        }
        for (int lane = 0; lane < 32; ++lane)
            for (int i = 0; i < 4; ++i) {
                const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
                float sum = 0.0f;
                for (int k = 0; k < 16; ++k)
                    sum += a[row][k] * b[k][column];
                first[lane].operands.sums[i] += sum;
            }
    } else if (operation == Operation::TF32_PRODUCT) {
        float a[16][8], b[8][8];
        for (int lane = 0; lane < 32; ++lane) {
            const Operands &mine = first[lane].operands;
            const int row = lane / 4, column = lane % 4;
            for (int i = 0; i < 4; ++i)
                a[row + i % 2 * 8][column + i / 2 * 4] = tf32_value(mine.a[i]);
            for (int i = 0; i < 2; ++i)
                b[column + 4 * i][row] = tf32_value(mine.b[i]);
        }
        for (int lane = 0; lane < 32; ++lane)
            for (int i = 0; i < 4; ++i) {
                const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
                float sum = 0.0f;
                for (int k = 0; k < 8; ++k)
                    sum += a[row][k] * b[k][column];
                first[lane].operands.sums[i] += sum;
            }
    } else {
        float values[32];
        for (int lane = 0; lane < 32; ++lane)
            values[lane] = first[lane].operands.value;
        for (int lane = 0; lane < 32; ++lane)
            first[lane].operands.value = values[lane ^ first[lane].operands.lanes];
    }
}

// Runs a warp until its threads stand at a barrier or are done.
inline Wait run_warp(unsigned warp, bool backwards) {
    Fiber *first = &fibers[32 * warp];
    for (;;) {
        for (unsigned i = 0; i < 32; ++i) {
            const unsigned lane = backwards ? 31 - i : i;
            thread_place.x = 32 * warp + lane;
            enter(first[lane]);
        }
        for (int lane = 1; lane < 32; ++lane)
            if (first[lane].wait != first[0].wait)
                fail("lanes of a warp went different ways");
        if (first[0].wait != Wait::WARP)
            return first[0].wait;
        operate(first);
    }
}

inline void run_block(unsigned threads, bool backwards) {
    for (Fiber &fiber : fibers) {
        getcontext(&fiber.context);
        fiber.stack.resize(64 << 10);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = nullptr;
        fiber.begun = false;
        makecontext(&fiber.context, run_fiber, 0);
    }
    const unsigned warps = threads / 32;
    for (bool done = false; !done;) {
        Wait all = Wait::NOTHING;
        for (unsigned i = 0; i < warps; ++i) {
            const Wait state = run_warp(backwards ? warps - 1 - i : i, backwards);
            if (i > 0 && state != all)
                fail("warps of a block went different ways");
            all = state;
        }
        done = all == Wait::DONE;
    }
}

inline void launch(const Kernel &kernel, const Dim &grid, unsigned threads, unsigned shared_bytes,
                   bool backwards) {
    constexpr size_t GUARD = 4096;
    if (threads != kernel.threads)
        fail(kernel.name + ": launched with another number of threads than it is made for");
    std::vector<char> shared(shared_bytes + GUARD + 128);
    shared_start = shared.data() + (128 - reinterpret_cast<uintptr_t>(shared.data()) % 128);
    grid_size = grid, block_size = {threads, 1, 1};
    body_now = kernel.body;
    fibers.resize(threads);
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                std::memset(shared.data(), 0xff, shared.size());
                block_place = {x, y, z};
                run_block(threads, backwards);
                for (const char *guard = shared_start + shared_bytes;
                     guard < shared.data() + shared.size(); ++guard)
                    if (*guard != '\xff')
                        fail(kernel.name + ": wrote behind its shared memory");
            }
}

} // namespace emulator

#define threadIdx emulator::thread_place
#define blockIdx emulator::block_place
#define gridDim emulator::grid_size
#define blockDim emulator::block_size

inline void __syncthreads() { emulator::wait(emulator::Wait::BLOCK); }

inline unsigned pack(float low, float high) {
    const float most = 65504.0f;
    low = std::fmin(std::fmax(low, -most), most);
    high = std::fmin(std::fmax(high, -most), most);
    return emulator::to_half(low) | static_cast<unsigned>(emulator::to_half(high)) << 16;
}

inline int round_sum(float a, float b, float c, float d, float most) {
    const float sum = a * b + c * d;
    return static_cast<int>(std::nearbyint(std::fmin(std::fmax(sum, -most), most)));
}

inline float as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline float2 unpack(unsigned both) {
    return {emulator::half_of(both, 0), emulator::half_of(both, 1)};
}

inline void load_matrices(unsigned (&values)[4], const char *row) {
    emulator::Operands &mine = emulator::bring(emulator::Operation::MATRICES);
    mine.row = row;
    emulator::wait(emulator::Wait::WARP);
    std::memcpy(values, mine.values, sizeof values);
}

inline void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    emulator::Operands &mine = emulator::bring(emulator::Operation::PRODUCT);
    std::memcpy(mine.a, a, sizeof a);
    std::memcpy(mine.sums, sums, sizeof sums);
    mine.b[0] = b0, mine.b[1] = b1;
    emulator::wait(emulator::Wait::WARP);
    std::memcpy(sums, mine.sums, sizeof sums);
}

inline unsigned round_tf32(float value) { // away from 0 where it lies between two
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return (bits + 0x1000) & ~0x1fffu;
}

inline void multiply_tf32(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    emulator::Operands &mine = emulator::bring(emulator::Operation::TF32_PRODUCT);
    std::memcpy(mine.a, a, sizeof a);
    std::memcpy(mine.sums, sums, sizeof sums);
    mine.b[0] = b0, mine.b[1] = b1;
    emulator::wait(emulator::Wait::WARP);
    std::memcpy(sums, mine.sums, sizeof sums);
}

inline float shuffle_xor(float value, int lanes) {
    emulator::Operands &mine = emulator::bring(emulator::Operation::SHUFFLE);
    mine.value = value, mine.lanes = lanes;
    emulator::wait(emulator::Wait::WARP);
    return mine.value;
}

#define KERNEL(name, threads, call)                                                              \
    static void name(char *arena, const Layer &layer, char *shared) { call; }                    \
    static const emulator::Registered registered_##name(#name, threads, name);

// Reads an arena and launches from standard input, writes the arena to standard output:
// u64 bytes of the arena, the arena, u32 bytes of a `Layer`, u32 launches; a launch is u32 length
// of the kernel's name, the name, u32 grid x, y, z, u32 threads, u32 bytes of shared memory, the
// `Layer`.
template <typename L> int run_emulator() {
    const auto read = [](void *to, size_t bytes) {
        if (std::fread(to, 1, bytes, stdin) != bytes)
            emulator::fail("the input is too short");
    };
    const auto number = [&] {
        uint32_t value;
        read(&value, 4);
        return value;
    };
    uint64_t bytes;
    read(&bytes, 8);
    constexpr size_t GUARD = 4096;
    std::vector<char> arena(bytes + GUARD + 128, '\xff');
    emulator::arena_start = arena.data() + (128 - reinterpret_cast<uintptr_t>(arena.data()) % 128);
    read(emulator::arena_start, bytes);
    if (number() != sizeof(L))
        emulator::fail("`Layer` has another size here");
    const bool backwards = std::getenv("REPAINT_EMULATOR_BACKWARDS");
    for (uint32_t launches = number(); launches > 0; --launches) {
        std::string name(number(), ' ');
        read(name.data(), name.size());
        Dim grid = {number(), number(), number()};
        const uint32_t threads = number(), shared = number();
        L layer;
        read(&layer, sizeof layer);
        emulator::layer_now = &layer;
        bool known = false;
        for (const auto &kernel : emulator::kernels())
            if (kernel.name == name) {
                emulator::launch(kernel, grid, threads, shared, backwards);
                known = true;
            }
        if (!known)
            emulator::fail("no kernel `" + name + "`");
    }
    const char *end = arena.data() + arena.size();
    for (const char *guard = emulator::arena_start + bytes; guard < end; ++guard)
        if (*guard != '\xff')
            emulator::fail("something was written behind the arena");
    return std::fwrite(emulator::arena_start, 1, bytes, stdout) == bytes ? 0 : 1;
}
