/* Random numbers: splitmix64 makes the seeds of xoshiro256++, one stream for each purpose. */

#include <stdint.h>

static uint64_t split(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t xoshiro(uint64_t s[4])
{
    uint64_t x = s[0] + s[3], t = s[1] << 17;
    uint64_t result = ((x << 23) | (x >> 41)) + s[0];
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return result;
}

static double uniform(uint64_t s[4])
{
    return (double)((xoshiro(s) >> 11) + 1) * 0x1p-53; /* above 0, up to 1 */
}
