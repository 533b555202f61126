/* Sums of what rows of y leave of a line in x, for one element type T and one instruction set.
 *
 * A template like moments_pass.h. Per lane, r = (y - at) - slope (x - mid); the sums are those of r, (x - mid) r and
 * r^2. Where the line is a good one, r is small and so is what is lost to rounding. */

static INLINED void NAMED(line_panel)(const W *RESTRICT x, const W *RESTRICT y, ptrdiff_t s, ptrdiff_t lanes,
                                      const double *RESTRICT mid, const double *RESTRICT at,
                                      const double *RESTRICT slope, double *RESTRICT sum, double *RESTRICT cross,
                                      double *RESTRICT square) {
    for (ptrdiff_t j = 0; j < lanes; j++) {
        double m = mid[j], c = at[j], k = slope[j];
        double da = (double)x[j] - m, db = (double)x[s + j] - m;
        double dc = (double)x[2 * s + j] - m, dd = (double)x[3 * s + j] - m;
        double ra = ((double)y[j] - c) - k * da, rb = ((double)y[s + j] - c) - k * db;
        double rc = ((double)y[2 * s + j] - c) - k * dc, rd = ((double)y[3 * s + j] - c) - k * dd;
        sum[j] += (ra + rb) + (rc + rd);
        cross[j] += (da * ra + db * rb) + (dc * rc + dd * rd);
        square[j] += (ra * ra + rb * rb) + (rc * rc + rd * rd);
    }
}

/* Adds to sums[3, lanes] what `rows` contiguous rows hold; line[3, lanes]: mid, at and slope; the rows of both are
 * `ld` apart. */
static void NAMED(line)(const void *x, const void *y, ptrdiff_t rows, ptrdiff_t lanes, ptrdiff_t ld,
                        const double *line, double *sums) {
    const T *p = (const T *)x, *q = (const T *)y;
    W x_room[4 * SLICE], y_room[4 * SLICE];
    ptrdiff_t ahead = 4 * lanes;
    while (ahead > 0 && ahead < AHEAD / (ptrdiff_t)sizeof(T))
        ahead *= 2;
    for (; rows >= 4; rows -= 4, p += 4 * lanes, q += 4 * lanes)
        for (ptrdiff_t j = 0; j < lanes; j += SLICE) {
            ptrdiff_t n = lanes - j < SLICE ? lanes - j : SLICE;
            for (ptrdiff_t row = 0; row < 4; row++)
                for (ptrdiff_t i = 0; i < n; i += CACHE_LINE / (ptrdiff_t)sizeof(T)) {
                    PREFETCH((uintptr_t)p + (uintptr_t)(ahead + row * lanes + j + i) * sizeof(T));
                    PREFETCH((uintptr_t)q + (uintptr_t)(ahead + row * lanes + j + i) * sizeof(T));
                }
            ptrdiff_t s = lanes, t = lanes;
            const W *a = NAMED(read)(p + j, &s, 4, n, x_room), *b = NAMED(read)(q + j, &t, 4, n, y_room);
            NAMED(line_panel)(a, b, s, n, line + j, line + ld + j, line + 2 * ld + j, sums + j, sums + ld + j,
                              sums + 2 * ld + j);
        }
    for (; rows > 0; rows--, p += lanes, q += lanes)
        for (ptrdiff_t j = 0; j < lanes; j += SLICE) {
            ptrdiff_t n = lanes - j < SLICE ? lanes - j : SLICE, s = 0;
            const W *a = NAMED(read)(p + j, &s, 1, n, x_room), *b = NAMED(read)(q + j, &s, 1, n, y_room);
            for (ptrdiff_t i = 0; i < n; i++) {
                double d = (double)a[i] - line[j + i];
                double r = ((double)b[i] - line[ld + j + i]) - line[2 * ld + j + i] * d;
                sums[j + i] += r;
                sums[ld + j + i] += d * r;
                sums[2 * ld + j + i] += r * r;
            }
        }
}
