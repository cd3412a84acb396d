/* A stand-in for NVIDIA's driver library, for tests/integration/devices.sh: it tells of the GPUs
 * that the environment names. FAKE_CUDA = number of GPUs, or -ERROR for cuInit to fail with it;
 * FAKE_CUDA_VERSION = what it serves, 13000 where that is not set. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static int wanted(void) {
    const char *text = getenv("FAKE_CUDA");

    return text ? atoi(text) : 0;
}

int cuInit(unsigned flags);
int cuDriverGetVersion(int *version);
int cuDeviceGetCount(int *count);
int cuDeviceGet(int *device, int ordinal);
int cuDeviceGetName(char *name, int bytes, int device);
int cuDeviceGetAttribute(int *value, int attribute, int device);
int cuDeviceTotalMem_v2(size_t *bytes, int device);
int cuGetErrorString(int error, const char **text);

int cuInit(unsigned flags) {
    (void)flags;
    return wanted() < 0 ? -wanted() : 0;
}

int cuDriverGetVersion(int *version) {
    const char *text = getenv("FAKE_CUDA_VERSION");

    *version = text ? atoi(text) : 13000;
    return 0;
}

int cuDeviceGetCount(int *count) {
    *count = wanted();
    return 0;
}

int cuDeviceGet(int *device, int ordinal) {
    *device = 10 + ordinal;
    return ordinal < wanted() ? 0 : 101;
}

int cuDeviceGetName(char *name, int bytes, int device) {
    snprintf(name, (size_t)bytes, "Fake GPU %d", device);
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 16 ? 132 : attribute == 75 ? 9 : 0;
    return attribute == 16 || attribute == 75 || attribute == 76 ? 0 : 1;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    (void)device;
    *bytes = (size_t)80 << 30;
    return 0;
}

int cuGetErrorString(int error, const char **text) {
    *text = error == 803 ? "system has unsupported display driver / cuda driver combination" : NULL;
    return *text ? 0 : 1;
}
