/* Sums and sums of squares of rows of lanes, for one element type T and one instruction set.
 *
 * A template: included once for each, with NAMED(x) to name what it defines. Every lane is summed in an order
 * that this source alone decides, so that all instruction sets give the same bits.
 *
 * No loop here adds up many terms one by one: eight rows are added as a tree, at most eight of these panels in
 * `part`, and the parts in `sum`. What is lost to rounding is at most some twenty units in the last place of
 * the sum of the absolute terms, for rows up to 512.
 */

static INLINED void NAMED(panel)(const T *RESTRICT p, ptrdiff_t s, ptrdiff_t lanes, const double *RESTRICT shift,
                                 int shifted, double *RESTRICT part, double *RESTRICT square) {
    const T *RESTRICT pb = p + s, *RESTRICT pc = p + 2 * s, *RESTRICT pd = p + 3 * s, *RESTRICT pe = p + 4 * s,
            *RESTRICT pf = p + 5 * s, *RESTRICT pg = p + 6 * s, *RESTRICT ph = p + 7 * s;
    for (ptrdiff_t j = 0; j < lanes; j++) {
        /* Subtracting zero changes no bit, so the branch that leaves it out is only faster. */
        double c = shifted ? shift[j] : 0.0;
        double a = shifted ? (double)p[j] - c : (double)p[j], b = shifted ? (double)pb[j] - c : (double)pb[j];
        double d = shifted ? (double)pc[j] - c : (double)pc[j], e = shifted ? (double)pd[j] - c : (double)pd[j];
        double f = shifted ? (double)pe[j] - c : (double)pe[j], g = shifted ? (double)pf[j] - c : (double)pf[j];
        double h = shifted ? (double)pg[j] - c : (double)pg[j], i = shifted ? (double)ph[j] - c : (double)ph[j];
        part[j] += ((a + b) + (d + e)) + ((f + g) + (h + i));
        square[j] += ((a * a + b * b) + (d * d + e * e)) + ((f * f + g * g) + (h * h + i * i));
    }
}

/* Eight rows, a slice of them at a time; the same slice of the next eight is on its way from memory meanwhile,
 * because the computation fills the processor's window and leaves it no room to look ahead by itself. */
static INLINED void NAMED(panels)(const T *p, ptrdiff_t stride, ptrdiff_t lanes, const double *shift, int shifted,
                                  double *part, double *square) {
    ptrdiff_t ahead = 8 * stride;
    while (ahead > 0 && ahead < AHEAD / (ptrdiff_t)sizeof(T))
        ahead *= 2;
    for (ptrdiff_t j = 0; j < lanes; j += SLICE) {
        ptrdiff_t n = lanes - j < SLICE ? lanes - j : SLICE;
        for (ptrdiff_t row = 0; row < 8; row++)
            for (ptrdiff_t i = 0; i < n; i += CACHE_LINE / (ptrdiff_t)sizeof(T))
                PREFETCH((uintptr_t)p + (uintptr_t)(ahead + row * stride + j + i) * sizeof(T));
        NAMED(panel)(p + j, stride, n, shifted ? shift + j : NULL, shifted, part + j, square + j);
    }
}

static INLINED void NAMED(rows)(const T *p, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t lanes, const double *shift,
                                int shifted, double *RESTRICT part, double *RESTRICT sum,
                                double *RESTRICT square) {
    double *RESTRICT part_square = part + MAX_LANES;
    while (rows > 0) {
        ptrdiff_t panels = 8;
        memset(part, 0, lanes * sizeof(double));
        memset(part_square, 0, lanes * sizeof(double));
        for (; panels > 0 && rows >= 8; panels--, rows -= 8, p += 8 * stride)
            NAMED(panels)(p, stride, lanes, shift, shifted, part, part_square);
        if (panels > 0)
            for (; rows > 0; rows--, p += stride)
                for (ptrdiff_t j = 0; j < lanes; j++) {
                    double d = shifted ? (double)p[j] - shift[j] : (double)p[j];
                    part[j] += d;
                    part_square[j] += d * d;
                }
        for (ptrdiff_t j = 0; j < lanes; j++) {
            sum[j] += part[j];
            square[j] += part_square[j];
        }
    }
}

/* Adds to sum[lanes] and square[lanes] what `rows` rows hold beyond shift[lanes] (NULL: zeros). The stride is in
 * elements; `part` is scratch for 2 * MAX_LANES. */
static void NAMED(pass)(const void *p, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t lanes, const double *shift,
                        double *part, double *sum, double *square) {
    if (shift)
        NAMED(rows)((const T *)p, stride, rows, lanes, shift, 1, part, sum, square);
    else
        NAMED(rows)((const T *)p, stride, rows, lanes, NULL, 0, part, sum, square);
}
