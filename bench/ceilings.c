/* What a GPU can do at most: large matrix products through cuBLASLt on random numbers (on zeros a
 * card runs faster), and copies within its memory. Prints one JSON object: TFLOP/s at bf16, tf32
 * and fp32, GB/s read and written. scripts/gpu-check puts the ops' own figures beside them. */
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { kSide = 8192, kTimes = 10, kRounds = 5, kWorkspace = 64 << 20 };

static const size_t kBytes = (size_t)kSide * kSide * sizeof(float);

static void must_cuda(cudaError_t error, const char *what) {
    if (error == cudaSuccess) return;
    fprintf(stderr, "ceilings: %s: %s\n", what, cudaGetErrorString(error));
    exit(1);
}

static void must_blas(cublasStatus_t status, const char *what) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    fprintf(stderr, "ceilings: %s: %s\n", what, cublasLtGetStatusString(status));
    exit(1);
}

/* kSide^2 numbers between -1 and 1; the upper halves of floats are bf16. */
static void *random_matrix(int bf16) {
    size_t n = (size_t)kSide * kSide, bytes = n * (bf16 ? 2 : 4);
    uint32_t state = 12345;
    char *host = malloc(bytes);
    void *device;

    if (!host) must_cuda(cudaErrorMemoryAllocation, "the host's memory");
    for (size_t i = 0; i < n; i++) {
        union {
            float value;
            uint32_t bits;
        } u;

        state = state * 1664525u + 1013904223u;
        u.value = (float)(state >> 8) / 8388608.0f - 1.0f;
        if (bf16)
            ((uint16_t *)(void *)host)[i] = (uint16_t)(u.bits >> 16);
        else
            ((float *)(void *)host)[i] = u.value;
    }
    must_cuda(cudaMalloc(&device, bytes), "a matrix");
    must_cuda(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice), "a matrix");
    free(host);
    return device;
}

typedef struct {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t what;
    cublasLtMatrixLayout_t layout;
    cublasLtMatmulAlgo_t algorithm;
    void *a, *b, *y, *workspace;
} product;

static void run_product(void *context) {
    static const float one = 1.0f, zero = 0.0f;
    product *p = context;

    must_blas(cublasLtMatmul(p->handle, p->what, &one, p->a, p->layout, p->b, p->layout, &zero,
                             p->y, p->layout, p->y, p->layout, &p->algorithm, p->workspace,
                             kWorkspace, NULL),
              "a matrix product");
}

static void run_copy(void *context) {
    product *p = context;

    must_cuda(cudaMemcpyAsync(p->y, p->a, kBytes, cudaMemcpyDeviceToDevice, NULL), "a copy");
}

/* Seconds of one run: the best of kRounds means over kTimes. */
static double seconds_of(void (*run)(void *), void *context) {
    cudaEvent_t start, end;
    float best = 1e30f;

    must_cuda(cudaEventCreate(&start), "an event");
    must_cuda(cudaEventCreate(&end), "an event");
    run(context);
    for (int round = 0; round < kRounds; round++) {
        float ms;

        must_cuda(cudaEventRecord(start, NULL), "an event");
        for (int i = 0; i < kTimes; i++) run(context);
        must_cuda(cudaEventRecord(end, NULL), "an event");
        must_cuda(cudaEventSynchronize(end), "waiting");
        must_cuda(cudaEventElapsedTime(&ms, start, end), "an event");
        if (ms < best) best = ms;
    }
    must_cuda(cudaEventDestroy(start), "an event");
    must_cuda(cudaEventDestroy(end), "an event");
    return 1e-3 * (double)best / kTimes;
}

static double product_tflops(cublasLtHandle_t handle, cudaDataType_t type,
                             cublasComputeType_t compute) {
    size_t workspace = kWorkspace;
    product p = {.handle = handle};
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found;
    double seconds;
    int n = 0;

    p.a = random_matrix(type == CUDA_R_16BF);
    p.b = random_matrix(type == CUDA_R_16BF);
    must_cuda(cudaMalloc(&p.y, kBytes), "a matrix");
    must_cuda(cudaMalloc(&p.workspace, kWorkspace), "a workspace");
    must_blas(cublasLtMatmulDescCreate(&p.what, compute, CUDA_R_32F), "a product");
    must_blas(cublasLtMatrixLayoutCreate(&p.layout, type, kSide, kSide, kSide), "a layout");
    must_blas(cublasLtMatmulPreferenceCreate(&preference), "a preference");
    must_blas(cublasLtMatmulPreferenceSetAttribute(preference,
                                                   CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                   &workspace, sizeof workspace),
              "a preference");
    must_blas(cublasLtMatmulAlgoGetHeuristic(handle, p.what, p.layout, p.layout, p.layout, p.layout,
                                             preference, 1, &found, &n),
              "choosing an algorithm");
    if (n < 1) must_blas(CUBLAS_STATUS_NOT_SUPPORTED, "choosing an algorithm");
    p.algorithm = found.algo;
    seconds = seconds_of(run_product, &p);
    must_blas(cublasLtMatmulPreferenceDestroy(preference), "a preference");
    must_blas(cublasLtMatrixLayoutDestroy(p.layout), "a layout");
    must_blas(cublasLtMatmulDescDestroy(p.what), "a product");
    must_cuda(cudaFree(p.a), "memory");
    must_cuda(cudaFree(p.b), "memory");
    must_cuda(cudaFree(p.y), "memory");
    must_cuda(cudaFree(p.workspace), "memory");
    return 2e-12 * (double)kSide * kSide * kSide / seconds;
}

static double copy_gbs(void) {
    product p = {0};
    double seconds;

    p.a = random_matrix(0);
    must_cuda(cudaMalloc(&p.y, kBytes), "a matrix");
    seconds = seconds_of(run_copy, &p);
    must_cuda(cudaFree(p.a), "memory");
    must_cuda(cudaFree(p.y), "memory");
    return 2e-9 * (double)kBytes / seconds;
}

int main(void) {
    cublasLtHandle_t handle;

    must_cuda(cudaSetDevice(0), "the GPU");
    must_blas(cublasLtCreate(&handle), "cuBLASLt");
    printf("{\"bf16_tflops\": %.1f, ", product_tflops(handle, CUDA_R_16BF, CUBLAS_COMPUTE_32F));
    printf("\"tf32_tflops\": %.1f, ",
           product_tflops(handle, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32));
    printf("\"fp32_tflops\": %.1f, ", product_tflops(handle, CUDA_R_32F, CUBLAS_COMPUTE_32F));
    printf("\"copy_gbs\": %.1f}\n", copy_gbs());
    must_blas(cublasLtDestroy(handle), "cuBLASLt");
    return 0;
}
