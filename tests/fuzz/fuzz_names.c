/* The comments of learned addresses, read back from the kernel after a restart: what is taken is written the same. */
#include "nft/names.h"

#include "fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len > 4096)
        return 0;
    char *text = malloc(len + 1);
    memcpy(text, data, len);
    text[len] = 0;
    struct names names = {0}, again = {0};
    if (names_from_text(text, 1, &names) == 0) {
        char once[8192], twice[8192];
        names_text(&names, once, sizeof(once));
        must(names_from_text(once, 1, &again) == 0);
        names_text(&again, twice, sizeof(twice));
        must(!strcmp(once, twice));
    }
    names_done(&names);
    names_done(&again);
    free(text);
    return 0;
}
