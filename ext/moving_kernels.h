/* The moving recurrence and its error bounds for many channels at once, compiled for several instruction sets.
 *
 * docs/design/error-bounds.md derives the formulas. What is carried from step to step for one statistic are FIGURES and
 * the runs of the forms, a row [channels] each, `ld` doubles apart. */

#ifndef TF1BN_MOVING_KERNELS_H
#define TF1BN_MOVING_KERNELS_H

#include "isa.h"

/* The root mean square of a rounding error in units of u: the error is uniform over half a unit in the last place,
   significands are distributed as 1 / (t ln 2), and sqrt(1/3 * 3 / (8 ln 2)) = .4247. */
#define ROUNDING 0.4247

enum { MOST_FORMS = 12, TILE = 128 };
enum { DIFFERENCE_RECURRENCE = 1, WEIGHTED_RECURRENCE = 2 };
/* What a step follows. */
enum { OTHER_BATCH, SAME_BATCH, FIRST };
/* `_moving.Figure` says what they are, and has the same order. */
enum { VALUE_ROW, VALUE_LOW_ROW, WORST_ROW, LINEAR_ROW, COHERENT_ROW, SQUARE_ROW, BATCHES_ROW, BESSEL_ROW, RUNS_ROW };
enum { MOST_ROWS = RUNS_ROW + MOST_FORMS };

/* How a layer takes a step, with its own weights of the old value and of the batch, and the bits of significand that
 * it rounds the operations to before it stores the result. */
typedef struct {
    int weighted;
    double keep;
    double rate;
    int bits;
} Form;

typedef struct {
    /* The exact weights, each as a sum of two numbers; keep + rate is 1. */
    double keep, keep_low, rate, rate_low;
    /* How far off those of a layer can be. */
    double slack, keep_slack;
    int recurrence;
    Form forms[MOST_FORMS];
    int form_count;
    /* Of the type that the layer stores: unit roundoff, smallest number and bits of significand; of that it sums in. */
    double unit, smallest;
    int bits;
    double sum_unit, sum_smallest;
    int sum_bits;
    /* The batch: values per channel, and how the layer takes its moments. */
    double count;
    int weighted, bessel, squares;
    /* How many standard errors count as expected; how far off the inputs can be, relatively. */
    double deviations, input_error;
} Step;

/* What a batch contributes to the statistics of some channels: moments as sums of two numbers, their errors, and what
 * a layer that sums exactly has in their place, rounded to the type that it sums in. */
typedef struct {
    double moment[TILE], low[TILE], worst[TILE], linear[TILE], standard[TILE], exact[TILE];
} Contribution;

/* How far off the statistics of one step can be, roughly: the unit roundoff of what is stored, what the sums over a
 * batch lose relatively, and whether the variance is a difference of squares. */
typedef struct {
    double unit, sums;
    int squares;
} Terms;

typedef struct {
    const char *name;
    void (*start)(ptrdiff_t, const double *, int, int, double *, ptrdiff_t);
    void (*advance)(ptrdiff_t, const Step *, int, const double *, const double *, double *, double *, ptrdiff_t);
    void (*predict)(ptrdiff_t, const Step *, const double *, const double *, const double *, const double *, double *,
                    double *, ptrdiff_t);
    void (*bounds)(ptrdiff_t, int, double, const double *, ptrdiff_t, double *, double *);
    double (*largest_share)(ptrdiff_t, const double *, const double *, const double *);
    ptrdiff_t (*worst_channel)(ptrdiff_t, const double *, const double *, const double *);
    int (*terms)(ptrdiff_t, const Terms *, const double *const *, double *const *, double *);
} Kernels;

/* a + b exactly, as its rounded value and the error of that (Knuth's two-sum). */
static INLINED void sum_of_two(double a, double b, double *high, double *low) {
    double total = a + b, part = total - a;
    *low = (a - (total - part)) + (b - part);
    *high = total;
}

/* sqrt(x^2 + square), without overflow or underflow of the squares. */
static INLINED double root_of_squares(double x, double square) {
    double total = x * x + square;
    double scale = total > 1e-280 ? (total < 1e300 ? 1.0 : 0x1p-600) : 0x1p600;
    double back = total > 1e-280 ? (total < 1e300 ? 1.0 : 0x1p600) : 0x1p-600;
    double scaled = x * scale;
    return sqrt(scaled * scaled + square * scale * scale) * back;
}

/* x in the format with so many bits of significand: 8 (bfloat16), 11, 24 or 53. */
static INLINED double rounded(double x, int bits) {
    uint64_t word;
    double power, quantum, result, most = bits == 11 ? 65504.0 : 3.3895313892515355e38;
    if (bits == 24)
        return (double)(float)x;
    if (bits == 53)
        return x;
    /* The power of two below x, and with it the distance of neighbours there. */
    memcpy(&word, &x, 8);
    word &= 0x7FF0000000000000u;
    memcpy(&power, &word, 8);
    quantum = power * (bits == 11 ? 0x1p-10 : 0x1p-7);
    quantum = quantum > (bits == 11 ? 0x1p-24 : 0x1p-133) ? quantum : (bits == 11 ? 0x1p-24 : 0x1p-133);
    /* Beside so large a number, neighbours are as far apart. */
    quantum *= 0x1.8p52;
    result = (x + quantum) - quantum;
    result = fabs(result) <= most ? result : x * 1e308 * 1e308;
    return fabs(x) < 1e100 ? result : x * 1e308;
}

#define KERNELS "moving_isa.h"
#include "each_isa.h"

#endif
