// The tests of the wrapper in one program.
#include "support.hpp"

#include <cstdlib>
#include <unistd.h>

std::string support::temporary(const char *name) {
    const char *folder = std::getenv("TMPDIR");
    return std::string(folder != nullptr ? folder : "/tmp") + "/cvx-cpp-" +
           std::to_string(getpid()) + "-" + name;
}

int main(int count, char **names) { return check::main(count, names); }
