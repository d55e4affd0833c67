/* Compares the evaluator's exponentials with this machine's libm, for every float32 there is: how many differ. */
#include "../../../edge/inference/engines/forest.c"

#include <stdio.h>

static uint32_t bits(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static int differ(float ours, float theirs) { return bits(ours) != bits(theirs) && !(ours != ours && theirs != theirs); }

int main(void) {
    uint64_t of_float = 0, of_double = 0;
    for (uint64_t number = 0; number < 1ull << 32; number++) {
        const uint32_t pattern = (uint32_t)number;
        float x;
        memcpy(&x, &pattern, sizeof x);
        of_float += differ(exponential(x), expf(x));
        of_double += differ(exponential_of_double(x), (float)exp((double)x));
    }
    printf("%llu %llu\n", (unsigned long long)of_float, (unsigned long long)of_double);
    return 0;
}
