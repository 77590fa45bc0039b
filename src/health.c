#include "health.h"

#include "base/cleanup.h"
#include "base/local_socket.h"
#include "base/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_MAX 4096

struct sock_addr health_address(const struct sock_addr *listen, bool any)
{
    static const struct ip_addr v4 = {AF_INET, {127, 0, 0, 1}}, v6 = {AF_INET6, {[15] = 1}};
    static const struct ip_addr no_v4 = {AF_INET, {0}}, no_v6 = {AF_INET6, {0}};
    struct ip_addr ip = sock_addr_ip(listen);
    if (any || ip_equal(&ip, &no_v4))
        return sock_addr_make(&v4, sock_addr_port(listen));
    return ip_equal(&ip, &no_v6) ? sock_addr_make(&v6, sock_addr_port(listen)) : *listen;
}

static int wait_for(int fd, short events, uint64_t deadline)
{
    uint64_t now = clock_monotonic_ns();
    struct pollfd ready = {.fd = fd, .events = events};
    int n = now < deadline ? poll(&ready, 1, (int)((deadline - now) / NS_PER_MS) + 1) : 0;
    return n < 0 ? -errno : n == 0 ? -ETIMEDOUT : 0;
}

/* The descriptor, or -errno. */
static int connect_to(const struct sock_addr *addr, uint64_t deadline)
{
    _cleanup_close_ int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, &addr->sa, sock_addr_len(addr))) {
        int error = errno == EINPROGRESS ? wait_for(fd, POLLOUT, deadline) : -errno;
        socklen_t len = sizeof(error);
        if (!error && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
            error = errno;
        if (error)
            return error < 0 ? error : -error;
    }
    return take_fd(&fd);
}

/* Reads to the end of the connection; what is beyond the limit is not of interest. */
static int receive(int fd, uint64_t deadline, char *text, size_t size)
{
    size_t len = 0;
    while (len + 1 < size) {
        int error = wait_for(fd, POLLIN, deadline);
        if (error)
            return error;
        ssize_t n = recv(fd, text + len, size - len - 1, 0);
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    text[len] = '\0';
    return 0;
}

/* Takes the connection over, or the error that there is instead. */
static int exchange(int connection, uint64_t deadline, char *text, size_t size)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    _cleanup_close_ int fd = connection;
    if (fd < 0)
        return fd;
    ssize_t n = send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
    if (n != (ssize_t)sizeof(request) - 1)
        return n < 0 ? -errno : -EIO;
    return receive(fd, deadline, text, size);
}

static int judge(int connection, uint64_t deadline, const char *where, struct why *why)
{
    char answer[ANSWER_MAX];
    int status;
    int error = exchange(connection, deadline, answer, sizeof(answer));
    if (error)
        return why_set(why, error, "no answer from %s: %s", where, strerrordesc_np(-error));
    const char *body = strstr(answer, "\r\n\r\n");
    if (sscanf(answer, "HTTP/1.1 %3d", &status) != 1 || !body)
        return why_set(why, -EPROTO, "what answers at %s is not the sidecar", where);
    body += 4;
    size_t len = strcspn(body, "\n");
    return why_set(why, status == 200 ? 0 : -EHOSTDOWN, "%.*s", (int)len, body);
}

int health_ask(const struct sock_addr *addr, unsigned timeout_ms, struct why *why)
{
    char where[SOCK_ADDR_TEXT_MAX];
    uint64_t deadline = clock_monotonic_ns() + timeout_ms * NS_PER_MS;
    return judge(connect_to(addr, deadline), deadline, sock_addr_format(addr, where), why);
}

int health_ask_local(const char *path, unsigned timeout_ms, struct why *why)
{
    return judge(local_socket_connect(path), clock_monotonic_ns() + timeout_ms * NS_PER_MS, path, why);
}
