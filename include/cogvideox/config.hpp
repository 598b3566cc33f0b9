/// What the other files need to know about the compiler. Part of cogvideox.hpp.
#ifndef COGVIDEOX_CONFIG_HPP
#define COGVIDEOX_CONFIG_HPP

#include "../cogvideox.h"

#if !(__cplusplus >= 201703L || (defined(_MSVC_LANG) && _MSVC_LANG >= 201703L))
#error "cogvideox.hpp needs C++17; cogvideox.h serves C++98 and C99"
#endif

/// 1 where exceptions are caught and thrown, 0 where neither is done. What the compiler was
/// told, unless it is defined before.
#ifndef CVX_HPP_EXCEPTIONS
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define CVX_HPP_EXCEPTIONS 1
#else
#define CVX_HPP_EXCEPTIONS 0
#endif
#endif

// The classes differ with and without exceptions, so they get names that differ: a program may
// be linked of files of both kinds. Hosts write cvx:: in either case.
#if CVX_HPP_EXCEPTIONS
#define CVX_HPP_MODE throwing_mode
#else
#define CVX_HPP_MODE nothrow_mode
#endif

#endif // COGVIDEOX_CONFIG_HPP
