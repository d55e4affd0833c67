/* Reads a request's records from JSON into rows of float32 (json_rows.c). */
#ifndef JSON_ROWS_H
#define JSON_ROWS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *texts;       /* the features' names as JSON may have them, one after the other */
    const uint32_t *ends;    /* the end of each text */
    const uint32_t *feature; /* the feature of each text */
    const uint64_t *powers;  /* of ten, from 10^FIRST_POWER on: two words each, see json_rows.py */
    uint32_t *table;         /* a hash table of 1 + text; its size is a power of 2, at least twice the texts */
    uint64_t *met;           /* the number of each feature's last record */
    uint64_t record;         /* the number of the last one; 64 bits, so that no number comes twice */
    uint32_t count;          /* of the texts */
    uint32_t places;         /* of the table */
    uint32_t width;          /* features */
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
