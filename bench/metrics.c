/* What recording a measurement costs the thread that makes it, with and without somebody who reads. Prints the median
 * over rounds, in nanoseconds. */
#include "rounds.h"

#include "base/metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 201
#define RECORDS 20000 /* a round */
#define DURATIONS 1024

static struct metrics metrics;
static double durations[DURATIONS];
static atomic_bool stop;

static void count(size_t i)
{
    metric_add(&metrics, metric_dns_queries(DNS_ALLOWED, (enum dns_transport)(i % DNS_TRANSPORTS)), 1);
}

static void record(size_t i)
{
    histogram_record(&metrics.dns_query_duration, durations[i % DURATIONS]);
}

static void measure(const char *what, void (*once)(size_t i))
{
    static double rounds[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (size_t i = 0; i < RECORDS; i++)
            once(i);
        rounds[round] = (now_ns() - start) / RECORDS;
    }
    double middle = median(rounds, ROUNDS);
    printf("%s: %.1f ns (%.1f .. %.1f)\n", what, middle, rounds[0], rounds[ROUNDS - 1]);
}

/* A thousand times as often as anybody collects. */
static void *read_often(void *arg)
{
    while (!stop) {
        histogram_take(&metrics.dns_query_duration);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return NULL;
}

int main(void)
{
    /* Most answers take a millisecond or less, some much longer. */
    srand(1);
    for (size_t i = 0; i < DURATIONS; i++)
        durations[i] = (i % 16 ? 1e-6 : 1e-3) * (1 + rand() % 1000);
    measure("counter", count);
    measure("histogram, explicit buckets", record);
    metrics.dns_query_duration.exponential = true;
    measure("histogram, exponential buckets as well", record);
    pthread_t reader;
    if (pthread_create(&reader, NULL, read_often, NULL))
        return EXIT_FAILURE;
    measure("the same, read every millisecond", record);
    stop = true;
    pthread_join(reader, NULL);
    return EXIT_SUCCESS;
}
