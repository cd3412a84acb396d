/* Where numbers stand on an axis. No libm: powers of ten are products, so that ticks are the same
 * on every machine. */
#include <math.h>
#include <stdio.h>

#include "report/plot.h"

enum { kMostDecimals = 6 };

static const double kLargestPlain = 1e6; /* from here with an exponent */

/* 10^k * (1, 2 or 5): the i-th of them, i = 3 k + (0, 1, 2). */
static double step_at(int i) {
    static const double lead[3] = {1.0, 2.0, 5.0};
    int third = ((i % 3) + 3) % 3, k = (i - third) / 3;
    double power = 1.0;

    for (int j = 0; j < (k < 0 ? -k : k); j++) power *= 10.0;
    return k < 0 ? lead[third] / power : lead[third] * power;
}

/* Ticks within lo .. hi, where a border that is missed by rounding counts as met. */
static double count_ticks(double lo, double hi, double step, double *first) {
    const double slack = 1e-9;

    *first = ceil(lo / step - slack);
    return floor(hi / step + slack) - *first + 1.0;
}

sg_plot_ticks sg_plot_ticks_choose(double lo, double hi, int most, bool whole) {
    sg_plot_ticks ticks = {0};
    double first = 0.0, count;
    int i = -3 * 300;

    /* start below: with a tick at most every (hi - lo) / most */
    while (i < 3 * 300 && step_at(i) * most < hi - lo) i++;
    if (i > -3 * 300) i--;
    if (whole && i < 0) i = 0;
    while (count_ticks(lo, hi, step_at(i), &first) > most && i < 3 * 300) i++;
    ticks.step = step_at(i);
    count = count_ticks(lo, hi, ticks.step, &first);
    if (!(fabs(first) < 9e15) || !(count >= 1.0) || count > most) { /* beyond what doubles tell */
        ticks.decimals = -1;
        return ticks;
    }
    ticks.first = (int64_t)first;
    ticks.count = (int)count;
    ticks.decimals = i >= 0 ? 0 : (2 - i) / 3;
    if (ticks.decimals > kMostDecimals || fabs(lo) >= kLargestPlain || fabs(hi) >= kLargestPlain)
        ticks.decimals = -1;
    return ticks;
}

void sg_plot_tick_text(const sg_plot_ticks *ticks, int i, char *text, size_t size) {
    double value = ticks->step * (double)(ticks->first + i);

    if (ticks->first + i == 0)
        snprintf(text, size, "0");
    else if (ticks->decimals < 0)
        snprintf(text, size, "%.5g", value);
    else
        snprintf(text, size, "%.*f", ticks->decimals, value);
}
