// Functions that an object which is loaded (a shared library) calls in place of another object's.
#pragma once

#include <cstddef>

namespace cvx {

struct StandIn {
  // Of the function that it is called in place of.
  const char *name;
  void *function;
};

template <typename F>
void *address(F *function) {
  return reinterpret_cast<void *>(function);
}

// What becomes of a table that is closed once it is filled (RELRO).
enum class Closed { kLeave, kOpen };

// Has the object that `inside` is an address in call `functions`, and returns how many entries of
// its table were replaced: 0 where the object is this one as well, whose own calls they would be, or where it
// can't be done.
int stand_in(void *inside, const StandIn *functions, size_t count, Closed closed);

}  // namespace cvx
