/* The orders of summation, compiled for several instruction sets; which one runs is decided at run time.
 *
 * Nothing here knows Python. All variants give the same bits: every addition of an order is made in its place. */

#ifndef TF1BN_REPLAY_KERNELS_H
#define TF1BN_REPLAY_KERNELS_H

#include "isa.h"

/* The sums, in this sequence everywhere; with a center that of the deviations from the center of IN_ORDER follows. */
enum { IN_ORDER, BACKWARDS, BLOCKED, TWO_LANES, FOUR_LANES, EIGHT_LANES, SIXTEEN_LANES, PAIRWISE, SHIFTED, SUMS };

/* Welford's update: from the first row on, from the last, and row i in lane i mod 32. */
enum { WELFORD, WELFORD_BACKWARDS, WELFORD_LANES, WELFORDS, WELFORD_LANE_COUNT = 32 };

/* Rows of the state of each sum, and the first of them. BLOCKED has the sum of its block and that of the blocks
 * before; slot k of PAIRWISE waits for a partner, the sum of 2^k rows. Welford's means and squares follow. */
static const int SUM_SLOTS[SUMS] = {1, 1, 2, 2, 4, 8, 16, 63, 1};
static const int FIRST_SLOT[SUMS] = {0, 1, 2, 4, 6, 10, 18, 34, 97};
static const int WELFORD_SLOTS[WELFORDS] = {1, 1, WELFORD_LANE_COUNT};
static const int FIRST_WELFORD_SLOT[WELFORDS] = {98, 100, 102};
enum { USED_SLOTS = 166, SLOTS = USED_SLOTS + 8 }; /* with room for a vector at the end */

/* The channels are taken in bands, each with its own state [SLOTS, width]. */
enum { BAND = 32 };

/* Values that are packed at a time, the room behind them, at least a vector, and values that are taken in all bands
 * before those that follow. */
enum { PACKED = 2048, BEYOND = 32, CACHED = 1 << 15 };

/* Rows of one channel that are taken together; those whose Welford updates are predicted and then proven, in steps of
 * so many, and after how many others. */
enum { GROUP = 32, CHUNK = 512, AHEAD = 16, EARLIEST = 1024 };

/* Rows of a batch: those that follow from the front, and as many from the back, whose last row comes first. */
typedef struct {
    const void *front, *back;
    const void *front_weights, *back_weights; /* one per row, or NULL */
    const void *centers;                      /* [PAIRWISE + 1, channels], for squares of deviations; or NULL */
    ptrdiff_t rows, channels;
    ptrdiff_t first;  /* how many rows came before */
    ptrdiff_t length; /* of the blocks of BLOCKED */
    int welford;      /* whether Welford's updates are made as well */
} Rows;

typedef struct {
    const char *name;
    void (*take_float)(const Rows *, float *);
    void (*take_double)(const Rows *, double *);
} Kernels;

#define KERNELS "replay_isa.h"
#include "each_isa.h"

#endif
