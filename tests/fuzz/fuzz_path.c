/* The whole path of a query. The input is a script: clients ask over UDP and TCP, well or badly, upstreams answer or
 * say what nobody asked for, time passes, policies change, the kernel refuses. path_checks.h says what must hold. */
#include "base/wire.h"

#include "path_world.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A query that is well made. */
static size_t make_query(struct script *script, uint8_t *ret)
{
    static const char *const names[] = {"\1a\4test",    "\1A\4TeSt", "\1c\1b\4test",    "\1b\4test",
                                        "\4evil\4test", "",          "\7nothing\4test", "\1x\1y\1b\4test"};
    static const uint16_t types[] = {LDNS_RR_TYPE_A,   LDNS_RR_TYPE_AAAA, LDNS_RR_TYPE_A,     LDNS_RR_TYPE_TXT,
                                     LDNS_RR_TYPE_ANY, LDNS_RR_TYPE_NULL, LDNS_RR_TYPE_CNAME, LDNS_RR_TYPE_SVCB};
    uint8_t which = script_u8(script), how = script_u8(script);
    const char *name = names[which % 8];
    size_t len = DNS_HEADER_SIZE + strlen(name) + 1;
    memset(ret, 0, DNS_HEADER_SIZE);
    wire_store16(ret, ++path.ids);
    ret[2] = LDNS_RD_MASK;
    ret[5] = 1;
    memcpy(ret + DNS_HEADER_SIZE, name, strlen(name) + 1);
    wire_store16(ret + len, types[which / 8 % 8]);
    wire_store16(ret + len + 2, LDNS_RR_CLASS_IN);
    len += 4;
    if (how & 1) {
        static const uint8_t opt[11] = {0, 0, 41, 4, 208};
        memcpy(ret + len, opt, sizeof(opt));
        ret[len + 7] = how & 2 ? 0x80 : 0;
        ret[11] = 1;
        len += sizeof(opt);
    }
    return len;
}

/* The answer that an upstream gives to `query`: its header and question, and the script's records. */
static size_t make_answer(struct script *script, const uint8_t *query, size_t query_len, uint8_t *ret, size_t max)
{
    struct dns_question question;
    struct dns_edns edns;
    uint8_t flags = script_u8(script), counts = script_u8(script);
    size_t len, at = DNS_HEADER_SIZE;
    const uint8_t *records = script_bytes(script, &len);
    memset(ret, 0, DNS_HEADER_SIZE);
    if (query_len >= DNS_HEADER_SIZE)
        memcpy(ret, query, 2);
    ret[2] = LDNS_QR_MASK | LDNS_RD_MASK | (flags & 0x10 ? LDNS_TC_MASK : 0);
    ret[3] = LDNS_RA_MASK | (flags & 0x0f);
    if (!(flags & 0x20) && dns_scan_query(query, query_len, &question, &edns) == DNS_SCAN_OK) {
        memcpy(ret + DNS_HEADER_SIZE, query + DNS_HEADER_SIZE, question.end - DNS_HEADER_SIZE);
        ret[5] = 1;
        at = question.end;
    }
    ret[7] = counts & 7;
    ret[9] = counts >> 3 & 3;
    ret[11] = counts >> 5 & 3;
    if (len > max - at)
        len = max - at;
    memcpy(ret + at, records, len);
    return at + len;
}

static void say_tcp(struct script *script, bool whole)
{
    uint8_t msg[2 + MESSAGE_MAX], query[MESSAGE_MAX];
    size_t len = 0;
    if (!path.n_exchanges)
        return;
    struct stream *exchange = &path.exchanges[path.n_exchanges - 1];
    ssize_t n = recv(exchange->fd, exchange->bytes + exchange->len, sizeof(query) - exchange->len, MSG_DONTWAIT);
    exchange->len += n > 0 ? (size_t)n : 0;
    if (whole) {
        size_t query_len = exchange->len > 2 ? exchange->len - 2 : 0;
        len = make_answer(script, exchange->bytes + 2, query_len, msg + 2, MESSAGE_MAX);
        path_said(msg + 2, len);
        wire_store16(msg, (uint16_t)len);
        len += 2;
    } else {
        const uint8_t *bytes = script_bytes(script, &len);
        len = len < sizeof(msg) ? len : sizeof(msg);
        memcpy(msg, bytes, len);
        path_said_in_pieces();
    }
    send(exchange->fd, msg, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (script_u8(script) & 1) {
        close(exchange->fd);
        path.n_exchanges--;
    }
}

static void ask(struct script *script, bool over_tcp)
{
    uint8_t msg[2 + 512];
    size_t len = make_query(script, msg + 2);
    wire_store16(msg, (uint16_t)len);
    if (over_tcp)
        path_send_tcp(script_u8(script) % TCP_CLIENTS, msg, 2 + len);
    else
        path_send_udp(msg + 2, len);
}

static void ask_raw(struct script *script, bool over_tcp)
{
    size_t len;
    unsigned client = over_tcp ? script_u8(script) % TCP_CLIENTS : 0;
    const uint8_t *bytes = script_bytes(script, &len);
    if (over_tcp)
        path_send_tcp(client, bytes, len);
    else
        path_send_udp(bytes, len);
}

static void say(struct script *script, bool raw)
{
    uint8_t msg[MESSAGE_MAX];
    size_t len;
    if (raw) {
        const uint8_t *bytes = script_bytes(script, &len);
        len = len < sizeof(msg) ? len : sizeof(msg);
        memcpy(msg, bytes, len);
        if (len >= 2)
            memcpy(msg, path.query, 2);
    } else {
        len = make_answer(script, path.query, path.query_len, msg, sizeof(msg));
    }
    path_say_udp(msg, len);
}

static void step(struct script *script)
{
    uint8_t what = script_u8(script);
    bool again = what & 1;
    switch (what >> 1 & 7) {
    case 0:
        ask(script, again);
        break;
    case 1:
        ask_raw(script, again);
        break;
    case 2:
        say(script, again);
        break;
    case 3:
        say_tcp(script, again);
        break;
    case 4:
        path.policy = script_u8(script) % POLICIES;
        dns_proxy_set_layers(path.proxy, &path_policies()[path.policy]);
        break;
    case 5:
        world_advance(script_u8(script) * 50 * NS_PER_MS);
        break;
    case 6:
        path.kernel_refuses = again;
        break;
    default:
        if (again)
            dns_proxy_watch_upstreams(path.proxy);
        else
            dns_proxy_quiesce(path.proxy);
    }
    if (!(what & 0x10)) /* else it goes with the next one into one batch */
        path_turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct script script = {data, data + len};
    world_begin();
    path_start(script_u8(&script) & 1);
    world_pair_sockets(true);
    while (script.at < script.end)
        step(&script);
    path_turn();
    world_advance(20 * NS_PER_S); /* whatever is under way ends */
    for (int i = 0; i < 3; i++)
        path_turn();
    world_pair_sockets(false);
    path_stop();
    world_end();
    return 0;
}
