/// Devices and their memory. Part of cogvideox.hpp.
#ifndef COGVIDEOX_DEVICE_HPP
#define COGVIDEOX_DEVICE_HPP

#include "handle.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// A device, as it was when it was listed.
struct DeviceInfo {
    /// Whether pipelines can be loaded on it.
    bool usable = false;
    /// What LoadOptions::set_device takes: "cpu", "cuda:0", …
    std::string device;
    /// What its maker calls it, for people; "" where that is not known.
    std::string name;
    /// As NVIDIA's tools write it, such as "GPU-" and 32 digits in groups; "" for the CPU.
    std::string uuid;
    /// Why it cannot be used; "" if it can be.
    std::string unusable_reason;
    /// Bytes of its memory, for the CPU of the machine; 0 where that is not known.
    std::uint64_t memory_total = 0;
    /// Bytes of it that nobody used; 0 where that is not known.
    std::uint64_t memory_free = 0;
    /// CUDA's compute capability, such as 9 and 0; 0 and 0 for the CPU.
    std::int32_t compute_capability_major = 0;
    /// The second number of the compute capability.
    std::int32_t compute_capability_minor = 0;
    /// Whether luid and luid_node_mask are known, which is on Windows.
    bool has_luid = false;
    /// The adapter's node, as a mask with one bit.
    std::uint32_t luid_node_mask = 0;
    /// Windows' name of the adapter: its 8 bytes, read as one number.
    std::uint64_t luid = 0;

    /// No device.
    DeviceInfo() = default;
    /// What C tells, copied.
    explicit DeviceInfo(const cvx_device_info &info)
        : usable(info.usable != 0), device(info.device), name(info.name), uuid(info.uuid),
          unusable_reason(info.unusable_reason), memory_total(info.memory_total),
          memory_free(info.memory_free),
          compute_capability_major(info.compute_capability_major),
          compute_capability_minor(info.compute_capability_minor), has_luid(info.has_luid != 0),
          luid_node_mask(info.luid_node_mask), luid(info.luid) {}
};

namespace detail {

/// The list of C, for as long as it is copied.
class DeviceList : public Handle<DeviceList, cvx_device_list, cvx_device_list_free> {
public:
    static constexpr const char *class_name = "DeviceList";

    DeviceList() noexcept : Handle(nullptr) {}

    static Result<std::vector<DeviceInfo>> read() {
        cvx_device_list *made = nullptr;
        if (cvx_error *error = cvx_device_list_new(&made)) {
            return Error(error);
        }
        const DeviceList list = adopt(made);
        std::vector<DeviceInfo> devices;
        for (std::int32_t index = 0; index < cvx_device_list_count(list.get()); ++index) {
            cvx_device_info info{};
            info.struct_size = static_cast<std::uint32_t>(sizeof info);
            if (cvx_error *error = cvx_device_list_get(list.get(), index, &info)) {
                return Error(error);
            }
            devices.emplace_back(info);
        }
        return devices;
    }

private:
    friend Handle;
    explicit DeviceList(Empty) noexcept : Handle(nullptr) {}
};

} // namespace detail

/// The devices: "cpu" first, then the GPUs that NVIDIA's driver knows, also those that cannot be
/// used. Loads the CUDA library if there is one. Errors: device_unavailable in a process that was
/// forked from one that has worked. Threads: any.
inline Result<std::vector<DeviceInfo>> devices() { return detail::DeviceList::read(); }

/// Gives back memory that is kept to be used again: for "cuda" and "cuda:N" what libtorch's
/// allocator keeps, on all CUDA devices of the process; for "cpu" what malloc keeps. Errors:
/// invalid_argument for other texts, device_unavailable. Threads: any, also while a pipeline
/// generates.
inline Result<void> trim_device(const Text &device) {
    if (auto whole = device.check("device"); !whole) {
        return whole;
    }
    return Error(cvx_device_trim(device.c_str()));
}

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_DEVICE_HPP
