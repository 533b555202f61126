/* Welford's update, vector by vector of columns; included by replay_pass.h. */

#define WELFORD_UPDATE(x, k, mean, squares)                                                                            \
    do {                                                                                                               \
        V x_ = GET(x), deviation_ = x_ - mean;                                                                         \
        mean += deviation_ / (k);                                                                                      \
        squares += deviation_ * (x_ - mean);                                                                           \
    } while (0)

/* Welford's update from both ends, together, in one or two vectors of columns. */
static INLINED void NAMED(welford_rows)(ptrdiff_t n, int two, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t first,
                                        const T *front, const T *back, ptrdiff_t back_stride, T *mean, T *back_mean) {
    T *square = mean + width, *back_square = back_mean + width;
    V m0 = GET(mean), s0 = GET(square), b0 = GET(back_mean), t0 = GET(back_square);
    V m1 = m0, s1 = s0, b1 = b0, t1 = t0;
    if (two) {
        m1 = GET(mean + LANES);
        s1 = GET(square + LANES);
        b1 = GET(back_mean + LANES);
        t1 = GET(back_square + LANES);
    }
    for (ptrdiff_t r = 0; r < rows; r++, front += width, back += back_stride) {
        V k = (T)(first + r + 1) - (V){0};
        WELFORD_UPDATE(front, k, m0, s0);
        WELFORD_UPDATE(back, k, b0, t0);
        if (two) {
            WELFORD_UPDATE(front + LANES, k, m1, s1);
            WELFORD_UPDATE(back + LANES, k, b1, t1);
        }
    }
    NAMED(put)(mean, n, &m0);
    NAMED(put)(square, n, &s0);
    NAMED(put)(back_mean, n, &b0);
    NAMED(put)(back_square, n, &t0);
    if (two) {
        NAMED(put)(mean + LANES, n - LANES, &m1);
        NAMED(put)(square + LANES, n - LANES, &s1);
        NAMED(put)(back_mean + LANES, n - LANES, &b1);
        NAMED(put)(back_square + LANES, n - LANES, &t1);
    }
}

/* Welford's update of row i in lane i mod WELFORD_LANE_COUNT. */
static INLINED void NAMED(welford_lanes)(ptrdiff_t rows, ptrdiff_t width, ptrdiff_t first, const T *x, T *means,
                                         T *squares) {
    while (rows > 0) {
        ptrdiff_t lane = first % WELFORD_LANE_COUNT, taken = WELFORD_LANE_COUNT - lane;
        V k = (T)(first / WELFORD_LANE_COUNT + 1) - (V){0};
        taken = taken < rows ? taken : rows;
        for (ptrdiff_t j = 0; j < taken * width; j += LANES) {
            T *mean = means + lane * width + j, *square = squares + lane * width + j;
            V m = GET(mean), s = GET(square);
            WELFORD_UPDATE(x + j, k, m, s);
            NAMED(put)(mean, taken * width - j, &m);
            NAMED(put)(square, taken * width - j, &s);
        }
        first += taken;
        rows -= taken;
        x += taken * width;
    }
}

static INLINED void NAMED(take_welford)(ptrdiff_t rows, ptrdiff_t width, ptrdiff_t first, const NAMED(View) *view,
                                        T *state) {
    T *mean = state + FIRST_WELFORD_SLOT[WELFORD] * width;
    T *back_mean = state + FIRST_WELFORD_SLOT[WELFORD_BACKWARDS] * width;
    ptrdiff_t c = 0;
    for (; c + LANES < width; c += 2 * LANES)
        NAMED(welford_rows)
        (width - c, 1, rows, width, first, view->front + c, view->back + c, view->back_stride, mean + c, back_mean + c);
    if (c < width)
        NAMED(welford_rows)
        (width - c, 0, rows, width, first, view->front + c, view->back + c, view->back_stride, mean + c, back_mean + c);
}
