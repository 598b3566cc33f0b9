/// Releases and the binary interface. Part of cogvideox.hpp.
#ifndef COGVIDEOX_VERSION_HPP
#define COGVIDEOX_VERSION_HPP

#include "result.hpp"

#include <cstdint>
#include <string_view>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// The release of the header that the program was built with: the first of three numbers.
inline constexpr std::int32_t header_version_major = CVX_VERSION_MAJOR;
/// The second number of the header's release.
inline constexpr std::int32_t header_version_minor = CVX_VERSION_MINOR;
/// The third number of the header's release.
inline constexpr std::int32_t header_version_patch = CVX_VERSION_PATCH;
/// The binary interface that the program was built for.
inline constexpr std::int32_t header_abi_version = CVX_ABI_VERSION;

/// The release of the library that runs, "major.minor.patch". Static text. Threads: any.
inline std::string_view version() noexcept { return cvx_version(); }

/// The binary interface of the library that runs. Threads: any.
inline std::int32_t abi_version() noexcept { return cvx_abi_version(); }

/// Whether the library that runs can do what a name says, such as "save.mp4" or "cache.pab"; false for
/// a name that it does not know. Threads: any.
inline bool has_capability(const char *name) noexcept { return cvx_has_capability(name) != 0; }

/// Every name that it answers true for, sorted, with a space between two. Static text. Threads: any.
inline std::string_view capabilities() noexcept { return cvx_capabilities(); }

/// Whether this program can use the library that runs; Code::invalid_argument if not. Worth
/// asking once at the start of a program that finds the library at run time. Threads: any.
inline Result<void> check_abi() { return Error(cvx_abi_check(CVX_ABI_VERSION)); }

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_VERSION_HPP
