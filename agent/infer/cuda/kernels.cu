// The frame's way on the GPU: cut tiles, reduce tiles for the gate, stitch maps. One upload before, one download after.
// Integer arithmetic but for one rounding, so the numpy twins in twins.py say the same bit for bit. NVRTC compiles this
// on the device; there are no includes, no shared memory, and each thread writes what no other one does.

// Where the pixel at `at` of the padded frame lies in the frame: reflection that does not repeat the edge.
__device__ __forceinline__ int reflected(int at, int length) {
    if (at < length) return at;
    if (length == 1) return 0;
    const int period = 2 * (length - 1);
    const int phase = at % period;
    return phase < length ? phase : period - phase;
}

// frame (height, width, 3) -> tiles (count, size, size, 3). origins: (count, 2) rows and columns in the padded frame.
// Grid: x over the bytes of a tile's row, y over its rows, z over tiles.
extern "C" __global__ void cut_tiles(const unsigned char *frame, int height, int width, const int *origins, int size,
                                     unsigned char *tiles) {
    const int byte = blockIdx.x * blockDim.x + threadIdx.x;
    const int row = blockIdx.y * blockDim.y + threadIdx.y;
    const int tile = blockIdx.z;
    if (byte >= 3 * size || row >= size) return;
    const int y = reflected(origins[2 * tile] + row, height);
    const int x = reflected(origins[2 * tile + 1] + byte / 3, width);
    const long long from = (static_cast<long long>(y) * width + x) * 3 + byte % 3;
    const long long to = (static_cast<long long>(tile) * size + row) * 3 * size + byte;
    tiles[to] = frame[from];
}

// As cut_tiles, each tile reduced by `factor` to `edge` px: the mean of factor x factor pixels, as cv2.INTER_AREA rounds.
extern "C" __global__ void reduce_tiles(const unsigned char *frame, int height, int width, const int *origins, int edge,
                                        int factor, unsigned char *tiles) {
    const int byte = blockIdx.x * blockDim.x + threadIdx.x;
    const int row = blockIdx.y * blockDim.y + threadIdx.y;
    const int tile = blockIdx.z;
    if (byte >= 3 * edge || row >= edge) return;
    const int top = origins[2 * tile] + row * factor;
    const int left = origins[2 * tile + 1] + byte / 3 * factor;
    int sum = 0;
    for (int dy = 0; dy < factor; ++dy) {
        const long long line = static_cast<long long>(reflected(top + dy, height)) * width;
        for (int dx = 0; dx < factor; ++dx) sum += frame[(line + reflected(left + dx, width)) * 3 + byte % 3];
    }
    const long long to = (static_cast<long long>(tile) * edge + row) * 3 * edge + byte;
    // OpenCV halves in integers, x.5 upwards; every other factor is one float product, x.5 to even
    tiles[to] = factor == 2 ? (sum + 2) >> 2 : static_cast<unsigned char>(rintf(sum * (1.0f / (factor * factor))));
}

// maps (count, size, size) -> probability (height, width), of which each tile owns one rectangle.
// owned: (count, 6) first and last row, first and last column in the frame, the tile's row and column.
// Grid: x over columns, y over rows of the largest rectangle, z over tiles.
extern "C" __global__ void stitch_maps(const unsigned char *maps, const int *owned, int size, int width,
                                       unsigned char *probability) {
    const int *own = owned + 6 * static_cast<int>(blockIdx.z);
    const int y = own[0] + blockIdx.y * blockDim.y + threadIdx.y;
    const int x = own[2] + blockIdx.x * blockDim.x + threadIdx.x;
    if (y >= own[1] || x >= own[3]) return;
    const long long from = (static_cast<long long>(blockIdx.z) * size + (y - own[4])) * size + (x - own[5]);
    probability[static_cast<long long>(y) * width + x] = maps[from];
}
