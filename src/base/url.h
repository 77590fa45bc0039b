/* URLs of the endpoints that the sidecar talks to (RFC 3986), as far as their authority: what follows it is not looked
 * at. */
#ifndef BASE_URL_H
#define BASE_URL_H

#include "base/ip.h"

#define URL_HOST_MAX 256
#define URL_SHOWN_MAX 384

struct url {
    bool tls;                /* https */
    char host[URL_HOST_MAX]; /* as written, without brackets */
    bool literal;            /* the host is `addr` */
    struct ip_addr addr;
    uint16_t port; /* 80 or 443 unless written */
};

/* An http or https URL with a host: a literal address (IPv6 in brackets) or a name of letters, digits, '-', '_' and '.'
 * (an international one in its xn-- form). 0 or -EINVAL. */
int url_parse(const char *text, struct url *ret);
/* `text`, a URL or something that was meant as one, without what may be secret in it: user and password, path and query
 * give way to "...". Returns `out`. */
const char *url_shown(const char *text, char out[URL_SHOWN_MAX]);

#endif
