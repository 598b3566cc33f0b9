// libtorch's warnings, kept for the host's log instead of printed to stderr. The handler that
// libtorch asks is thread-local, so the host's own threads are not affected.
#include "guarded.h"

#include <deque>
#include <string>

struct cvx_shim_warnings final : c10::WarningHandler {
  c10::WarningHandler *previous = c10::WarningUtils::get_warning_handler();
  std::deque<std::string> kept;

  void process(const c10::Warning &warning) override { kept.push_back(warning.msg()); }
};

extern "C" {

void cvx_shim_string_free(char *string) { std::free(string); }

cvx_shim_status cvx_shim_warnings_begin(cvx_shim_warnings **out, char **message) {
  return cvx::guarded(message, [&] {
    auto *warnings = new cvx_shim_warnings;
    c10::WarningUtils::set_warning_handler(warnings);
    *out = warnings;
  });
}

cvx_shim_status cvx_shim_warnings_take(cvx_shim_warnings *warnings, char **out, char **message) {
  return cvx::guarded(message, [&] {
    char *text = nullptr;
    if (!warnings->kept.empty()) {
      text = cvx::copy_string(warnings->kept.front().c_str());
      if (text == nullptr) throw std::bad_alloc();
      warnings->kept.pop_front();
    }
    *out = text;
  });
}

void cvx_shim_warnings_end(cvx_shim_warnings *warnings) {
  c10::WarningUtils::set_warning_handler(warnings->previous);
  delete warnings;
}

}  // extern "C"
