/* Where a request without a token comes from, as far as browsers say: a page of somebody else's may make a browser in
 * the sandbox, or in front of it, send requests here, and one whose name was made to lead here (DNS rebinding) also
 * reads the answers. Pure.
 *
 * With a token none of this is looked at: no browser adds that header by itself, no page of another origin may (that
 * takes a preflight request, which is refused), and proxies pass Hosts and Origins of their own. */
#ifndef API_ORIGIN_H
#define API_ORIGIN_H

#include <stdbool.h>

/* As the headers of that name say; NULL: there is none. */
struct origin_headers {
    const char *host, *origin, *fetch_site;
};

enum origin_verdict {
    ORIGIN_FINE,
    ORIGIN_FOREIGN,      /* another page's: Origin or Sec-Fetch-Site */
    ORIGIN_FOREIGN_HOST, /* Host is a name that may be anybody's */
};

/* `hosts`: names that are ours besides, comma separated, or NULL. A Host is ours when it is an address, localhost or
 * below, one label, or a name that public DNS does not have: .local, .internal, .svc (Kubernetes), .cluster.local. */
enum origin_verdict origin_look(const struct origin_headers *headers, const char *hosts);

#endif
