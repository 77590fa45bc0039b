/* How values of the environment are read. */
#ifndef CONFIG_PARSE_H
#define CONFIG_PARSE_H

#include "config.h"

struct variable;

/* Reads the trimmed value of a variable that is set into `config`. 0, -EINVAL with `why`, or -ENOMEM. */
typedef int config_parser(struct config *config, const struct variable *variable, const char *value, struct why *why);

/* One variable: what it is called, how it is read, and how it is shown. */
struct variable {
    const char *name;
    config_parser *parse;
    const char *fallback; /* what holds when it is not set, for people */
    size_t offset;        /* of the field in struct config, for the generic parsers */
    unsigned min, max;    /* config_parse_tuning, config_parse_bound */
    unsigned memory_part; /* not 0: when it is not set, no more than a limit of memory divided by that */
    bool secret;
    bool url; /* shown without what may be secret in it */
};

/* -EINVAL, with `why` naming the variable, the value and what was expected. */
int config_refuse(struct why *why, const struct variable *variable, const char *value, const char *expected);
/* Such a line among the warnings: the value is not used. 0 or -ENOMEM. */
int config_warn(struct config *config, const struct variable *variable, const char *value, const char *expected);
/* Frees a text of the configuration. */
void config_drop(const char *text);

/* Generic: a `const char *`, a bool and an unsigned at the variable's offset. */
config_parser config_parse_text;
config_parser config_parse_switch;
config_parser config_parse_tuning;
config_parser config_parse_bound; /* a number that security depends on: one that cannot be parsed is refused */

config_parser config_parse_mode;
config_parser config_parse_http_addr;
config_parser config_parse_api_socket;
config_parser config_parse_api_hosts;
config_parser config_parse_dns_port;
config_parser config_parse_max_rules;
config_parser config_parse_log_level;
config_parser config_parse_on_exit;
config_parser config_parse_bad_rules;
config_parser config_parse_webhook;
/* What is switched on is refused. */
config_parser config_refuse_interception;
config_parser config_parse_nothing;

#endif
