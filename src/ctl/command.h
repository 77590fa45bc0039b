/* What the commands of `ctl` are given and return. */
#ifndef CTL_COMMAND_H
#define CTL_COMMAND_H

#include "base/why.h"
#include "ctl/client.h"

#include <stdbool.h>
#include <stddef.h>

#define COMMAND_NO 1 /* the exit code for "denied" and "not found" */

struct command {
    struct client *client;
    char *const *words; /* what follows the command's name */
    size_t n_words;
    bool json, dry_run, denied, once;
    bool terminal, colour; /* of stdout */
    struct why why;        /* of a failure; empty: nothing to say */
};

/* Returns an exit code, with a line in `why` unless it is 0. */
typedef int command_run(struct command *command);

command_run policy_get, policy_explain, policy_suggested, leases_list;
command_run policy_set, policy_allow, policy_deny, policy_rm;
command_run events_follow, top_show;

/* GET `path`, and the answer as it is and as JSON. */
int command_get(struct command *command, const char *path, struct reply *ret, cJSON **ret_json);
/* Reads a file, or stdin when it is "-". 0; EX_NOINPUT with `why`. */
int command_read(const char *file, size_t max, struct buf *ret, struct why *why);
/* Prints all of it at once. 0; EX_IOERR or EX_OSERR. */
int command_print(struct command *command, struct buf *text);
/* Members of an answer; "", 0 and NULL when they are missing or something else. */
const char *json_text(const cJSON *object, const char *name);
double json_number(const cJSON *object, const char *name);
/* The texts of an array, with ", " between them. */
void json_texts(const cJSON *array, struct buf *ret);

static inline void cleanup_json(cJSON **json)
{
    cJSON_Delete(*json);
}

#define _cleanup_json_ __attribute__((cleanup(cleanup_json)))

#endif
