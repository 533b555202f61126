/* The orders of summation for one type T and one instruction set.
 *
 * Rows are packed, unless they are contiguous, some thousand values at a time, and every order then takes them from the
 * cache. Loops go over vectors of LANES columns. Where the columns end within a vector, what lies behind them is read,
 * and is not changed by what is written; arrays have room for that at their ends, and what is filled from row to row is
 * filled in sequence. */

#define V NAMED(Vector)
#define LANES ((ptrdiff_t)(sizeof(V) / sizeof(T)))
#define AT(pointer) (*(NAMED(Unaligned) *)(pointer))
#define GET(pointer) (*(const NAMED(Unaligned) *)(pointer))

typedef T V __attribute__((vector_size(32)));
typedef T NAMED(Unaligned) __attribute__((vector_size(32), aligned(sizeof(T)), may_alias));
typedef INTEGER NAMED(Mask) __attribute__((vector_size(32)));

/* Packed rows [rows, width], and weights for each of their values. */
typedef struct {
    T front[PACKED + BEYOND], back[PACKED + BEYOND];
    T front_weights[PACKED + BEYOND], back_weights[PACKED + BEYOND];
} NAMED(Packed);

/* Rows as they are taken, `width` values apart, packed or where they lie; backwards `back_stride` values apart. */
typedef struct {
    const T *front, *back, *front_weights, *back_weights;
    ptrdiff_t back_stride;
} NAMED(View);

static const INTEGER NAMED(COLUMN)[8] = {0, 1, 2, 3, 4, 5, 6, 7};

/* Writes the first n columns of a vector. */
static INLINED void NAMED(put)(T *to, ptrdiff_t n, const V *values) {
    if (n >= LANES)
        AT(to) = *values;
    else {
        V old = GET(to);
        NAMED(Mask) column, mask;
        memcpy(&column, NAMED(COLUMN), sizeof column);
        mask = column < (INTEGER)n;
        AT(to) = (V)(((NAMED(Mask))*values & mask) | ((NAMED(Mask))old & ~mask));
    }
}

/* Copies n values, and writes beyond them. */
static INLINED void NAMED(copy)(T *to, const T *from, ptrdiff_t n) {
    for (ptrdiff_t j = 0; j < n; j += LANES) {
        AT(to + j) = GET(from + j);
        /* Keeps compilers from calling memcpy, which takes longer than so few values. */
        __asm__ volatile("");
    }
}

/* A term of a vector at x; `square` and `weighted` are constants where it is called. */
#define TERM(x, center, weights)                                                                                       \
    ({                                                                                                                 \
        V deviation_ = GET(x) - (center);                                                                              \
        if (square)                                                                                                    \
            deviation_ *= deviation_;                                                                                  \
        if (weighted)                                                                                                  \
            deviation_ *= GET(weights);                                                                                \
        deviation_;                                                                                                    \
    })

/* Adds a term of each of `groups` rows of n columns to the columns' sums. */
static INLINED void NAMED(add_columns)(ptrdiff_t n, ptrdiff_t groups, const T *x, const T *w, ptrdiff_t stride,
                                       const T *center, T *sums, int square, int weighted) {
    ptrdiff_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES) {
        const T *at = x + j, *by = w + j;
        T *to = sums + j;
        V c0 = GET(center + j), c1 = GET(center + j + LANES), c2 = GET(center + j + 2 * LANES);
        V c3 = GET(center + j + 3 * LANES), s0 = GET(to), s1 = GET(to + LANES), s2 = GET(to + 2 * LANES);
        V s3 = GET(to + 3 * LANES);
        for (ptrdiff_t g = 0; g < groups; g++, at += stride, by += stride) {
            s0 += TERM(at, c0, by);
            s1 += TERM(at + LANES, c1, by + LANES);
            s2 += TERM(at + 2 * LANES, c2, by + 2 * LANES);
            s3 += TERM(at + 3 * LANES, c3, by + 3 * LANES);
        }
        AT(to) = s0;
        AT(to + LANES) = s1;
        AT(to + 2 * LANES) = s2;
        AT(to + 3 * LANES) = s3;
    }
    for (; j < n; j += LANES) {
        const T *at = x + j, *by = w + j;
        V c = GET(center + j), s = GET(sums + j);
        for (ptrdiff_t g = 0; g < groups; g++, at += stride, by += stride)
            s += TERM(at, c, by);
        NAMED(put)(sums + j, n - j, &s);
    }
}

/* Row i goes to lane i mod `lanes`: so many rows one after the other are one row of as many times the columns. */
static INLINED void NAMED(add_lanes)(ptrdiff_t lanes, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t first, const T *x,
                                     const T *w, const T *center, T *sums, int square, int weighted) {
    T centers[16 * BAND + BEYOND];
    ptrdiff_t lane = first % lanes, whole = lanes * width;
    for (ptrdiff_t i = 0; i < lanes; i++)
        NAMED(copy)(centers + i * width, center, width);
    while (rows > 0) {
        ptrdiff_t groups = lane ? 0 : rows / lanes, taken = groups * lanes;
        if (!groups)
            taken = lanes - lane < rows ? lanes - lane : rows;
        NAMED(add_columns)
        (groups ? whole : taken * width, groups ? groups : 1, x, w, whole, centers, sums + lane * width, square,
         weighted);
        lane = 0;
        rows -= taken;
        x += taken * width;
        w += taken * width;
    }
}

/* The orders that go from row to row, together, because each waits for its last addition. */
static INLINED void NAMED(add_in_rows)(ptrdiff_t length, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t first,
                                       const NAMED(View) *view, const T *centers, T *state, int square,
                                       int weighted) {
    T *block = state + FIRST_SLOT[BLOCKED] * width, *shifted = state + FIRST_SLOT[SHIFTED] * width;
    T *in_order = state + FIRST_SLOT[IN_ORDER] * width, *backwards = state + FIRST_SLOT[BACKWARDS] * width;
    const ptrdiff_t back_stride = view->back_stride;
    for (ptrdiff_t r = 0; r < rows;) {
        ptrdiff_t into = (first + r) % length, run = length - into;
        run = run < rows - r ? run : rows - r;
        if (into == 0)
            for (ptrdiff_t c = 0; c < width; c++) {
                block[width + c] += block[c];
                block[c] = 0;
            }
        for (ptrdiff_t c = 0; c < width; c += LANES) {
            const T *front = view->front + r * width + c, *back = view->back + r * view->back_stride + c;
            const T *w = view->front_weights + r * width + c, *back_w = view->back_weights + r * width + c;
            V center = GET(centers + c), back_center = GET(centers + BACKWARDS * width + c);
            V block_center = GET(centers + BLOCKED * width + c);
            V s0 = GET(in_order + c), s1 = GET(backwards + c), s2 = GET(block + c), s3 = GET(shifted + c);
            for (ptrdiff_t i = 0; i < run; i++, front += width, back += back_stride, w += width, back_w += width) {
                s0 += TERM(front, center, w);
                s1 += TERM(back, back_center, back_w);
                s2 += TERM(front, block_center, w);
                if (square) {
                    V deviation = GET(front) - center;
                    if (weighted)
                        deviation *= GET(w);
                    s3 += deviation;
                }
            }
            NAMED(put)(in_order + c, width - c, &s0);
            NAMED(put)(backwards + c, width - c, &s1);
            NAMED(put)(block + c, width - c, &s2);
            NAMED(put)(shifted + c, width - c, &s3);
        }
        r += run;
    }
}

/* The tree of eight terms; `term(i)` is the i-th. */
#define EIGHT(term) (((term(0) + term(1)) + (term(2) + term(3))) + ((term(4) + term(5)) + (term(6) + term(7))))

/* A binary tree over rows whose number is a power of two; returns where its sum is, `out` or `spare`. Eight rows at a
 * time stay in registers. */
static INLINED T *NAMED(add_tree)(ptrdiff_t rows, ptrdiff_t width, const T *x, const T *w, const T *center, T *out,
                                  T *spare, int square, int weighted) {
#define ROW_TERM(i) TERM(x + (i)*width + c, middle, w + (i)*width + c)
#define ROW_SUM(i) GET(from + (i)*width + c)
    const ptrdiff_t leaves = rows < 8 ? rows : 8;
    for (ptrdiff_t r = 0; r < rows / leaves; r++, x += leaves * width, w += leaves * width)
        for (ptrdiff_t c = 0; c < width; c += LANES) {
            V middle = GET(center + c);
            AT(out + r * width + c) = leaves == 8   ? EIGHT(ROW_TERM)
                                      : leaves == 4 ? (ROW_TERM(0) + ROW_TERM(1)) + (ROW_TERM(2) + ROW_TERM(3))
                                      : leaves == 2 ? ROW_TERM(0) + ROW_TERM(1)
                                                    : ROW_TERM(0);
        }
    for (rows /= leaves; rows > 1;) {
        const ptrdiff_t together = rows < 8 ? 2 : 8;
        const T *from = out;
        rows /= together;
        for (ptrdiff_t r = 0; r < rows; r++, from += together * width)
            for (ptrdiff_t c = 0; c < width; c += LANES)
                AT(spare + r * width + c) = together == 8 ? EIGHT(ROW_SUM) : ROW_SUM(0) + ROW_SUM(1);
        T *sums = spare;
        spare = out;
        out = sums;
    }
    return out;
#undef ROW_TERM
#undef ROW_SUM
}

static INLINED void NAMED(add_pairwise)(ptrdiff_t rows, ptrdiff_t width, ptrdiff_t first, const T *x, const T *w,
                                        const T *center, T *state, int square, int weighted) {
    T one[PACKED / 2 + BEYOND], other[PACKED / 2 + BEYOND];
    for (ptrdiff_t r = 0; r < rows;) {
        ptrdiff_t size = 1, slot = 0, index = first + r;
        for (; !(index & 1) && 2 * size <= rows - r; index >>= 1, size *= 2)
            slot++;
        T *sum = NAMED(add_tree)(size, width, x + r * width, w + r * width, center, one, other, square, weighted);
        for (; index & 1; index >>= 1, slot++)
            for (ptrdiff_t c = 0; c < width; c += LANES)
                AT(sum + c) += GET(state + slot * width + c);
        for (ptrdiff_t c = 0; c < width; c += LANES) {
            V values = GET(sum + c);
            NAMED(put)(state + slot * width + c, width - c, &values);
        }
        r += size;
    }
}

/* Packs `width` columns of rows that are `ld` values apart, of an array that ends at `end`. */
static INLINED void NAMED(pack)(const T *rows, ptrdiff_t count, ptrdiff_t ld, ptrdiff_t width, const T *end, T *out) {
    if (ld == width) {
        memcpy(out, rows, count * width * sizeof(T));
        memset(out + count * width, 0, BEYOND * sizeof(T));
        return;
    }
    if (ld == -1) { /* one channel, backwards */
        for (ptrdiff_t r = 0; r < count; r++)
            out[r] = rows[-r];
        memset(out + count, 0, BEYOND * sizeof(T));
        return;
    }
    for (ptrdiff_t r = 0; r < count; r++, rows += ld, out += width) {
        if (end - rows >= width + LANES)
            NAMED(copy)(out, rows, width);
        else
            for (ptrdiff_t c = 0; c < width; c++)
                out[c] = rows[c];
    }
    memset(out, 0, BEYOND * sizeof(T));
}

/* A row's weight for each of its values. */
static INLINED void NAMED(spread)(const T *weights, ptrdiff_t count, ptrdiff_t ld, ptrdiff_t width, T *out) {
    for (ptrdiff_t r = 0; r < count; r++, weights += ld, out += width)
        for (ptrdiff_t c = 0; c < width; c += LANES)
            AT(out + c) = *weights - (V){0};
    memset(out, 0, BEYOND * sizeof(T));
}

#include "replay_welford.h"
#include "replay_narrow.h"

/* All orders over rows; `square`, `weighted` and `welford` are constants where it is called. */
static INLINED void NAMED(take_rows)(ptrdiff_t length, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t first,
                                     const NAMED(View) *view, const T *centers, T *state, int square, int weighted,
                                     int welford) {
    T *means = state + FIRST_WELFORD_SLOT[WELFORD_LANES] * width;
    const int narrow = welford && width <= LANES;
    if (narrow)
        NAMED(take_narrow)(length, rows, width, first, view, state);
    else
        NAMED(add_in_rows)(length, rows, width, first, view, centers, state, square, weighted);
    if (welford && !narrow)
        NAMED(take_welford)(rows, width, first, view, state);
    NAMED(add_all_lanes)
    (rows, width, first, view->front, view->front_weights, centers, state, square, weighted);
    NAMED(add_pairwise)
    (rows, width, first, view->front, view->front_weights, centers + PAIRWISE * width,
     state + FIRST_SLOT[PAIRWISE] * width, square, weighted);
    if (welford)
        NAMED(welford_lanes)(rows, width, first, view->front, means, means + WELFORD_LANE_COUNT * width);
}

#ifdef SINGLE
#include "replay_single.h"
#endif

/* All orders in a band of `width` channels; `square` and `weighted` are constants where it is called. */
static INLINED void NAMED(take_band)(const Rows *step, ptrdiff_t channel, ptrdiff_t width, T *state, int square,
                                     int weighted) {
    NAMED(Packed) packed;
    T centers[(SUMS - 1) * BAND + BEYOND] = {0};
#ifdef SINGLE
    ptrdiff_t pause[2] = {0, 1};
#endif
    const ptrdiff_t most = PACKED / width & ~(ptrdiff_t)(GROUP - 1), ld = step->channels, values = step->rows * ld;
    const T *front = step->front, *back = step->back, *front_weights = step->front_weights;
    const T *back_weights = step->back_weights;
    const int welford = !square && !weighted && step->welford;
    if (square)
        NAMED(pack)
        ((const T *)step->centers + channel, SUMS - 1, ld, width, (const T *)step->centers + (SUMS - 1) * ld, centers);
    for (ptrdiff_t done = 0; done < step->rows;) {
        ptrdiff_t rows = step->rows - done < most ? step->rows - done : most, first = step->first + done;
        ptrdiff_t last = step->rows - 1 - done;
        NAMED(View) view = {packed.front, packed.back, packed.front_weights, packed.back_weights, width};
        /* Contiguous rows are taken where they lie, if what is read beyond them is there, too. */
        if (ld == width && values - (done + rows) * ld >= BEYOND)
            view.front = front + done * ld;
        else
            NAMED(pack)(front + done * ld + channel, rows, ld, width, front + values, packed.front);
        if (ld == width && width > 1 && done * ld >= BEYOND) {
            view.back = back + last * ld;
            view.back_stride = -ld;
        } else
            NAMED(pack)(back + last * ld + channel, rows, -ld, width, back + values, packed.back);
        if (weighted) {
            NAMED(spread)(front_weights + done, rows, 1, width, packed.front_weights);
            NAMED(spread)(back_weights + last, rows, -1, width, packed.back_weights);
        }
        for (ptrdiff_t taken = 0; taken < rows;) {
            ptrdiff_t some = rows - taken;
#ifdef SINGLE
            if (!weighted && width == 1 && (square || welford))
                some = NAMED(take_single)(step->length, some, first + taken, &view, centers, state, square, pause);
            else
#endif
                NAMED(take_rows)(step->length, some, width, first, &view, centers, state, square, weighted, welford);
            taken += some;
            view.front += some;
            view.back += some;
        }
        done += rows;
    }
}

static void NAMED(take)(const Rows *step, T *state) {
    const ptrdiff_t channels = step->channels, groups = CACHED / channels / GROUP, most = GROUP * (groups ? groups : 1);
    for (ptrdiff_t done = 0; done < step->rows;) {
        Rows part = *step;
        ptrdiff_t left = step->rows - done;
        part.rows = left < most ? left : most;
        part.first += done;
        part.front = (const T *)step->front + done * channels;
        part.back = (const T *)step->back + (left - part.rows) * channels;
        if (step->front_weights) {
            part.front_weights = (const T *)step->front_weights + done;
            part.back_weights = (const T *)step->back_weights + left - part.rows;
        }
        for (ptrdiff_t c = 0; c < channels; c += BAND) {
            ptrdiff_t width = channels - c < BAND ? channels - c : BAND;
            if (step->centers && step->front_weights)
                NAMED(take_band)(&part, c, width, state + c * SLOTS, 1, 1);
            else if (step->centers)
                NAMED(take_band)(&part, c, width, state + c * SLOTS, 1, 0);
            else if (step->front_weights)
                NAMED(take_band)(&part, c, width, state + c * SLOTS, 0, 1);
            else
                NAMED(take_band)(&part, c, width, state + c * SLOTS, 0, 0);
        }
        done += part.rows;
    }
}

#undef V
#undef LANES
#undef AT
#undef GET
#undef TERM
#undef EIGHT
#undef WELFORD_UPDATE
