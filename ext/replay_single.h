/* The orders over the rows of one channel, of floats; included by replay_pass.h.
 *
 * Where rows are added one after the other nothing is gained by wider vectors. So all orders are taken in the same
 * loops, in which each has the time to wait, and Welford's update is made without waiting for its divisions. */

/* What the lanes have summed. */
typedef struct {
    V two, four, eight, sixteen[2];
} NAMED(LaneSums);

#define EACH_LANE(sums, vector)                                                                                        \
    do {                                                                                                               \
        vector(sums.two, TWO_LANES, 0, 2);                                                                             \
        vector(sums.four, FOUR_LANES, 0, 4);                                                                           \
        vector(sums.eight, EIGHT_LANES, 0, 8);                                                                         \
        vector(sums.sixteen[0], SIXTEEN_LANES, 0, 16);                                                                 \
        vector(sums.sixteen[1], SIXTEEN_LANES, LANES, 16 - LANES);                                                     \
    } while (0)
#define LOAD(sum, order, from, n) sum = GET(state + FIRST_SLOT[order] + from)
#define STORE(sum, order, from, n) NAMED(put)(state + FIRST_SLOT[order] + from, n, &sum)

/* Sums of pairs of neighbours. */
#define PAIRS(a, b)                                                                                                    \
    (__builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +                                                        \
     __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15))

/* Adds GROUP rows to the lanes, and makes the sums of every four of them for the pairwise order. */
static INLINED void NAMED(add_group)(NAMED(LaneSums) *sums, const T *x, const V *centers, T *fours, int square) {
#define ROW_TERM(row, order) TERM(x + (row), centers[order], x)
    const int weighted = 0;
    V first, second;
    UNROLLED
    for (int i = 0; i < GROUP; i += 2)
        sums->two += ROW_TERM(i, TWO_LANES);
    UNROLLED
    for (int i = 0; i < GROUP; i += 4)
        sums->four += ROW_TERM(i, FOUR_LANES);
    UNROLLED
    for (int i = 0; i < GROUP; i += 8)
        sums->eight += ROW_TERM(i, EIGHT_LANES);
    UNROLLED
    for (int i = 0; i < GROUP; i += LANES)
        sums->sixteen[i / LANES % 2] += ROW_TERM(i, SIXTEEN_LANES);
    first = PAIRS(ROW_TERM(0, PAIRWISE), ROW_TERM(8, PAIRWISE));
    second = PAIRS(ROW_TERM(16, PAIRWISE), ROW_TERM(24, PAIRWISE));
    AT(fours) = PAIRS(first, second);
#undef ROW_TERM
}

/* The second pass over rows, at most PACKED and a multiple of GROUP, as is `first`. */
static INLINED void NAMED(take_single_squares)(ptrdiff_t length, ptrdiff_t rows, ptrdiff_t first, const T *front,
                                               const T *back, const T *centers, T *state) {
    NAMED(LaneSums) lanes;
    T fours[PACKED / 4 + BEYOND], terms[4][GROUP], zeros[BEYOND] = {0};
    V all[SUMS - 1];
    T s0 = state[FIRST_SLOT[IN_ORDER]], s1 = state[FIRST_SLOT[BACKWARDS]], s3 = state[FIRST_SLOT[SHIFTED]];
    T s2 = state[FIRST_SLOT[BLOCKED]], blocks = state[FIRST_SLOT[BLOCKED] + 1];
    ptrdiff_t next = (length - first % length) % length;
    EACH_LANE(lanes, LOAD);
    for (int i = 0; i < SUMS - 1; i++)
        all[i] = centers[i] - (V){0};
    for (ptrdiff_t r = 0; r < rows; r += GROUP, front += GROUP, back += GROUP) {
        UNROLLED
        for (int i = 0; i < GROUP; i += LANES) {
            V x = GET(front + i), ahead = x - all[IN_ORDER], behind = GET(back + i) - all[BACKWARDS];
            V block = x - all[BLOCKED];
            AT(terms[0] + i) = ahead * ahead;
            AT(terms[1] + i) = behind * behind;
            AT(terms[2] + i) = block * block;
            AT(terms[3] + i) = ahead;
        }
        /* Keeps compilers from making a loop of each of the sums. */
        __asm__ volatile("");
        UNROLLED
        for (int i = 0; i < GROUP; i++) {
            if (r + i == next) {
                blocks += s2;
                s2 = 0;
                next += length;
            }
            s0 += terms[0][i];
            s1 += terms[1][i];
            s2 += terms[2][i];
            s3 += terms[3][i];
        }
        NAMED(add_group)(&lanes, front, all, fours + r / 4, 1);
    }
    EACH_LANE(lanes, STORE);
    state[FIRST_SLOT[IN_ORDER]] = s0;
    state[FIRST_SLOT[BACKWARDS]] = s1;
    state[FIRST_SLOT[SHIFTED]] = s3;
    state[FIRST_SLOT[BLOCKED]] = s2;
    state[FIRST_SLOT[BLOCKED] + 1] = blocks;
    NAMED(add_pairwise)(rows / 4, 1, first / 4, fours, fours, zeros, state + FIRST_SLOT[PAIRWISE] + 2, 0, 0);
}

/* Means of Welford's update that are predicted, added in sequence, and proven, for then no row waits for a division.
 * Before row k, counted from 1, the mean is about m + (S - j m) / (k - 1), of the mean m of j rows before and the sum S
 * of these rows; that it is not exact, the quotient (x - mean) / k does not show, mostly, if k is large. The update is
 * proven where every mean and its successor are what the update itself, from that mean, makes of it; from the first
 * other one on the update is made as ever. */
typedef struct {
    T means[CHUNK + BEYOND], products[CHUNK + BEYOND], quotients[2][AHEAD], before;
    NAMED(Mask) wrong;
} NAMED(Updates);

/* A vector as wide as the registers, since compilers shuffle no other fast; F16C comes with AVX2. */
#ifdef ISA_HAS_F16C
typedef V NAMED(Own);
#define RUNNING_SUMS(v)                                                                                                \
    do {                                                                                                               \
        v += __builtin_shufflevector((P){0}, v, 0, 8, 9, 10, 11, 12, 13, 14);                                          \
        v += __builtin_shufflevector((P){0}, v, 0, 0, 8, 9, 10, 11, 12, 13);                                           \
        v += __builtin_shufflevector((P){0}, v, 0, 0, 0, 0, 8, 9, 10, 11);                                             \
    } while (0)
#define LAST(v) __builtin_shufflevector(v, v, 7, 7, 7, 7, 7, 7, 7, 7)
#else
typedef T NAMED(Own) __attribute__((vector_size(16)));
#define RUNNING_SUMS(v)                                                                                                \
    do {                                                                                                               \
        v += __builtin_shufflevector((P){0}, v, 0, 4, 5, 6);                                                           \
        v += __builtin_shufflevector((P){0}, v, 0, 0, 4, 5);                                                           \
    } while (0)
#define LAST(v) __builtin_shufflevector(v, v, 3, 3, 3, 3)
#endif
#define P NAMED(Own)

/* Predicts the quotients of AHEAD rows, of which the first has the number `first`, counted from 0, and that begin
 * `after` rows after those that have the mean `mean`. */
static INLINED void NAMED(predict)(NAMED(Updates) *updates, const T *x, T mean, T after, T first, T *quotients) {
    static const T count[] = {0, 1, 2, 3, 4, 5, 6, 7};
    P steps, inner = {0}, before = updates->before - (P){0}, from = mean - (P){0};
    memcpy(&steps, count, sizeof steps);
    UNROLLED
    for (size_t i = 0; i < AHEAD; i += sizeof(P) / sizeof(T)) {
        P values, sum, k = steps + (first + (T)(i + 1)), share = 1 / k;
        memcpy(&values, x + i, sizeof values);
        sum = values;
        RUNNING_SUMS(sum);
        sum += inner;
        inner = LAST(sum);
        share += share * share;
        P sums = before + (sum - values), moved = (sums - (steps + (after + (T)i)) * from) * share;
        P quotient = (values - (from + moved)) / k;
        memcpy(quotients + i, &quotient, sizeof quotient);
    }
    updates->before = inner[0];
}

/* Proves the means before and after each row of a vector, and makes the products that Welford's update sums. */
static INLINED void NAMED(prove)(NAMED(Updates) *updates, const T *x, ptrdiff_t r, const V *k) {
    V values = GET(x + r), mean = GET(updates->means + r), next = GET(updates->means + r + 1);
    V deviation = values - mean, proven = mean + deviation / *k;
    updates->wrong |= (NAMED(Mask))proven ^ (NAMED(Mask))next;
    AT(updates->products + r) = deviation * (values - next);
}

/* Makes the update of `rows` rows from the first on that is not proven, and all of the sum of products; returns how
 * many were proven. */
static ptrdiff_t NAMED(correct)(NAMED(Updates) *updates, const T *x, ptrdiff_t rows, ptrdiff_t first, T *square) {
    T *means = updates->means, mean = means[0];
    ptrdiff_t r = 0, proven = rows;
    for (; r < rows; r++) {
        T deviation = x[r] - mean;
        mean += deviation / (T)(first + r + 1);
        *square += deviation * (x[r] - mean);
        if (proven == rows && !(mean == means[r + 1]))
            proven = r;
        means[r + 1] = mean;
    }
    return proven;
}

/* Whether any bit is set. */
static INLINED int NAMED(any)(const NAMED(Mask) *mask) {
    uint64_t parts[sizeof *mask / 8];
    memcpy(parts, mask, sizeof parts);
    return (parts[0] | parts[1] | parts[2] | parts[3]) != 0;
}

/* The first pass over rows, at most CHUNK and a multiple of GROUP, as is `first`. Returns how many of Welford's
 * updates were predicted. */
static INLINED ptrdiff_t NAMED(take_predicted)(ptrdiff_t length, ptrdiff_t rows, ptrdiff_t first, const T *front,
                                               const T *back, T *state) {
    NAMED(Updates) ahead, behind;
    NAMED(LaneSums) lanes;
    T fours[CHUNK / 4 + BEYOND], zeros[BEYOND] = {0};
    const V steps = {1, 2, 3, 4, 5, 6, 7, 8}, none[SUMS - 1] = {{0}};
    T *welford = state + FIRST_WELFORD_SLOT[WELFORD], *backwards = state + FIRST_WELFORD_SLOT[WELFORD_BACKWARDS];
    T *lane_means = state + FIRST_WELFORD_SLOT[WELFORD_LANES];
    T s0 = state[FIRST_SLOT[IN_ORDER]], s1 = state[FIRST_SLOT[BACKWARDS]];
    T s2 = state[FIRST_SLOT[BLOCKED]], blocks = state[FIRST_SLOT[BLOCKED] + 1];
    T m0 = welford[0], m1 = backwards[0], q0 = welford[1], q1 = backwards[1];
    ptrdiff_t proven = rows, next = (length - first % length) % length;
    V mean[GROUP / LANES], square[GROUP / LANES];
    ahead.before = behind.before = 0;
    ahead.wrong = behind.wrong = (NAMED(Mask)){0};
    ahead.means[0] = m0;
    behind.means[0] = m1;
    NAMED(predict)(&ahead, front, m0, 0, (T)first, ahead.quotients[0]);
    NAMED(predict)(&behind, back, m1, 0, (T)first, behind.quotients[0]);
    for (ptrdiff_t r = 0; r < rows; r += AHEAD) {
        const T *quotients = ahead.quotients[r / AHEAD % 2], *back_quotients = behind.quotients[r / AHEAD % 2];
        if (r + AHEAD < rows) {
            const T later = (T)(first + r + AHEAD);
            NAMED(predict)(&ahead, front + r + AHEAD, m0, AHEAD, later, ahead.quotients[1 - r / AHEAD % 2]);
            NAMED(predict)(&behind, back + r + AHEAD, m1, AHEAD, later, behind.quotients[1 - r / AHEAD % 2]);
        }
        /* Keeps compilers from making a loop of each of the sums. */
        __asm__ volatile("");
        UNROLLED
        for (ptrdiff_t i = 0; i < AHEAD; i++) {
            if (r + i == next) {
                blocks += s2;
                s2 = 0;
                next += length;
            }
            s0 += front[r + i];
            s1 += back[r + i];
            s2 += front[r + i];
            ahead.means[r + i + 1] = m0 += quotients[i];
            behind.means[r + i + 1] = m1 += back_quotients[i];
        }
    }
    EACH_LANE(lanes, LOAD);
    for (int i = 0; i < GROUP / LANES; i++) {
        mean[i] = GET(lane_means + i * LANES);
        square[i] = GET(lane_means + GROUP + i * LANES);
    }
    for (ptrdiff_t r = 0; r < rows; r += GROUP) {
        const V turn = (T)((first + r) / GROUP + 1) - (V){0};
        UNROLLED
        for (int i = 0; i < GROUP; i += LANES) {
            V number = steps + (T)(first + r + i);
            NAMED(prove)(&ahead, front, r + i, &number);
            NAMED(prove)(&behind, back, r + i, &number);
            WELFORD_UPDATE(front + r + i, turn, mean[i / LANES], square[i / LANES]);
        }
        NAMED(add_group)(&lanes, front + r, none, fours + r / 4, 0);
        /* As above. */
        __asm__ volatile("");
        UNROLLED
        for (int i = 0; i < GROUP; i++) {
            q0 += ahead.products[r + i];
            q1 += behind.products[r + i];
        }
    }
    EACH_LANE(lanes, STORE);
    for (int i = 0; i < GROUP / LANES; i++) {
        AT(lane_means + i * LANES) = mean[i];
        AT(lane_means + GROUP + i * LANES) = square[i];
    }
    if (NAMED(any)(&ahead.wrong)) {
        q0 = welford[1];
        proven = NAMED(correct)(&ahead, front, rows, first, &q0);
    }
    if (NAMED(any)(&behind.wrong)) {
        q1 = backwards[1];
        ptrdiff_t fewer = NAMED(correct)(&behind, back, rows, first, &q1);
        proven = fewer < proven ? fewer : proven;
    }
    state[FIRST_SLOT[IN_ORDER]] = s0;
    state[FIRST_SLOT[BACKWARDS]] = s1;
    state[FIRST_SLOT[BLOCKED]] = s2;
    state[FIRST_SLOT[BLOCKED] + 1] = blocks;
    welford[0] = ahead.means[rows];
    welford[1] = q0;
    backwards[0] = behind.means[rows];
    backwards[1] = q1;
    NAMED(add_pairwise)(rows / 4, 1, first / 4, fours, fours, zeros, state + FIRST_SLOT[PAIRWISE] + 2, 0, 0);
    return proven;
}

/* All orders over some of the rows of one channel; returns over how many. pause: how many chunks are not to be
 * predicted, and how many after the next one that was predicted badly. */
static INLINED ptrdiff_t NAMED(take_single)(ptrdiff_t length, ptrdiff_t rows, ptrdiff_t first, const NAMED(View) *view,
                                            const T *centers, T *state, int square, ptrdiff_t *pause) {
    const T *means = state + FIRST_WELFORD_SLOT[WELFORD], *back_means = state + FIRST_WELFORD_SLOT[WELFORD_BACKWARDS];
    ptrdiff_t most = square ? rows : rows < CHUNK ? rows : CHUNK, whole = most & ~(ptrdiff_t)(GROUP - 1);
    int grouped = whole && first % GROUP == 0;
    if (square && grouped) {
        NAMED(take_single_squares)(length, whole, first, view->front, view->back, centers, state);
        return whole;
    }
    /* Up to 2^24 every number of a row is a float; what is not finite is never proven. */
    if (!square && grouped && first >= EARLIEST && first + whole <= 1 << 24 && pause[0] <= 0 &&
        means[0] - means[0] == 0 && back_means[0] - back_means[0] == 0) {
        if (NAMED(take_predicted)(length, whole, first, view->front, view->back, state) >= whole / 2)
            pause[1] = 1;
        else {
            pause[0] = pause[1];
            pause[1] *= 2;
        }
        return whole;
    }
    pause[0]--;
    if (first % GROUP && most > GROUP)
        most = GROUP - first % GROUP;
    NAMED(take_rows)(length, most, 1, first, view, centers, state, square, 0, !square);
    return most;
}

#undef PAIRS
#undef EACH_LANE
#undef LOAD
#undef STORE
#undef RUNNING_SUMS
#undef LAST
#undef P
