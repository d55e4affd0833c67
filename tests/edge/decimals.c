/* Compares the doubles that json_rows.c makes of decimals with strtod's: how many differ, and how many it left unread.
 * The decimals are short and long, and such as lie between two doubles or next to that. The powers of ten come by
 * standard input, from json_rows.py. */
#include "../../edge/inference/engines/json_rows.c"

#include <stdio.h>
#include <stdlib.h>

static uint64_t state = 88172645463325252u;

static uint64_t drawn(void) { /* xorshift64, G. Marsaglia 2003: repeatable */
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

/* As the shortest text, with 17 digits, or with as many as fit. */
static void write_one(char *text, size_t room, uint64_t kind) {
    const uint64_t number = drawn();
    if (kind == 0) {
        double value;
        const uint64_t bits = number >> 12 | (uint64_t)(1023 - 150 + drawn() % 250) << 52;
        memcpy(&value, &bits, sizeof value);
        snprintf(text, room, "%.17g", value);
    } else if (kind == 1) { /* in the middle of two doubles, or one beside it: 54 bits, then zeros */
        const int zeros = (int)(drawn() % 10);
        snprintf(text, room, "%llu", (unsigned long long)((((number >> 10 | 1) << zeros) + drawn() % 3 - 1)));
    } else if (kind == 2) { /* the same behind a point: 54 bits, halved */
        const uint64_t half = (number >> 12 | (uint64_t)1 << 51) >> drawn() % 8;
        snprintf(text, room, "%llu.5", (unsigned long long)half);
    } else if (kind == 3) { /* just below a power of 2, which it is rounded up to */
        const double above = ldexp(1, (int)(number % 100) - 50);
        snprintf(text, room, "%.19Lg", above - (long double)above * 0x1p-55L);
    } else if (kind == 4) {
        snprintf(text, room, "%llue%d", (unsigned long long)(number % 10000000000000000000u), (int)(drawn() % 104) - 65);
    } else {
        snprintf(text, room, "%llu.%06llu", (unsigned long long)(number % 100000), (unsigned long long)(drawn() % 1000000));
    }
}

int main(int count, char **arguments) {
    uint64_t powers[2 * (LAST_POWER - FIRST_POWER + 1)];
    if (fread(powers, sizeof powers, 1, stdin) != 1) return 1;
    long differ = 0, unread = 0;
    for (long number_of = count > 1 ? atol(arguments[1]) : 0; number_of > 0; number_of--) {
        char text[64];
        write_one(text, sizeof text, drawn() % 6);
        double ours, theirs = strtod(text, NULL);
        const char *after = number(powers, text, &ours);
        if (!after || *after) unread++;
        else differ += !!memcmp(&ours, &theirs, sizeof ours);
    }
    printf("%ld %ld\n", differ, unread);
    return 0;
}
