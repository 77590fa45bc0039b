/* What a log record costs: recorded (the loop's side) and turned into a line (the export thread's side). Prints the
 * median over rounds, in nanoseconds. */
#include "rounds.h"

#include "base/log.h"
#include "telemetry/log_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 201
#define RECORDS 5000 /* a round; they fit into the queue */

struct sample {
    const char *what;
    const char *address;
};

static void record_outbound(struct log *log, const struct ip_addr *addr)
{
    static const uint8_t name[] = "\5files\15pythonhosted\3org";
    if (!log_begin(log, LOG_INFO, LOG_OUTBOUND, "egress outbound"))
        abort();
    log_name(log, "target.host", name, sizeof(name));
    log_ips(log, "target.ips", addr, 1);
    log_int(log, "latency_ms", 12);
    log_end(log);
}

static void measure(struct log *log, struct log_json *json, const struct sample *sample)
{
    static double recording[ROUNDS], formatting[ROUNDS];
    struct buf lines = {0};
    struct ip_addr addr;
    if (ip_parse(sample->address, &addr))
        abort();
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < RECORDS; i++)
            record_outbound(log, &addr);
        double recorded = now_ns();
        buf_clear(&lines);
        struct log_record record;
        for (; log_peek(log, &record); log_pop(log))
            log_json_line(json, record, &lines);
        double formatted = now_ns();
        recording[round] = (recorded - start) / RECORDS;
        formatting[round] = (formatted - recorded) / RECORDS;
    }
    printf("%s: record %.1f ns, line of %zu bytes %.1f ns\n", sample->what, median(recording, ROUNDS),
           lines.len / RECORDS, median(formatting, ROUNDS));
    buf_done(&lines);
}

int main(void)
{
    static const struct sample samples[] = {
        {"egress.outbound, IPv4", "192.0.2.10"},
        {"egress.outbound, IPv6", "2001:db8:85a3::8a2e:370:7334"},
    };
    static const struct attribute sandbox = {"sandbox_id", "sbx-0123456789abcdef"};
    struct log *log;
    struct log_json json;
    if (log_new(1 << 20, LOG_INFO, &log) || log_json_init(&json, &sandbox, 1))
        return EXIT_FAILURE;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
        measure(log, &json, &samples[i]);
    log_json_done(&json);
    log_free(log);
    return EXIT_SUCCESS;
}
