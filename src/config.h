/* The environment as one constant value: every variable of the sidecar, parsed and checked before anything is done. */
#ifndef CONFIG_H
#define CONFIG_H

#include "base/ip.h"
#include "base/log.h"
#include "base/why.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_pair {
    const char *key, *value;
};

/* Owned by the value itself; NULL and 0 mean "not set". */
struct config {
    bool filter;         /* dns+nft */
    bool audit;          /* nothing is refused */
    const char *mode;    /* "dns" or "dns+nft", either with "+audit" */
    const char *rules;   /* JSON text */
    bool hold_bad_rules; /* a start with such that cannot be used stays, closed, instead of ending */
    const char *policy_file;
    const char *rules_dir;
    struct sock_addr http_addr;
    bool http_any;                                  /* `:PORT`: IPv4 and IPv6 */
    const char *http_socket;                        /* a path: the API is served there, too; NULL: it is not */
    bool http_socket_only;                          /* HTTP_ADDR says so: there, and at no address */
    const char *api_hosts;                          /* names, comma separated */
    const char *tls_cert, *tls_key, *tls_client_ca; /* paths; the first two together, the third with them alone */
    const char *token;
    size_t max_rules; /* 0: no limit */
    uint16_t dns_port;
    struct sock_addr *upstreams; /* empty: resolv.conf */
    size_t n_upstreams;
    unsigned upstream_timeout_s;
    bool dns_0x20; /* questions to upstreams in random case */
    const char *upstream_probe;
    unsigned upstream_probe_interval_s;
    struct ip_addr *exempt;
    size_t n_exempt;
    bool block_doh_443;
    struct ip_ranges doh_blocklist;
    const char *webhook; /* a URL */
    const char *sandbox_id;
    struct config_pair *extra_attrs;
    size_t n_extra_attrs;
    enum log_level log_level;
    const char **log_outputs;
    size_t n_log_outputs;
    bool remove_on_exit;
    unsigned drain_s;
    unsigned watchdog_s; /* of the supervisor; 0: none */
    uint32_t max_addresses;
    unsigned dns_cache;        /* answers kept; 0: off */
    unsigned dns_inflight;     /* queries under way */
    unsigned tcp_connections;  /* DNS clients over TCP */
    unsigned tcp_pipelined;    /* queries under way on one of them */
    unsigned tcp_unsent_kib;   /* replies that they do not take, together */
    unsigned http_connections; /* clients of the API inside the sandbox, and as many outside */
    unsigned names_per_minute; /* below one rule; 0: no limit */
    bool ui;                   /* page and events */
    const char **warnings;     /* tuning values that could not be parsed; one line each */
    size_t n_warnings;
    const char **shown; /* every variable's value in force, for config_print() */
    uint64_t given;     /* a bit for each variable whose value was taken from the environment */
};

/* Reads the environment. 0; -EINVAL with `why` = variable, value and what was expected; -ENOMEM. */
int config_from_env(struct config **ret, struct why *why);
/* Lowers what takes memory and was not set to what fits into so many bytes, as memory_limit() tells them. */
void config_fit(struct config *config, uint64_t memory);
void config_free(struct config *config);
/* OPENSANDBOX_EGRESS_ALLOW_HOST_NETWORK alone: it must be known even when another variable cannot be parsed. */
bool config_allows_host_network(void);
/* Prints the effective values, one `NAME=value` a line, secrets hidden. */
void config_print(const struct config *config);

#endif
