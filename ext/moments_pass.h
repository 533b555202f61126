/* Sums and sums of squares of rows of lanes, for one element type T and one instruction set.
 *
 * A template: included once for each, with NAMED(x) to name what it defines. W is the type that is computed from, and
 * CONVERT(p, n, out), if T is another one, turns n elements into it, LOAD(p) eight of them to double. SLICE elements of a
 * row are taken at a time, as is best for the caches. Every lane is summed in an order that this source
 * alone decides, so that all instruction sets give the same bits.
 *
 * No loop here adds up many terms one by one: eight rows are added as a tree, at most eight of these panels in
 * `part`, and the parts in `sum`. What is lost to rounding is at most some twenty units in the last place of
 * the sum of the absolute terms, for rows up to 512; two more with weights. */

/* Rows of a slice as they are computed from, with the stride between them: where they lie, or converted to `room`. */
static INLINED const W *NAMED(read)(const T *p, ptrdiff_t *stride, ptrdiff_t rows, ptrdiff_t n, W *room) {
#ifdef CONVERT
    for (ptrdiff_t row = 0; row < rows; row++)
        CONVERT(p + row * *stride, n, room + row * SLICE);
    *stride = SLICE;
    return room;
#else
    return p;
#endif
}

/* `rows` and `weighting` are constants: 8 or 1, and one of `Weighting`. */
static INLINED void NAMED(terms)(const W *RESTRICT p, ptrdiff_t s, ptrdiff_t rows, ptrdiff_t n,
                                 const double *RESTRICT shift, int shifted, const double *RESTRICT weights,
                                 ptrdiff_t ld, int weighting, double *RESTRICT part, double *RESTRICT square) {
    for (ptrdiff_t j = 0; j < n; j++) {
        double x[8], y[8];
        for (ptrdiff_t row = 0; row < rows; row++) {
            /* Subtracting zero changes no bit, so the branch that leaves it out is only faster. */
            double d = (double)p[row * s + j];
            x[row] = shifted ? d - shift[j] : d;
            y[row] = weighting == UNWEIGHTED ? x[row] : x[row] * weights[row * ld + (weighting == BY_LANE ? j : 0)];
        }
        if (rows == 1) {
            part[j] += y[0];
            square[j] += y[0] * x[0];
            continue;
        }
        part[j] += ((y[0] + y[1]) + (y[2] + y[3])) + ((y[4] + y[5]) + (y[6] + y[7]));
        square[j] += ((y[0] * x[0] + y[1] * x[1]) + (y[2] * x[2] + y[3] * x[3])) +
                     ((y[4] * x[4] + y[5] * x[5]) + (y[6] * x[6] + y[7] * x[7]));
    }
}

/* The terms of eight rows; where AVX-512 converts, it does so in registers, but for the last few columns. */
static INLINED void NAMED(terms_of_eight)(const T *RESTRICT p, ptrdiff_t s, ptrdiff_t n, const double *shift,
                                          int shifted, const double *weights, ptrdiff_t ld, int weighting,
                                          double *RESTRICT part, double *RESTRICT square, W *room) {
    ptrdiff_t j = 0;
#if defined(LOAD) && defined(ISA_HAS_AVX512)
    for (; (sizeof(T) == 2 || weighting != UNWEIGHTED) && j + 8 <= n; j += 8) {
        __m512d x[8], y[8], sum;
        for (int row = 0; row < 8; row++) {
            x[row] = LOAD(p + row * s + j);
            if (shifted)
                x[row] -= _mm512_loadu_pd(shift + j);
            y[row] = x[row];
            if (weighting == BY_ROW)
                y[row] *= _mm512_set1_pd(weights[row * ld]);
            if (weighting == BY_LANE)
                y[row] *= _mm512_loadu_pd(weights + row * ld + j);
        }
        sum = ISA(plus)(ISA(plus)(ISA(plus)(y[0], y[1]), ISA(plus)(y[2], y[3])),
                        ISA(plus)(ISA(plus)(y[4], y[5]), ISA(plus)(y[6], y[7])));
        for (int row = 0; row < 8; row++)
            x[row] *= y[row];
        _mm512_storeu_pd(part + j, _mm512_loadu_pd(part + j) + sum);
        sum = ISA(plus)(ISA(plus)(x[0] + x[1], x[2] + x[3]), ISA(plus)(x[4] + x[5], x[6] + x[7]));
        _mm512_storeu_pd(square + j, _mm512_loadu_pd(square + j) + sum);
    }
    if (j == n)
        return;
#endif
    const W *q = NAMED(read)(p + j, &s, 8, n - j, room);
    NAMED(terms)(q, s, 8, n - j, shifted ? shift + j : NULL, shifted, weighting == BY_LANE ? weights + j : weights, ld,
                 weighting, part + j, square + j);
}

/* Eight rows, or one, a slice of them at a time; the same slice of the next eight is on its way from memory meanwhile,
 * because the computation fills the processor's window and leaves it no room to look ahead by itself. */
static INLINED void NAMED(panel)(const T *p, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t lanes, const double *shift,
                                 int shifted, const double *weights, ptrdiff_t ld, int weighting, double *part,
                                 double *square) {
    W room[8 * SLICE];
    ptrdiff_t ahead = rows * stride;
    while (ahead > 0 && ahead < AHEAD / (ptrdiff_t)sizeof(T))
        ahead *= 2;
    for (ptrdiff_t j = 0; j < lanes; j += SLICE) {
        ptrdiff_t n = lanes - j < SLICE ? lanes - j : SLICE;
        const double *c = shifted ? shift + j : NULL, *w = weighting == BY_LANE ? weights + j : weights;
        ptrdiff_t s = stride;
        for (ptrdiff_t row = 0; row < rows; row++)
            for (ptrdiff_t i = 0; i < n; i += CACHE_LINE / (ptrdiff_t)sizeof(T))
                PREFETCH((uintptr_t)p + (uintptr_t)(ahead + row * stride + j + i) * sizeof(T));
        if (rows == 8 && n == SLICE)
            NAMED(terms_of_eight)(p + j, s, SLICE, c, shifted, w, ld, weighting, part + j, square + j, room);
        else if (rows == 8)
            NAMED(terms_of_eight)(p + j, s, n, c, shifted, w, ld, weighting, part + j, square + j, room);
        else {
            const W *q = NAMED(read)(p + j, &s, rows, n, room);
            NAMED(terms)(q, s, rows, n, c, shifted, w, ld, weighting, part + j, square + j);
        }
    }
}

static INLINED void NAMED(rows)(const T *p, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t lanes, const double *shift,
                                int shifted, const double *weights, ptrdiff_t ld, int weighting,
                                double *RESTRICT part, double *RESTRICT sum, double *RESTRICT square) {
    double *RESTRICT part_square = part + MAX_LANES;
    while (rows > 0) {
        ptrdiff_t panels = 8;
        memset(part, 0, lanes * sizeof(double));
        memset(part_square, 0, lanes * sizeof(double));
        for (; panels > 0 && rows >= 8; panels--, rows -= 8, p += 8 * stride) {
            NAMED(panel)(p, stride, 8, lanes, shift, shifted, weights, ld, weighting, part, part_square);
            if (weighting != UNWEIGHTED)
                weights += 8 * ld;
        }
        if (panels > 0)
            for (; rows > 0; rows--, p += stride) {
                NAMED(panel)(p, stride, 1, lanes, shift, shifted, weights, ld, weighting, part, part_square);
                if (weighting != UNWEIGHTED)
                    weights += ld;
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
        NAMED(rows)((const T *)p, stride, rows, lanes, shift, 1, NULL, 0, UNWEIGHTED, part, sum, square);
    else
        NAMED(rows)((const T *)p, stride, rows, lanes, NULL, 0, NULL, 0, UNWEIGHTED, part, sum, square);
}

/* The same with weights, of which those of a row are `ld` apart from those of the next: if `ld` is 1 one for the row,
 * else one for each lane. */
static void NAMED(weighted)(const void *p, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t lanes, const double *shift,
                            const double *weights, ptrdiff_t ld, double *part, double *sum, double *square) {
    if (ld == 1 && shift)
        NAMED(rows)((const T *)p, stride, rows, lanes, shift, 1, weights, 1, BY_ROW, part, sum, square);
    else if (ld == 1)
        NAMED(rows)((const T *)p, stride, rows, lanes, NULL, 0, weights, 1, BY_ROW, part, sum, square);
    else if (shift)
        NAMED(rows)((const T *)p, stride, rows, lanes, shift, 1, weights, ld, BY_LANE, part, sum, square);
    else
        NAMED(rows)((const T *)p, stride, rows, lanes, NULL, 0, weights, ld, BY_LANE, part, sum, square);
}
