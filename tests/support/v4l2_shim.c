/* A camera in the place of /dev/video77: answers the calls that a V4L2 program makes of one path; every other path is
 * the system's own. Loaded by LD_PRELOAD.
 *
 * The file named by FAKE_CAMERA says how it behaves, and is read at each picture:
 *   "ok"      a new picture each 20 ms           "silent"  none any more
 *   "gone"    unplugged: every call ENODEV       "torn"    a JPEG that is cut in the middle
 *   "busy"    may not be opened: EBUSY
 * Formats: YUYV 64x48 and 96x64, or MJPG with the JPEG of FAKE_JPEG.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PATH "/dev/video77"
#define BUFFERS 4
#define SIZE (1 << 20)

static int camera = -1, memory = -1, streaming, next_buffer, queued[BUFFERS], jpeg;
static unsigned width = 64, height = 48, number;

static int behaves(const char *how) {
    char text[32] = "ok";
    const char *name = getenv("FAKE_CAMERA");
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int file = name ? real_open(name, O_RDONLY) : -1;
    if (file >= 0) {
        ssize_t got = read(file, text, sizeof text - 1);
        text[got > 0 ? got : 0] = 0;
        close(file);
    }
    return strncmp(text, how, strlen(how)) == 0;
}

static void tick(void) { /* readable each 20 ms, never while silent: the timer is the camera's clock */
    struct itimerspec each = {{0, 20000000}, {0, 20000000}}, never = {{0, 0}, {0, 0}};
    timerfd_settime(camera, 0, behaves("silent") || !streaming ? &never : &each, NULL);
}

static int open_camera(int flags) {
    (void)flags;
    if (behaves("gone")) { errno = ENOENT; return -1; }
    if (behaves("busy")) { errno = EBUSY; return -1; }
    int one = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    if (memory < 0) {
        memory = memfd_create("camera", 0);
        if (ftruncate(memory, (off_t)SIZE * BUFFERS)) abort();
    }
    camera = one; /* the last one opened; a probe before it is closed by then */
    streaming = 0;
    return one;
}

int open(const char *path, int flags, ...) {
    va_list words;
    va_start(words, flags);
    int mode = va_arg(words, int);
    va_end(words);
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    return strcmp(path, PATH) ? real(path, flags, mode) : open_camera(flags);
}

int open64(const char *path, int flags, ...) {
    va_list words;
    va_start(words, flags);
    int mode = va_arg(words, int);
    va_end(words);
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    return strcmp(path, PATH) ? real(path, flags, mode) : open_camera(flags);
}

static int as_device(struct stat *status) {
    if (behaves("gone")) { errno = ENOENT; return -1; }
    memset(status, 0, sizeof *status);
    status->st_mode = S_IFCHR | 0660;
    status->st_rdev = makedev(81, 77);
    return 0;
}

int stat(const char *path, struct stat *status) {
    int (*real)(const char *, struct stat *) = dlsym(RTLD_NEXT, "stat");
    return strcmp(path, PATH) ? real(path, status) : as_device(status);
}

int stat64(const char *path, struct stat64 *status) {
    int (*real)(const char *, struct stat64 *) = dlsym(RTLD_NEXT, "stat64");
    return strcmp(path, PATH) ? real(path, status) : as_device((struct stat *)status);
}

int fstatat(int folder, const char *path, struct stat *status, int flags) {
    int (*real)(int, const char *, struct stat *, int) = dlsym(RTLD_NEXT, "fstatat");
    return strcmp(path, PATH) ? real(folder, path, status, flags) : as_device(status);
}

int fstatat64(int folder, const char *path, struct stat64 *status, int flags) {
    int (*real)(int, const char *, struct stat64 *, int) = dlsym(RTLD_NEXT, "fstatat64");
    return strcmp(path, PATH) ? real(folder, path, status, flags) : as_device((struct stat *)status);
}

void *mmap(void *at, size_t length, int protection, int flags, int file, off_t offset) {
    void *(*real)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
    return real(at, length, protection, flags, file >= 0 && file == camera ? memory : file, offset);
}

void *mmap64(void *at, size_t length, int protection, int flags, int file, off_t offset) {
    void *(*real)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap64");
    return real(at, length, protection, flags, file >= 0 && file == camera ? memory : file, offset);
}

static unsigned paint(int index) { /* a new picture into the buffer; returns its bytes */
    static unsigned char picture[SIZE];
    unsigned bytes = width * height * 2;
    if (jpeg) {
        int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
        int file = real_open(getenv("FAKE_JPEG"), O_RDONLY);
        bytes = (unsigned)read(file, picture, SIZE);
        close(file);
        if (behaves("torn")) bytes /= 2;
        else picture[bytes - 3] ^= (unsigned char)(number & 1); /* the entropy-coded end: two pictures in turn */
    } else {
        for (unsigned i = 0; i < bytes; i++) picture[i] = i % 2 ? 128 : (unsigned char)(i / 2 * 3 + number * 5);
    }
    number++;
    if (pwrite(memory, picture, bytes, (off_t)index * SIZE) < 0) abort();
    return bytes;
}

static void describe(struct v4l2_pix_format *format) {
    format->width = width;
    format->height = height;
    format->pixelformat = jpeg ? V4L2_PIX_FMT_MJPEG : V4L2_PIX_FMT_YUYV;
    format->field = V4L2_FIELD_NONE;
    format->bytesperline = jpeg ? 0 : width * 2;
    format->sizeimage = SIZE;
    format->colorspace = V4L2_COLORSPACE_SRGB;
}

static int answer(unsigned long request, void *data) {
    if (behaves("gone")) { errno = ENODEV; return -1; }
    switch (request) {
    case VIDIOC_QUERYCAP: {
        struct v4l2_capability *it = data;
        memset(it, 0, sizeof *it);
        strcpy((char *)it->driver, "shim");
        strcpy((char *)it->card, "stand-in camera");
        it->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING | V4L2_CAP_DEVICE_CAPS;
        it->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        return 0;
    }
    case VIDIOC_ENUM_FMT: {
        struct v4l2_fmtdesc *it = data;
        if (it->index > 1) break;
        it->pixelformat = it->index ? V4L2_PIX_FMT_MJPEG : V4L2_PIX_FMT_YUYV;
        return 0;
    }
    case VIDIOC_G_FMT:
    case VIDIOC_TRY_FMT:
    case VIDIOC_S_FMT: {
        struct v4l2_format *it = data;
        if (it->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) break;
        if (request == VIDIOC_S_FMT) {
            unsigned wanted = it->fmt.pix.pixelformat;
            if (wanted != V4L2_PIX_FMT_YUYV && wanted != V4L2_PIX_FMT_MJPEG) break;
            jpeg = wanted == V4L2_PIX_FMT_MJPEG;
            width = it->fmt.pix.width == 96 ? 96 : 64;
            height = width == 96 ? 64 : 48;
        }
        describe(&it->fmt.pix);
        return 0;
    }
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: {
        struct v4l2_streamparm *it = data;
        it->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
        it->parm.capture.timeperframe.numerator = 1;
        it->parm.capture.timeperframe.denominator = 50;
        return 0;
    }
    case VIDIOC_ENUMINPUT: {
        struct v4l2_input *it = data;
        if (it->index) break;
        it->type = V4L2_INPUT_TYPE_CAMERA;
        return 0;
    }
    case VIDIOC_G_INPUT: *(int *)data = 0; return 0;
    case VIDIOC_S_INPUT: return 0;
    case VIDIOC_REQBUFS: {
        struct v4l2_requestbuffers *it = data;
        if (it->memory != V4L2_MEMORY_MMAP) break;
        if (it->count > BUFFERS) it->count = BUFFERS;
        return 0;
    }
    case VIDIOC_QUERYBUF: {
        struct v4l2_buffer *it = data;
        if (it->index >= BUFFERS) break;
        it->length = SIZE;
        it->m.offset = it->index * SIZE;
        return 0;
    }
    case VIDIOC_QBUF: {
        struct v4l2_buffer *it = data;
        if (it->index >= BUFFERS) break;
        queued[it->index] = 1;
        tick();
        return 0;
    }
    case VIDIOC_DQBUF: {
        struct v4l2_buffer *it = data;
        unsigned long long beats;
        if (!streaming || read(camera, &beats, sizeof beats) < 0) { errno = EAGAIN; return -1; }
        for (int i = 0; i < BUFFERS && !queued[next_buffer]; i++) next_buffer = (next_buffer + 1) % BUFFERS;
        if (!queued[next_buffer]) { errno = EAGAIN; return -1; }
        it->index = (unsigned)next_buffer;
        queued[next_buffer] = 0;
        it->bytesused = paint(next_buffer);
        it->length = SIZE;
        it->m.offset = it->index * SIZE;
        it->flags = 0;
        it->sequence = number;
        it->field = V4L2_FIELD_NONE;
        next_buffer = (next_buffer + 1) % BUFFERS;
        return 0;
    }
    case VIDIOC_STREAMON: streaming = 1; tick(); return 0;
    case VIDIOC_STREAMOFF: streaming = 0; memset(queued, 0, sizeof queued); return 0;
    }
    errno = EINVAL;
    return -1;
}

int ioctl(int file, unsigned long request, ...) {
    va_list words;
    va_start(words, request);
    void *data = va_arg(words, void *);
    va_end(words);
    if (file >= 0 && file == camera) return answer(request & 0xffffffffUL, data);
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    return real(file, request, data);
}

int close(int file) {
    int (*real)(int) = dlsym(RTLD_NEXT, "close");
    if (file >= 0 && file == camera) camera = -1;
    return real(file);
}
