// A CUDA driver on the CPU, as far as our code calls one: libcuda.so.1 under its real names, so that the real Python
// packages drive it. Memory is this machine's, streams run at once, a captured graph is a list of calls, and a kernel is
// the real kernels.cu, compiled by g++ and run thread by thread.
//
// Environment: CPU_CUDA_INIT (what cuInit gives), CPU_CUDA_DEVICES, CPU_CUDA_VERSION, CPU_CUDA_NAME, CPU_CUDA_MEMORY_MB,
// CPU_CUDA_LOST.
#include <dlfcn.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

struct Extent { unsigned x, y, z; };
static thread_local Extent blockIdx, blockDim, threadIdx;
#define __global__
#define __device__
#define __forceinline__ inline
#include KERNELS

namespace {
using Kernel = std::function<void(void **)>;
using Work = std::function<void()>;
struct Graph { std::vector<Work> work; };

template <class... A, std::size_t... I>
void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<A> *>(arguments[I])...);
}
template <class... A>
Kernel wrapped(void (*kernel)(A...)) {
    return [kernel](void **arguments) { call(kernel, arguments, std::index_sequence_for<A...>{}); };
}
std::map<std::string, Kernel> kernels = {
    {"cut_tiles", wrapped(cut_tiles)}, {"reduce_tiles", wrapped(reduce_tiles)}, {"stitch_maps", wrapped(stitch_maps)}};
// bytes of each kernel's arguments, so that a captured launch can keep them
template <class... A>
std::vector<size_t> sizes_of(void (*)(A...)) { return {sizeof(A)...}; }
std::map<std::string, std::vector<size_t>> argument_sizes = {
    {"cut_tiles", sizes_of(cut_tiles)}, {"reduce_tiles", sizes_of(reduce_tiles)}, {"stitch_maps", sizes_of(stitch_maps)}};

thread_local Graph *capturing = nullptr;
thread_local std::vector<void *> contexts;  // of this thread; the last one is current
std::map<void *, size_t> sizes;

int setting(const char *name, int otherwise) {
    const char *text = std::getenv(name);
    return text ? std::atoi(text) : otherwise;
}
int run(Work work) {
    if (capturing) capturing->work.push_back(work);
    else work();
    return 0;
}
}  // namespace

extern "C" {
long long cuBytesUp = 0, cuBytesDown = 0;  // what passed since the start
long long cuBytesHeld = 0;                 // of the GPU's memory, now
int cuInit(unsigned) { return setting("CPU_CUDA_INIT", 0); }
int cuDriverGetVersion(int *version) { *version = setting("CPU_CUDA_VERSION", 12060); return 0; }
int cuDeviceGetCount(int *count) { *count = setting("CPU_CUDA_DEVICES", 1); return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return index < setting("CPU_CUDA_DEVICES", 1) ? 0 : 101; }
int cuDeviceGetName(char *name, int size, int) {
    const char *text = std::getenv("CPU_CUDA_NAME");
    std::strncpy(name, text ? text : "A CPU", size);
    return 0;
}
int cuDeviceGetAttribute(int *value, int which, int) {
    *value = which == 75 ? 8 : which == 76 ? 7 : which == 16 ? 16 : 0;
    return 0;
}
int cuGetErrorString(int code, const char **text) {
    *text = code == 100 ? "no CUDA-capable device is detected" : code == 2 ? "out of memory" : "an error";
    return 0;
}
int cuGetErrorName(int, const char **text) { *text = "CUDA_ERROR"; return 0; }
int cuGetExportTable(const void **table, const void *) { *table = nullptr; return 500; }  // NVRTC asks for one
int cuDevicePrimaryCtxRetain(void **context, int) { *context = reinterpret_cast<void *>(1); return 0; }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuDevicePrimaryCtxRelease(int) { return 0; }
int cuCtxSetCurrent(void *context) {
    if (!contexts.empty()) contexts.pop_back();
    if (context) contexts.push_back(context);
    return 0;
}
int cuCtxPushCurrent_v2(void *context) { contexts.push_back(context); return 0; }
int cuCtxPopCurrent_v2(void **context) {
    if (contexts.empty()) return 201;
    if (context) *context = contexts.back();
    contexts.pop_back();
    return 0;
}
int cuCtxGetDevice(int *device) { *device = 0; return 0; }
int cuCtxSynchronize() { return 0; }
int cuMemAlloc_v2(unsigned long long *pointer, size_t size) {
    if (contexts.empty()) return 201;  // the calling thread has no context
    if (cuBytesHeld + static_cast<long long>(size) > (static_cast<long long>(setting("CPU_CUDA_MEMORY_MB", 4096)) << 20)) return 2;
    void *memory = std::malloc(size);
    cuBytesHeld += size;
    sizes[memory] = size;
    *pointer = reinterpret_cast<unsigned long long>(memory);
    return 0;
}
int cuMemFree_v2(unsigned long long pointer) {
    void *memory = reinterpret_cast<void *>(pointer);
    cuBytesHeld -= sizes[memory];
    sizes.erase(memory);
    std::free(memory);
    return 0;
}
int cuMemHostAlloc(void **memory, size_t size, unsigned) { *memory = std::malloc(size); return 0; }
int cuMemFreeHost(void *memory) { std::free(memory); return 0; }
int cuStreamCreate(void **stream, unsigned) { if (contexts.empty()) return 201; *stream = std::malloc(1); return 0; }
int cuStreamDestroy_v2(void *stream) { std::free(stream); return 0; }
int cuStreamSynchronize(void *) { return capturing ? 900 : 0; }
int cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t size, void *) {
    if (contexts.empty()) return 201;
    if (setting("CPU_CUDA_LOST", 0)) return 719;  // as after a fault on the GPU, until the process ends
    cuBytesUp += size;
    return run([=] { std::memcpy(reinterpret_cast<void *>(to), from, size); });
}
int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t size, void *) {
    cuBytesDown += size;
    return run([=] { std::memcpy(to, reinterpret_cast<void *>(from), size); });
}
int cuMemcpyDtoDAsync_v2(unsigned long long to, unsigned long long from, size_t size, void *) {
    return run([=] { std::memcpy(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), size); });
}
int cuMemsetD8Async(unsigned long long to, unsigned char value, size_t size, void *) {
    return run([=] { std::memset(reinterpret_cast<void *>(to), value, size); });
}
int cuLaunchHostFunc(void *, void (*function)(void *), void *data) { return run([=] { function(data); }); }
int cuEventCreate(void **event, unsigned) { *event = std::malloc(1); return 0; }
int cuEventDestroy_v2(void *event) { std::free(event); return 0; }
int cuEventRecord(void *, void *) { return 0; }
int cuEventSynchronize(void *) { return 0; }
int cuEventElapsedTime(float *ms, void *, void *) { *ms = 1; return 0; }
int cuEventElapsedTime_v2(float *ms, void *, void *) { *ms = 1; return 0; }
int cuModuleLoadData(void **module, const void *image) {
    *module = std::malloc(1);
    return std::memcmp(image, "\177ELF", 4) ? 200 : 0;  // an invalid image
}
int cuModuleLoadDataEx(void **module, const void *image, unsigned, void *, void *) { return cuModuleLoadData(module, image); }
int cuModuleUnload(void *module) { std::free(module); return 0; }
int cuFuncSetBlockShape(void *, int x, int y, int z) { return x * y * z > 1024; }
int cuModuleGetFunction(void **function, void *, const char *name) {
    auto found = kernels.find(name);
    if (found == kernels.end()) return 500;
    *function = const_cast<std::string *>(&found->first);
    return 0;
}
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned, void *, void **arguments, void **extra) {
    if (contexts.empty()) return 201;
    if (!gx || !gy || !gz || bx * by * bz > 1024 || gy > 65535 || gz > 65535) return 1;
    const std::string &name = *static_cast<std::string *>(function);
    const std::vector<size_t> &bytes = argument_sizes[name];
    std::vector<std::uint64_t> values(bytes.size());
    if (arguments) {
        for (size_t i = 0; i < values.size(); ++i) std::memcpy(&values[i], arguments[i], bytes[i]);
    } else {  // CU_LAUNCH_PARAM_BUFFER_POINTER, _SIZE: all arguments in one buffer, each at a multiple of its size
        const char *buffer = nullptr;
        size_t given = 0, at = 0;
        for (; *extra; extra += 2) {
            if (*extra == reinterpret_cast<void *>(1)) buffer = static_cast<const char *>(extra[1]);
            if (*extra == reinterpret_cast<void *>(2)) given = *static_cast<size_t *>(extra[1]);
        }
        for (size_t i = 0; i < values.size(); at += bytes[i++]) {
            at = (at + bytes[i] - 1) / bytes[i] * bytes[i];
            if (at + bytes[i] > given) return 1;
            std::memcpy(&values[i], buffer + at, bytes[i]);
        }
        if (at != given) return 1;
    }
    return run([=]() mutable {
        std::vector<void *> pointers;
        for (auto &value : values) pointers.push_back(&value);
        blockDim = {bx, by, bz};
        for (blockIdx.z = 0; blockIdx.z < gz; ++blockIdx.z)
            for (blockIdx.y = 0; blockIdx.y < gy; ++blockIdx.y)
                for (blockIdx.x = 0; blockIdx.x < gx; ++blockIdx.x)
                    for (threadIdx.z = 0; threadIdx.z < bz; ++threadIdx.z)
                        for (threadIdx.y = 0; threadIdx.y < by; ++threadIdx.y)
                            for (threadIdx.x = 0; threadIdx.x < bx; ++threadIdx.x) kernels[name](pointers.data());
    });
}
int cuStreamBeginCapture_v2(void *, int) { capturing = new Graph; return 0; }
int cuStreamEndCapture(void *, void **graph) { *graph = capturing; capturing = nullptr; return 0; }
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long) {
    *executable = new Graph(*static_cast<Graph *>(graph));
    return 0;
}
int cuGraphDestroy(void *graph) { delete static_cast<Graph *>(graph); return 0; }
int cuGraphExecDestroy(void *graph) { delete static_cast<Graph *>(graph); return 0; }
int cuGraphLaunch(void *graph, void *) {
    for (auto &work : static_cast<Graph *>(graph)->work) work();
    return 0;
}

// how the packages find the functions: by name, with the version's suffix if there is one of that name
int cuGetProcAddress_v2(const char *name, void **function, int, std::uint64_t, int *status) {
    const std::string plain(name);
    for (const std::string &candidate : {plain + "_v2", plain, plain + "WithFlags"}) {
        if ((*function = dlsym(RTLD_DEFAULT, candidate.c_str())) || (*function = dlsym(dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_NOW), candidate.c_str()))) {
            if (status) *status = 0;
            return 0;
        }
    }
    if (status) *status = 1;
    return 500;
}
int cuGetProcAddress(const char *name, void **function, int version, std::uint64_t flags) {
    return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}
}
