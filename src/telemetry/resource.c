#include "telemetry/resource.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>

#define OWN_ATTRIBUTES 12
#define UUID_SIZE 37

void resource_free(struct resource *resource)
{
    if (!resource)
        return;
    for (size_t i = 0; i < resource->n; i++) {
        free((void *)(uintptr_t)resource->attributes[i].key);
        free((void *)(uintptr_t)resource->attributes[i].text);
    }
    free(resource->attributes);
    free(resource);
}

DEFINE_CLEANUP(struct resource, cleanup_resource, resource_free);

static bool has(const struct resource *resource, const char *key)
{
    for (size_t i = 0; i < resource->n; i++)
        if (!strcmp(resource->attributes[i].key, key))
            return true;
    return false;
}

/* The first who names a key has it. */
static int add(struct resource *resource, const char *key, const char *text, int64_t integer)
{
    if (has(resource, key))
        return 0;
    _cleanup_free_ char *own_key = strdup(key);
    _cleanup_free_ char *own_text = text ? strdup(text) : NULL;
    if (!own_key || (text && !own_text))
        return -ENOMEM;
    resource->attributes[resource->n++] =
        (struct metric_attribute){.key = take_pointer(own_key), .text = take_pointer(own_text), .integer = integer};
    return 0;
}

static int add_text(struct resource *resource, const char *key, const char *text)
{
    return text ? add(resource, key, text, 0) : 0;
}

/* Version 4 (RFC 9562 section 5.4): random but for six bits. */
static int draw_uuid(char ret[UUID_SIZE])
{
    uint8_t b[16];
    if (getrandom(b, sizeof(b), 0) != sizeof(b))
        return -errno;
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    snprintf(ret, UUID_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
             b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    return 0;
}

/* The kernel's word for the processor as semantic conventions spell it. */
static const char *architecture(const char *machine)
{
    static const char *const words[][2] = {{"x86_64", "amd64"}, {"aarch64", "arm64"}, {"armv7l", "arm32"},
                                           {"i686", "x86"},     {"ppc64le", "ppc64"}, {"s390x", "s390x"}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (!strcmp(machine, words[i][0]))
            return words[i][1];
    return machine;
}

static int add_found(struct resource *resource, const struct resource_settings *settings)
{
    struct utsname host;
    char uuid[UUID_SIZE], name[128];
    int error = draw_uuid(uuid);
    if (error || uname(&host))
        return error ? error : -errno;
    snprintf(name, sizeof(name), "opensandbox-egress-%s", settings->version);
    error = add_text(resource, "service.name", name);
    if (!error)
        error = add_text(resource, "service.version", settings->version);
    if (!error)
        error = add_text(resource, "service.instance.id", uuid);
    if (!error)
        error = add(resource, "process.pid", NULL, getpid());
    if (!error)
        error = add_text(resource, "host.name", host.nodename);
    if (!error)
        error = add_text(resource, "host.arch", architecture(host.machine));
    if (!error)
        error = add_text(resource, "os.type", "linux");
    return error;
}

int resource_new(const struct resource_settings *settings, struct resource **ret)
{
    _cleanup_(cleanup_resource) struct resource *resource = calloc(1, sizeof(*resource));
    if (resource)
        resource->attributes = calloc(OWN_ATTRIBUTES + settings->n_given, sizeof(*resource->attributes));
    if (!resource || !resource->attributes)
        return -ENOMEM;
    int error = add_text(resource, "service.name", settings->service_name);
    if (!error)
        error = add_text(resource, "sandbox_id", settings->sandbox_id);
    if (!error)
        error = add_text(resource, "telemetry.sdk.name", RESOURCE_SDK_NAME);
    if (!error)
        error = add_text(resource, "telemetry.sdk.language", "c");
    if (!error)
        error = add_text(resource, "telemetry.sdk.version", settings->version);
    for (size_t i = settings->n_given; i-- > 0 && !error;)
        error = add_text(resource, settings->given[i].key, settings->given[i].value);
    if (!error)
        error = add_found(resource, settings);
    if (error)
        return error;
    *ret = take_pointer(resource);
    return 0;
}
