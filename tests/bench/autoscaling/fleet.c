/* A fleet of pods behind a plain Service, request by request; `fleet.py` tells what each number is.

   A pod depends on its own arrivals only, so there is no queue of events: each pod is brought up to a moment when somebody
   looks at it, and the whole fleet goes from scrape to scrape. About 30 ns a request. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pod.h"

static struct pod *choose(struct fleet *f, double at)
{
    uint64_t draw = xoshiro(f->choices), n = (uint64_t)f->ready_count;
    struct pod *one = &f->pods[f->ready[((draw >> 32) * n) >> 32]], *other;
    bring(f, one, at);
    if (!f->set.least_loaded || n < 2)
        return one;
    other = &f->pods[f->ready[((draw & 0xffffffffu) * n) >> 32]];
    bring(f, other, at);
    return other->running + other->count < one->running + one->count ? other : one;
}

static void arrive(struct fleet *f, double at)
{
    struct pod *p;
    f->arrived++;
    f->total[(int64_t)(at / 60.0)]++;
    if (!f->ready_count) {
        f->refused++;
        return;
    }
    p = choose(f, at);
    p->received += 1.0;
    if (p->count >= f->set.queue_bound && (p->running || p->count)) {
        f->refused++;
        return;
    }
    p->queue[(p->head + p->count) & (f->places - 1)] = at;
    p->count++;
    if (!p->running)
        bring(f, p, at);
}

static void arrivals_until(struct fleet *f, double to)
{
    while (f->now < to) {
        int64_t second = (int64_t)f->now;
        double rate = second < f->seconds ? f->rate[second] : 0.0, end = (double)(second + 1);
        if (end > to)
            end = to;
        for (;;) {
            double left = rate * (end - f->now);
            if (f->unit > left) {
                f->unit -= left;
                break;
            }
            f->now += f->unit / rate;
            f->unit = -log(uniform(f->arrivals));
            if (f->now >= end) /* rounding */
                f->now = nextafter(end, 0.0);
            arrive(f, f->now);
        }
        f->now = end;
    }
}

static void look(struct fleet *f)
{ /* pods that became ready, scrapes and seconds that are due; and when the next of them is */
    double next = f->next_second;
    for (int64_t i = 0; i < f->slots; i++) {
        struct pod *p = &f->pods[i];
        if (!p->used)
            continue;
        if (p->deleted_at < NEVER) {
            if (p->deleted_at + LINGER < f->now) {
                p->used = 0;
                f->closed_integral += p->integral;
            }
            continue;
        }
        if (p->ready_at <= f->now && p->ready_at >= 0.0) {
            p->now = f->now;
            f->ready[f->ready_count++] = i;
            p->ready_at = -1.0 - p->ready_at; /* in ready[] now */
        }
        if (p->next_scrape <= f->now) {
            struct sample *s = &p->ring[p->samples++ % SAMPLES];
            bring(f, p, f->now);
            s->time = f->now;
            s->received = p->received;
            s->queued = (double)p->count;
            s->load = (double)(p->count + p->running);
            s->busy = busy_until(p, f->now);
            p->next_scrape += f->set.scrape;
        }
        if (p->next_scrape < next)
            next = p->next_scrape;
        if (p->ready_at >= 0.0 && p->ready_at < next)
            next = p->ready_at;
    }
    f->until = next;
}

static void second(struct fleet *f)
{
    double integral = f->closed_integral;
    int64_t index = (int64_t)f->next_second - 1;
    for (int64_t i = 0; i < f->slots; i++)
        if (f->pods[i].used) {
            if (f->pods[i].ready_at < 0.0 && f->pods[i].deleted_at == NEVER)
                bring(f, &f->pods[i], f->now);
            integral += f->pods[i].integral;
        }
    if (index < f->seconds) {
        f->concurrency[index] = (float)(integral - f->last_integral);
        f->count[index] = (float)f->created_count;
        f->ready_series[index] = (float)f->ready_count;
    }
    f->last_integral = integral;
    f->next_second += 1.0;
}

void fleet_advance(struct fleet *f, double to)
{
    while (f->now < to) {
        double from = f->now, end;
        look(f);
        end = f->until < to ? f->until : to;
        if (end > f->now)
            arrivals_until(f, end);
        if (f->now > f->set.judge_from)
            f->replica_seconds += (double)f->created_count * (f->now - (from > f->set.judge_from ? from : f->set.judge_from));
        if (f->now >= f->next_second)
            second(f);
    }
    look(f);
}

int64_t fleet_add(struct fleet *f, double load)
{
    int64_t slot = 0;
    struct pod *p;
    double *queue;
    uint64_t seed;
    while (slot < f->slots && f->pods[slot].used)
        slot++;
    if (slot == SLOTS)
        return -1;
    if (slot == f->slots)
        f->slots++;
    p = &f->pods[slot];
    queue = p->queue ? p->queue : malloc((size_t)f->places * sizeof *queue);
    if (!queue)
        return -1;
    memset(p, 0, sizeof *p);
    p->queue = queue;
    p->used = 1;
    p->created = p->now = f->now;
    p->ready_at = f->now + load;
    p->deleted_at = NEVER;
    seed = (uint64_t)f->set.seed * 1000003u + (uint64_t)(f->now * 64.0) * 1009u + (uint64_t)slot;
    p->next_scrape = f->now + load * f->set.metrics + f->set.scrape * (double)(split(&seed) >> 11) * 0x1p-53;
    f->created_count++;
    look(f);
    return slot;
}

void fleet_remove(struct fleet *f, int64_t slot)
{
    struct pod *p = &f->pods[slot];
    for (int64_t i = 0; i < f->ready_count; i++)
        if (f->ready[i] == slot) {
            memmove(&f->ready[i], &f->ready[i + 1], (size_t)(--f->ready_count - i) * sizeof f->ready[0]);
            break;
        }
    bring(f, p, NEVER); /* it finishes what it has */
    p->deleted_at = f->now;
    f->created_count--;
}

void fleet_scale(struct fleet *f, int64_t count)
{
    while (f->created_count < count)
        if (fleet_add(f, f->set.load) < 0)
            return;
    while (f->created_count > count) { /* as a ReplicaSet: those that are not ready first, then the youngest */
        int64_t worst = -1;
        for (int64_t i = 0; i < f->slots; i++) {
            struct pod *p = &f->pods[i], *w = worst < 0 ? NULL : &f->pods[worst];
            int unready = p->ready_at >= 0.0;
            if (!p->used || p->deleted_at < NEVER)
                continue;
            if (!w || (unready && w->ready_at < 0.0) || (unready == (w->ready_at >= 0.0) && p->created >= w->created))
                worst = i;
        }
        fleet_remove(f, worst);
    }
}

double fleet_counter_rate(const struct sample *ring, int64_t samples, double at, double window)
{ /* rate(received[window]) of one pod as Prometheus' extrapolatedRate has it; -1 with fewer than two samples in it */
    const struct sample *first = NULL, *last = NULL;
    int64_t n = 0, from = samples > SAMPLES ? samples - SAMPLES : 0;
    double rise, sampled, average, to_start, to_end, to_zero;
    for (int64_t i = from; i < samples; i++) {
        const struct sample *s = &ring[i % SAMPLES];
        if (s->time < at - window || s->time > at)
            continue;
        if (!first)
            first = s;
        last = s;
        n++;
    }
    if (n < 2)
        return -1.0;
    rise = last->received - first->received;
    sampled = last->time - first->time;
    average = sampled / (double)(n - 1);
    to_start = first->time - (at - window);
    to_end = at - last->time;
    if (to_start >= 1.1 * average)
        to_start = average / 2.0;
    if (rise > 0.0) {
        to_zero = sampled * (first->received / rise);
        if (to_zero < to_start)
            to_start = to_zero;
    }
    if (to_end >= 1.1 * average)
        to_end = average / 2.0;
    return rise * (sampled + to_start + to_end) / sampled / window;
}

double fleet_rate(const struct fleet *f, double window)
{ /* sum(rate(received[window])); -1 where no pod has two samples in it */
    double sum = -1.0;
    for (int64_t i = 0; i < f->slots; i++) {
        const struct pod *p = &f->pods[i];
        double rate = p->used ? fleet_counter_rate(p->ring, p->samples, f->now, window) : -1.0;
        if (rate >= 0.0)
            sum = (sum < 0.0 ? 0.0 : sum) + rate;
    }
    return sum;
}

static const struct sample *newest(const struct pod *p, int64_t back)
{
    return p->samples > back ? &p->ring[(p->samples - 1 - back) % SAMPLES] : NULL;
}

double fleet_gauge(const struct fleet *f, int64_t which)
{ /* sum of the last samples of pods that are there: 0 requests that wait, 1 those and the ones that run */
    double sum = 0.0;
    for (int64_t i = 0; i < f->slots; i++) {
        const struct sample *s = newest(&f->pods[i], 0);
        if (f->pods[i].used && f->pods[i].deleted_at == NEVER && s)
            sum += which ? s->load : s->queued;
    }
    return sum;
}

int64_t fleet_busy(const struct fleet *f, double *busy, double *ready_since, double *sampled)
{ /* of each pod: busy share between its last two samples (-1: it has none), since when ready (-1: not), last sample */
    int64_t n = 0;
    for (int64_t i = 0; i < f->slots; i++) {
        const struct pod *p = &f->pods[i];
        const struct sample *last = newest(p, 0), *before = newest(p, 1);
        if (!p->used || p->deleted_at < NEVER)
            continue;
        busy[n] = before ? (last->busy - before->busy) / (last->time - before->time) : -1.0;
        ready_since[n] = p->ready_at < 0.0 ? -1.0 - p->ready_at : -1.0;
        sampled[n] = last ? last->time : -1.0;
        n++;
    }
    return n;
}

struct fleet *fleet_new(const struct settings *set, const double *rate, int64_t seconds)
{
    struct fleet *f = calloc(1, sizeof *f);
    uint64_t seed = (uint64_t)set->seed;
    int64_t minutes = seconds / 60 + 2;
    if (!f)
        return NULL;
    f->set = *set;
    f->rate = rate;
    f->seconds = seconds;
    f->next_second = 1.0;
    for (f->places = 2; f->places < set->queue_bound + 2;)
        f->places *= 2;
    for (int i = 0; i < 4; i++)
        f->arrivals[i] = split(&seed);
    for (int i = 0; i < 4; i++)
        f->choices[i] = split(&seed);
    for (int i = 0; i < 4; i++)
        f->runs[i] = split(&seed);
    f->unit = -log(uniform(f->arrivals));
    f->total = calloc((size_t)minutes, sizeof *f->total);
    f->good = calloc((size_t)minutes, sizeof *f->good);
    f->concurrency = calloc((size_t)seconds + 1, sizeof *f->concurrency);
    f->count = calloc((size_t)seconds + 1, sizeof *f->count);
    f->ready_series = calloc((size_t)seconds + 1, sizeof *f->ready_series);
    return f;
}

void fleet_free(struct fleet *f)
{
    for (int64_t i = 0; i < SLOTS; i++)
        free(f->pods[i].queue);
    free(f->total);
    free(f->good);
    free(f->concurrency);
    free(f->count);
    free(f->ready_series);
    free(f);
}

int64_t fleet_created(const struct fleet *f) { return f->created_count; }
int64_t fleet_ready(const struct fleet *f) { return f->ready_count; }

int64_t fleet_in_system(struct fleet *f)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < f->slots; i++)
        if (f->pods[i].used && f->pods[i].deleted_at == NEVER) {
            if (f->pods[i].ready_at < 0.0)
                bring(f, &f->pods[i], f->now);
            sum += f->pods[i].running + f->pods[i].count;
        }
    return sum;
}

void fleet_totals(const struct fleet *f, double out[5])
{
    out[0] = (double)f->arrived;
    out[1] = (double)f->refused;
    out[2] = (double)f->answered;
    out[3] = f->waited;
    out[4] = f->replica_seconds;
}

const int64_t *fleet_total(const struct fleet *f) { return f->total; }
const int64_t *fleet_good(const struct fleet *f) { return f->good; }
const float *fleet_concurrency(const struct fleet *f) { return f->concurrency; }
const float *fleet_counts(const struct fleet *f) { return f->count; }
const float *fleet_readies(const struct fleet *f) { return f->ready_series; }
