// A test program's main, and what tests say. No exceptions are needed.
//
//     TEST(frames_are_those_of_c) { CHECK(a == b); }
//
// Called with names, the program runs those tests only.
#ifndef COGVIDEOX_TEST_CHECK_HPP
#define COGVIDEOX_TEST_CHECK_HPP

#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

namespace check {

struct Test {
    const char *name;
    void (*run)();
};

inline std::vector<Test> &tests() {
    static std::vector<Test> all;
    return all;
}

inline int failures = 0;

struct Registration {
    Registration(const char *name, void (*run)()) { tests().push_back({name, run}); }
};

inline bool that(bool holds, const char *what, const char *file, int line,
                 const char *detail = "") {
    if (!holds) {
        ++failures;
        std::fprintf(stderr, "%s:%d: does not hold: %s %s\n", file, line, what, detail);
    }
    return holds;
}

inline int main(int count, char **names) {
    int ran = 0;
    int failed = 0;
    for (const Test &test : tests()) {
        bool wanted = count < 2;
        for (int i = 1; i < count; ++i) {
            wanted = wanted || std::strcmp(names[i], test.name) == 0;
        }
        if (!wanted) {
            continue;
        }
        const int before = failures;
        const auto start = std::chrono::steady_clock::now();
        test.run();
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        const bool passed = failures == before;
        std::printf("%s %s (%.2f s)\n", passed ? "ok  " : "FAIL", test.name, seconds.count());
        std::fflush(stdout);
        ++ran;
        failed += passed ? 0 : 1;
    }
    std::printf("%d tests, %d failed\n", ran, failed);
    return ran > 0 && failed == 0 ? 0 : 1;
}

} // namespace check

#define TEST(name)                                                                                 \
    static void name();                                                                            \
    static const check::Registration register_##name(#name, name);                                 \
    static void name()

// Goes on after a failure.
#define CHECK(condition)                                                                           \
    static_cast<void>(check::that(static_cast<bool>(condition), #condition, __FILE__, __LINE__))

// Ends the test after a failure.
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!check::that(static_cast<bool>(condition), #condition, __FILE__, __LINE__)) {          \
            return;                                                                                \
        }                                                                                          \
    } while (false)

// Ends the test unless a Result succeeded, and shows its error.
#define REQUIRE_OK(result)                                                                         \
    do {                                                                                           \
        const auto &checked_result = (result);                                                     \
        if (!check::that(checked_result.has_value(), #result, __FILE__, __LINE__,                  \
                         checked_result.error().message().c_str())) {                              \
            return;                                                                                \
        }                                                                                          \
    } while (false)

// The Result failed with this code, and its message holds the words.
#define CHECK_FAILS(result, expected, words)                                                       \
    do {                                                                                           \
        const cvx::Error checked_error = (result).error();                                         \
        static_cast<void>(check::that(checked_error.code() == (expected) &&                        \
                                          checked_error.message().find(words) !=                   \
                                              std::string::npos,                                   \
                                      #result, __FILE__, __LINE__,                                 \
                                      checked_error.message().c_str()));                           \
    } while (false)

#endif // COGVIDEOX_TEST_CHECK_HPP
