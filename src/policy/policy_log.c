#include "policy/policy_log.h"

#include <sha256.h>
#include <stdint.h>

#define RULES_JSON_MAX 8192

void policy_log_rules(struct log *log, const char *json, size_t len, size_t count)
{
    if (len <= RULES_JSON_MAX) {
        log_json(log, "rules", json, len);
        return;
    }
    char hex[SHA256_DIGEST_STRING_LENGTH];
    SHA256Data((const uint8_t *)json, len, hex);
    log_int(log, "rules_count", (int64_t)count);
    log_str(log, "rules_digest", hex, SHA256_DIGEST_STRING_LENGTH - 1);
}
