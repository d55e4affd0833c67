/* The walk of a forest: for each row, base score first, then each tree's leaf in order, in float32.
 *
 * A step has to be branch-free, or mispredicted branches cost more than everything else here. So:
 *
 *   Missing values cost nothing. A row is spread into slots: one copy of the features with +inf for NaN, one
 *   with -inf. A node whose missing values go right reads the first copy (inf < threshold is never true), one
 *   whose missing values go left reads the second (always true: thresholds are finite).
 *
 *   Leaves are nodes. A leaf reads the last slot, which holds NaN; no comparison with NaN is true, so it
 *   always steps "right", and its left child is the node before it: it stays where it is, with the leaf's
 *   weight where other nodes have their threshold. So every lane of a tree takes the same number of steps.
 *
 *   Siblings are neighbours, and a node holds how far its left child is: 8 bytes a node, relocatable.
 *
 * Whoever fills the arrays has checked them (forest.py): nothing is checked here.
 */
#include <stddef.h>
#include <stdint.h>

typedef struct {
    float value;   /* threshold, or a leaf's weight */
    int16_t left;  /* from this node to its left child; the right one follows that */
    uint16_t slot; /* what is compared: x < value goes left */
} Node;

typedef struct {
    const Node *nodes;
    const int32_t *roots;
    const int32_t *depths;
    float *slots; /* room for forest_slots() */
    int32_t trees;
    int32_t features;
    float base_score;
} Forest;

enum {
    LANES = 8,  /* walks in flight, each waiting for its own node to arrive: measured 4, 8, 16 */
    BLOCK = 64, /* rows that meet a tree while it is in the nearest cache */
};

static inline size_t width(int32_t features) { return 2 * (size_t)features + 1; }

int64_t forest_slots(int32_t features) { return (int64_t)(BLOCK * width(features)); }

static inline const Node *step(const Node *node, const float *slots) {
    return node + node->left + !(slots[node->slot] < node->value);
}

static void spread(const float *row, int32_t features, float *slots) {
    for (int32_t j = 0; j < features; j++) {
        const float x = row[j];
        slots[j] = x == x ? x : __builtin_inff();
        slots[features + j] = x == x ? x : -__builtin_inff();
    }
    slots[2 * features] = __builtin_nanf("");
}

/* One row: LANES trees in flight. */
static float one(const Forest *forest, const float *slots) {
    float sum = forest->base_score;
    int32_t tree = 0;
    for (; tree + LANES <= forest->trees; tree += LANES) {
        const Node *at[LANES];
        int32_t deepest = 0;
        for (int lane = 0; lane < LANES; lane++) {
            at[lane] = forest->nodes + forest->roots[tree + lane];
            if (forest->depths[tree + lane] > deepest) deepest = forest->depths[tree + lane];
        }
        for (; deepest > 0; deepest--)
            for (int lane = 0; lane < LANES; lane++) at[lane] = step(at[lane], slots);
        for (int lane = 0; lane < LANES; lane++) sum += at[lane]->value;
    }
    for (; tree < forest->trees; tree++) {
        const Node *at = forest->nodes + forest->roots[tree];
        for (int32_t depth = forest->depths[tree]; depth > 0; depth--) at = step(at, slots);
        sum += at->value;
    }
    return sum;
}

/* A block of rows: LANES rows in flight through one tree after the other. */
static void block(const Forest *forest, float *sums, int64_t rows) {
    const size_t stride = width(forest->features);
    for (int64_t row = 0; row < rows; row++) sums[row] = forest->base_score;
    for (int32_t tree = 0; tree < forest->trees; tree++) {
        const Node *root = forest->nodes + forest->roots[tree];
        const int32_t depth = forest->depths[tree];
        int64_t row = 0;
        for (; row + LANES <= rows; row += LANES) {
            const float *slots = forest->slots + row * stride;
            const Node *at[LANES];
            for (int lane = 0; lane < LANES; lane++) at[lane] = root;
            for (int32_t steps = depth; steps > 0; steps--)
                for (int lane = 0; lane < LANES; lane++)
                    at[lane] = step(at[lane], slots + lane * stride);
            for (int lane = 0; lane < LANES; lane++) sums[row + lane] += at[lane]->value;
        }
        for (; row < rows; row++) {
            const Node *at = root;
            for (int32_t steps = depth; steps > 0; steps--)
                at = step(at, forest->slots + row * stride);
            sums[row] += at->value;
        }
    }
}

/* rows: count x features, row by row, NaN where missing; sums: count. */
void forest_predict(const Forest *forest, const float *rows, float *sums, int64_t count) {
    const size_t stride = width(forest->features);
    while (count > 0) {
        const int64_t now = count < BLOCK ? count : BLOCK;
        for (int64_t row = 0; row < now; row++)
            spread(rows + row * forest->features, forest->features, forest->slots + row * stride);
        if (now < LANES)
            for (int64_t row = 0; row < now; row++)
                sums[row] = one(forest, forest->slots + row * stride);
        else
            block(forest, sums, now);
        rows += now * forest->features;
        sums += now;
        count -= now;
    }
}
