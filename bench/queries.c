/* Queries of one kind through the whole DNS proxy, in batches of 64, in lock-step: client, proxy and upstream are one
 * thread, so that every run does the same. For callgrind (bench/instructions.py): what is counted is loop_run() without
 * drive(). Runs in a network namespace of its own, as root. */
#include "base/wire.h"
#include "dns/message.h"
#include "dns/proxy.h"
#include "nft/nft.h"
#include "policy/policy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define BATCHES 60
#define NAME_AT DNS_HEADER_SIZE

enum kind { ALLOWED, DENIED, HIT, LEARN, MALFORMED, KINDS };
static const char *const kinds[KINDS] = {"allowed", "denied", "hit", "learn", "malformed"};

struct bench {
    enum kind kind;
    struct loop *loop;
    struct log *log;
    struct nft *nft;
    int client, upstream;
    struct sockaddr_in listener;
    unsigned sent, answered;
};

static struct metrics counts;

/* In place of the C library's: ids, sockets and the seeds of hashes are the same in every run. */
ssize_t getrandom(void *to, size_t len, unsigned flags)
{
    static uint64_t state = 1;
    for (uint8_t *at = to; at < (uint8_t *)to + len; at++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        *at = (uint8_t)(state >> 56);
    }
    return (ssize_t)len;
}

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "queries: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static int open_socket(struct sockaddr_in *ret)
{
    socklen_t len = sizeof(*ret);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), size = 1 << 20;
    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    check(fd >= 0 && !bind(fd, (struct sockaddr *)ret, len) && !getsockname(fd, (struct sockaddr *)ret, &len),
          "socket");
    return fd;
}

/* nNNNN.allowed.test or .denied.test, A. */
static size_t make_query(const struct bench *bench, unsigned number, uint8_t *out)
{
    static const uint8_t head[DNS_HEADER_SIZE] = {0, 0, LDNS_RD_MASK, 0, 0, 1};
    char first[8];
    memcpy(out, head, sizeof(head));
    wire_store16(out, (uint16_t)number);
    snprintf(first, sizeof(first), "n%05u", bench->kind == HIT ? number % BATCH : number);
    uint8_t *at = out + NAME_AT;
    *at++ = 6;
    memcpy(at, first, 6);
    at += 6;
    const char *rest = bench->kind == DENIED ? "\6denied\4test" : "\7allowed\4test";
    memcpy(at, rest, strlen(rest) + 1);
    at += strlen(rest) + 1;
    memcpy(at, "\0\1\0\1", 4);
    at += 4 - (bench->kind == MALFORMED); /* breaks off */
    return (size_t)(at - out);
}

static void send_batch(struct bench *bench)
{
    for (unsigned i = 0; i < BATCH; i++, bench->sent++) {
        uint8_t query[64];
        size_t len = make_query(bench, bench->sent, query);
        ssize_t n = sendto(bench->client, query, len, 0, (struct sockaddr *)&bench->listener, sizeof(bench->listener));
        check(n == (ssize_t)len, "send");
    }
}

/* Answers what has been forwarded, each name with an address of its own. */
static void be_upstream(struct bench *bench)
{
    uint8_t msg[512];
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    for (ssize_t n;
         (n = recvfrom(bench->upstream, msg, sizeof(msg) - 16, 0, (struct sockaddr *)&from, &from_len)) > 0;) {
        static const uint8_t record[12] = {0xC0, NAME_AT, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4};
        unsigned number = (unsigned)strtoul((const char *)msg + NAME_AT + 2, NULL, 10);
        msg[2] |= LDNS_QR_MASK;
        msg[3] |= LDNS_RA_MASK;
        wire_store16(msg + 6, 1);
        memcpy(msg + n, record, sizeof(record));
        wire_store32(msg + n + 12, 0xC6120000u + number);
        sendto(bench->upstream, msg, (size_t)n + 16, 0, (struct sockaddr *)&from, from_len);
    }
}

/* The end of a turn: the world around the proxy has its own. */
void drive(void *ctx);
__attribute__((noinline)) void drive(void *ctx)
{
    struct bench *bench = ctx;
    uint8_t reply[512];
    struct log_record record;
    while (log_peek(bench->log, &record))
        log_pop(bench->log);
    be_upstream(bench);
    while (recv(bench->client, reply, sizeof(reply), 0) > 0)
        bench->answered++;
    if (bench->answered < bench->sent)
        return;
    if (bench->sent == BATCH * BATCHES)
        loop_stop(bench->loop);
    else
        send_batch(bench);
}

static int learn(void *ctx, const struct learned *addresses, size_t n, uint64_t now_ns)
{
    const struct bench *bench = ctx;
    return bench->nft ? nft_learn(bench->nft, addresses, n, now_ns) : 0;
}

static struct policy *make_policy(void)
{
    struct rule_list *list;
    struct policy *policy = NULL;
    struct why why;
    check(!rule_list_new(&list), "rules");
    for (int i = 0; i < 10; i++) {
        char target[32];
        snprintf(target, sizeof(target), "*.other%d.test", i);
        check(!rule_list_add(list, ACTION_ALLOW, target, &why), "rule");
    }
    check(!rule_list_add(list, ACTION_ALLOW, "*.allowed.test", &why) && !policy_new(ACTION_DENY, list, &policy),
          "policy");
    return policy;
}

static void enter_namespace(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    check(!unshare(CLONE_NEWNET), "unshare");
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    check(fd >= 0 && !ioctl(fd, SIOCSIFFLAGS, &lo), "lo");
    close(fd);
}

static struct nft *open_nft(void)
{
    static const struct nft_settings settings = {
        .filter = true, .dns_port = 15353, .mark = 1, .metrics = &counts, .max_addresses = 262144};
    static const struct nft_policy open = {.default_allow = true};
    struct nft *nft = NULL;
    struct why why = {""};
    check(!nft_open(&settings, &nft, &why) && !nft_install(nft, &open, &why), "nftables");
    return nft;
}

int main(int argc, char **argv)
{
    struct bench bench = {.kind = KINDS};
    for (enum kind kind = 0; argc == 2 && kind < KINDS; kind++)
        if (!strcmp(argv[1], kinds[kind]))
            bench.kind = kind;
    if (bench.kind == KINDS) {
        fprintf(stderr, "usage: bench_queries allowed|denied|hit|learn|malformed\n");
        return EXIT_FAILURE;
    }
    enter_namespace();
    struct sockaddr_in nobody, resolver;
    struct sock_addr upstream;
    char text[64];
    int listener = open_socket(&bench.listener);
    bench.client = open_socket(&nobody);
    bench.upstream = open_socket(&resolver);
    snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(resolver.sin_port));
    bench.nft = bench.kind == LEARN ? open_nft() : NULL;
    struct seen *seen;
    check(!sock_addr_parse(text, 53, &upstream) && !loop_new(&bench.loop) && !log_new(1 << 20, LOG_INFO, &bench.log) &&
              !seen_new(&seen),
          "setting up");
    struct dns_settings settings = {.udp_fds = &listener,
                                    .n_udp = 1,
                                    .upstreams = &upstream,
                                    .n_upstreams = 1,
                                    .mix_case = true,
                                    .timeout_s = 120,
                                    .probe_name = ".",
                                    .probe_interval_s = 3600,
                                    .cache_entries = 4096,
                                    .inflight = 8192,
                                    .tcp_connections = 256,
                                    .tcp_pipelined = 32,
                                    .tcp_unsent_kib = 16384,
                                    .seen = seen,
                                    .metrics = &counts};
    struct dns_hooks hooks = {.ctx = &bench, .learn = learn, .hold_seconds = bench.nft ? nft_hold_seconds : NULL};
    struct policy_layers layers = {.policy = make_policy()};
    struct dns_proxy *proxy;
    struct why why;
    check(!dns_proxy_new(bench.loop, &settings, &hooks, &layers, bench.log, &proxy, &why), "proxy");
    loop_on_turn_end(bench.loop, drive, &bench);
    send_batch(&bench);
    check(!loop_run(bench.loop), "loop");
    printf("%u\n", bench.sent);
    dns_proxy_free(proxy);
    nft_free(bench.nft);
    policy_unref(layers.policy);
    seen_free(seen);
    log_free(bench.log);
    loop_free(bench.loop);
    return EXIT_SUCCESS;
}
