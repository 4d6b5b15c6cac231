/* What is known of a pod and of the fleet, and how a pod works off its requests. */

#include <math.h>
#include <stdint.h>

#include "draw.h"

#define SLOTS 512  /* pods at once, those included whose last samples Prometheus still sees */
#define SAMPLES 16 /* kept of each pod */
#define LINGER 120.0
#define NEVER INFINITY

struct settings {
    double fixed, per_sample, max_delay, variation, target, load, metrics, scrape, judge_from;
    int64_t max_batch, queue_bound, least_loaded, seed;
};

struct sample {
    double time, received, queued, load, busy;
};

struct pod {
    int used;
    double created, metrics_at, ready_at, deleted_at;
    double now, free_at, busy, integral;
    int64_t running, head, count;
    double received;
    double next_scrape;
    int64_t samples;
    struct sample ring[SAMPLES];
    double *queue;
};

struct fleet {
    struct settings set;
    double now, until, unit, next_second;
    const double *rate; /* req/s of each second */
    int64_t seconds;
    uint64_t arrivals[4], choices[4], runs[4];
    int64_t slots, places; /* used part of pods[]; places in a pod's ring of requests, a power of two */
    struct pod pods[SLOTS];
    int64_t ready[SLOTS], ready_count, created_count;
    double replica_seconds;
    int64_t arrived, refused, answered;
    double waited; /* seconds of all answered requests, from arrival to answer */
    double closed_integral; /* of pods that are gone */
    int64_t *total, *good; /* by minute of arrival */
    float *concurrency, *count, *ready_series; /* by second: mean in the system, pods, ready pods */
    double last_integral;
};

static double run_time(struct fleet *f, int64_t samples)
{
    double time = f->set.fixed + f->set.per_sample * (double)samples, v = f->set.variation;
    if (v > 0.0) { /* log-normal with a mean of one */
        double normal = sqrt(-2.0 * log(uniform(f->runs))) * cos(6.283185307179586 * uniform(f->runs));
        double sigma = sqrt(log(1.0 + v));
        time *= exp(sigma * normal - sigma * sigma / 2.0);
    }
    return time;
}

static void pass(struct pod *p, double to)
{
    p->integral += (double)(p->running + p->count) * (to - p->now);
    p->now = to;
}

static void start_run(struct fleet *f, struct pod *p)
{
    int64_t size = p->count < f->set.max_batch ? p->count : f->set.max_batch;
    double time = run_time(f, size), end = p->now + time;
    for (int64_t each = 0; each < size; each++) {
        double arrival = p->queue[p->head];
        p->head = (p->head + 1) & (f->places - 1);
        f->good[(int64_t)(arrival / 60.0)] += end - arrival <= f->set.target;
        f->waited += end - arrival;
    }
    p->count -= size;
    p->running = size;
    p->busy += time;
    p->free_at = end;
}

static void bring(struct fleet *f, struct pod *p, double to)
{
    for (;;) {
        if (p->running) {
            if (p->free_at > to)
                break;
            pass(p, p->free_at);
            f->answered += p->running;
            p->running = 0;
        }
        if (!p->count)
            break;
        if (f->set.max_delay > 0.0 && p->count < f->set.max_batch) {
            double start = p->queue[p->head] + f->set.max_delay;
            if (start > to)
                break;
            if (start > p->now)
                pass(p, start);
        }
        start_run(f, p);
    }
    if (to > p->now && to < NEVER)
        pass(p, to);
}

static double busy_until(const struct pod *p, double at)
{
    return p->busy - (p->running && p->free_at > at ? p->free_at - at : 0.0);
}
