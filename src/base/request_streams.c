#include "base/request_streams.h"

static struct request_stream *find(struct request_streams *streams, const char *method, const char *route,
                                   unsigned status)
{
    uint32_t n = atomic_load_explicit(&streams->n, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++) {
        struct request_stream *stream = &streams->list[i];
        if (stream->status == status && stream->route == route && stream->method == method)
            return stream;
    }
    if (n == REQUEST_STREAMS)
        return &streams->list[n - 1];
    struct request_stream *stream = &streams->list[n];
    if (n < REQUEST_STREAMS - 1) {
        stream->method = method;
        stream->route = route;
        stream->status = status;
    }
    stream->duration.exponential = streams->exponential;
    atomic_store_explicit(&streams->n, n + 1, memory_order_release);
    return stream;
}

void request_streams_record(struct request_streams *streams, const char *method, const char *route, unsigned status,
                            double seconds)
{
    histogram_record(&find(streams, method, route, status)->duration, seconds);
}

uint32_t request_streams_count(const struct request_streams *streams)
{
    return atomic_load_explicit(&streams->n, memory_order_acquire);
}
