/* Reads plain records, which nearly all clients send. A plain record is an object of the model's features with
 * numbers, or null where the model allows missing values. Any other record is not read here: rows.py reads it and
 * has the error messages. So the floats must be those that Python makes: the nearest double, and then the nearest
 * float. tests/edge/test_json_rows.py compares them.
 *
 * The text ends with a 0, as Python's texts do, and no JSON has a 0. So only memcmp needs the end of the text.
 */
#include "json_rows.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { FIRST_POWER = -65, LAST_POWER = 38, MAX_DIGITS = 19 /* They fit into 64 bits. */ };

static inline uint32_t hashed(uint32_t hash, char letter) { return (hash ^ (unsigned char)letter) * 16777619u; }

static inline const char *start_of(const Names *names, uint32_t text) {
    return names->texts + (text ? names->ends[text - 1] : 0);
}

/* Fill the table, which is all 0. */
void records_index(Names *names) {
    for (uint32_t text = 0; text < names->count; text++) {
        uint32_t hash = 2166136261u;
        for (const char *at = start_of(names, text); at < names->texts + names->ends[text]; at++) hash = hashed(hash, *at);
        uint32_t place = hash & (names->places - 1);
        while (names->table[place]) place = (place + 1) & (names->places - 1);
        names->table[place] = 1 + text;
    }
}

static inline int is_here(const Names *names, uint32_t text, const char *at, const char *end) {
    const char *start = start_of(names, text);
    const size_t length = (size_t)(names->texts + names->ends[text] - start);
    return (size_t)(end - at) > length && at[length] == '"' && !memcmp(at, start, length);
}

/* The index of the text that stands here, closing quote included; -1 for an unknown name. Records mostly have the
 * model's order, so `guess` is usually right. */
static int64_t known(const Names *names, const char *at, const char *end, uint32_t guess) {
    if (guess < names->count && is_here(names, guess, at, end)) return guess;
    uint32_t hash = 2166136261u;
    for (const char *letter = at; *letter != '"'; letter++) {
        if ((unsigned char)*letter < ' ') return -1;
        hash = hashed(hash, *letter);
        if (*letter != '\\') continue;
        letter++;
        if ((unsigned char)*letter < ' ') return -1;
        hash = hashed(hash, *letter);
    }
    for (uint32_t place = hash & (names->places - 1); names->table[place]; place = (place + 1) & (names->places - 1))
        if (is_here(names, names->table[place] - 1, at, end)) return names->table[place] - 1;
    return -1;
}

/* The nearest double to digits x 10^power, ties to even; digits aren't 0. D. Lemire, "Number parsing at a gigabyte
 * per second" (2021), and N. Mushtak and D. Lemire, "Fast number parsing without fallback" (2023), who prove that
 * 128 bits of the power are enough for every 64-bit number. No result is subnormal or infinite for these powers. */
static double nearest(const uint64_t *powers, uint64_t digits, int power) {
    const uint64_t *ten = powers + 2 * (power - FIRST_POWER);
    const int zeros = __builtin_clzll(digits);
    digits <<= zeros;
    unsigned __int128 product = (unsigned __int128)digits * ten[0];
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    if ((high & 0x1FF) == 0x1FF) { /* The bits that decide the rounding may still change. */
        const uint64_t more = (uint64_t)((unsigned __int128)digits * ten[1] >> 64);
        low += more;
        if (more > low) high++;
    }
    const int top = (int)(high >> 63), shift = top + 64 - 52 - 3;
    uint64_t mantissa = high >> shift;
    int exponent = ((152170 + 65536) * power >> 16) + 63 + top - zeros + 1023;
    if (low <= 1 && power >= -4 && power <= 23 && (mantissa & 3) == 1 && mantissa << shift == high)
        mantissa &= ~(uint64_t)1; /* It is exactly between two doubles: take the even one. */
    mantissa += mantissa & 1;
    mantissa >>= 1;
    if (mantissa >= (uint64_t)2 << 52) {
        mantissa = (uint64_t)1 << 52;
        exponent++;
    }
    const uint64_t bits = (mantissa & ~((uint64_t)1 << 52)) | (uint64_t)exponent << 52;
    double found;
    memcpy(&found, &bits, sizeof found);
    return found;
}

static inline int is_digit(char letter) { return letter >= '0' && letter <= '9'; }

/* A number of JSON; NULL for anything else, or for too many digits. */
static const char *number(const uint64_t *powers, const char *at, double *found) {
    const int negative = *at == '-';
    at += negative;
    const char *first = at, *point = NULL;
    uint64_t digits = 0;
    for (; is_digit(*at); at++) digits = 10 * digits + (uint64_t)(*at - '0');
    if (at == first || (*first == '0' && at - first > 1)) return NULL;
    int whole = 1;
    int64_t power = 0, length = at - first;
    if (*at == '.') {
        point = at++;
        for (; is_digit(*at); at++) digits = 10 * digits + (uint64_t)(*at - '0');
        power = point + 1 - at;
        if (!power) return NULL;
        length -= power;
        whole = 0;
    }
    if (length > MAX_DIGITS) {
        for (const char *zero = first; *zero == '0' || *zero == '.'; zero++) length -= *zero == '0';
        if (length > MAX_DIGITS) return NULL;
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        const int down = *at == '-';
        at += down || *at == '+';
        int64_t said = 0;
        if (!is_digit(*at)) return NULL;
        for (; is_digit(*at); at++)
            if (said < 10000) said = 10 * said + (*at - '0');
        power += down ? -said : said;
        whole = 0;
    }
    if (!digits) *found = 0;
    else if (power < FIRST_POWER || power > LAST_POWER) return NULL;
    else *found = nearest(powers, digits, (int)power);
    if (negative && !(whole && !digits)) *found = -*found; /* The text -0 is an integer, and integers have one zero. */
    return at;
}

/* Read a record's values into the row, and return the text after it; NULL for a record that isn't plain. */
const char *records_row(Names *names, const char *at, const char *end, float *row) {
    if (*at++ != '{') return NULL;
    const uint64_t record = ++names->record;
    uint32_t found = 0, guess = 0;
    at = records_skip(at);
    if (*at == '}') at++;
    else
        for (;;) {
            if (*at++ != '"') return NULL;
            const int64_t text = known(names, at, end, guess);
            if (text < 0) return NULL;
            guess = (uint32_t)text + 1;
            const uint32_t feature = names->feature[text];
            if (names->met[feature] == record) return NULL; /* Of two equal names, the last counts. */
            names->met[feature] = record;
            found++;
            at = records_skip(names->texts + names->ends[text] - start_of(names, (uint32_t)text) + at + 1);
            if (*at++ != ':') return NULL;
            at = records_skip(at);
            if (*at == 'n') {
                if (!names->missing_allowed || strncmp(at, "null", 4)) return NULL;
                row[feature] = __builtin_nanf("");
                at += 4;
            } else {
                double value;
                at = number(names->powers, at, &value);
                if (!at || !(fabs(value) < FLT_MAX)) return NULL;
                row[feature] = (float)value;
            }
            at = records_skip(at);
            if (*at == '}') break;
            if (*at++ != ',') return NULL;
            at = records_skip(at);
        }
    if (found) at++;
    if (found < names->width) {
        if (!names->missing_allowed) return NULL;
        for (uint32_t feature = 0; feature < names->width; feature++)
            if (names->met[feature] != record) row[feature] = __builtin_nanf("");
    }
    return at;
}
