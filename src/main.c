/* opensandbox-egress: arguments and environment, then the daemon. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/local_socket.h"
#include "base/loop.h"
#include "base/resident.h"
#include "base/text.h"
#include "config.h"
#include "ctl/ctl.h"
#include "daemon/daemon.h"
#include "guard.h"
#include "health.h"
#include "memory_limit.h"
#include "nft/nft.h"
#include "policy/policy_json.h"
#include "privileges.h"
#include "secrets.h"
#include "sources.h"
#include "supervise.h"
#include "telemetry/otel_env.h"
#include "version.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIFE_OPTION "--life-fd=" /* the descriptor for signs of life */
#define SILENCE_MIN_S 3
#define HEALTH_TIMEOUT_MS 3000 /* of a health check's usual 5 s or more */

static const char usage[] =
    "Usage: opensandbox-egress [--supervise | --health | --check | --cleanup | --help | --version]\n"
    "       opensandbox-egress ctl [OPTION...] COMMAND\n"
    "\n"
    "Guards what leaves a sandbox's network namespace: a DNS proxy that decides every name by policy, nftables rules\n"
    "that let only the allowed through, an HTTP API at /policy. It is configured by its environment and runs in the\n"
    "foreground until SIGTERM. It needs CAP_NET_ADMIN in the namespace it guards.\n"
    "\n"
    "  --supervise  run, and start again with growing pauses (1 s to 30 s) after a crash; for containers\n"
    "  --health   ask the sidecar that runs here whether enforcement is in place: 0 or 1\n"
    "  --check    read environment and files as a start would, print what would be in force, change nothing\n"
    "  --cleanup  remove the table `inet opensandbox` with redirect and rules: the namespace is open afterwards\n"
    "  --help     this text\n"
    "  --version  the version\n"
    "  ctl        look at the sidecar that runs here and change its policy: ctl --help\n"
    "\n"
    "Environment (OPENSANDBOX_EGRESS_ in front of all but the last two):\n"
    "  MODE              dns (default) or dns+nft; with +audit nothing is refused, only recorded\n"
    "  RULES             first policy: "
    "{\"defaultAction\":\"deny\",\"egress\":[{\"action\":\"allow\",\"target\":\"*.pypi.org\"}]}\n"
    "  BAD_RULES         exit (default) or hold: what RULES that cannot be used lead to\n"
    "  POLICY_FILE       beats RULES when valid; every accepted change is written back to it\n"
    "  RULES_DIR         folder of deny.always, allow.always, log_skip.always (/var/egress/rules)\n"
    "  HTTP_ADDR         address of the API (:18080); unix:/PATH: its socket alone\n"
    "  API_SOCKET        the API's socket in the file system (/run/opensandbox-egress/api.sock), or off\n"
    "  API_HOSTS         names of the API's host besides the usual, for requests without a token\n"
    "  TLS_CERT, TLS_KEY PEM files: the API speaks TLS at its address; TLS_CLIENT_CA: to clients with a certificate\n"
    "  TOKEN             wanted in the header OPENSANDBOX-EGRESS-AUTH when set\n"
    "  MAX_RULES         most rules after a change (4096), 0 = no limit\n"
    "  DNS_PORT          the DNS listener's port (15353)\n"
    "  DNS_UPSTREAM      resolvers, comma separated (from /etc/resolv.conf)\n"
    "  DNS_UPSTREAM_TIMEOUT  seconds for one query over all upstreams (5)\n"
    "  DNS_0X20          questions leave with their letters in random case (on)\n"
    "  DNS_UPSTREAM_PROBE    name asked to see whether a resolver answers (.)\n"
    "  DNS_UPSTREAM_PROBE_INTERVAL_SEC   seconds between two such questions (30)\n"
    "  NAMESERVER_EXEMPT IPs: DNS to them is not redirected\n"
    "  BLOCK_DOH_443     truthy: block port 443 to the DOH_BLOCKLIST, or everywhere when it is empty\n"
    "  DOH_BLOCKLIST     IPs and CIDRs, comma separated\n"
    "  DENY_WEBHOOK      http(s) URL that is told of denied names\n"
    "  SANDBOX_ID        on every log line\n"
    "  METRICS_EXTRA_ATTRS   k=v,k2=v2 on every log line\n"
    "  LOG_LEVEL         debug, info (default), warn, error, fatal\n"
    "  ON_EXIT           keep (default: the namespace stays closed) or remove\n"
    "  WATCHDOG_SEC      seconds without a sign of life after which --supervise kills it (10), 0 = never\n"
    "  DRAIN_SEC         seconds to go on serving after SIGTERM (0)\n"
    "  ALLOW_HOST_NETWORK    truthy: run in the machine's own network namespace\n"
    "  MAX_ADDRESSES     learned addresses per family (262144, less when memory is limited)\n"
    "  DNS_CACHE         answers kept (4096), 0 = none\n"
    "  DNS_MAX_INFLIGHT  queries under way (8192)\n"
    "  DNS_TCP_MAX_CONNECTIONS, DNS_TCP_MAX_PIPELINED, DNS_TCP_MAX_UNSENT_KIB\n"
    "                    clients over TCP (256), queries under way on one (32), replies they do not take (16384)\n"
    "  HTTP_MAX_CONNECTIONS  clients of the API inside the sandbox, outside, at its socket, so many each (96)\n"
    "  DNS_NAMES_PER_MINUTE  new names below one wildcard rule (0 = no limit): against tunnels\n"
    "  OPENSANDBOX_LOG_OUTPUT  stdout (default), stderr, file paths, comma separated\n"
    "  OTEL_EXPORTER_OTLP_ENDPOINT  collector for metrics and logs (none: no export), and the other variables of an\n"
    "                    OpenTelemetry SDK\n"
    "\n"
    "Exit codes: 0 stopped by a signal, 64 bad arguments, 69 a port is taken, the kernel refuses or --supervise gave "
    "up,\n"
    "77 no CAP_NET_ADMIN, 78 a value that cannot be used. --health: 0 enforcement is in place, else 1.\n";

static int complain(int code, const struct why *why)
{
    fprintf(stderr, "opensandbox-egress: %s\n", why->text);
    return code;
}

/* As the start would find out, but leaving no file behind. */
static bool can_write(const char *path)
{
    if (!strcmp(path, "stdout") || !strcmp(path, "stderr"))
        return true;
    if (access(path, F_OK) == 0)
        return access(path, W_OK) == 0;
    _cleanup_free_ char *copy = strdup(path);
    return copy && access(dirname(copy), W_OK) == 0;
}

static int check_outputs(const struct config *config, struct why *why)
{
    for (size_t i = 0; i < config->n_log_outputs; i++)
        if (!can_write(config->log_outputs[i]))
            return why_set(why, -errno, "OPENSANDBOX_LOG_OUTPUT: cannot write %s: %s", config->log_outputs[i],
                           strerror(errno));
    return 0;
}

static void print_telemetry(void)
{
    struct otel_env *otel;
    if (otel_env_read(OTEL_HOSTINFO, &otel))
        return;
    otel_env_print(otel);
    for (size_t i = 0; i < otel->n_warnings; i++)
        printf("warning: %s\n", otel->warnings[i]);
    otel_env_free(otel);
}

static int check(void)
{
    struct config *config;
    struct sources sources;
    const struct kept nothing_kept = {.n = 0};
    struct why why;
    if (privileges_drop(&why)) /* files are there for a start only when these rights are enough */
        return complain(EXIT_UNAVAILABLE, &why);
    if (config_from_env(&config, &why))
        return complain(EXIT_CONFIG, &why);
    config_fit(config, memory_limit());
    bool bad = check_outputs(config, &why) || daemon_check_tls(config, &why) ||
               sources_read(config, &nothing_kept, &sources, &why);
    if (!bad && sources.held.text[0]) {
        why = sources.held;
        sources_done(&sources);
        bad = true;
    }
    if (bad) {
        config_free(config);
        return complain(EXIT_CONFIG, &why);
    }
    config_print(config);
    print_telemetry();
    for (size_t i = 0; i < config->n_warnings; i++)
        printf("warning: %s\n", config->warnings[i]);
    for (size_t i = 0; i < SOURCES_WARNINGS; i++)
        if (sources.warnings[i].text[0])
            printf("warning: %s\n", sources.warnings[i].text);
    char text[SOCK_ADDR_TEXT_MAX];
    for (size_t i = 0; i < sources.n_upstreams; i++)
        printf("upstream: %s\n", sock_addr_format(&sources.upstreams[i], text));
    const struct policy *files[] = {sources.always.deny, sources.always.allow, sources.always.log_skip};
    static const char *const names[] = {"deny.always", "allow.always", "log_skip.always"};
    for (size_t f = 0; f < 3; f++)
        for (size_t i = 0; files[f] && i < policy_count(files[f]); i++)
            printf("%s: %s\n", names[f], policy_rule(files[f], i)->text);
    _cleanup_buf_ struct buf json = {0};
    policy_to_json(sources.policy, &json);
    printf("policy: %s\n", json.failed ? "(out of memory)" : json.data);
    sources_done(&sources);
    config_free(config);
    return EXIT_OK;
}

static int cleanup(void)
{
    struct why why;
    if (!guard_has_net_admin())
        return complain(EXIT_NO_CAPABILITY,
                        (why_set(&why, 0, "CAP_NET_ADMIN is missing: rules cannot be removed"), &why));
    return nft_remove(&why) ? complain(EXIT_UNAVAILABLE, &why) : EXIT_OK;
}

/* The application may be running already: a start that fails leaves the namespace closed, unless rules of an earlier
 * start are there, which stay: but for those of audit mode, unless `audit_guards`. */
static int fail_closed(int code, bool audit_guards, const struct why *why)
{
    struct why closing;
    complain(code, why);
    if (nft_close_unless_guarded(audit_guards, &closing))
        fprintf(stderr, "opensandbox-egress: and the namespace could not be closed: %s\n", closing.text);
    return code;
}

static int run(int life_fd)
{
    struct why why;
    if (guard_network_namespace(config_allows_host_network(), &why) == GUARD_REFUSE)
        return complain(EXIT_CONFIG, &why);
    if (!guard_has_net_admin()) {
        why_set(&why, 0,
                "CAP_NET_ADMIN is missing: without it nothing can be enforced; give the container that capability");
        return complain(EXIT_NO_CAPABILITY, &why);
    }
    struct config *config;
    if (config_from_env(&config, &why))
        return fail_closed(EXIT_CONFIG, false, &why);
    config_fit(config, memory_limit());
    struct daemon_end end;
    daemon_run(config, life_fd, &end);
    if (end.code == EXIT_NO_CAPABILITY)
        complain(end.code, &end.why);
    else if (end.code != EXIT_OK)
        fail_closed(end.code, config->audit || end.port_taken, &end.why);
    if (end.unfinished)
        _exit(end.code);
    config_free(config);
    return end.code;
}

/* What --supervise starts. */
static int run_supervised(const char *number)
{
    unsigned fd;
    struct stat stat;
    if (!text_whole_number(number, 0, INT_MAX, &fd) || fstat((int)fd, &stat) || !S_ISFIFO(stat.st_mode)) {
        fprintf(stderr, "opensandbox-egress: " LIFE_OPTION "%s: this is for --supervise alone\n", number);
        return EXIT_USAGE;
    }
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    return run((int)fd);
}

/* At the address the sandbox itself may answer: only when there is no socket in the file system. One whose process has
 * ended is the answer. */
static int ask_health(const struct config *config, struct why *why)
{
    enum local_socket_state state = LOCAL_SOCKET_ABSENT;
    if (config->http_socket)
        state = local_socket_look(config->http_socket);
    if (config->http_socket_only || state == LOCAL_SOCKET_HERE || state == LOCAL_SOCKET_DEAD)
        return health_ask_local(config->http_socket, HEALTH_TIMEOUT_MS, why);
    if (config->tls_cert)
        return why_set(why, -EPROTO, "the API speaks TLS at its address, and its socket is not there (%s)",
                       config->http_socket ? config->http_socket : "OPENSANDBOX_EGRESS_API_SOCKET=off");
    struct sock_addr addr = health_address(&config->http_addr, config->http_any);
    return health_ask(&addr, HEALTH_TIMEOUT_MS, why);
}

static int health(void)
{
    struct config *config;
    struct why why;
    if (config_from_env(&config, &why))
        return complain(EXIT_FAILURE, &why);
    int error = ask_health(config, &why);
    config_free(config);
    if (error)
        return complain(EXIT_FAILURE, &why);
    return puts(why.text) < 0; /* "ok", or that nothing is enforced */
}

/* A process of its own from the start: another layout of memory for every try of whoever made the last one crash. */
static int become_sidecar(void *ctx, int life_fd)
{
    char option[sizeof(LIFE_OPTION) + 16];
    snprintf(option, sizeof(option), LIFE_OPTION "%d", life_fd);
    fcntl(life_fd, F_SETFD, 0);
    execl("/proc/self/exe", "opensandbox-egress", option, (char *)NULL);
    struct why why;
    why_set(&why, 0, "/proc/self/exe: %s", strerrordesc_np(errno));
    return complain(EXIT_UNAVAILABLE, &why);
}

static bool logs_to_stdout(const struct config *config)
{
    for (size_t i = 0; i < config->n_log_outputs; i++)
        if (!strcmp(config->log_outputs[i], "stdout"))
            return true;
    return false;
}

/* Signs come every 0.9 s. */
static uint64_t silence_allowed(const struct config *config)
{
    unsigned seconds = config->watchdog_s;
    return (seconds && seconds < SILENCE_MIN_S ? SILENCE_MIN_S : seconds) * NS_PER_S;
}

/* `config` is NULL when the environment cannot be used, which the sidecar says, too, and does so before it closes. */
static int supervise_with(const struct config *config)
{
    static const int final[] = {EXIT_USAGE, EXIT_NO_CAPABILITY, EXIT_CONFIG};
    const struct attribute sandbox_id = {"sandbox_id", config ? config->sandbox_id : NULL};
    const struct supervise_settings settings = {
        .backoff = backoff_of_sidecar,
        .final = final,
        .n_final = sizeof(final) / sizeof(final[0]),
        .log_level = config ? config->log_level : LOG_INFO,
        .attributes = &sandbox_id,
        .n_attributes = sandbox_id.value != NULL,
        .log_fd = config && !logs_to_stdout(config) ? STDERR_FILENO : STDOUT_FILENO,
        .silence_ns = config ? silence_allowed(config) : 0,
        .become = become_sidecar,
    };
    int code = EXIT_OK;
    struct why why;
    enum supervise_end end = supervise(&settings, &code, &why);
    if (end == SUPERVISE_GAVE_UP || end == SUPERVISE_IMPOSSIBLE)
        return complain(EXIT_UNAVAILABLE, &why);
    bool ended_itself = end == SUPERVISE_EXITED && code < 128;
    return !ended_itself && config && config->remove_on_exit && cleanup() ? EXIT_UNAVAILABLE : code;
}

static int supervise_sidecar(void)
{
    struct config *config;
    struct why why;
    secrets_keep();
    if (config_from_env(&config, &why))
        config = NULL;
    int code = supervise_with(config);
    config_free(config);
    return code;
}

int main(int argc, char **argv)
{
    resident_set_limits();
    if (argc == 1)
        return run(-1);
    if (!strcmp(argv[1], "ctl"))
        return ctl_run(argc - 1, argv + 1);
    if (argc == 2 && !strncmp(argv[1], LIFE_OPTION, strlen(LIFE_OPTION)))
        return run_supervised(argv[1] + strlen(LIFE_OPTION));
    if (argc == 2 && !strcmp(argv[1], "--supervise"))
        return supervise_sidecar();
    if (argc == 2 && !strcmp(argv[1], "--health"))
        return health();
    if (argc == 2 && !strcmp(argv[1], "--check"))
        return check();
    if (argc == 2 && !strcmp(argv[1], "--cleanup"))
        return cleanup();
    if (argc == 2 && !strcmp(argv[1], "--version"))
        return puts("opensandbox-egress " EGRESS_VERSION) < 0;
    if (argc == 2 && !strcmp(argv[1], "--help"))
        return fputs(usage, stdout) < 0;
    fprintf(
        stderr,
        "opensandbox-egress: unknown argument \"%s\": expected ctl, --supervise, --health, --check, --cleanup, --help "
        "or --version\n",
        argv[argc > 2 ? 2 : 1]);
    return EXIT_USAGE;
}
