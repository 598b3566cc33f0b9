// A mistake of each kind, made when this is loaded and CVX_PLANTED names where and which, as in
// library:overflow. It is compiled as the code around it is, so a sanitizer that does not find it
// there is not on: in the library, of builds with CVX_SANITIZE only (build.rs), and in the tests of
// tests/cpp. Sizes are volatile: a compiler that saw them would warn, or leave the mistake out.
#include <climits>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#ifndef CVX_PLANTED_WHERE
#define CVX_PLANTED_WHERE "program"
#endif

namespace {

volatile int beyond = 16;
volatile int largest = INT_MAX;
int *volatile kept = nullptr;

[[gnu::noinline]] void plant(const char *kind) {
    if (std::strcmp(kind, "overflow") == 0) {
        const auto size = static_cast<std::size_t>(beyond); // unknown, or UBSan speaks first
        kept = new int[size]();
        int *numbers = kept;
        numbers[beyond] = 1;
        delete[] numbers;
    } else if (std::strcmp(kind, "freed") == 0) {
        kept = new int[16]();
        int *freed = kept;
        delete[] freed;
        freed[beyond - 1] = 1;
    } else if (std::strcmp(kind, "undefined") == 0) {
        beyond = largest + beyond;
    } else if (std::strcmp(kind, "leak") == 0) {
        kept = new int[1000]();
        kept[beyond] = 1;
        kept = nullptr;
    }
}

struct Planted {
    Planted() {
        const char *asked = std::getenv("CVX_PLANTED");
        const char *kind = asked != nullptr ? std::strchr(asked, ':') : nullptr;
        const auto length = std::strlen(CVX_PLANTED_WHERE);
        if (kind == asked + length && std::strncmp(asked, CVX_PLANTED_WHERE, length) == 0) {
            plant(kind + 1);
        }
    }
};

const Planted planted;

} // namespace
