/* Wrong tokens, counted by where they come from: after GUESSES_PER_SECOND in a second no token from there is looked at
 * until the second is over, the right one included. Else its being right would tell, and guessing would be as fast as
 * before. What one side does is therefore of no matter to the others: the sandbox is one source, whichever of its
 * addresses it takes (127.0.0.0/8 alone has 16 million), the socket in the file system is another one, and those
 * outside are divided by address, in a way that nobody can tell which others share his count. */
#ifndef API_GUESSES_H
#define API_GUESSES_H

#include "api/connection.h"
#include "base/keyed_hash.h"

#include <sys/socket.h>

#define GUESSES_PER_SECOND 10
#define GUESSES_OUTSIDE 64 /* sources outside: at most so many times ten guesses a second, however many addresses */

struct guess_source {
    uint64_t until_ns; /* the end of its second */
    unsigned n;        /* wrong tokens in it */
};

/* The API's thread's. Zeroed and with a random key at first. */
struct guesses {
    struct hash_key key;
    struct guess_source inside, local, outside[GUESSES_OUTSIDE];
};

/* Where a client's guesses are counted: IPv4 by address, IPv6 by /64. `peer` is looked at for those outside alone. */
struct guess_source *guesses_source(struct guesses *guesses, enum connection_side side, const struct sockaddr *peer);
/* Whether a token from there is looked at. */
bool guesses_left(const struct guess_source *source, uint64_t now_ns);
/* It was looked at, and wrong. */
void guesses_wrong(struct guess_source *source, uint64_t now_ns);

#endif
