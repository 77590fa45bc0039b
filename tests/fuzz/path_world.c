#include "path_world.h"

#include "base/wire.h"
#include "policy/rule_file.h"

#include <string.h>
#include <unistd.h>

struct path path;

static int upstream_fds[UPSTREAMS];
static struct sock_addr upstreams[UPSTREAMS];
static struct policy_layers policies[POLICIES];
static struct log *log_queue;
static struct metrics metrics;

static int bound_udp(struct sock_addr *ret)
{
    struct sock_addr addr = {.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(*ret);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    must(fd >= 0 && !bind(fd, &addr.sa, sizeof(addr.in)) && !getsockname(fd, &ret->sa, &len));
    return fd;
}

static struct policy *rules(const char *text)
{
    struct policy *policy = NULL;
    struct why why;
    must(rule_file_parse("rules", text, strlen(text), ACTION_ALLOW, false, &policy, &why) == 0);
    return policy;
}

static void set_up(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    for (size_t i = 0; i < UPSTREAMS; i++)
        upstream_fds[i] = bound_udp(&upstreams[i]);
    policies[0] = (struct policy_layers){.policy = rules("*\n")};
    policies[1] = (struct policy_layers){.policy = rules("a.test\n*.b.test\n10.0.0.0/8\n127.0.0.9\n")};
    policies[2] = (struct policy_layers){.policy = rules("nothing.test\n")};
    must(log_new(1 << 16, LOG_DEBUG, &log_queue) == 0);
}

const struct policy_layers *path_policies(void)
{
    return policies;
}

static int learn(void *ctx, const struct learned *addresses, size_t n, uint64_t now_ns)
{
    path_learned(&policies[path.policy], addresses, n, !path.kernel_refuses);
    return path.kernel_refuses ? -1 : 0;
}

static bool reaches(void *ctx, const struct ip_addr *addr, uint32_t seconds, uint64_t now_ns)
{
    return path_reaches(addr);
}

static uint32_t hold_seconds(uint32_t ttl)
{
    return ttl < PATH_TTL_MAX ? ttl : PATH_TTL_MAX;
}

static void upstream_loops(void *ctx, size_t i, size_t left)
{
}

void path_start(bool cache)
{
    set_up();
    path = (struct path){0};
    memset(&metrics, 0, sizeof(metrics.cells));
    path_begin();
    struct sock_addr addr;
    struct why why;
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    int udp = bound_udp(&addr), tcp = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct dns_hooks hooks = {
        .learn = learn, .reaches = reaches, .hold_seconds = hold_seconds, .upstream_loops = upstream_loops};
    struct dns_settings settings = {.udp_fds = &udp,
                                    .n_udp = 1,
                                    .tcp_fds = &tcp,
                                    .n_tcp = 1,
                                    .upstreams = upstreams,
                                    .n_upstreams = UPSTREAMS,
                                    .timeout_s = 5,
                                    .probe_name = ".",
                                    .probe_interval_s = 30,
                                    .cache_entries = cache ? 16 : 0,
                                    .inflight = 8192,
                                    .tcp_connections = 256,
                                    .tcp_pipelined = 32,
                                    .tcp_unsent_kib = 16384,
                                    .metrics = &metrics};
    path.tcp_addr_len = sizeof(path.tcp_addr);
    must(!bind(tcp, (struct sockaddr *)&any, sizeof(any.sun_family)) && !listen(tcp, 8) &&
         !getsockname(tcp, (struct sockaddr *)&path.tcp_addr, &path.tcp_addr_len));
    must(loop_new(&path.loop) == 0);
    must(dns_proxy_new(path.loop, &settings, &hooks, &policies[0], log_queue, &path.proxy, &why) == 0);
    path.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    must(!connect(path.udp, &addr.sa, sizeof(addr.in)));
    for (size_t i = 0; i < TCP_CLIENTS; i++)
        path.sent[i].fd = path.got[i].fd = -1;
}

void path_stop(void)
{
    dns_proxy_free(path.proxy);
    must(metric_get(&metrics, METRIC_DNS_IN_FLIGHT) == 0);
    loop_free(path.loop);
    close(path.udp);
    for (size_t i = 0; i < TCP_CLIENTS; i++)
        if (path.sent[i].fd >= 0)
            close(path.sent[i].fd);
    for (size_t i = 0; i < path.n_exchanges; i++)
        close(path.exchanges[i].fd);
    uint8_t rest[1];
    for (size_t i = 0; i < UPSTREAMS; i++)
        while (recv(upstream_fds[i], rest, sizeof(rest), 0) >= 0)
            ;
}

/* --- what happens of itself --- */

static void read_upstreams(void)
{
    for (unsigned i = 0; i < UPSTREAMS; i++) {
        uint8_t msg[MESSAGE_MAX];
        struct sock_addr from;
        socklen_t len = sizeof(from);
        for (ssize_t n; (n = recvfrom(upstream_fds[i], msg, sizeof(msg), 0, &from.sa, &len)) >= 0;) {
            must(n >= DNS_HEADER_SIZE);
            memcpy(path.query, msg, (size_t)n);
            path.query_len = (size_t)n;
            path.asker = from;
            path.asked_at = i;
        }
    }
    for (int fd; path.n_exchanges < EXCHANGES_MAX && (fd = world_connected()) >= 0;) {
        path.exchanges[path.n_exchanges].fd = fd;
        path.exchanges[path.n_exchanges++].len = 0;
    }
}

/* Takes one whole message out of the stream. */
static bool next_message(struct stream *stream, uint8_t *ret, size_t *ret_len)
{
    size_t len = stream->len >= 2 ? wire_load16(stream->bytes) : 0;
    if (stream->len < 2 || stream->len - 2 < len)
        return false;
    memcpy(ret, stream->bytes + 2, len);
    *ret_len = len;
    stream->len -= 2 + len;
    memmove(stream->bytes, stream->bytes + 2 + len, stream->len);
    return true;
}

static void read_answers(void)
{
    static uint8_t msg[DNS_MESSAGE_MAX];
    for (ssize_t n; (n = recv(path.udp, msg, sizeof(msg), 0)) >= 0;)
        path_answered(0, msg, (size_t)n);
    for (unsigned i = 0; i < TCP_CLIENTS; i++) {
        struct stream *got = &path.got[i];
        if (got->fd < 0)
            continue;
        ssize_t n;
        size_t len;
        while ((n = recv(got->fd, got->bytes + got->len, STREAM_MAX - got->len, MSG_DONTWAIT)) > 0) {
            got->len += (size_t)n;
            while (next_message(got, msg, &len))
                path_answered(i + 1, msg, len);
        }
    }
    struct log_record record;
    while (log_peek(log_queue, &record))
        log_pop(log_queue);
}

void path_turn(void)
{
    for (int i = 0; i < 2; i++)
        world_turn(path.loop);
    read_upstreams();
    read_answers();
}

/* --- what the script does --- */

void path_send_udp(const uint8_t *msg, size_t len)
{
    if (path_asked(0, msg, len))
        send(path.udp, msg, len, 0);
}

void path_send_tcp(unsigned i, const uint8_t *bytes, size_t len)
{
    static uint8_t msg[DNS_MESSAGE_MAX];
    struct stream *sent = &path.sent[i];
    size_t msg_len;
    if (sent->fd < 0) {
        sent->fd = path.got[i].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(!connect(sent->fd, (struct sockaddr *)&path.tcp_addr, path.tcp_addr_len));
    }
    if (sent->len + len > STREAM_MAX)
        return;
    memcpy(sent->bytes + sent->len, bytes, len);
    sent->len += len;
    while (next_message(sent, msg, &msg_len))
        if (!path_asked(i + 1, msg, msg_len))
            return;
    send(sent->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void path_say_udp(const uint8_t *msg, size_t len)
{
    if (!path.query_len)
        return;
    path_said(msg, len);
    sendto(upstream_fds[path.asked_at], msg, len, 0, &path.asker.sa, sizeof(path.asker.in));
}
