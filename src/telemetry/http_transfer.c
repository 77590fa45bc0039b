#include "telemetry/http_transfer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define HEADERS_MAX (64 * 1024)    /* bytes of an answer's headers and trailers */
#define CONNECTION_AGE_MAX_S 300L  /* as long as a name's addresses are kept, see hosts.h */
#define UPLOAD_BUFFER (16L * 1024) /* the least that the library takes; by itself it would be 64 KiB */

/* --- what comes back --- */

static void forget_answer(struct http_post *post)
{
    buf_clear(&post->answer);
    post->status = 0;
    for (size_t i = 0; i < HTTP_WANTED_MAX; i++) {
        free(post->found[i]);
        post->found[i] = NULL;
    }
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Keeps the line's value when its name is wanted. False when memory is short. */
static bool keep_header(struct http_post *post, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon ? (size_t)(colon - line) : 0;
    for (size_t i = 0; colon && post->wanted && i < HTTP_WANTED_MAX && post->wanted[i]; i++) {
        if (strlen(post->wanted[i]) != name_len || strncasecmp(post->wanted[i], line, name_len))
            continue;
        const char *value = colon + 1, *end = line + len;
        while (value < end && is_blank(*value))
            value++;
        while (value < end && is_blank(end[-1]))
            end--;
        free(post->found[i]);
        post->found[i] = strndup(value, (size_t)(end - value));
        return post->found[i] != NULL;
    }
    return true;
}

/* One line of headers or trailers, the status line too. Less than `n` ends the transfer. */
static size_t header_came(char *line, size_t one, size_t n, void *ctx)
{
    struct http_transfer *transfer = ctx;
    struct http_post *post = transfer->post;
    if (n > 5 && !memcmp(line, "HTTP/", 5)) {
        long status = 0;
        forget_answer(post); /* whatever came before was an interim answer (RFC 9110 section 15.2) */
        transfer->curl->easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
        post->status = status > 0 ? (unsigned)status : 0;
    }
    transfer->header_bytes += n;
    transfer->too_large = transfer->header_bytes > HEADERS_MAX;
    return !transfer->too_large && keep_header(post, line, n) ? n : 0;
}

static size_t body_came(char *data, size_t one, size_t n, void *ctx)
{
    struct http_transfer *transfer = ctx;
    struct http_post *post = transfer->post;
    transfer->too_large = n > post->answer_max - post->answer.len;
    if (transfer->too_large)
        return 0;
    buf_append(&post->answer, data, n);
    return post->answer.failed ? 0 : n;
}

static enum http_error error_of(const struct http_transfer *transfer, CURLcode code)
{
    if (transfer->too_large)
        return HTTP_TOO_LARGE;
    switch (code) {
    case CURLE_OK:
        return HTTP_OK;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_ABORTED_BY_CALLBACK: /* the mark was refused */
        return HTTP_NOT_CONNECTED;
    case CURLE_OPERATION_TIMEDOUT:
        return HTTP_TIMED_OUT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
        return HTTP_TLS;
    default:
        return HTTP_NO_ANSWER;
    }
}

void http_transfer_judge(struct http_transfer *transfer, CURLcode code)
{
    struct http_post *post = transfer->post;
    post->error = error_of(transfer, code);
    if (post->error)
        snprintf(post->reason, sizeof(post->reason), "%s",
                 transfer->too_large ? "the answer is too large"
                 : *transfer->reason ? transfer->reason
                                     : transfer->curl->easy_strerror(code));
}

/* --- what is sent --- */

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    int fd = own_socket_open(address->family, address->socktype);
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int set_mark(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
    const struct http_transfer *transfer = ctx;
    int domain;
    socklen_t len = sizeof(domain);
    if (!transfer->own)
        return CURL_SOCKOPT_OK;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) ||
        own_socket_prepare(fd, (sa_family_t)domain, transfer->own))
        return CURL_SOCKOPT_ERROR;
    return CURL_SOCKOPT_OK;
}

/* libcurl wants to resolve something: it must not, see http.h. */
static int refuse_lookup(void *resolver, void *reserved, void *ctx)
{
    return 1;
}

static bool append(const struct curl *curl, struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl->slist_append(*list, line);
    if (longer)
        *list = longer;
    return longer != NULL;
}

static bool set_headers(struct http_transfer *transfer)
{
    /* Nobody waits for a "100 Continue", however long the body. */
    bool whole = append(transfer->curl, &transfer->headers, "Expect:");
    for (const char *const *line = transfer->post->headers; whole && line && *line; line++)
        whole = append(transfer->curl, &transfer->headers, *line);
    return whole && !transfer->curl->easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
}

/* All of them, so that libcurl tries one family beside the other (RFC 8305). */
static bool set_addresses(struct http_transfer *transfer, const struct lookup *addresses)
{
    _cleanup_buf_ struct buf line = {0};
    buf_printf(&line, "%s:%u:", transfer->url.host, transfer->url.port);
    for (size_t i = 0; i < addresses->n; i++) {
        char text[IP_TEXT_MAX];
        bool v6 = addresses->addrs[i].family == AF_INET6;
        buf_printf(&line, "%s%s%s%s", i ? "," : "", v6 ? "[" : "", ip_format(&addresses->addrs[i], text),
                   v6 ? "]" : "");
    }
    return !line.failed && append(transfer->curl, &transfer->addresses, line.data) &&
           !transfer->curl->easy_setopt(transfer->easy, CURLOPT_RESOLVE, transfer->addresses) &&
           !transfer->curl->easy_setopt(transfer->easy, CURLOPT_RESOLVER_START_FUNCTION, refuse_lookup);
}

static void set_tls(const struct http_transfer *transfer)
{
    const struct curl *curl = transfer->curl;
    const struct http_post *post = transfer->post;
    CURL *easy = transfer->easy;
    if (post->ca) {
        curl->easy_setopt(easy, CURLOPT_CAINFO, post->ca);
        curl->easy_setopt(easy, CURLOPT_CAPATH, NULL);
        curl->easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L); /* a changed file counts at once */
    }
    if (post->cert)
        curl->easy_setopt(easy, CURLOPT_SSLCERT, post->cert);
    if (post->key)
        curl->easy_setopt(easy, CURLOPT_SSLKEY, post->key);
}

static long version_of(const struct http_transfer *transfer)
{
    if (!transfer->post->http2)
        return CURL_HTTP_VERSION_1_1;
    return transfer->url.tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
}

int http_transfer_prepare(struct http_transfer *transfer, const struct lookup *addresses, unsigned timeout_ms,
                          bool fresh)
{
    const struct curl *curl = transfer->curl;
    const struct http_post *post = transfer->post;
    CURL *easy = transfer->easy = curl->easy_init();
    if (!easy)
        return -ENOMEM;
    /* libcurl 7.88 fails every plaintext HTTP/2 connection that it uses again. */
    fresh = fresh || post->fresh_connect || (post->http2 && !transfer->url.tls);
    bool whole = !curl->easy_setopt(easy, CURLOPT_URL, post->url) &&
                 !curl->easy_setopt(easy, CURLOPT_USERAGENT, post->user_agent) && set_headers(transfer) &&
                 (!addresses || set_addresses(transfer, addresses));
    curl->easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl->easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl->easy_setopt(easy, CURLOPT_PROXY, "");
    curl->easy_setopt(easy, CURLOPT_HTTP_VERSION, version_of(transfer));
    curl->easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)post->body_len);
    curl->easy_setopt(easy, CURLOPT_POSTFIELDS, post->body_len ? post->body : "");
    curl->easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER);
    curl->easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl->easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, CONNECTION_AGE_MAX_S);
    curl->easy_setopt(easy, CURLOPT_FRESH_CONNECT, (long)fresh);
    curl->easy_setopt(easy, CURLOPT_FORBID_REUSE, (long)fresh);
    curl->easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->reason);
    curl->easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl->easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, set_mark);
    curl->easy_setopt(easy, CURLOPT_SOCKOPTDATA, transfer);
    curl->easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_came);
    curl->easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_came);
    curl->easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    set_tls(transfer);
    return whole ? 0 : -ENOMEM;
}

void http_transfer_drop(struct http_transfer *transfer)
{
    if (transfer->easy)
        transfer->curl->easy_cleanup(transfer->easy);
    transfer->easy = NULL;
}

void http_transfer_free(struct http_transfer *transfer)
{
    http_transfer_drop(transfer);
    transfer->curl->slist_free_all(transfer->headers);
    transfer->curl->slist_free_all(transfer->addresses);
    free(transfer);
}

/* --- the post's result --- */

void http_post_clear(struct http_post *post)
{
    forget_answer(post);
    buf_done(&post->answer);
    post->error = HTTP_OK;
    post->reason[0] = '\0';
}

const char *http_post_header(const struct http_post *post, const char *name)
{
    for (size_t i = 0; post->wanted && i < HTTP_WANTED_MAX && post->wanted[i]; i++)
        if (!strcasecmp(post->wanted[i], name))
            return post->found[i];
    return NULL;
}
