/* A driver of NVIDIA's for a machine without a card: as much of the CUDA driver and of NVDEC as FFmpeg
   calls to decode. "GPU memory" is the process's own. The pictures are not decoded but read from a file
   of raw NV12 frames, in the order they are shown: the n-th that FFmpeg fetches is the n-th of the file.

   NVDEC_FRAMES names that file, NVDEC_SIZE the size of its frames (WxH), NVDEC_FAILS the number of the
   frame, counted from 0, that cannot be fetched. The layouts are those of the CUDA driver API. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUT_OF_MEMORY 2
#define NOT_SUPPORTED 801

typedef struct {
    size_t x, y;
    int kind;
    const void *host;
    unsigned long long device;
    void *array;
    size_t pitch;
} Side;

typedef struct {
    Side from, to;
    size_t width, height;
} Copy2D;

enum { HOST = 1 };

int cuInit(unsigned flags) { (void)flags; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetAttribute(int *value, int name, int device) {
    (void)name; (void)device;
    *value = 512;
    return 0;
}
int cuCtxCreate_v2(void **context, unsigned flags, int device) {
    (void)flags; (void)device;
    *context = context;
    return 0;
}
int cuCtxPushCurrent_v2(void *context) { (void)context; return 0; }
int cuCtxPopCurrent_v2(void **context) { (void)context; return 0; }
int cuCtxDestroy_v2(void *context) { (void)context; return 0; }
int cuStreamSynchronize(void *stream) { (void)stream; return 0; }
int cuMemAlloc_v2(unsigned long long *memory, size_t bytes) {
    *memory = (unsigned long long)malloc(bytes);
    return *memory ? 0 : OUT_OF_MEMORY;
}
int cuMemFree_v2(unsigned long long memory) { free((void *)memory); return 0; }
int cuGetErrorName(int error, const char **name) { (void)error; *name = "an error"; return 0; }
int cuGetErrorString(int error, const char **text) { return cuGetErrorName(error, text); }

static char *start(const Side *side) {
    return (side->kind == HOST ? (char *)side->host : (char *)side->device) + side->y * side->pitch + side->x;
}

int cuMemcpy2D_v2(const Copy2D *copy) {
    for (size_t row = 0; row < copy->height; row++)
        memcpy(start(&copy->to) + row * copy->to.pitch, start(&copy->from) + row * copy->from.pitch, copy->width);
    return 0;
}
int cuMemcpy2DAsync_v2(const Copy2D *copy, void *stream) { (void)stream; return cuMemcpy2D_v2(copy); }

/* Never called to decode, but FFmpeg wants every one. */
#define ABSENT(name) int name(void) { return NOT_SUPPORTED; }
ABSENT(cuDeviceGetCount) ABSENT(cuDeviceGetName) ABSENT(cuDeviceComputeCapability) ABSENT(cuCtxSetLimit)
ABSENT(cuMemAllocPitch_v2) ABSENT(cuMemAllocManaged) ABSENT(cuMemsetD8Async) ABSENT(cuMemcpy)
ABSENT(cuMemcpyAsync) ABSENT(cuMemcpyHtoD_v2) ABSENT(cuMemcpyHtoDAsync_v2) ABSENT(cuMemcpyDtoH_v2)
ABSENT(cuMemcpyDtoHAsync_v2) ABSENT(cuMemcpyDtoD_v2) ABSENT(cuMemcpyDtoDAsync_v2) ABSENT(cuCtxGetDevice)
ABSENT(cuCtxGetCurrent) ABSENT(cuDevicePrimaryCtxRetain) ABSENT(cuDevicePrimaryCtxRelease)
ABSENT(cuDevicePrimaryCtxSetFlags) ABSENT(cuDevicePrimaryCtxGetState) ABSENT(cuDevicePrimaryCtxReset)
ABSENT(cuStreamCreate) ABSENT(cuStreamQuery) ABSENT(cuStreamDestroy_v2) ABSENT(cuStreamAddCallback)
ABSENT(cuStreamWaitEvent) ABSENT(cuEventCreate) ABSENT(cuEventDestroy_v2) ABSENT(cuEventSynchronize)
ABSENT(cuEventQuery) ABSENT(cuEventRecord) ABSENT(cuLaunchKernel) ABSENT(cuLinkCreate) ABSENT(cuLinkAddData)
ABSENT(cuLinkComplete) ABSENT(cuLinkDestroy) ABSENT(cuModuleLoadData) ABSENT(cuModuleUnload)
ABSENT(cuModuleGetFunction) ABSENT(cuModuleGetGlobal) ABSENT(cuTexObjectCreate) ABSENT(cuTexObjectDestroy)
ABSENT(cuGLGetDevices_v2) ABSENT(cuGraphicsGLRegisterImage) ABSENT(cuGraphicsUnregisterResource)
ABSENT(cuGraphicsMapResources) ABSENT(cuGraphicsUnmapResources) ABSENT(cuGraphicsSubResourceGetMappedArray)
ABSENT(cuGraphicsResourceGetMappedPointer_v2) ABSENT(cuArray3DCreate_v2) ABSENT(cuArrayDestroy)
ABSENT(cuvidGetDecodeStatus) ABSENT(cuvidReconfigureDecoder) ABSENT(cuvidCreateVideoSource) ABSENT(cuvidCreateVideoSourceW)
ABSENT(cuvidDestroyVideoSource) ABSENT(cuvidSetVideoSourceState) ABSENT(cuvidGetVideoSourceState)
ABSENT(cuvidGetSourceVideoFormat) ABSENT(cuvidGetSourceAudioFormat) ABSENT(cuvidCreateVideoParser)
ABSENT(cuvidParseVideoData) ABSENT(cuvidDestroyVideoParser)

int cuvidCtxLockCreate(void **lock, void *context) { *lock = context; return 0; }
int cuvidCtxLockDestroy(void *lock) { (void)lock; return 0; }
int cuvidCtxLock(void *lock, unsigned flags) { (void)lock; (void)flags; return 0; }
int cuvidCtxUnlock(void *lock, unsigned flags) { (void)lock; (void)flags; return 0; }

static unsigned long coded_width, coded_height;
static int fetched;

int cuvidCreateDecoder(void **decoder, const unsigned long *settings) {
    coded_width = settings[0];
    coded_height = settings[1];
    *decoder = &fetched;
    return 0;
}
int cuvidDestroyDecoder(void *decoder) { (void)decoder; return 0; }
int cuvidDecodePicture(void *decoder, void *picture) { (void)decoder; (void)picture; return 0; }

int cuvidMapVideoFrame64(void *decoder, int index, unsigned long long *memory, unsigned *pitch, void *settings) {
    (void)decoder; (void)index; (void)settings;
    const char *fails = getenv("NVDEC_FAILS");
    if (fails && fetched == atoi(fails)) return NOT_SUPPORTED;
    long width, height;
    FILE *frames = fopen(getenv("NVDEC_FRAMES"), "rb");
    if (!frames || sscanf(getenv("NVDEC_SIZE"), "%ldx%ld", &width, &height) != 2) return NOT_SUPPORTED;
    *pitch = (unsigned)(coded_width + 511) / 512 * 512;
    char *surface = malloc(*pitch * coded_height * 3 / 2);
    fseek(frames, fetched * width * height * 3 / 2, SEEK_SET);
    for (long row = 0; row < height * 3 / 2; row++) {
        long place = row < height ? row : (long)coded_height + row - height;
        if (fread(surface + place * *pitch, 1, width, frames) != (size_t)width) return NOT_SUPPORTED;
    }
    fclose(frames);
    *memory = (unsigned long long)surface;
    fetched++;
    return 0;
}
int cuvidUnmapVideoFrame64(void *decoder, unsigned long long memory) {
    (void)decoder;
    free((void *)memory);
    return 0;
}
