/* What rows of few columns need, included by replay_pass.h: an order by itself would wait for its last addition, and
 * Welford's update for its last division. */

/* All orders of lanes, together, over groups of 16 rows of a constant width of at most half a vector: so narrow, each
 * order alone would wait for its additions. `x` is the first row of a group. */
static INLINED void NAMED(add_groups)(const ptrdiff_t width, ptrdiff_t groups, const T *x, const T *centers, T *state,
                                      int square) {
    enum { MOST = 8 };
    V sums[4][MOST], tiled[4][MOST];
    UNROLLED
    for (int i = 0; i < 4; i++) {
        const ptrdiff_t lanes = 2 << i;
        T center[16 * BAND + BEYOND];
        T *to = state + FIRST_SLOT[TWO_LANES + i] * width;
        for (ptrdiff_t lane = 0; square && lane < lanes; lane++)
            NAMED(copy)(center + lane * width, centers + (TWO_LANES + i) * width, width);
        UNROLLED
        for (ptrdiff_t j = 0; j < MOST; j++)
            if (j * LANES < lanes * width) {
                sums[i][j] = GET(to + j * LANES);
                if (square)
                    tiled[i][j] = GET(center + j * LANES);
            }
    }
    for (; groups > 0; groups--, x += 16 * width) {
        UNROLLED
        for (int i = 0; i < 4; i++) {
            const ptrdiff_t lanes = 2 << i;
            UNROLLED
            for (ptrdiff_t part = 0; part < 8; part++)
                UNROLLED
                for (ptrdiff_t j = 0; j < MOST; j++)
                    if (part < 16 / lanes && j * LANES < lanes * width) {
                        V term = GET(x + part * lanes * width + j * LANES);
                        if (square) {
                            term -= tiled[i][j];
                            term *= term;
                        }
                        sums[i][j] += term;
                    }
        }
    }
    UNROLLED
    for (int i = 0; i < 4; i++) {
        const ptrdiff_t n = (2 << i) * width;
        T *to = state + FIRST_SLOT[TWO_LANES + i] * width;
        UNROLLED
        for (ptrdiff_t j = 0; j < MOST; j++)
            if (j * LANES < n)
                NAMED(put)(to + j * LANES, n - j * LANES, &sums[i][j]);
    }
}

/* All orders of lanes; `square` and `weighted` are constants where it is called. */
static INLINED void NAMED(add_all_lanes)(ptrdiff_t rows, ptrdiff_t width, ptrdiff_t first, const T *x, const T *w,
                                         const T *centers, T *state, int square, int weighted) {
    const int grouped = !weighted && 2 * width <= LANES && first % 16 == 0 && rows >= 16;
    const ptrdiff_t done = grouped ? rows & ~(ptrdiff_t)15 : 0;
    if (grouped && width == 1)
        NAMED(add_groups)(1, rows / 16, x, centers, state, square);
    else if (grouped && width == 2)
        NAMED(add_groups)(2, rows / 16, x, centers, state, square);
    else if (grouped && LANES >= 6 && width == 3)
        NAMED(add_groups)(3, rows / 16, x, centers, state, square);
    else if (grouped && LANES >= 8)
        NAMED(add_groups)(4, rows / 16, x, centers, state, square);
    for (int order = TWO_LANES; order <= SIXTEEN_LANES; order++)
        NAMED(add_lanes)
        (SUM_SLOTS[order], rows - done, width, first + done, x + done * width, w + done * width,
         centers + order * width, state + FIRST_SLOT[order] * width, square, weighted);
}

/* The orders that go from row to row and Welford's update from both ends, in one vector of columns: what waits for a
 * division leaves time for the rest. */
static INLINED void NAMED(take_narrow)(ptrdiff_t length, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t first,
                                       const NAMED(View) *view, T *state) {
    T *in_order = state + FIRST_SLOT[IN_ORDER] * width, *backwards = state + FIRST_SLOT[BACKWARDS] * width;
    T *block = state + FIRST_SLOT[BLOCKED] * width, *blocks = block + width;
    T *mean = state + FIRST_WELFORD_SLOT[WELFORD] * width, *square = mean + width;
    T *back_mean = state + FIRST_WELFORD_SLOT[WELFORD_BACKWARDS] * width, *back_square = back_mean + width;
    const T *front = view->front, *back = view->back;
    V s0 = GET(in_order), s1 = GET(backwards), s2 = GET(block), s3 = GET(blocks);
    V m0 = GET(mean), q0 = GET(square), m1 = GET(back_mean), q1 = GET(back_square);
    for (ptrdiff_t r = 0; r < rows;) {
        ptrdiff_t into = (first + r) % length, end = r + length - into;
        end = end < rows ? end : rows;
        if (into == 0) {
            s3 += s2;
            s2 = (V){0};
        }
        for (; r < end; r++, front += width, back += view->back_stride) {
            V k = (T)(first + r + 1) - (V){0};
            s0 += GET(front);
            s1 += GET(back);
            s2 += GET(front);
            WELFORD_UPDATE(front, k, m0, q0);
            WELFORD_UPDATE(back, k, m1, q1);
        }
    }
    NAMED(put)(in_order, width, &s0);
    NAMED(put)(backwards, width, &s1);
    NAMED(put)(block, width, &s2);
    NAMED(put)(blocks, width, &s3);
    NAMED(put)(mean, width, &m0);
    NAMED(put)(square, width, &q0);
    NAMED(put)(back_mean, width, &m1);
    NAMED(put)(back_square, width, &q1);
}
