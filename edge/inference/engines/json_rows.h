/* Reads a request's records from JSON into rows of float32 (json_rows.c). */
#ifndef JSON_ROWS_H
#define JSON_ROWS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *texts;       /* The features' names as JSON may have them, one after the other. */
    const uint32_t *ends;    /* The end of each text. */
    const uint32_t *feature; /* The feature of each text. */
    const uint64_t *powers;  /* Powers of ten, from 10^FIRST_POWER on: two words each, see json_rows.py. */
    uint32_t *table;         /* A hash table of 1 + text; its size is a power of 2, at least twice the texts. */
    uint64_t *met;           /* The number of each feature's last record. */
    uint64_t record;         /* The last record's number. With 64 bits, no number comes twice. */
    uint32_t count;          /* The number of texts. */
    uint32_t places;         /* The number of places in the table. */
    uint32_t width;          /* The number of features. */
    uint32_t missing_allowed;
} Names;

void records_index(Names *names);
const char *records_row(Names *names, const char *at, const char *end, float *row);

/* JSON's white space. */
static inline const char *records_skip(const char *at) {
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t') at++;
    return at;
}

#endif
