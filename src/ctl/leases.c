/* `ctl leases`: the addresses that names led to. */
#include "base/cleanup.h"
#include "ctl/command.h"
#include "ctl/listing.h"

#include <stdlib.h>
#include <string.h>

static const char *first_name(const cJSON *lease)
{
    const char *name = cJSON_GetStringValue(cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(lease, "names"), 0));
    return name ? name : "";
}

static int compare(const void *a, const void *b)
{
    const cJSON *one = *(cJSON *const *)a, *other = *(cJSON *const *)b;
    int order = strcmp(first_name(one), first_name(other));
    return order ? order : strcmp(json_text(one, "address"), json_text(other, "address"));
}

static void put_lease(const cJSON *lease, struct listing *listing)
{
    _cleanup_buf_ struct buf names = {0};
    const char *state = json_text(lease, "state");
    json_texts(cJSON_GetObjectItemCaseSensitive(lease, "names"), &names);
    listing_add(listing, TONE_PLAIN, json_text(lease, "address"));
    listing_add(listing, strcmp(state, "learned") ? TONE_BAD : TONE_GOOD, state);
    listing_printf(listing, TONE_PLAIN, "%4.0f", json_number(lease, "seconds"));
    listing_add(listing, TONE_PLAIN, names.len ? names.data : "");
}

static void put_leases(const cJSON *answer, struct listing *listing, struct buf *out)
{
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(answer, "leases"), *lease;
    size_t n = (size_t)cJSON_GetArraySize(array), i = 0;
    _cleanup_free_ const cJSON **sorted = calloc(n + 1, sizeof(*sorted));
    out->failed |= !sorted;
    if (!sorted)
        return;
    cJSON_ArrayForEach(lease, array)
    {
        sorted[i++] = lease;
    }
    qsort(sorted, n, sizeof(*sorted), compare);
    listing_titles(listing, "ADDRESS,STATE,LEFT,NAMES");
    for (i = 0; i < n; i++)
        put_lease(sorted[i], listing);
    listing_put(listing, 0, out);
    double total = json_number(answer, "leasesTotal");
    if (total > (double)n)
        buf_printf(out, "and %.0f more\n", total - (double)n);
}

int leases_list(struct command *command)
{
    _cleanup_reply_ struct reply reply = {0};
    _cleanup_json_ cJSON *answer = NULL;
    _cleanup_buf_ struct buf out = {0};
    _cleanup_listing_ struct listing listing = {command->colour, 4};
    int code = command_get(command, "/policy/leases", &reply, &answer);
    if (code || command->json)
        return code ? code : command_print(command, &reply.body);
    put_leases(answer, &listing, &out);
    return command_print(command, &out);
}
