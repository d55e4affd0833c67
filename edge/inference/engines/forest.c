/* Checks a compiled forest (docs/model-format.md) once, and evaluates it. For each row and output it adds the base
 * score and each tree's leaf in order, in float32. Then it applies the objective's transform.
 *
 * Near nodes have 8 bytes. A step over them is branch-free, because mispredicted branches would cost more than
 * everything else. So:
 *
 *   Missing values cost nothing. A row is copied into slots twice: once with +inf for NaN, once with -inf. If a
 *   node's missing values go right, it reads the first copy (inf < threshold is never true). Otherwise it reads
 *   the second copy (always true, because thresholds are finite).
 *
 *   Leaves are nodes. A leaf reads the last slot, which has NaN. No comparison with NaN is true, so the leaf
 *   always steps right. Its left child is the node before it, so a right step stays at the leaf. The leaf's weight
 *   is in the place of the threshold. So every lane of a tree takes the same number of steps.
 *
 *   Siblings are neighbours, and a node has the distance to its left child: 8 bytes per node, relocatable.
 *
 * Far nodes have 12 bytes, for larger trees and for splits by category. Each row takes its own way through them.
 */
#include "forest.h"

#include <math.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file's numbers are read as they lie there");

enum { FAR = 1, MISSING_ALLOWED = 2 }; /* Bits of the header's flags. */
enum {
    FORMAT = 1,
    MAX_NEAR_FEATURES = 4096, /* With more, the slots of a block cost more memory than they save time. */
    LANES = 8,                /* Rows evaluated at the same time, to hide memory latency: 4, 8 and 16 were measured. */
};
static const uint32_t MISSING_LEFT = 1u << 31, BY_CATEGORY = 1u << 30, FEATURE = (1u << 30) - 1;

/* Errors of a file; forest.py has a message for each. */
enum {
    SOUND,
    NOT_A_FOREST,
    OTHER_FORMAT,
    OTHER_SIZE,
    BAD_HEADER,
    BAD_NUMBER,
    BAD_TREE,
    BAD_NODE,
    BAD_CATEGORY,
};

static inline size_t width(uint32_t features) { return 2 * (size_t)features + 1; }

int64_t forest_slots(const Forest *forest) {
    return forest->header->flags & FAR ? 1 : forest->at_once * (int64_t)width(forest->header->features);
}

/* Check that nodes are breadth first, with each pair of siblings at its place. Other offsets are refused, so no node
 * can point outside its tree or back. Depth is counted in levels, the steps of an evaluation. */
static int check_near(const Near *nodes, uint64_t count, uint32_t features, uint32_t depth) {
    uint64_t next = 1, level_ends = 1;
    uint32_t level = 0;
    for (uint64_t at = 0; at < count; at++) {
        if (at == level_ends) {
            level++;
            level_ends = next;
        }
        const Near *node = nodes + at;
        if (!isfinite(node->value)) return BAD_NUMBER;
        if (node->left == -1 && node->slot == 2 * features) continue;
        if (node->left <= 0 || at + (uint64_t)node->left != next || node->slot >= 2 * features) return BAD_NODE;
        next += 2;
        if (next > count) return BAD_NODE;
    }
    return next == count && level == depth ? SOUND : BAD_TREE;
}

static int check_far(const Forest *forest, const Far *nodes, uint64_t count, uint32_t depth) {
    const uint32_t features = forest->header->features, words = forest->header->categories;
    uint64_t next = 1, level_ends = 1;
    uint32_t level = 0;
    for (uint64_t at = 0; at < count; at++) {
        if (at == level_ends) {
            level++;
            level_ends = next;
        }
        const Far *node = nodes + at;
        if (node->left != -1 && node->feature & BY_CATEGORY) {
            if (node->is.category >= words) return BAD_CATEGORY;
            if (forest->categories[node->is.category] >= words - node->is.category) return BAD_CATEGORY;
        } else if (!isfinite(node->is.value)) {
            return BAD_NUMBER;
        }
        if (node->left == -1) continue;
        if (node->left <= 0 || at + (uint64_t)node->left != next) return BAD_NODE;
        if ((node->feature & FEATURE) >= features) return BAD_NODE;
        next += 2;
        if (next > count) return BAD_NODE;
    }
    return next == count && level == depth ? SOUND : BAD_TREE;
}

/* Check all that the evaluation relies on. `data` is aligned to 8 bytes and must stay while the forest is used. */
int forest_open(Forest *forest, const void *data, int64_t size) {
    const Header *header = data;
    if (size < (int64_t)sizeof *header || memcmp(header->magic, "\x93" "FOREST\n", 8)) return NOT_A_FOREST;
    if (header->format != FORMAT) return OTHER_FORMAT;
    if (header->size != (uint64_t)size) return OTHER_SIZE;
    const int far = header->flags & FAR;
    if (header->flags & ~(uint32_t)(FAR | MISSING_ALLOWED) || header->reserved) return BAD_HEADER;
    if (!header->features || header->features > (far ? FEATURE : MAX_NEAR_FEATURES)) return BAD_HEADER;
    if (!header->outputs || header->transform >= TRANSFORMS) return BAD_HEADER;
    /* Each count is below 2^32 and each item has at most 12 bytes, so no sum overflows. */
    uint64_t at = sizeof *header;
    forest->header = header;
    forest->at_once = BLOCK_VALUES / (header->features > header->outputs ? header->features : header->outputs);
    if (forest->at_once < 1) forest->at_once = 1;
    if (forest->at_once > BLOCK) forest->at_once = BLOCK;
    forest->base_scores = (const float *)((const char *)data + at);
    at += sizeof(float) * (uint64_t)header->outputs;
    forest->trees = (const Tree *)((const char *)data + at);
    at += sizeof(Tree) * (uint64_t)header->trees;
    forest->nodes = (const char *)data + at;
    at += (far ? sizeof(Far) : sizeof(Near)) * (uint64_t)header->nodes;
    forest->categories = (const uint32_t *)((const char *)data + at);
    at += sizeof(uint32_t) * (uint64_t)header->categories;
    forest->text = (const char *)data + at;
    at += header->text;
    if (at != header->size) return OTHER_SIZE;

    for (uint32_t output = 0; output < header->outputs; output++)
        if (!isfinite(forest->base_scores[output])) return BAD_NUMBER;
    forest->steps = 0;
    for (uint32_t number = 0; number < header->trees; number++) {
        const Tree *tree = forest->trees + number;
        const uint64_t end = number + 1 < header->trees ? tree[1].root : header->nodes;
        if (tree->output >= header->outputs || (!number && tree->root)) return BAD_TREE;
        if (end <= tree->root || end > header->nodes) return BAD_TREE;
        const int found =
            far ? check_far(forest, (const Far *)forest->nodes + tree->root, end - tree->root, tree->depth)
                : check_near((const Near *)forest->nodes + tree->root, end - tree->root, header->features, tree->depth);
        if (found != SOUND) return found;
        forest->steps += tree->depth;
    }
    return !header->trees && header->nodes ? BAD_TREE : SOUND;
}

static inline const Near *step(const Near *node, const float *slots) {
    return node + node->left + !(slots[node->slot] < node->value);
}

static void spread(const float *row, uint32_t features, float *slots) {
    for (uint32_t j = 0; j < features; j++) {
        const float x = row[j];
        slots[j] = x == x ? x : __builtin_inff();
        slots[features + j] = x == x ? x : -__builtin_inff();
    }
    slots[2 * features] = __builtin_nanf("");
}

/* One row: LANES trees at the same time. With a constant 1 for `outputs`, the sum stays in a register. */
static inline void one(const Forest *forest, const float *slots, float *sums, uint32_t outputs) {
    const Near *nodes = forest->nodes;
    const Tree *tree = forest->trees, *end = tree + forest->header->trees;
    float sum = forest->base_scores[0];
    for (uint32_t output = 0; output < outputs; output++) sums[output] = forest->base_scores[output];
    for (; end - tree >= LANES; tree += LANES) {
        const Near *at[LANES];
        uint32_t deepest = 0;
        for (int lane = 0; lane < LANES; lane++) {
            at[lane] = nodes + tree[lane].root;
            if (tree[lane].depth > deepest) deepest = tree[lane].depth;
        }
        for (; deepest > 0; deepest--)
            for (int lane = 0; lane < LANES; lane++) at[lane] = step(at[lane], slots);
        for (int lane = 0; lane < LANES; lane++) {
            if (outputs == 1) sum += at[lane]->value;
            else sums[tree[lane].output] += at[lane]->value;
        }
    }
    for (; tree < end; tree++) {
        const Near *at = nodes + tree->root;
        for (uint32_t depth = tree->depth; depth > 0; depth--) at = step(at, slots);
        if (outputs == 1) sum += at->value;
        else sums[tree->output] += at->value;
    }
    if (outputs == 1) sums[0] = sum;
}

/* A block of rows: LANES rows at the same time, through one tree after the other. */
static inline void block(const Forest *forest, float *sums, int64_t rows, uint32_t outputs) {
    const size_t stride = width(forest->header->features);
    for (int64_t row = 0; row < rows; row++)
        for (uint32_t output = 0; output < outputs; output++)
            sums[row * outputs + output] = forest->base_scores[output];
    for (uint32_t number = 0; number < forest->header->trees; number++) {
        const Tree *tree = forest->trees + number;
        const Near *root = (const Near *)forest->nodes + tree->root;
        float *sum = sums + tree->output;
        int64_t row = 0;
        for (; row + LANES <= rows; row += LANES) {
            const float *slots = forest->slots + row * stride;
            const Near *at[LANES];
            for (int lane = 0; lane < LANES; lane++) at[lane] = root;
            for (uint32_t steps = tree->depth; steps > 0; steps--)
                for (int lane = 0; lane < LANES; lane++) at[lane] = step(at[lane], slots + lane * stride);
            for (int lane = 0; lane < LANES; lane++) sum[(row + lane) * outputs] += at[lane]->value;
        }
        for (; row < rows; row++) {
            const Near *at = root;
            for (uint32_t steps = tree->depth; steps > 0; steps--) at = step(at, forest->slots + row * stride);
            sum[row * outputs] += at->value;
        }
    }
}

static void near(const Forest *forest, int64_t count) {
    const uint32_t features = forest->header->features, outputs = forest->header->outputs;
    const size_t stride = width(features);
    for (int64_t row = 0; row < count; row++)
        spread(forest->rows + row * features, features, forest->slots + row * stride);
    if (count < LANES)
        for (int64_t row = 0; row < count; row++) {
            const float *slots = forest->slots + row * stride;
            if (outputs == 1) one(forest, slots, forest->sums + row, 1);
            else one(forest, slots, forest->sums + row * outputs, outputs);
        }
    else if (outputs == 1) block(forest, forest->sums, count, 1);
    else block(forest, forest->sums, count, outputs);
}

/* Chosen categories go right. Values outside this split's categories go left, as in XGBoost. */
static inline int chosen(const uint32_t *categories, float x) {
    const uint32_t words = categories[0];
    if (!(x >= 0 && x < 32.0f * (float)words)) return 0;
    const uint32_t category = (uint32_t)x;
    return category / 32 < words && categories[1 + category / 32] >> category % 32 & 1;
}

static void far(const Forest *forest, int64_t count) {
    const uint32_t features = forest->header->features, outputs = forest->header->outputs;
    const float *rows = forest->rows;
    float *sums = forest->sums;
    for (; count > 0; count--, rows += features, sums += outputs) {
        for (uint32_t output = 0; output < outputs; output++) sums[output] = forest->base_scores[output];
        for (uint32_t number = 0; number < forest->header->trees; number++) {
            const Far *at = (const Far *)forest->nodes + forest->trees[number].root;
            while (at->left > 0) {
                const float x = rows[at->feature & FEATURE];
                int right;
                if (x != x) right = !(at->feature & MISSING_LEFT);
                else if (at->feature & BY_CATEGORY) right = chosen(forest->categories + at->is.category, x);
                else right = !(x < at->is.value);
                at += at->left + right;
            }
            sums[forest->trees[number].output] += at->is.value;
        }
    }
}

/* 2^(i/32), rounded to the nearest double. */
static const double POWERS[32] = {
    0x1.0000000000000p+0, 0x1.059b0d3158574p+0, 0x1.0b5586cf9890fp+0, 0x1.11301d0125b51p+0,
    0x1.172b83c7d517bp+0, 0x1.1d4873168b9aap+0, 0x1.2387a6e756238p+0, 0x1.29e9df51fdee1p+0,
    0x1.306fe0a31b715p+0, 0x1.371a7373aa9cbp+0, 0x1.3dea64c123422p+0, 0x1.44e086061892dp+0,
    0x1.4bfdad5362a27p+0, 0x1.5342b569d4f82p+0, 0x1.5ab07dd485429p+0, 0x1.6247eb03a5585p+0,
    0x1.6a09e667f3bcdp+0, 0x1.71f75e8ec5f74p+0, 0x1.7a11473eb0187p+0, 0x1.82589994cce13p+0,
    0x1.8ace5422aa0dbp+0, 0x1.93737b0cdc5e5p+0, 0x1.9c49182a3f090p+0, 0x1.a5503b23e255dp+0,
    0x1.ae89f995ad3adp+0, 0x1.b7f76f2fb5e47p+0, 0x1.c199bdd85529cp+0, 0x1.cb720dcef9069p+0,
    0x1.d5818dcfba487p+0, 0x1.dfc97337b9b5fp+0, 0x1.ea4afa2a490dap+0, 0x1.f50765b6e4540p+0,
};

static inline uint64_t bits_of(double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

/* The float e^x of glibc's expf on processors with fused multiply-add, where XGBoost runs. All 2^32 inputs were
 * compared (tests/bench/evaluating/exponentials.c). Without it, glibc rounds a few inputs differently. fma() is exact
 * on every machine, so amd64 and arm64 agree. x = (32 k + i + r) ln 2 / 32, and a cubic for 2^(r/32), with the
 * coefficients of S. Nagy's expf. */
static float exponential(float x) {
    if (x != x) return x;
    if (x > 0x1.62e42ep6f) return __builtin_inff();
    if (x < -104.0f) return 0;
    const double rounder = 0x1.8p52, per_step = 0x1.71547652b82fep+5; /* It is 32 / ln 2. */
    const double shifted = fma(per_step, x, rounder);
    const uint64_t steps = bits_of(shifted);
    const double r = fma(per_step, x, -(shifted - rounder));
    const uint64_t scale_bits = bits_of(POWERS[steps % 32]) + (steps / 32 << 52);
    double scale;
    memcpy(&scale, &scale_bits, sizeof scale);
    const double upper = fma(0x1.c6af84b912394p-20, r, 0x1.ebfce50fac4f3p-13);
    return (float)(fma(upper, r * r, fma(0x1.62e42ff0c52d6p-6, r, 1.0)) * scale);
}

/* The rounding error of 2^(i/32), relative to it. */
static const double REST[32] = {
    0x0.0p+0, 0x1.cd2523567f613p-55, 0x1.79aa65d837b6dp-54, -0x1.556522a2fbd0ep-54,
    -0x1.01b15eaa59348p-55, 0x1.aecf73e3a2f60p-54, 0x1.68efde3a8a894p-54, 0x1.2f7e16d09ab31p-55,
    0x1.34d754db0abb6p-55, -0x1.24aedcc4b5069p-54, 0x1.59f48a72a4c6dp-55, 0x1.363ed60c2ac12p-59,
    0x1.690cebb7aafb0p-56, -0x1.8dec6bd0f3860p-56, 0x1.063e1e21c5409p-54, -0x1.c33c53bef4da8p-55,
    -0x1.3b3efbf5e2229p-54, -0x1.81f647e5a3ecep-56, -0x1.b32dcb94da51dp-56, -0x1.369b6f13b3734p-54,
    0x1.db72fc1f0eab5p-55, -0x1.da9b88b6c1e29p-58, 0x1.1affc2b91ce27p-56, -0x1.1bbd1d3bcbb15p-54,
    0x1.c1a7792cb3386p-55, -0x1.8d6f438ad9334p-57, 0x1.36eae30af0cb3p-56, 0x1.76b2c6c921967p-57,
    0x1.4a385a63d07a8p-56, -0x1.2d52107b43e20p-55, -0x1.ff7128fd391f0p-55, 0x1.a64a931d185eep-55,
};

/* Computes e^x in float64, rounded once to float32, as XGBoost does for survival:aft. All inputs were compared with
 * glibc's exp. x = (32 k + i) ln 2 / 32 + r, and Taylor's polynomial for e^r. */
static float exponential_of_double(float x) {
    if (x != x) return x;
    if (x > 0x1.62e42ep6f) return __builtin_inff();
    if (x < -104.0f) return 0;
    const double rounder = 0x1.8p52, per_step = 0x1.71547652b82fep+5; /* It is 32 / ln 2. */
    const double shifted = fma(per_step, x, rounder);
    const uint64_t steps = bits_of(shifted);
    const double whole = shifted - rounder;
    /* The constant ln 2 / 32 has two parts. */
    const double r = fma(-whole, 0x1.473de6af278edp-39, fma(-whole, 0x1.62e42fef00000p-6, x));
    const uint64_t scale_bits = bits_of(POWERS[steps % 32]) + (steps / 32 << 52);
    double scale, sum = fma(r, 1.0 / 5040, 1.0 / 720);
    memcpy(&scale, &scale_bits, sizeof scale);
    sum = fma(sum, r, 1.0 / 120);
    sum = fma(sum, r, 1.0 / 24);
    sum = fma(sum, r, 1.0 / 6);
    sum = fma(sum, r, 0.5);
    sum = fma(sum, r * r, r);
    return (float)fma(scale, sum + REST[steps % 32], scale);
}

static float sigmoid(float x) {
    const float negative = -x < 88.7f ? -x : 88.7f; /* XGBoost's bound. Above it, expf is infinite. */
    return 1.0f / (exponential(negative) + 1.0f + 1e-16f);
}

/* As in XGBoost: exponentials in float32, their sum in float64, the division in float32. */
static void softprob(float *margins, uint32_t outputs) {
    float largest = margins[0];
    for (uint32_t output = 1; output < outputs; output++)
        if (margins[output] > largest) largest = margins[output];
    double sum = 0;
    for (uint32_t output = 0; output < outputs; output++) {
        margins[output] = exponential(margins[output] - largest);
        sum += margins[output];
    }
    for (uint32_t output = 0; output < outputs; output++) margins[output] /= (float)sum;
}

/* In place. SOFTMAX's class is a single number, so the rows are moved together. */
static void transform(const Header *header, float *sums, int64_t rows) {
    const uint32_t outputs = header->outputs;
    const int64_t count = rows * outputs;
    switch (header->transform) {
    case SIGMOID:
        for (int64_t each = 0; each < count; each++) sums[each] = sigmoid(sums[each]);
        break;
    case EXPONENTIAL:
        for (int64_t each = 0; each < count; each++) sums[each] = exponential(sums[each]);
        break;
    case EXPONENTIAL_OF_DOUBLE:
        for (int64_t each = 0; each < count; each++) sums[each] = exponential_of_double(sums[each]);
        break;
    case HINGE:
        for (int64_t each = 0; each < count; each++) sums[each] = sums[each] > 0 ? 1 : 0;
        break;
    case SOFTMAX:
        for (int64_t row = 0; row < rows; row++) {
            uint32_t best = 0;
            for (uint32_t output = 1; output < outputs; output++)
                if (sums[row * outputs + output] > sums[row * outputs + best]) best = output;
            sums[row] = (float)best;
        }
        break;
    case SOFTPROB:
        for (int64_t row = 0; row < rows; row++) softprob(sums + row * outputs, outputs);
        break;
    }
}

/* Evaluate rows, NaN for missing values, into sums: one number per output; for SOFTMAX one per row. */
void forest_predict(const Forest *forest, int64_t count) {
    if (forest->header->flags & FAR) far(forest, count);
    else near(forest, count);
    if (forest->header->transform != SUM) transform(forest->header, forest->sums, count);
}
