/* A compiled forest in memory. forest.c evaluates it, and python_objects.c converts rows and answers. */
#ifndef FOREST_H
#define FOREST_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    char magic[8];
    uint32_t format;
    uint32_t flags;
    uint64_t size; /* Bytes of the whole file. */
    char source[16];
    uint32_t features;
    uint32_t outputs;
    uint32_t trees;
    uint32_t nodes;
    uint32_t categories; /* Words of 32 bits. */
    uint32_t transform;
    uint32_t text; /* Bytes. */
    uint32_t reserved;
} Header;

typedef struct {
    uint32_t root; /* The index of its first node. */
    uint32_t depth;
    uint32_t output;
} Tree;

typedef struct {
    float value;   /* Threshold, or a leaf's weight. */
    int16_t left;  /* From this node to its left child. The right child follows it. */
    uint16_t slot; /* The slot that is compared: x < value goes left. */
} Near;

typedef struct {
    union {
        float value;
        uint32_t category; /* The index of the count of words. The words follow. */
    } is;
    int32_t left;     /* As above. It is -1 in a leaf. */
    uint32_t feature; /* The feature's number, and two bits. */
} Far;

typedef struct {
    const Header *header;
    const float *base_scores;
    const Tree *trees;
    const void *nodes;
    const uint32_t *categories;
    const char *text;
    int64_t steps;   /* Of all trees for one row. */
    int64_t at_once; /* Rows: at most BLOCK, fewer if they have many features or outputs. */
    float *slots;    /* Room for forest_slots(). */
    float *rows;     /* There are at_once x features. */
    float *sums;     /* There are at_once x outputs. */
} Forest;

enum { SUM, SIGMOID, EXPONENTIAL, HINGE, SOFTMAX, SOFTPROB, EXPONENTIAL_OF_DOUBLE, TRANSFORMS };
enum {
    BLOCK = 64,          /* Rows per tree, while the tree is in the nearest cache. */
    BLOCK_VALUES = 65536 /* Features or outputs of a block, unless one row has more. It bounds the memory. */
};

int forest_open(Forest *forest, const void *data, int64_t size);
int64_t forest_slots(const Forest *forest);
void forest_predict(const Forest *forest, int64_t count);

#endif
