#include "listen.h"

#include "base/cleanup.h"
#include "base/local_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG 512
/* Of a first start this is the application, which then also gets what is sent to the port, tokens included. */
#define TAKEN                                                                                                          \
    ": another process in this network namespace does, a second sidecar or the sandbox's own; start the sidecar "      \
    "before the application"

/* A bound socket, listening when it is a stream. -errno with `why`; -EAFNOSUPPORT: the kernel has no such addresses. */
static int open_socket(const struct sock_addr *addr, int type, bool both_families, struct why *why)
{
    char text[SOCK_ADDR_TEXT_MAX];
    _cleanup_close_ int fd = socket(addr->sa.sa_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return why_set(why, -errno, "cannot listen on %s: %s", sock_addr_format(addr, text),
                       errno == EAFNOSUPPORT ? "the kernel has no such addresses" : strerrordesc_np(errno));
    int on = 1, v6only = !both_families;
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (addr->sa.sa_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only));
        /* ::1 may come to lo later, or never: the redirect needs the listener there all the same. */
        setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on));
    }
    if (bind(fd, &addr->sa, sock_addr_len(addr)) || (type == SOCK_STREAM && listen(fd, BACKLOG))) {
        int error = errno;
        return why_set(why, -error, "cannot listen on %s (%s): %s%s", sock_addr_format(addr, text),
                       type == SOCK_STREAM ? "TCP" : "UDP", strerrordesc_np(error), error == EADDRINUSE ? TAKEN : "");
    }
    return take_fd(&fd);
}

static int open_dns(const char *host, uint16_t port, struct listeners *listeners, struct why *why)
{
    struct ip_addr ip;
    ip_parse(host, &ip);
    struct sock_addr addr = sock_addr_make(&ip, port);
    int udp = open_socket(&addr, SOCK_DGRAM, false, why);
    if (udp < 0)
        return udp;
    int tcp = open_socket(&addr, SOCK_STREAM, false, why);
    if (tcp < 0) {
        close(udp);
        return tcp;
    }
    listeners->udp[listeners->n_dns] = udp;
    listeners->tcp[listeners->n_dns++] = tcp;
    return 0;
}

static int open_http(const struct config *config, struct why *why)
{
    int fd = open_socket(&config->http_addr, SOCK_STREAM, config->http_any, why);
    if (fd != -EAFNOSUPPORT || !config->http_any)
        return fd;
    struct ip_addr any = {.family = AF_INET};
    struct sock_addr v4 = sock_addr_make(&any, sock_addr_port(&config->http_addr));
    return open_socket(&v4, SOCK_STREAM, false, why);
}

/* Nobody depends on the one that is there without being asked for: where it cannot be, the address has to do. */
static int open_local(const struct config *config, struct listeners *listeners, struct why *why)
{
    if (!config->http_socket)
        return 0;
    struct why *reason = config->http_socket_only ? why : &listeners->warning;
    int fd =
        local_socket_listen(config->http_socket, BACKLOG, &listeners->local_device, &listeners->local_inode, reason);
    if (fd < 0)
        return config->http_socket_only ? fd : 0;
    listeners->local = fd;
    listeners->local_path = config->http_socket;
    return 0;
}

int listeners_open(const struct config *config, struct listeners *ret, struct why *why)
{
    struct listeners listeners = {.udp = {-1, -1}, .tcp = {-1, -1}, .http = -1, .local = -1};
    int error = open_local(config, &listeners, why); /* first: what happens to the others, its file is there */
    if (!error)
        error = open_dns("127.0.0.1", config->dns_port, &listeners, why);
    if (!error) {
        error = open_dns("::1", config->dns_port, &listeners, why);
        if (error == -EAFNOSUPPORT)
            error = 0;
    }
    if (!error && !config->http_socket_only) {
        listeners.http = open_http(config, why);
        error = listeners.http < 0 ? listeners.http : 0;
    }
    if (error) {
        listeners_close(&listeners);
        return error;
    }
    *ret = listeners;
    return 0;
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void listeners_close(struct listeners *listeners)
{
    for (size_t i = 0; i < 2; i++) {
        close_one(&listeners->udp[i]);
        close_one(&listeners->tcp[i]);
    }
    close_one(&listeners->http);
    close_one(&listeners->local);
}

void listeners_remove_local(const struct listeners *listeners)
{
    if (listeners->local_path)
        local_socket_remove(listeners->local_path, listeners->local_device, listeners->local_inode);
}
