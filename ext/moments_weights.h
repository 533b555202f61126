/* What weights hold, for one type T of them and one instruction set.
 *
 * A template like moments_pass.h: included once for each, with NAMED(x) to name what it defines. Sums have an order that
 * this source alone decides, whatever the WIDTH of the vectors. */

static INLINED ISA(Vector) NAMED(load)(const T *p) {
    typedef T Loaded __attribute__((vector_size(WIDTH * sizeof(T)), aligned(1), may_alias));
#ifdef ISA_HAS_F16C /* because GCC 12 makes six instructions of what is one */
    if (sizeof(T) == 4)
        return _mm256_cvtps_pd(_mm_loadu_ps((const float *)p));
#endif
    return __builtin_convertvector(*(const Loaded *)p, ISA(Vector));
}

/* The least and the largest of n weights, then the sums of every sixteenth and what these lost to rounding. Where a
 * weight is not finite, one of the sums is not. */
static void NAMED(survey)(const void *from, ptrdiff_t n, double *found) {
    const T *p = (const T *)from;
    ISA(Vector) high[16 / WIDTH], low[16 / WIDTH], least[16 / WIDTH], largest[16 / WIDTH];
    double *sums = found + 2;
    ptrdiff_t i = 0;
    for (int k = 0; k < 16 / WIDTH; k++) {
        least[k] = largest[k] = (double)p[0] - (ISA(Vector)){0};
        high[k] = low[k] = (ISA(Vector)){0};
    }
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 16 / WIDTH; k++) {
            ISA(Vector) w = NAMED(load)(p + i + WIDTH * k), sum = PLUS(high[k], w), part = sum - high[k];
            least[k] = SMALLER(w, least[k]);
            largest[k] = LARGER(w, largest[k]);
            low[k] = PLUS(low[k], PLUS(high[k], part - sum) + (w - part));
            high[k] = sum;
        }
    memcpy(sums, high, sizeof high);
    memcpy(sums + 16, low, sizeof low);
    found[0] = found[1] = (double)p[0];
    for (int j = 0; j < 16; j++) {
        double a = least[j / WIDTH][j % WIDTH], b = largest[j / WIDTH][j % WIDTH];
        found[0] = a < found[0] ? a : found[0];
        found[1] = b > found[1] ? b : found[1];
    }
    for (int j = 0; i < n; i++, j++) {
        double w = (double)p[i], sum = sums[j] + w;
        found[0] = w < found[0] ? w : found[0];
        found[1] = w > found[1] ? w : found[1];
        sums[16 + j] += two_sum_low(sums[j], w, sum);
        sums[j] = sum;
    }
}

/* Writes a vector of weights times the factor, and counts those that are as the one before. */
static INLINED ISA(Vector) NAMED(scaled)(const T *p, double factor, double *out, ISA(Vector) *largest, ISA(Mask) *same) {
    ISA(Vector) value = NAMED(load)(p), w = value * factor;
    *same += value == NAMED(load)(p - 1); /* true is -1 */
    *(ISA(Unaligned) *)out = w;
    *largest = LARGER(w, *largest);
    return w;
}

/* Writes n weights, at least one, times a power of two; found: the largest of what was written, and the sum, of which
 * some four units in the last place are lost. Returns how many weights differ from the one before. */
static ptrdiff_t NAMED(take)(const void *from, ptrdiff_t n, double factor, double *RESTRICT out, double *found) {
    const T *p = (const T *)from;
    ISA(Vector) high[4 / WIDTH], low[4 / WIDTH], largest[4 / WIDTH];
    ISA(Mask) same[4 / WIDTH];
    double top = (double)p[0] * factor, total = top, lost = 0.0;
    ptrdiff_t i = 1, changes;
    out[0] = top;
    for (int k = 0; k < 4 / WIDTH; k++) {
        high[k] = low[k] = largest[k] = (ISA(Vector)){0};
        same[k] = (ISA(Mask)){0};
    }
#define W(row) NAMED(scaled)(p + j + 4 * row, factor, out + j + 4 * row, &largest[k], &same[k])
    for (; i + 32 <= n; i += 32)
        for (int k = 0; k < 4 / WIDTH; k++) {
            ptrdiff_t j = i + WIDTH * k;
            ISA(Vector) w = ((W(0) + W(1)) + (W(2) + W(3))) + ((W(4) + W(5)) + (W(6) + W(7)));
            ISA(Vector) sum = high[k] + w, part = sum - high[k];
            low[k] += (high[k] - (sum - part)) + (w - part);
            high[k] = sum;
        }
#undef W
    changes = i - 1;
    for (int j = 0; j < 4; j++) {
        double part = high[j / WIDTH][j % WIDTH], sum = total + part, larger = largest[j / WIDTH][j % WIDTH];
        lost += two_sum_low(total, part, sum) + low[j / WIDTH][j % WIDTH];
        total = sum;
        top = larger > top ? larger : top;
        changes += (ptrdiff_t)same[j / WIDTH][j % WIDTH];
    }
    for (; i < n; i++) {
        double w = (double)p[i] * factor, sum = total + w;
        out[i] = w;
        top = w > top ? w : top;
        changes += p[i] != p[i - 1];
        lost += two_sum_low(total, w, sum);
        total = sum;
    }
    found[0] = top;
    found[1] = total + lost;
    return changes;
}
