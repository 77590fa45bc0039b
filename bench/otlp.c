/* What a log record costs on its way into an OTLP request: encoded directly, and, for comparison, packed by protobuf-c
 * from messages that were built before (which is the least a way through such messages can cost). Prints the median
 * over rounds, in nanoseconds per record. */
#include "rounds.h"

#include "base/log.h"
#include "telemetry/otlp_frame.h"
#include "telemetry/otlp_json.h"
#include "telemetry/otlp_logs.h"

#include "telemetry/otlp.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 201
#define RECORDS 512 /* a batch */

static void record_outbound(struct log *log)
{
    static const uint8_t name[] = "\5files\15pythonhosted\3org";
    struct ip_addr addr;
    if (ip_parse("192.0.2.10", &addr) || !log_begin(log, LOG_INFO, LOG_OUTBOUND, "egress outbound"))
        abort();
    log_name(log, "target.host", name, sizeof(name));
    log_ips(log, "target.ips", &addr, 1);
    log_end(log);
}

static void measure(struct log *log, struct otlp_logs *logs, const struct otlp_frame *frame)
{
    static double encoding[ROUNDS], packing[ROUNDS], walking[ROUNDS];
    struct buf records = {0}, request = {0}, json = {0};
    for (int round = 0; round < ROUNDS; round++) {
        struct log_record record;
        for (int i = 0; i < RECORDS; i++)
            record_outbound(log);
        buf_clear(&records);
        buf_clear(&request);
        buf_clear(&json);
        double start = now_ns();
        for (; log_peek(log, &record); log_pop(log))
            otlp_logs_record(logs, record, record.time_ns, &records);
        otlp_frame_wrap(frame, records.data, records.len, &request);
        double encoded = now_ns();
        const ProtobufCMessageDescriptor *type = &otlp__export_logs_service_request__descriptor;
        ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, request.len, (uint8_t *)request.data);
        uint8_t *packed = malloc(request.len);
        if (!message || !packed)
            abort();
        double built = now_ns();
        if (protobuf_c_message_pack(message, packed) != request.len)
            abort();
        double repacked = now_ns();
        if (otlp_json(type, request.data, request.len, &json))
            abort();
        walking[round] = now_ns() - repacked;
        encoding[round] = encoded - start;
        packing[round] = repacked - built;
        protobuf_c_message_free_unpacked(message, NULL);
        free(packed);
    }
    printf("egress.outbound: %zu bytes, direct %.0f ns, protobuf_c_message_pack alone %.0f ns, JSON %.0f ns more\n",
           request.len / RECORDS, median(encoding, ROUNDS) / RECORDS, median(packing, ROUNDS) / RECORDS,
           median(walking, ROUNDS) / RECORDS);
    buf_done(&records);
    buf_done(&request);
    buf_done(&json);
}

int main(void)
{
    static const struct attribute sandbox = {"sandbox_id", "sbx-0123456789abcdef"};
    static const struct metric_attribute resource = {.key = "service.name", .text = "opensandbox-egress-0.1.0"};
    struct log *log;
    struct otlp_logs logs;
    struct otlp_frame frame;
    if (log_new(1 << 20, LOG_INFO, &log) || otlp_logs_init(&logs, &sandbox, 1) ||
        otlp_frame_init(&frame, &resource, 1, "opensandbox/egress", "0.1.0"))
        return EXIT_FAILURE;
    measure(log, &logs, &frame);
    otlp_frame_done(&frame);
    otlp_logs_done(&logs);
    log_free(log);
    return EXIT_SUCCESS;
}
