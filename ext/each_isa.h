/* Compiles the file KERNELS once for each instruction set and defines `find_kernels`, for a header of kernels to include
 * once, at its end. The file names what it defines with ISA(x), and defines ISA(kernels), of the header's type Kernels,
 * with ISA_NAME as its name. */

#define ISA(x) x##_baseline
#define ISA_NAME "baseline"
#include KERNELS
#undef ISA
#undef ISA_NAME

#ifdef TF1BN_X86
#define ISA_HAS_F16C
TARGET_BEGIN(AVX2)
#define ISA(x) x##_avx2
#define ISA_NAME "avx2"
#include KERNELS
#undef ISA
#undef ISA_NAME
TARGET_END

#define ISA_HAS_AVX512
TARGET_BEGIN(AVX512)
#define ISA(x) x##_avx512
#define ISA_NAME "avx512"
#include KERNELS
#undef ISA
#undef ISA_NAME
TARGET_END
#undef ISA_HAS_AVX512
#undef ISA_HAS_F16C
#endif

/* Writes the variants that this machine can run, the fastest first; returns how many. */
static int find_kernels(const Kernels **found) {
    int count = 0;
#ifdef TF1BN_X86
    int best = best_isa();
    if (best >= AVX512_ISA)
        found[count++] = &kernels_avx512;
    if (best >= AVX2_ISA)
        found[count++] = &kernels_avx2;
#endif
    found[count++] = &kernels_baseline;
    return count;
}
