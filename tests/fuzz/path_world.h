/* The proxy with clients and upstreams around it, all in one thread. */
#ifndef TESTS_FUZZ_PATH_WORLD_H
#define TESTS_FUZZ_PATH_WORLD_H

#include "dns/proxy.h"

#include "path_checks.h"
#include "script.h"

#include <sys/un.h>

#define UPSTREAMS 2
#define TCP_CLIENTS 2
#define EXCHANGES_MAX 8
#define STREAM_MAX 16384
#define MESSAGE_MAX 4096

/* Bytes of a TCP connection, one way. */
struct stream {
    int fd;
    uint8_t bytes[STREAM_MAX];
    size_t len;
};

struct path {
    struct loop *loop;
    struct dns_proxy *proxy;
    int udp; /* the client's */
    struct sockaddr_un tcp_addr;
    socklen_t tcp_addr_len;
    struct stream sent[TCP_CLIENTS], got[TCP_CLIENTS];
    bool kernel_refuses;
    size_t policy;
    uint8_t query[MESSAGE_MAX]; /* what an upstream was asked last */
    size_t query_len;
    struct sock_addr asker;
    unsigned asked_at;
    struct stream exchanges[EXCHANGES_MAX];
    size_t n_exchanges;
    uint16_t ids;
};

extern struct path path;

/* The policies that a script may choose from. */
#define POLICIES 3
const struct policy_layers *path_policies(void);

void path_start(bool cache);
/* Ends everything; nothing may be left. */
void path_stop(void);
/* The loop's turn; then what upstreams were asked and clients were answered is read, and checked. */
void path_turn(void);
/* A client sends a datagram, or bytes over its TCP connection. */
void path_send_udp(const uint8_t *msg, size_t len);
void path_send_tcp(unsigned client, const uint8_t *bytes, size_t len);
/* The upstream that was asked last sends a datagram to who asked. */
void path_say_udp(const uint8_t *msg, size_t len);

#endif
