/* The kernels of the moments, compiled for several instruction sets; which one runs is decided at run time.
 *
 * Nothing here knows Python. All variants give the same bits: no sum depends on the width of the vectors, and
 * contraction into fused multiply-add is off. Compilers and machines that the guards do not know get the
 * baseline, which is plain C. */

#ifndef TF1BN_MOMENTS_KERNELS_H
#define TF1BN_MOMENTS_KERNELS_H

#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define INLINED inline __attribute__((always_inline))
#define RESTRICT __restrict__
#define PREFETCH(address) __builtin_prefetch((const void *)(address), 0, 2)
#else
#define INLINED inline
#define RESTRICT __restrict
#define PREFETCH(address) ((void)(address))
#endif

enum { MAX_LANES = 1024, SLICE = 16, CACHE_LINE = 64, AHEAD = 4096 };

typedef struct {
    const char *name;
    void (*pass_float)(const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, const double *, double *, double *, double *);
    void (*pass_double)(const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, const double *, double *, double *, double *);
    void (*fold)(double *, double *, ptrdiff_t, ptrdiff_t);
    ptrdiff_t (*settle)(ptrdiff_t, double, const double *, const double *, const double *, double *, double *,
                        double *);
    void (*merge)(ptrdiff_t, double *, ptrdiff_t, const double *, ptrdiff_t, double);
    void (*half)(const uint16_t *, ptrdiff_t, float *);
    void (*line_float)(const void *, const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, const double *, double *);
    void (*line_double)(const void *, const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, const double *, double *);
} Kernels;

/* Knuth's two-sum: what the sum of a and b loses. */
static INLINED double two_sum_low(double a, double b, double sum) {
    double part = sum - a;
    return (a - (sum - part)) + (b - part);
}

/* Below, squares lose digits to underflow, and a constant might seem to vary. */
#define TINY_SQUARE 1e-280

/* Whether sums about this shift are accurate enough. `q` is the mean square about the shift, v = q - delta^2.
 *
 * The variance: q may not be much larger than v, or the subtraction cancels. The mean: the deviations may not be
 * much larger than |x|, to which its error is relative. What is not finite has no better shift. The limits are
 * wider than what `next_shift` aims at, so that channels at the border are not done twice over and over. */
static INLINED int acceptable(double shift, double mean, double delta, double q, double v) {
    double square = mean * mean;
    int unshifted = (square <= 2.0 * v) & !((q < TINY_SQUARE) & (mean != 0.0));
    int moved = (delta * delta <= v) & (q <= 4.0 * square);
    return (shift == 0.0 ? unshifted : moved) | !(q <= DBL_MAX);
}

/* The shift for the data that follow: their mean will be like this one. */
static INLINED double next_shift(double mean, double v) {
    return mean * mean > v && fabs(mean) <= DBL_MAX ? mean : 0.0;
}

/* The shift for another try on the same data; the given one if it is acceptable. */
static INLINED double better_shift(double shift, double count, double sum, double square) {
    double delta = sum / count, q = square / count;
    double v = q - delta * delta, mean = shift + delta;
    if (acceptable(shift, mean, delta, q, v))
        return shift;
    /* A shift far away leaves no digits of the mean: start from zero, from where it is accurate. */
    if (shift != 0.0 && !(fabs(delta) <= 1024.0 * fabs(mean)))
        return 0.0;
    return mean * mean > v || shift == 0.0 ? mean : 0.0;
}

static INLINED float half_to_float(uint16_t bits) {
    /* Masks instead of branches, to vectorize. */
    uint32_t magnitude = bits & 0x7FFFu;
    uint32_t subnormal, mask, word = magnitude << 13;
    const uint32_t bias = (uint32_t)112 << 23;
    float value;
    word += bias + (bias & (0u - (uint32_t)(magnitude >= 0x7C00u)));
    /* A subnormal has no implicit leading bit; with it the value is 2^-15 and half of what it should be. */
    memcpy(&value, &word, 4);
    value -= 3.0517578125e-05f;
    value += value;
    memcpy(&subnormal, &value, 4);
    mask = 0u - (uint32_t)(magnitude < 0x0400u);
    word = (subnormal & mask) | (word & ~mask) | ((uint32_t)(bits & 0x8000u) << 16);
    memcpy(&value, &word, 4);
    return value;
}

#define ISA(x) x##_baseline
#define ISA_NAME "baseline"
#include "moments_isa.h"
#undef ISA
#undef ISA_NAME

#if defined(__GNUC__) && defined(__x86_64__)
#define TF1BN_X86 1
#include <cpuid.h>
#include <immintrin.h>
#define PRAGMA(text) _Pragma(#text)
#define AVX2 "avx2,f16c"
#if defined(__clang__)
#define AVX512 "avx2,f16c,avx512f,avx512vl,avx512dq,avx512bw"
#define TARGET_BEGIN(features) PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define TARGET_END PRAGMA(clang attribute pop)
#else
#define AVX512 "avx2,f16c,avx512f,avx512vl,avx512dq,avx512bw,prefer-vector-width=512"
#define TARGET_BEGIN(features) PRAGMA(GCC push_options) PRAGMA(GCC target(features))
#define TARGET_END PRAGMA(GCC pop_options)
#endif

#define ISA_HAS_F16C
TARGET_BEGIN(AVX2)
#define ISA(x) x##_avx2
#define ISA_NAME "avx2"
#include "moments_isa.h"
#undef ISA
#undef ISA_NAME
TARGET_END

TARGET_BEGIN(AVX512)
#define ISA(x) x##_avx512
#define ISA_NAME "avx512"
#include "moments_isa.h"
#undef ISA
#undef ISA_NAME
TARGET_END
#undef ISA_HAS_F16C
#endif

enum { MAX_VARIANTS = 3 };

/* Writes the variants that this machine can run, the fastest first; returns how many. Slow in virtual machines,
 * where asking the processor traps. */
static int find_kernels(const Kernels **found) {
    int count = 0;
#ifdef TF1BN_X86
    unsigned a, b, c, d;
    __builtin_cpu_init();
    /* Not every compiler's builtin knows f16c. That the system saves the registers follows from AVX2. */
    int avx2 = __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
        found[count++] = &kernels_avx512;
    if (avx2)
        found[count++] = &kernels_avx2;
#endif
    found[count++] = &kernels_baseline;
    return count;
}

#endif
