/* All kernels for one instruction set; included once for each, with ISA(x) to name what it defines. */

/* float16, as its bits, to float32: exact. */
static INLINED void ISA(from_float16)(const uint16_t *RESTRICT bits, ptrdiff_t n, float *RESTRICT out) {
    ptrdiff_t i = 0;
#ifdef ISA_HAS_F16C
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(bits + i))));
#endif
    for (; i < n; i++)
        out[i] = half_to_float(bits[i]);
}

/* bfloat16, the upper half of a float32, to float32. */
static INLINED void ISA(from_bfloat16)(const uint16_t *RESTRICT bits, ptrdiff_t n, float *RESTRICT out) {
    for (ptrdiff_t i = 0; i < n; i++) {
        uint32_t word = (uint32_t)bits[i] << 16;
        memcpy(out + i, &word, 4);
    }
}

#ifdef ISA_HAS_AVX512
/* The same of eight in registers, on to double. */
static INLINED __m512d ISA(load_float16)(const uint16_t *bits) {
    return _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)bits)));
}

static INLINED __m512d ISA(load_bfloat16)(const uint16_t *bits) {
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)bits));
    return _mm512_cvtps_pd(_mm256_castsi256_ps(_mm256_slli_epi32(words, 16)));
}

/* A sum, rounded once as any, by the units that multiply: those that add have the conversions to do, too. */
static INLINED __m512d ISA(plus)(__m512d a, __m512d b) {
    return _mm512_fmadd_pd(a, _mm512_set1_pd(1.0), b);
}
#endif

#define T uint16_t
#define W float
#define SLICE 16
#define CONVERT ISA(from_float16)
#define LOAD ISA(load_float16)
#define NAMED(x) ISA(x##_float16)
#include "moments_pass.h"
#include "line_pass.h"
#undef NAMED
#undef CONVERT
#undef LOAD
#define CONVERT ISA(from_bfloat16)
#define LOAD ISA(load_bfloat16)
#define NAMED(x) ISA(x##_bfloat16)
#include "moments_pass.h"
#include "line_pass.h"
#undef NAMED
#undef CONVERT
#undef LOAD
#undef W
#undef T
#undef SLICE
#define T float
#define W float
#ifdef ISA_HAS_AVX512
#define SLICE 32
#else
#define SLICE 16
#endif
#define LOAD(p) _mm512_cvtps_pd(_mm256_loadu_ps(p))
#define NAMED(x) ISA(x##_float32)
#include "moments_pass.h"
#include "line_pass.h"
#undef NAMED
#undef LOAD
#undef W
#undef T
#undef SLICE
#define T double
#define W double
#define SLICE 16
#define NAMED(x) ISA(x##_float64)
#include "moments_pass.h"
#include "line_pass.h"
#undef NAMED
#undef W
#undef T
#undef SLICE

/* Makes lanes 0. Not where the number of lanes is a constant: compilers make slow instructions of that. */
static void ISA(clear)(double *sum, double *square, ptrdiff_t lanes) {
    memset(sum, 0, lanes * sizeof(double));
    memset(square, 0, lanes * sizeof(double));
}

/* Adds up groups of lanes, pairwise: [copies, width] to [width]. */
static void ISA(fold)(double *RESTRICT sum, double *RESTRICT square, ptrdiff_t copies, ptrdiff_t width) {
    if (copies == 64 && width == 1) { /* as after every long run: loops that are unrolled */
#define HALVE(n)                                                                                                       \
    for (int j = 0; j < (n); j++) {                                                                                    \
        sum[j] += sum[j + (n)];                                                                                        \
        square[j] += square[j + (n)];                                                                                  \
    }
        HALVE(32) HALVE(16) HALVE(8) HALVE(4) HALVE(2) HALVE(1)
#undef HALVE
        return;
    }
    while (copies > 1) {
        ptrdiff_t kept = (copies + 1) / 2;
        for (ptrdiff_t j = 0; j < (copies - kept) * width; j++) {
            sum[j] += sum[j + kept * width];
            square[j] += square[j + kept * width];
        }
        copies = kept;
    }
}

/* Mean, its low-order word and the population variance from the sums about a shift; returns how many channels
 * need another shift (see `acceptable`). */
static ptrdiff_t ISA(settle)(ptrdiff_t n, double count, const double *RESTRICT shift, const double *RESTRICT sum,
                             const double *RESTRICT square, double *RESTRICT mean, double *RESTRICT low,
                             double *RESTRICT variance) {
    int64_t rejected = 0;
    for (ptrdiff_t j = 0; j < n; j++) {
        double delta = sum[j] / count, q = square[j] / count;
        double v = q - delta * delta;
        double m = shift[j] + delta;
        mean[j] = m;
        low[j] = fabs(m) <= DBL_MAX ? two_sum_low(shift[j], delta, m) : 0.0;
        variance[j] = v < 0.0 ? 0.0 : v;
        rejected += acceptable(shift[j], m, delta, q, v) ? 0 : 1;
    }
    return (ptrdiff_t)rejected;
}

/* Merges `other` into `state`, both [4, channels] with rows `ld` and `other_ld` apart, where `weight` is the
 * share of the other in both together and at most 1/2: its rounding is multiplied by the difference of the means,
 * and only the smaller side's share of that is small against the mean of |x|.
 *
 * Chan, Golub and LeVeque's pairwise update (1983) as weighted means, which cannot overflow as sums of squares
 * can; exact low-order words keep many merges accurate. */
static void ISA(merge)(ptrdiff_t n, double *RESTRICT state, ptrdiff_t ld, const double *RESTRICT other,
                       ptrdiff_t other_ld, double weight) {
    double *RESTRICT mean = state, *RESTRICT mean_low = state + ld;
    double *RESTRICT variance = state + 2 * ld, *RESTRICT variance_low = state + 3 * ld;
    const double *RESTRICT o_mean = other, *RESTRICT o_mean_low = other + other_ld;
    const double *RESTRICT o_variance = other + 2 * other_ld, *RESTRICT o_variance_low = other + 3 * other_ld;
    const double rest = 1.0 - weight;
    for (ptrdiff_t j = 0; j < n; j++) {
        double m = mean[j], v = variance[j];
        double delta = (o_mean[j] - m) + (o_mean_low[j] - mean_low[j]);
        double step = delta * weight;
        double high = m + step;
        double low = two_sum_low(m, step, high) + mean_low[j];
        double sum = high + low;
        /* Infinities add up to an infinity or to NaN, as in a plain sum; their variance is NaN already. */
        int finite = fabs(delta) <= DBL_MAX;
        double plain = m * rest + o_mean[j] * weight;
        mean_low[j] = finite ? low - (sum - high) : 0.0;
        mean[j] = finite ? sum : plain;
        double spread = (delta * weight) * (delta * rest);
        plain = (v * rest + o_variance[j] * weight) + spread;
        step = ((o_variance[j] - v) + (o_variance_low[j] - variance_low[j])) * weight + spread;
        high = v + step;
        low = two_sum_low(v, step, high) + variance_low[j];
        sum = high + low;
        finite = fabs(high) <= DBL_MAX;
        variance_low[j] = finite ? low - (sum - high) : 0.0;
        variance[j] = finite ? sum : plain;
    }
}

#if defined(ISA_HAS_F16C)
#define WIDTH 4
#define LARGER(a, b) _mm256_max_pd(a, b)
#define SMALLER(a, b) _mm256_min_pd(a, b)
#define PLUS(a, b) _mm256_fmadd_pd(a, _mm256_set1_pd(1.0), b) /* by the units that multiply; rounded once as any */
#else
#define WIDTH 2
#define PLUS(a, b) ((a) + (b))
#ifdef TF1BN_X86
#define LARGER(a, b) _mm_max_pd(a, b)
#define SMALLER(a, b) _mm_min_pd(a, b)
#else
#define CHOSEN(mask, a, b) ((ISA(Vector))(((mask) & (ISA(Mask))(a)) | (~(mask) & (ISA(Mask))(b))))
#define LARGER(a, b) CHOSEN((a) > (b), a, b)
#define SMALLER(a, b) CHOSEN((a) < (b), a, b)
#endif
#endif
typedef double ISA(Vector) __attribute__((vector_size(WIDTH * 8)));
typedef double ISA(Unaligned) __attribute__((vector_size(WIDTH * 8), aligned(8), may_alias));
typedef int64_t ISA(Mask) __attribute__((vector_size(WIDTH * 8)));

#define T float
#define NAMED(x) ISA(x##_weight32)
#include "moments_weights.h"
#undef NAMED
#undef T
#define T double
#define NAMED(x) ISA(x##_weight64)
#include "moments_weights.h"
#undef NAMED
#undef T
#undef WIDTH
#undef LARGER
#undef SMALLER
#undef PLUS
#undef CHOSEN

/* The weight of each row for each of its lanes, [rows, width]. */
static void ISA(spread)(const double *RESTRICT weights, ptrdiff_t rows, ptrdiff_t width, double *RESTRICT out) {
    ptrdiff_t i = 0;
#ifdef ISA_HAS_F16C
    if (width < 8) { /* too few lanes for a loop over them: `width` vectors from four weights */
        __m256i places[7];
        for (int k = 0; k < width; k++)
            for (int j = 0; j < 4; j++) {
                int32_t place = 2 * (int32_t)((4 * k + j) / width), pair[2] = {place, place + 1};
                memcpy((char *)&places[k] + 8 * j, pair, 8);
            }
        for (; i + 4 <= rows; i += 4) {
            __m256i w = _mm256_loadu_si256((const __m256i *)(weights + i));
            for (int k = 0; k < width; k++)
                _mm256_storeu_si256((__m256i *)(out + i * width + 4 * k), _mm256_permutevar8x32_epi32(w, places[k]));
        }
    }
#endif
    for (; i < rows; i++)
        for (ptrdiff_t j = 0; j < width; j++)
            out[i * width + j] = weights[i];
}

static const Kernels ISA(kernels) = {
    ISA_NAME,
    {ISA(pass_float16), ISA(pass_bfloat16), ISA(pass_float32), ISA(pass_float64)},
    {ISA(weighted_float16), ISA(weighted_bfloat16), ISA(weighted_float32), ISA(weighted_float64)},
    {ISA(line_float16), ISA(line_bfloat16), ISA(line_float32), ISA(line_float64)},
    ISA(clear),
    ISA(fold),
    ISA(settle),
    ISA(merge),
    {ISA(survey_weight32), ISA(survey_weight64)},
    {ISA(take_weight32), ISA(take_weight64)},
    ISA(spread),
};
