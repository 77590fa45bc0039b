/* Values of the environment that are lists: parts between commas, trimmed, empty ones left out. */
#ifndef CONFIG_LISTS_H
#define CONFIG_LISTS_H

#include "config_parse.h"

config_parser config_parse_upstreams;
config_parser config_parse_exempt;
config_parser config_parse_outputs;
config_parser config_parse_attributes;
config_parser config_parse_blocklist;

#endif
