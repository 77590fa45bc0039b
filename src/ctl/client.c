#include "ctl/client.h"

#include "base/cleanup.h"
#include "base/curl.h"
#include "base/local_socket.h"
#include "base/url.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define TOKEN_HEADER "OPENSANDBOX-EGRESS-AUTH: "
#define HTTPS "https://"
#define ANSWER_MAX (32 * 1024 * 1024)
#define CONNECT_TIMEOUT_MS 3000L
#define TIMEOUT_MS 30000L /* a change waits for the kernel and the disk */

struct client {
    struct curl curl;
    CURL *easy;
    const char *token, *authorities;
    bool tls;
    char shown[CLIENT_SHOWN_MAX]; /* host:port, or unix:/path */
    const char *socket;           /* the path in it; NULL: there is none */
};

/* `shown` and `socket` of what a person wrote. */
static int parse_address(const char *address, struct client *ret, struct why *why)
{
    static const struct ip_addr any_v4 = {AF_INET, {0}}, any_v6 = {AF_INET6, {0}};
    struct url url;
    _cleanup_buf_ struct buf text = {0};
    size_t prefix = strlen(LOCAL_SOCKET_PREFIX);
    if (!strncmp(address, LOCAL_SOCKET_PREFIX, prefix) && local_socket_path_is_valid(address + prefix)) {
        snprintf(ret->shown, sizeof(ret->shown), "%s", address);
        ret->socket = ret->shown + prefix;
        return 0;
    }
    ret->tls = !strncmp(address, HTTPS, strlen(HTTPS));
    const char *host = address + (ret->tls ? strlen(HTTPS) : 0);
    buf_printf(&text, "%s%s%s", ret->tls ? HTTPS : "http://", *host == ':' ? "127.0.0.1" : "", host);
    if (text.failed || url_parse(text.data, &url))
        return why_set(why, EX_USAGE, "address \"%.100s\": expected HOST:PORT, [v6]:PORT, :PORT or unix:/PATH",
                       address);
    if (url.literal && (ip_equal(&url.addr, &any_v4) || ip_equal(&url.addr, &any_v6)))
        strcpy(url.host, url.addr.family == AF_INET ? "127.0.0.1" : "::1");
    bool v6 = strchr(url.host, ':');
    snprintf(ret->shown, sizeof(ret->shown), "%s%s%s:%u", v6 ? "[" : "", url.host, v6 ? "]" : "", url.port);
    return 0;
}

int client_new(const char *address, const char *token, const char *authorities, struct client **ret, struct why *why)
{
    struct client *client = calloc(1, sizeof(*client));
    int code = client ? parse_address(address, client, why) : 0;
    if (code) {
        client_free(client);
        return code;
    }
    if (!client || curl_load(&client->curl, why) || !(client->easy = client->curl.easy_init())) {
        if (!client || client->curl.easy_init)
            why_set(why, 0, "out of memory");
        client_free(client);
        return EX_UNAVAILABLE;
    }
    client->token = token;
    client->authorities = authorities;
    *ret = client;
    return 0;
}

void client_free(struct client *client)
{
    if (client && client->easy)
        client->curl.easy_cleanup(client->easy);
    free(client);
}

const char *client_address(const struct client *client)
{
    return client->shown;
}

void reply_done(struct reply *reply)
{
    buf_done(&reply->body);
}

static size_t body_came(char *data, size_t one, size_t n, void *ctx)
{
    struct buf *body = ctx;
    if (n > ANSWER_MAX - body->len)
        return 0;
    buf_append(body, data, n);
    return body->failed ? 0 : n;
}

/* Adds `name`+`value` to the list, which is whole or gone: NULL in, NULL out. */
static void add_header(const struct client *client, struct curl_slist **list, const char *name, const char *value)
{
    _cleanup_buf_ struct buf line = {0};
    buf_printf(&line, "%s%s", name, value);
    struct curl_slist *longer = *list && !line.failed ? client->curl.slist_append(*list, line.data) : NULL;
    if (!longer)
        client->curl.slist_free_all(*list);
    *list = longer;
}

static struct curl_slist *headers_of(const struct client *client, const struct request *request)
{
    struct curl_slist *list = client->curl.slist_append(NULL, "Expect:");
    if (request->body)
        add_header(client, &list, "Content-Type: application/json", "");
    if (client->token)
        add_header(client, &list, TOKEN_HEADER, client->token);
    if (request->if_match && *request->if_match)
        add_header(client, &list, "If-Match: ", request->if_match);
    return list;
}

/* What a transfer borrows while it lasts. */
struct headers {
    const struct client *client;
    struct curl_slist *list;
};

static void headers_done(struct headers *headers)
{
    headers->client->curl.easy_setopt(headers->client->easy, CURLOPT_HTTPHEADER, NULL);
    headers->client->curl.slist_free_all(headers->list);
}

/* The code of the transfer and, when it is CURLE_OK, the status. */
static CURLcode transfer(struct client *client, const struct request *request, struct reply *ret, long *ret_status)
{
    const struct curl *curl = &client->curl;
    CURL *easy = client->easy;
    _cleanup_buf_ struct buf url = {0};
    buf_printf(&url, "%s%s%s", client->tls ? HTTPS : "http://", client->socket ? "localhost" : client->shown,
               request->path);
    _cleanup_(headers_done) struct headers headers = {client, headers_of(client, request)};
    if (url.failed || !headers.list || curl->easy_setopt(easy, CURLOPT_URL, url.data) ||
        curl->easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, client->socket))
        return CURLE_OUT_OF_MEMORY;
    curl->easy_setopt(easy, CURLOPT_HTTPHEADER, headers.list);
    curl->easy_setopt(easy, CURLOPT_PROXY, "");
    if (client->authorities)
        curl->easy_setopt(easy, CURLOPT_CAINFO, client->authorities);
    curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl->easy_setopt(easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MS + 1000L * (long)request->wait_s);
    curl->easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    if (request->body) {
        curl->easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body->len);
        curl->easy_setopt(easy, CURLOPT_POSTFIELDS, request->body->data);
    } else {
        curl->easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_came);
    curl->easy_setopt(easy, CURLOPT_WRITEDATA, &ret->body);
    buf_clear(&ret->body);
    CURLcode code = curl->easy_perform(easy);
    curl->easy_getinfo(easy, CURLINFO_RESPONSE_CODE, ret_status);
    struct curl_header *etag;
    bool tagged = !code && !curl->easy_header(easy, "ETag", 0, CURLH_HEADER, -1, &etag);
    snprintf(ret->etag, sizeof(ret->etag), "%s", tagged ? etag->value : "");
    return code;
}

/* What a status other than 200 means, as exit code; the sidecar's own line comes behind the words. */
static int judge(const struct client *client, long status, const struct buf *body, struct why *why)
{
    static const struct {
        long status;
        int code;
        const char *words;
    } meanings[] = {
        {400, EX_DATAERR, "refused: "},
        {403, EX_NOPERM, ""},
        {404, EX_UNAVAILABLE, "this sidecar does not offer that: "},
        {412, EX_TEMPFAIL, "somebody else has changed the policy, nothing was changed; get it and try again: "},
        {413, EX_DATAERR, "refused: "},
        {429, EX_TEMPFAIL, "not now, try again: "},
        {500, EX_OSERR, "the sidecar failed, the old policy is in force: "},
        {503, EX_TEMPFAIL, "not now, try again: "},
    };
    if (status == 200)
        return 0;
    if (status == 401)
        return why_set(why, EX_NOPERM, "%s",
                       client->token ? "the token is not the sidecar's"
                                     : "the sidecar wants a token: set OPENSANDBOX_EGRESS_TOKEN or use --token-file");
    int len = (int)(body->len ? strcspn(body->data, "\n") : 0);
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
        if (meanings[i].status == status)
            return why_set(why, meanings[i].code, "%s%.*s", meanings[i].words, len, len ? body->data : "");
    return why_set(why, EX_PROTOCOL, "what answers at %s is not the sidecar: HTTP status %ld", client->shown, status);
}

int client_ask(struct client *client, const struct request *request, struct reply *ret, struct why *why)
{
    long status = 0;
    CURLcode code = transfer(client, request, ret, &status);
    if (!code)
        return judge(client, status, &ret->body, why);
    return why_set(why, EX_UNAVAILABLE,
                   "no answer from %s: %s; is the sidecar running in this network namespace? (--address)",
                   client->shown, client->curl.easy_strerror(code));
}

int client_json(const struct client *client, const struct reply *reply, cJSON **ret, struct why *why)
{
    /* With the NUL at its end: cJSON looks one byte beyond a text that breaks off (CVE-2023-53154). */
    *ret = reply->body.len ? cJSON_ParseWithLength(reply->body.data, reply->body.len + 1) : NULL;
    if (*ret)
        return 0;
    return why_set(why, EX_PROTOCOL, "what answers at %s is not the sidecar: its answer is no JSON", client->shown);
}
