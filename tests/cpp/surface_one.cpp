// The first of two files that include the wrapper; see surface.hpp.
#include "surface.hpp"

#include <cstdio>

int surface_two();

int main() {
    const int one = surface();
    const int two = surface_two();
    if (one != 0 || two != 0) {
        std::fprintf(stderr, "surface: %d and %d answers are not as they should be\n", one, two);
        return 1;
    }
    return 0;
}
