// A driver in the place of NVIDIA's: as much of it as the CUDA engine calls, with the emulator for a card.
//
// "GPU memory" is the process's own. Little runs when it is asked for, most when somebody waits for
// it, and then what stands first in a stream chosen by chance, or always in the oldest or the newest
// that can go on: work that has to wait for other work or for the host, and does not say so, finds the
// wrong bytes with one of them. Calls without a context,
// copies beyond an allocation and blocks with more shared memory than was allowed are errors.
#define REPAINT_EMULATOR
#include "kernels.cu"

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>

namespace {

enum Result { FINE = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, NOT_FOUND = 500 };

using Address = unsigned long long;

struct Event {
    unsigned recorded = 0, reached = 0;
};

struct Work {
    std::function<void()> run;
    // Waits until this event is reached so often.
    std::shared_ptr<Event> event;
    unsigned times;
};

struct Stream {
    unsigned number;
    std::deque<Work> queue;
    std::vector<Work> captured;
    bool captures = false;
};

struct Graph {
    std::vector<Work> work;
};

struct Function {
    const emulator::Kernel *kernel;
    unsigned shared = 48 << 10;
};

// What a launch is, until it runs.
struct Started {
    const emulator::Kernel *kernel;
    Dim grid;
    unsigned shared;
    char *arena;
    Layer layer;
};

constexpr size_t GUARD = 4096;

std::mutex driver;
std::minstd_rand chance(1);
enum { ANY, OLDEST, NEWEST } choice = ANY;
unsigned streams_made = 0;
size_t memory_left = size_t(8) << 30;
std::map<Address, size_t> on_card, pinned; // begin and bytes
std::map<void *, std::shared_ptr<Stream>> streams = {{nullptr, std::make_shared<Stream>()}};
std::map<void *, std::shared_ptr<Event>> events;
thread_local bool has_context = false;

bool inside(const std::map<Address, size_t> &memory, Address at, size_t bytes) {
    auto next = memory.upper_bound(at);
    if (next == memory.begin())
        return false;
    const auto &[begin, length] = *--next;
    return at + bytes <= begin + length;
}

// Runs what stands first in a stream chosen by chance.
void advance() {
    std::vector<Stream *> able;
    for (auto &[_, stream] : streams)
        if (!stream->queue.empty()) {
            const Work &first = stream->queue.front();
            if (!first.event || first.event->reached >= first.times)
                able.push_back(stream.get());
        }
    if (able.empty())
        emulator::fail("the streams wait for each other");
    std::sort(able.begin(), able.end(), [](auto a, auto b) { return a->number < b->number; });
    Stream *stream = choice == OLDEST   ? able.front()
                     : choice == NEWEST ? able.back()
                                        : able[chance() % able.size()];
    const Work first = stream->queue.front();
    stream->queue.pop_front();
    if (first.run)
        first.run();
}

int add(void *stream, Work work) {
    Stream &to = *streams[stream];
    if (to.captures) {
        to.captured.push_back(work);
        return FINE;
    }
    to.queue.push_back(work);
    while (chance() % 4 == 0 && !to.queue.empty())
        advance();
    return FINE;
}

int allocate(Address *memory, size_t bytes) {
    if (bytes > memory_left)
        return OUT_OF_MEMORY;
    memory_left -= bytes;
    void *place = std::aligned_alloc(256, (bytes + GUARD + 255) / 256 * 256);
    std::memset(place, 0xff, bytes + GUARD);
    *memory = reinterpret_cast<Address>(place);
    on_card[*memory] = bytes;
    return FINE;
}

void release(Address memory) {
    const size_t bytes = on_card[memory];
    const char *guard = reinterpret_cast<const char *>(memory) + bytes;
    for (size_t i = 0; i < GUARD; ++i)
        if (guard[i] != '\xff')
            emulator::fail("something was written behind an allocation");
    memory_left += bytes;
    on_card.erase(memory);
    std::free(reinterpret_cast<void *>(memory));
}

int copy(void *stream, void *to, const void *from, size_t bytes) {
    return add(stream, {[=] { std::memcpy(to, from, bytes); }, nullptr, 0});
}

} // namespace

#define CALL                                                                                     \
    std::lock_guard<std::mutex> guard(driver);                                                   \
    if (!has_context)                                                                            \
        return INVALID_CONTEXT;

extern "C" {

// Of the tests: what chance begins with, and the bytes that are left on the card.
void emulated_card(unsigned seed, size_t bytes) {
    std::lock_guard<std::mutex> guard(driver);
    chance.seed(seed);
    choice = seed % 3 == 0 ? ANY : seed % 3 == 1 ? OLDEST : NEWEST;
    memory_left = bytes;
}

int cuInit(unsigned) { return FINE; }
int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, FINE; }
int cuDeviceGetName(char *name, int length, int) {
    return std::snprintf(name, length, "emulated card"), FINE;
}
int cuDeviceGetAttribute(int *value, int name, int) {
    enum { MAJOR = 75, MINOR = 76, SHARED = 97 };
    *value = name == MAJOR ? 9 : name == MINOR ? 0 : name == SHARED ? 227 << 10 : 1;
    return FINE;
}
int cuDevicePrimaryCtxRetain(void **context, int) { return *context = &driver, FINE; }
int cuDevicePrimaryCtxRelease_v2(int) { return FINE; }
int cuCtxSetCurrent(void *context) { return has_context = context, FINE; }
int cuCtxGetCurrent(void **context) { return *context = has_context ? &driver : nullptr, FINE; }
int cuCtxDestroy_v2(void *) { return FINE; }
int cuGetErrorString(int, const char **text) { return *text = "an error of the emulated card", FINE; }

int cuStreamCreate(void **stream, unsigned) {
    CALL
    auto made = std::make_shared<Stream>();
    made->number = ++streams_made;
    streams[*stream = made.get()] = made;
    return FINE;
}
int cuStreamDestroy_v2(void *stream) {
    CALL
    while (!streams[stream]->queue.empty())
        advance();
    return streams.erase(stream), FINE;
}
int cuStreamSynchronize(void *stream) {
    CALL
    while (!streams[stream]->queue.empty())
        advance();
    return FINE;
}
int cuCtxSynchronize() {
    CALL
    for (auto &[_, stream] : streams)
        while (!stream->queue.empty())
            advance();
    return FINE;
}
int cuStreamWaitEvent(void *stream, void *event, unsigned) {
    CALL
    return add(stream, {nullptr, events[event], events[event]->recorded});
}
int cuStreamBeginCapture_v2(void *stream, int) {
    CALL
    return streams[stream]->captures = true, FINE;
}
int cuStreamIsCapturing(void *stream, int *status) {
    CALL
    return *status = streams[stream]->captures, FINE;
}
int cuStreamEndCapture(void *stream, void **graph) {
    CALL
    Stream &from = *streams[stream];
    *graph = new Graph{std::move(from.captured)};
    from.captured.clear();
    return from.captures = false, FINE;
}
int cuGraphInstantiateWithFlags(void **made, void *graph, unsigned long long) {
    return *made = new Graph(*static_cast<Graph *>(graph)), FINE;
}
int cuGraphLaunch(void *graph, void *stream) {
    CALL
    for (const Work &work : static_cast<Graph *>(graph)->work)
        add(stream, work);
    return FINE;
}
int cuGraphDestroy(void *graph) { return delete static_cast<Graph *>(graph), FINE; }
int cuGraphExecDestroy(void *graph) { return delete static_cast<Graph *>(graph), FINE; }

int cuEventCreate(void **event, unsigned) {
    CALL
    auto made = std::make_shared<Event>();
    events[*event = made.get()] = made;
    return FINE;
}
int cuEventDestroy_v2(void *event) {
    CALL
    return events.erase(event), FINE;
}
int cuEventRecord(void *event, void *stream) {
    CALL
    auto to = events[event];
    const unsigned times = ++to->recorded;
    return add(stream, {[=] { to->reached = times; }, nullptr, 0});
}
int cuEventSynchronize(void *event) {
    CALL
    const auto of = events[event];
    while (of->reached < of->recorded)
        advance();
    return FINE;
}
int cuEventElapsedTime_v2(float *milliseconds, void *, void *) { return *milliseconds = 1.0f, FINE; }

int cuMemGetInfo_v2(size_t *left, size_t *all) {
    CALL
    return *left = *all = memory_left, FINE;
}
int cuMemAlloc_v2(Address *memory, size_t bytes) {
    CALL
    return allocate(memory, bytes);
}
int cuDeviceGetDefaultMemPool(void **pool, int) { return *pool = &driver, FINE; }
int cuMemPoolSetAttribute(void *, int, void *) { return FINE; }
int cuMemAllocAsync(Address *memory, size_t bytes, void *) {
    CALL
    return allocate(memory, bytes);
}
int cuMemFree_v2(Address memory) {
    CALL
    return release(memory), FINE;
}
int cuMemFreeAsync(Address memory, void *stream) {
    CALL
    return add(stream, {[=] { release(memory); }, nullptr, 0});
}
int cuMemHostAlloc(void **memory, size_t bytes, unsigned) {
    CALL
    *memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    pinned[reinterpret_cast<Address>(*memory)] = bytes;
    return FINE;
}
int cuMemFreeHost(void *memory) {
    CALL
    pinned.erase(reinterpret_cast<Address>(memory));
    return std::free(memory), FINE;
}
int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *stream) {
    CALL
    if (!inside(on_card, to, bytes))
        return INVALID_VALUE;
    void *place = reinterpret_cast<void *>(to);
    if (inside(pinned, reinterpret_cast<Address>(from), bytes))
        return copy(stream, place, from, bytes);
    // Memory that may be used again as soon as this returns.
    const auto kept = std::make_shared<std::string>(static_cast<const char *>(from), bytes);
    return add(stream, {[=] { std::memcpy(place, kept->data(), bytes); }, nullptr, 0});
}
int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *stream) {
    CALL
    if (!inside(on_card, from, bytes))
        return INVALID_VALUE;
    copy(stream, to, reinterpret_cast<const void *>(from), bytes);
    if (!inside(pinned, reinterpret_cast<Address>(to), bytes))
        while (!streams[stream]->queue.empty())
            advance();
    return FINE;
}
int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *stream) {
    CALL
    if (!inside(on_card, to, bytes) || !inside(on_card, from, bytes))
        return INVALID_VALUE;
    return copy(stream, reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes);
}
int cuMemcpyPeerAsync(Address, void *, Address, void *, size_t, void *) { return INVALID_VALUE; }
int cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void *stream) {
    CALL
    if (!inside(on_card, to, bytes))
        return INVALID_VALUE;
    void *place = reinterpret_cast<void *>(to);
    return add(stream, {[=] { std::memset(place, value, bytes); }, nullptr, 0});
}

int cuModuleLoad(void **module, const char *) { return *module = &driver, FINE; }
int cuModuleLoadData(void **module, const void *) {
    CALL
    return *module = &driver, FINE;
}
int cuModuleUnload(void *) { return FINE; }
int cuModuleGetFunction(void **function, void *, const char *name) {
    CALL
    for (const auto &kernel : emulator::kernels())
        if (kernel.name == name)
            return *function = new Function{&kernel}, FINE;
    return NOT_FOUND;
}
int cuFuncSetAttribute(void *function, int name, int value) {
    enum { SHARED = 8 };
    if (name == SHARED)
        static_cast<Function *>(function)->shared = value;
    return FINE;
}
int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned,
                   unsigned, unsigned shared, void *stream, void **arguments, void **) {
    CALL
    const Function &of = *static_cast<const Function *>(function);
    if (shared > of.shared)
        return INVALID_VALUE;
    auto started = std::make_shared<Started>();
    started->kernel = of.kernel;
    started->grid = {x, y, z};
    started->shared = shared;
    started->arena = *static_cast<char **>(arguments[0]);
    std::memcpy(&started->layer, arguments[1], sizeof(Layer));
    const auto run = [=] {
        emulator::arena_start = started->arena;
        emulator::layer_now = &started->layer;
        emulator::launch(*started->kernel, started->grid, threads, started->shared, false);
    };
    return add(stream, {run, nullptr, 0});
}
}
