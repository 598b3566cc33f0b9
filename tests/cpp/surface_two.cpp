// The second of two files that include the wrapper; see surface.hpp.
#include "surface.hpp"

int surface_two() { return surface(); }
