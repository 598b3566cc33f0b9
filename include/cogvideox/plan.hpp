/// What a run will take, before anything is loaded. Part of cogvideox.hpp.
#ifndef COGVIDEOX_PLAN_HPP
#define COGVIDEOX_PLAN_HPP

#include "cache_config.hpp"
#include "generate_options.hpp"
#include "handle.hpp"
#include "load_options.hpp"
#include "result.hpp"
#include "text.hpp"

#include <cstdint>
#include <string_view>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// What a run takes in each way of keeping the weights, told from a folder's configs alone: see
/// cvx_plan_new. Threads: any.
class Plan : public Handle<Plan, cvx_plan, cvx_plan_free> {
public:
    /// The class's name in errors.
    static constexpr const char *class_name = "Plan";

    /// An empty object; make() makes others.
    Plan() noexcept : Handle(nullptr) {}

    /// Plans a run of the pipeline in folder, for a device with budget_bytes; 0: no bound. Of load, the
    /// device and dtype count. Errors: those of Pipeline::load() for the configs, invalid_argument.
    static Result<Plan> make(const Text &folder, std::uint64_t budget_bytes,
                             const LoadOptions &load = LoadOptions(),
                             const GenerateOptions &run = GenerateOptions()) {
        return make_with(folder, budget_bytes, load, run, nullptr);
    }

    /// The same, of a run that is cached.
    static Result<Plan> make(const Text &folder, std::uint64_t budget_bytes, const LoadOptions &load,
                             const GenerateOptions &run, const CacheConfig &cache) {
        if (auto live = detail::require(cache); !live) {
            return live.error();
        }
        return make_with(folder, budget_bytes, load, run, cache.get());
    }

    /// A table, a line for each way. It belongs to the object.
    std::string_view text() const noexcept { return cvx_plan_text(get()); }

    /// The same as JSON: see cvx_plan_json. It belongs to the object.
    std::string_view json() const noexcept { return cvx_plan_json(get()); }

    /// Sets load options to the fastest way that fits. Errors: out_of_memory where none does.
    Result<void> apply(LoadOptions &load) const {
        return call(cvx_plan_apply, load.get());
    }

private:
    friend Handle;
    explicit Plan(Empty) noexcept : Handle(nullptr) {}

    static Result<Plan> make_with(const Text &folder, std::uint64_t budget_bytes,
                                  const LoadOptions &load, const GenerateOptions &run,
                                  const cvx_cache_config *cache) {
        if (auto whole = all({folder.check("folder"), detail::require(load), detail::require(run)});
            !whole) {
            return whole.error();
        }
        cvx_plan *plan = nullptr;
        if (auto *error = cvx_plan_new(folder.c_str(), load.get(), run.get(), cache, budget_bytes,
                                       &plan)) {
            return Error(error);
        }
        return adopt(plan);
    }
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_PLAN_HPP
