/* The kernels of the moments, compiled for several instruction sets; which one runs is decided at run time.
 *
 * Nothing here knows Python. All variants give the same bits: no sum depends on the width of the vectors. */

#ifndef TF1BN_MOMENTS_KERNELS_H
#define TF1BN_MOMENTS_KERNELS_H

#include <fenv.h>

#include "isa.h"

enum { MAX_LANES = 1024, CACHE_LINE = 64, AHEAD = 8192 };

/* Of the elements in memory; all are computed with in double. */
enum Kind { FLOAT16, BFLOAT16, FLOAT32, FLOAT64, KINDS };
enum WeightKind { WEIGHT_FLOAT32, WEIGHT_FLOAT64, WEIGHT_KINDS };
enum Weighting { UNWEIGHTED, BY_ROW, BY_LANE };

typedef struct {
    const char *name;
    void (*sums[KINDS])(const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, const double *, double *, double *, double *);
    void (*weighted_sums[KINDS])(const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, const double *, const double *,
                                 ptrdiff_t, double *, double *, double *);
    void (*lines[KINDS])(const void *, const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, const double *, double *);
    void (*clear)(double *, double *, ptrdiff_t);
    void (*fold)(double *, double *, ptrdiff_t, ptrdiff_t);
    ptrdiff_t (*settle)(ptrdiff_t, double, const double *, const double *, const double *, double *, double *,
                        double *);
    void (*merge)(ptrdiff_t, double *, ptrdiff_t, const double *, ptrdiff_t, double);
    void (*survey[WEIGHT_KINDS])(const void *, ptrdiff_t, double *);
    ptrdiff_t (*take[WEIGHT_KINDS])(const void *, ptrdiff_t, double, double *, double *);
    void (*spread)(const double *, ptrdiff_t, ptrdiff_t, double *);
} Kernels;

/* Knuth's two-sum: what the sum of a and b loses. */
static INLINED double two_sum_low(double a, double b, double sum) {
    double part = sum - a;
    return (a - (sum - part)) + (b - part);
}

/* Below, squares lose digits to underflow, and a constant might seem to vary. */
#define TINY_SQUARE 1e-280
/* Below, products with weights lose digits to underflow. */
#define TINY 1e-280

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
#if defined(__aarch64__) && defined(__ARM_FP16_FORMAT_IEEE)
    __fp16 half;
    memcpy(&half, &bits, 2);
    return half;
#else
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
#endif
}

#define KERNELS "moments_isa.h"
#include "each_isa.h"

#endif
