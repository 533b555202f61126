/* The kernels of the moving recurrence for one instruction set; included once for each, with ISA(x) to name them. */

/* Values before the first step, which the layer holds rounded to `bits`, in the figures that are not 0 then. */
static INLINED void ISA(start_values)(ptrdiff_t n, const double *RESTRICT values, int bits, int form_count,
                                      double *RESTRICT figures, ptrdiff_t ld) {
    for (ptrdiff_t j = 0; j < n; j++)
        figures[VALUE_ROW * ld + j] = values[j];
    for (ptrdiff_t j = 0; j < n; j++) {
        double lost = fabs(values[j] - rounded(values[j], bits));
        figures[WORST_ROW * ld + j] = figures[LINEAR_ROW * ld + j] = lost;
    }
    for (ptrdiff_t row = RUNS_ROW; row < RUNS_ROW + form_count; row++)
        for (ptrdiff_t j = 0; j < n; j++)
            figures[row * ld + j] = rounded(values[j], bits);
}

/* Figures before the first step. */
static void ISA(start)(ptrdiff_t n, const double *RESTRICT values, int bits, int form_count, double *RESTRICT figures,
                       ptrdiff_t ld) {
    for (ptrdiff_t row = VALUE_LOW_ROW; row < RUNS_ROW; row++)
        memset(figures + row * ld, 0, (size_t)n * sizeof(double));
    ISA(start_values)(n, values, bits, form_count, figures, ld);
}

/* What a layer that sums exactly has in place of the moments, with a type of so many bits of significand. */
static INLINED void ISA(store_exact)(ptrdiff_t n, const double *RESTRICT mean, const double *RESTRICT variance,
                                     double factor, int bits, double *RESTRICT of_mean, double *RESTRICT of_variance) {
    const double own_factor = rounded(factor, bits);
    for (ptrdiff_t j = 0; j < n; j++) {
        of_mean[j] = rounded(mean[j], bits);
        of_variance[j] = rounded(rounded(variance[j], bits) * own_factor, bits);
    }
}

/* What a batch with these moments contributes to the moving mean and variance of at most TILE channels. */
static void ISA(contribute)(ptrdiff_t n, const Step *step, const double *RESTRICT mean, const double *RESTRICT variance,
                            Contribution *RESTRICT of_mean, Contribution *RESTRICT of_variance) {
    const double count = step->count, sum_unit = step->sum_unit, sum_smallest = step->sum_smallest;
    const double values = count > 1.0 ? count : 1.0;
    /* With weights, their products and their own sum are rounded, too. They may make all but one addition of full
     * size, where equal ones make a third of it. */
    const double roundings = step->weighted ? 2.0 * values + 3.0 : values;
    const double terms = step->weighted ? values : values / 3.0;
    /* More than 1e300 is as good as infinite, and gives 0 for moments of 0. */
    const double most = expm1((roundings + 3.0 * log(roundings) + 6.0) * sum_unit);
    const double growth = count > 0.0 ? (most < 1e300 ? most : 1e300) : NAN;
    const double factor = step->bessel && count > 1.0 ? count / (count - 1.0) : 1.0;
    const double root_terms = sqrt(terms + 4.0), root_count = sqrt(values), underflow = sum_smallest * (count + 4.0);
    for (ptrdiff_t j = 0; j < n; j++) {
        double m = mean[j], v = variance[j], root = sqrt(v), size = root_of_squares(m, v);
        double worst = growth * size + underflow;
        double error = ROUNDING * sum_unit * sqrt((terms + 2.0) * m * m + 0.5 * v);
        of_mean->moment[j] = m;
        of_mean->low[j] = of_variance->low[j] = 0.0;
        of_mean->worst[j] = worst;
        of_mean->linear[j] = 4.0 * sum_smallest;
        of_mean->standard[j] = error;
        of_variance->moment[j] = v;
        of_variance->worst[j] = worst * worst + 3.0 * worst * root + growth * (v + worst * worst) + underflow;
        of_variance->linear[j] = (step->deviations * error) * (step->deviations * error) + 4.0 * sum_smallest;
        of_variance->standard[j] = ROUNDING * sum_unit * v * root_terms + 2.0 * error * root / root_count;
    }
    if (step->squares) {
        /* The mean of the squares, the square of the mean and the difference of the two. */
        const double root_squares = sqrt(terms + 5.0);
        for (ptrdiff_t j = 0; j < n; j++) {
            double m = fabs(mean[j]), size = root_of_squares(m, variance[j]);
            double square = size * size, worst = of_mean->worst[j], rest = m + worst;
            of_variance->worst[j] =
                growth * square + worst * (m + rest) + 2.0 * sum_unit * (rest * rest + square) + underflow;
            of_variance->standard[j] = ROUNDING * sum_unit * square * root_squares + 2.0 * m * of_mean->standard[j];
        }
    }
    if (step->input_error > 0.0) {
        for (ptrdiff_t j = 0; j < n; j++) {
            double off = step->input_error * root_of_squares(mean[j], variance[j]);
            double of_square = off * (2.0 * sqrt(variance[j]) + off);
            of_mean->worst[j] += off;
            of_mean->linear[j] += off;
            of_variance->worst[j] += of_square;
            of_variance->linear[j] += of_square;
        }
    }
    if (step->bessel) {
        for (ptrdiff_t j = 0; j < n; j++) {
            double v = variance[j], low = 0.0, worst = factor * of_variance->worst[j];
            if (count > 1.0) {
                /* v + v / (N - 1) as a sum of two numbers. */
                double rest = v / (count - 1.0);
                low = fma(-rest, count - 1.0, v) / (count - 1.0);
                sum_of_two(v, rest, &v, &rest);
                low += rest;
            }
            of_variance->moment[j] = v;
            of_variance->low[j] = low;
            of_variance->worst[j] = worst + 4.0 * sum_unit * (v + worst);
            of_variance->standard[j] = factor * of_variance->standard[j] + 2.0 * ROUNDING * sum_unit * v;
            of_variance->linear[j] *= factor;
        }
    }
    if (step->sum_bits == 24)
        ISA(store_exact)(n, mean, variance, factor, 24, of_mean->exact, of_variance->exact);
    else
        ISA(store_exact)(n, mean, variance, factor, 53, of_mean->exact, of_variance->exact);
    if (step->bits < step->sum_bits) {
        for (int i = 0; i < 2; i++) {
            Contribution *RESTRICT of = i ? of_variance : of_mean;
            for (ptrdiff_t j = 0; j < n; j++) {
                double size = fabs(of->moment[j]), rounding = ROUNDING * step->unit * size;
                of->worst[j] += step->unit * (size + of->worst[j]) + step->smallest;
                of->linear[j] += step->smallest;
                of->standard[j] = root_of_squares(of->standard[j], rounding * rounding);
            }
        }
    }
}

/* One step of the figures of one statistic, but for the runs. The flags are constants where it is called, so that no
 * loop has a branch: whether the step moves the statistic at all, what it follows, and which recurrences are allowed.
 * Of a FIRST step neither the figures that are 0 before it are read nor those written that no bound is made of. */
static INLINED void ISA(carry)(ptrdiff_t n, const Step *step, int moves, int follows, int difference, int weighted,
                               const Contribution *RESTRICT batch, double *RESTRICT figures, ptrdiff_t ld) {
    double *RESTRICT values = figures, *RESTRICT lows = figures + VALUE_LOW_ROW * ld;
    double *RESTRICT worsts = figures + WORST_ROW * ld, *RESTRICT linears = figures + LINEAR_ROW * ld;
    double *RESTRICT coherents = figures + COHERENT_ROW * ld, *RESTRICT squares = figures + SQUARE_ROW * ld;
    double *RESTRICT batches = figures + BATCHES_ROW * ld;
    const double keep = step->keep, rate = step->rate, slack = step->slack, keep_slack = step->keep_slack;
    const double keep_low = step->keep_low, rate_low = step->rate_low;
    const double unit = step->unit, moved = rate + slack, underflow = 4.0 * step->smallest;
    double gaps[TILE], losses[TILE], roundings[TILE];
    for (ptrdiff_t j = 0; j < n; j++) {
        double old = values[j], moment = batch->moment[j], worst = batch->worst[j], error = worsts[j];
        double gap = old - moment, lost = 0.0, rounding = 0.0;
        if (difference) {
            lost = (slack + 3.0 * unit * moved) * (fabs(gap) + error + worst);
            rounding = 2.0 * (moved * gap) * (moved * gap);
        }
        if (weighted) {
            double held = fabs(old) + error, reach = fabs(moment) + worst;
            held = keep_slack * held + slack * reach + 3.0 * unit * ((keep + keep_slack) * held + moved * reach);
            /* NaN must stay NaN. */
            lost = lost > held ? lost : held;
            held = keep * keep * old * old + moved * moved * moment * moment;
            rounding = rounding > held ? rounding : held;
        }
        gaps[j] = gap;
        losses[j] = lost;
        roundings[j] = rounding;
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        /* keep value + rate moment, with twice the precision of a double (Dekker's double-double arithmetic). */
        double old = values[j], old_low = follows == FIRST ? 0.0 : lows[j], moment = batch->moment[j];
        double kept = old * keep, added = moment * rate, kept_low, added_low, first, high, low, rest, value;
        kept_low = fma(old, keep, -kept) + (old * keep_low + old_low * keep);
        added_low = fma(moment, rate, -added) + (moment * rate_low + batch->low[j] * rate);
        sum_of_two(kept, added, &first, &low);
        sum_of_two(kept_low, added_low, &added_low, &rest);
        sum_of_two(first, low + added_low, &high, &low);
        sum_of_two(high, low + rest, &value, &low);
        /* What is not finite stays so, as in the recurrence of TF 1.x. */
        old = old - gaps[j] * rate;
        values[j] = fabs(first) <= DBL_MAX ? value : old;
        if (follows != FIRST) {
            lows[j] = fabs(first) <= DBL_MAX ? low : 0.0;
            batches[j] = keep * batches[j] + rate * moment;
        }
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        double error = keep * worsts[j] + rate * batch->worst[j] + losses[j], of_linear = linears[j];
        /* Only a value that moves is rounded to storage. */
        if (moves)
            error += unit * (fabs(values[j]) + error) + underflow;
        /* Infinity times 0; where there is no value, there is no bound either. */
        worsts[j] = (error != error) & (fabs(values[j]) <= DBL_MAX) ? INFINITY : error;
        of_linear = keep * of_linear + rate * batch->linear[j] + slack * (fabs(gaps[j]) + of_linear);
        linears[j] = moves ? of_linear + underflow : of_linear;
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        double standard = rate * batch->standard[j], square = 0.0;
        if (follows != FIRST) {
            double error = coherents[j];
            square = keep * keep * (follows == SAME_BATCH ? squares[j] : squares[j] + error * error);
            standard += follows == SAME_BATCH ? keep * error : 0.0;
        }
        coherents[j] = standard;
        if (moves)
            square += ROUNDING * ROUNDING * unit * unit * (values[j] * values[j] + roundings[j]);
        squares[j] = square;
    }
}

static INLINED void ISA(carry_after)(ptrdiff_t n, const Step *step, int follows, const Contribution *RESTRICT batch,
                                     double *RESTRICT figures, ptrdiff_t ld) {
    const int difference = step->recurrence & DIFFERENCE_RECURRENCE, weighted = step->recurrence & WEIGHTED_RECURRENCE;
    if (!(step->rate + step->slack > 0.0))
        ISA(carry)(n, step, 0, follows, 1, 0, batch, figures, ld);
    else if (difference && weighted)
        ISA(carry)(n, step, 1, follows, 1, 1, batch, figures, ld);
    else if (weighted)
        ISA(carry)(n, step, 1, follows, 0, 1, batch, figures, ld);
    else
        ISA(carry)(n, step, 1, follows, 1, 0, batch, figures, ld);
}

/* A layer of one form on exact moments. */
static INLINED void ISA(run)(ptrdiff_t n, const Form *form, int weighted, int bits, int storage,
                             const double *RESTRICT exact, double *RESTRICT runs) {
    for (ptrdiff_t j = 0; j < n; j++) {
        double old = runs[j], layer = rounded(exact[j], bits);
        double sum = rounded(old * form->keep, bits) + rounded(layer * form->rate, bits);
        double moved = old - rounded(rounded(old - layer, bits) * form->rate, bits);
        runs[j] = rounded(rounded(weighted ? sum : moved, bits), storage);
    }
}

static INLINED void ISA(run_in)(ptrdiff_t n, const Form *form, int bits, int storage, const double *RESTRICT exact,
                                double *RESTRICT runs) {
    if (form->weighted)
        ISA(run)(n, form, 1, bits, storage, exact, runs);
    else
        ISA(run)(n, form, 0, bits, storage, exact, runs);
}

/* One step of all figures of one statistic. */
static INLINED void ISA(advance_one)(ptrdiff_t n, const Step *step, int follows, const Contribution *RESTRICT batch,
                             double *RESTRICT figures, ptrdiff_t ld) {
    ISA(carry_after)(n, step, follows, batch, figures, ld);
    for (int i = 0; i < step->form_count; i++) {
        const Form *form = &step->forms[i];
        double *RESTRICT runs = figures + (RUNS_ROW + i) * ld;
        if (step->bits == 24)
            ISA(run_in)(n, form, 24, 24, batch->exact, runs);
        else if (step->bits == 53)
            ISA(run_in)(n, form, 53, 53, batch->exact, runs);
        else if (step->bits == 11)
            ISA(run_in)(n, form, 11, 11, batch->exact, runs);
        else if (form->bits == 24)
            ISA(run_in)(n, form, 24, 8, batch->exact, runs);
        else
            ISA(run_in)(n, form, 8, 8, batch->exact, runs);
    }
}

/* Their first step, of values [channels]; what no bound is made of is not written. */
static void ISA(advance_first)(ptrdiff_t n, const Step *step, const double *RESTRICT values,
                               const Contribution *RESTRICT batch, double *RESTRICT figures, ptrdiff_t ld) {
    ISA(start_values)(n, values, step->bits, step->form_count, figures, ld);
    ISA(advance_one)(n, step, FIRST, batch, figures, ld);
}

static void ISA(advance_on)(ptrdiff_t n, const Step *step, int repeated, const Contribution *RESTRICT batch,
                            double *RESTRICT figures, ptrdiff_t ld) {
    if (repeated)
        ISA(advance_one)(n, step, SAME_BATCH, batch, figures, ld);
    else
        ISA(advance_one)(n, step, OTHER_BATCH, batch, figures, ld);
}

/* One step of the figures of the mean and of the variance of at most TILE channels. */
static void ISA(advance)(ptrdiff_t n, const Step *step, int repeated, const double *mean, const double *variance,
                         double *mean_figures, double *variance_figures, ptrdiff_t ld) {
    Contribution of_mean, of_variance;
    double *RESTRICT bessel = variance_figures + BESSEL_ROW * ld;
    ISA(contribute)(n, step, mean, variance, &of_mean, &of_variance);
    for (ptrdiff_t j = 0; j < n; j++)
        bessel[j] *= step->keep;
    if (step->count > 1.0)
        for (ptrdiff_t j = 0; j < n; j++)
            bessel[j] += step->rate * variance[j] / (step->count - 1.0);
    ISA(advance_on)(n, step, repeated, &of_mean, mean_figures, ld);
    ISA(advance_on)(n, step, repeated, &of_variance, variance_figures, ld);
}

/* The same for one step from these values, from which the bounds alone are to be made. */
static void ISA(predict)(ptrdiff_t n, const Step *step, const double *mean, const double *variance,
                         const double *mean_before, const double *variance_before, double *mean_figures,
                         double *variance_figures, ptrdiff_t ld) {
    Contribution of_mean, of_variance;
    ISA(contribute)(n, step, mean, variance, &of_mean, &of_variance);
    ISA(advance_first)(n, step, mean_before, &of_mean, mean_figures, ld);
    ISA(advance_first)(n, step, variance_before, &of_variance, variance_figures, ld);
}

/* The expected error and the worst case of one statistic. */
static void ISA(bounds)(ptrdiff_t n, int form_count, double deviations, const double *RESTRICT figures, ptrdiff_t ld,
                        double *RESTRICT expected, double *RESTRICT worst) {
    const double *RESTRICT values = figures, *RESTRICT worsts = figures + WORST_ROW * ld;
    const double *RESTRICT linears = figures + LINEAR_ROW * ld, *RESTRICT coherents = figures + COHERENT_ROW * ld;
    const double *RESTRICT squares = figures + SQUARE_ROW * ld;
    for (ptrdiff_t j = 0; j < n; j++)
        expected[j] = 0.0;
    for (ptrdiff_t row = RUNS_ROW; row < RUNS_ROW + form_count; row++)
        for (ptrdiff_t j = 0; j < n; j++) {
            double drift = fabs(figures[row * ld + j] - values[j]);
            expected[j] = drift > expected[j] || drift != drift ? drift : expected[j];
        }
    for (ptrdiff_t j = 0; j < n; j++) {
        double total = linears[j] + deviations * root_of_squares(coherents[j], squares[j]) + 2.0 * expected[j];
        /* Beyond 1e150 the expected error may be NaN, as infinity times 0. */
        expected[j] = worsts[j] < total || total != total ? worsts[j] : total;
        worst[j] = worsts[j];
    }
}

/* The largest of at most TILE values, at least 0, none of which is NaN. */
static INLINED double ISA(largest_of)(ptrdiff_t n, const double *RESTRICT values) {
    double lanes[8] = {0.0}, largest = 0.0;
    ptrdiff_t j = 0;
    for (; j + 8 <= n; j += 8)
        for (int i = 0; i < 8; i++)
            lanes[i] = values[j + i] > lanes[i] ? values[j + i] : lanes[i];
    for (; j < n; j++)
        lanes[0] = values[j] > lanes[0] ? values[j] : lanes[0];
    for (int i = 0; i < 8; i++)
        largest = lanes[i] > largest ? lanes[i] : largest;
    return largest;
}

/* The errors of at most TILE channels in units of their bounds; infinite where an error is not within its bound, or
 * something is not finite. */
static INLINED void ISA(shares_of)(ptrdiff_t n, const double *RESTRICT observed, const double *RESTRICT expected,
                                   const double *RESTRICT bound, double *RESTRICT shares) {
    for (ptrdiff_t j = 0; j < n; j++) {
        double error = fabs(observed[j] - expected[j]), allowed = bound[j];
        double share = error / allowed;
        /* An exact value is no error, even where none is allowed. */
        share = error > 0.0 ? share : 0.0;
        shares[j] = (error <= allowed) & (allowed <= DBL_MAX) ? share : INFINITY;
    }
}

/* The largest of these; NaN if one is not finite. */
static double ISA(largest_share)(ptrdiff_t n, const double *RESTRICT observed, const double *RESTRICT expected,
                                 const double *RESTRICT bound) {
    double shares[TILE], largest = 0.0;
    for (ptrdiff_t first = 0; first < n; first += TILE) {
        ptrdiff_t width = n - first < TILE ? n - first : TILE;
        double of_tile;
        ISA(shares_of)(width, observed + first, expected + first, bound + first, shares);
        of_tile = ISA(largest_of)(width, shares);
        largest = of_tile > largest ? of_tile : largest;
    }
    return largest <= DBL_MAX ? largest : NAN;
}

/* The first channel that has it; -1 if one is not finite. */
static ptrdiff_t ISA(worst_channel)(ptrdiff_t n, const double *RESTRICT observed, const double *RESTRICT expected,
                                    const double *RESTRICT bound) {
    double shares[TILE], largest = -1.0;
    ptrdiff_t worst = -1;
    for (ptrdiff_t first = 0; first < n; first += TILE) {
        ptrdiff_t width = n - first < TILE ? n - first : TILE;
        ISA(shares_of)(width, observed + first, expected + first, bound + first, shares);
        for (ptrdiff_t j = 0; j < width; j++)
            if (shares[j] > largest) {
                largest = shares[j];
                worst = first + j;
            }
    }
    return largest <= DBL_MAX ? worst : -1;
}

/* What a step shows about its rate and about the multiple k of the batch's variance, for at most TILE channels.
 *
 * in: mean and variance of the batch, moving mean before and after, moving variance before and after.
 * out: the way to the batch's mean and what the moving mean moved, each in units of the bound of the latter; what the
 * moving variance moved, what it was and the batch's, each times the latter over the square of its bound.
 * Returns whether all is finite. ratio: set to the largest |mean| in deviations; infinite where one is no number. */
static int ISA(terms)(ptrdiff_t n, const Terms *terms, const double *const *in, double *const *out, double *ratio) {
    const double *RESTRICT mean = in[0], *RESTRICT variance = in[1], *RESTRICT mean_before = in[2];
    const double *RESTRICT mean_after = in[3], *RESTRICT before = in[4], *RESTRICT after = in[5];
    double *RESTRICT ways = out[0], *RESTRICT moves = out[1], *RESTRICT changes = out[2], *RESTRICT olds = out[3];
    double *RESTRICT batches = out[4];
    const double unit = 4.0 * terms->unit, sums = terms->sums;
    double ratios[TILE], bad[TILE];
    for (ptrdiff_t j = 0; j < n; j++) {
        double m = mean[j], v = variance[j], a0 = mean_before[j], a1 = mean_after[j], deviation = sqrt(v);
        double bound = unit * (fabs(a0) + fabs(a1)) + sums * sqrt(m * m + v) * 0.1 + 1e-300;
        double way = m - a0, moved = a1 - a0, relative = fabs(m) / deviation;
        double b0 = before[j], b1 = after[j], of_deviations = sums * (v + fabs(m) * deviation) * 0.1;
        double lost = terms->squares ? sums * (v + m * m) : of_deviations;
        double of_variance = unit * (fabs(b0) + fabs(b1)) + lost + 1e-300, weight = v / (of_variance * of_variance);
        int finite = (fabs(way) <= DBL_MAX) & (fabs(moved) <= DBL_MAX) & (bound <= DBL_MAX);
        ways[j] = way / bound;
        moves[j] = moved / bound;
        changes[j] = weight * (b1 - b0);
        olds[j] = weight * b0;
        batches[j] = weight * v;
        ratios[j] = relative <= DBL_MAX ? relative : INFINITY;
        finite &= (fabs(b0) <= DBL_MAX) & (fabs(b1) <= DBL_MAX) & (v <= DBL_MAX) & (of_variance <= DBL_MAX);
        bad[j] = finite ? 0.0 : 1.0;
    }
    *ratio = ISA(largest_of)(n, ratios);
    return ISA(largest_of)(n, bad) == 0.0;
}

static const Kernels ISA(kernels) = {ISA_NAME,    ISA(start),         ISA(advance), ISA(predict),
                                     ISA(bounds), ISA(largest_share), ISA(worst_channel), ISA(terms)};
