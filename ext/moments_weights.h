/* What weights hold, for one type T of them and one instruction set.
 *
 * A template like moments_pass.h: included once for each, with NAMED(x) to name what it defines. Sums have an order that
 * this source alone decides. Vectors are of four numbers, which every instruction set has or is given by compilers. */

typedef T NAMED(Loaded) __attribute__((vector_size(4 * sizeof(T)), aligned(1), may_alias));

static INLINED ISA(Four) NAMED(load)(const T *p) {
    return __builtin_convertvector(*(const NAMED(Loaded) *)p, ISA(Four));
}

/* The least and the largest of n weights, then the sums of every sixteenth and what these lost to rounding. Where a
 * weight is not finite, one of the sums is not. */
static void NAMED(survey)(const void *from, ptrdiff_t n, double *found) {
    const T *p = (const T *)from;
    ISA(Four) high[4] = {{0}}, low[4] = {{0}}, least[4], largest[4];
    double *sums = found + 2;
    ptrdiff_t i = 0;
    for (int k = 0; k < 4; k++)
        least[k] = largest[k] = (double)p[0] - (ISA(Four)){0};
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 4; k++) {
            ISA(Four) w = NAMED(load)(p + i + 4 * k), sum = high[k] + w, part = sum - high[k];
            least[k] = CHOSEN(w < least[k], w, least[k]);
            largest[k] = CHOSEN(w > largest[k], w, largest[k]);
            low[k] += (high[k] - (sum - part)) + (w - part);
            high[k] = sum;
        }
    memcpy(sums, high, sizeof high);
    memcpy(sums + 16, low, sizeof low);
    found[0] = found[1] = (double)p[0];
    for (int j = 0; j < 16; j++) {
        found[0] = least[j / 4][j % 4] < found[0] ? least[j / 4][j % 4] : found[0];
        found[1] = largest[j / 4][j % 4] > found[1] ? largest[j / 4][j % 4] : found[1];
    }
    for (int j = 0; i < n; i++, j++) {
        double w = (double)p[i], sum = sums[j] + w;
        found[0] = w < found[0] ? w : found[0];
        found[1] = w > found[1] ? w : found[1];
        sums[16 + j] += two_sum_low(sums[j], w, sum);
        sums[j] = sum;
    }
}

/* Writes n weights, at least one, times a power of two; found: the largest of what was written, and the sum, of which
 * some four units in the last place are lost. Returns how many weights differ from the one before. */
static ptrdiff_t NAMED(take)(const void *from, ptrdiff_t n, double factor, double *RESTRICT out, double *found) {
    const T *p = (const T *)from;
    ISA(Four) high = {0}, low = {0}, largest = {0};
    ISA(Mask) same = {0};
    double top = 0.0, total, lost;
    ptrdiff_t i = 1, changes = 0;
    total = out[0] = (double)p[0] * factor;
    top = total;
    lost = 0.0;
    for (; i + 32 <= n; i += 32) {
        ISA(Four) w[8], sum, part;
        for (int k = 0; k < 8; k++) {
            ISA(Four) value = NAMED(load)(p + i + 4 * k);
            /* True is -1. */
            same += value == NAMED(load)(p + i + 4 * k - 1);
            w[k] = value * factor;
            *(ISA(Unaligned) *)(out + i + 4 * k) = w[k];
            largest = CHOSEN(w[k] > largest, w[k], largest);
        }
        w[0] = ((w[0] + w[1]) + (w[2] + w[3])) + ((w[4] + w[5]) + (w[6] + w[7]));
        sum = high + w[0];
        part = sum - high;
        low += (high - (sum - part)) + (w[0] - part);
        high = sum;
    }
    changes = i - 1;
    for (int j = 0; j < 4; j++) {
        double sum = total + high[j];
        lost += two_sum_low(total, high[j], sum) + low[j];
        total = sum;
        top = largest[j] > top ? largest[j] : top;
        changes += (ptrdiff_t)same[j];
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
