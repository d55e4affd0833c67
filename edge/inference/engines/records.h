/* The records of a request, from their JSON text into rows of float32 (records.c). */
#ifndef RECORDS_H
#define RECORDS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *texts;       /* the features' names as JSON may have them, one after the other */
    const uint32_t *ends;    /* where each of them ends */
    const uint32_t *feature; /* whose name each of them is */
    const uint64_t *powers;  /* of ten, from 10^FIRST_POWER on: two words each, see records.py */
    uint32_t *table;         /* of a power of 2 of places, at least twice the texts: 1 + a text, by its hash */
    uint32_t *met;           /* a feature's last record, by its number */
    uint32_t count;          /* of the texts */
    uint32_t places;         /* of the table */
    uint32_t width;          /* features */
    uint32_t missing_allowed;
    uint32_t record;         /* the number of the last one */
} Names;

void records_index(Names *names);
const char *records_row(Names *names, const char *at, const char *end, float *row);

/* JSON's white space. */
static inline const char *records_skip(const char *at) {
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t') at++;
    return at;
}

#endif
