// A stand-in for NVIDIA's driver, libcuda.so.1, as far as it is asked for its devices. They are
// those of the simulated libtorch_cuda.so: device.cpp has the environment that says what they are.
// SIMCUDA_DRIVER_DEVICES says how many of them there are here, where that is another number.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define DRIVER_API extern "C" __attribute__((visibility("default")))

namespace {

uint64_t number(const char *name, uint64_t otherwise) {
  const char *text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

int devices() {
  return static_cast<int>(number("SIMCUDA_DRIVER_DEVICES", number("SIMCUDA_DEVICES", 1)));
}

// Values of CUresult.
constexpr int kSuccess = 0, kInvalidValue = 1, kNotInitialized = 3, kNoDevice = 100,
              kInvalidDevice = 101;
bool initialized = false;

int check(int device) {
  if (!initialized) return kNotInitialized;
  return device >= 0 && device < devices() ? kSuccess : kInvalidDevice;
}

}  // namespace

DRIVER_API int cuInit(unsigned flags) {
  if (flags != 0) return kInvalidValue;
  if (devices() == 0) return kNoDevice;
  initialized = true;
  return kSuccess;
}

DRIVER_API int cuDeviceGetCount(int *count) {
  if (!initialized) return kNotInitialized;
  *count = devices();
  return kSuccess;
}

DRIVER_API int cuDeviceGet(int *device, int ordinal) {
  if (const int status = check(ordinal)) return status;
  *device = ordinal;
  return kSuccess;
}

DRIVER_API int cuDeviceGetName(char *name, int size, int device) {
  if (const int status = check(device)) return status;
  std::snprintf(name, static_cast<size_t>(size), "Simulated GPU %d", device);
  return kSuccess;
}

// The device's number in every byte.
DRIVER_API int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
  if (const int status = check(device)) return status;
  std::memset(uuid, device + 1, 16);
  return kSuccess;
}

DRIVER_API int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  if (const int status = check(device)) return status;
  *bytes = number("SIMCUDA_MEMORY", uint64_t{16} << 30);
  return kSuccess;
}

DRIVER_API int cuDeviceGetAttribute(int *value, int attribute, int device) {
  if (const int status = check(device)) return status;
  const auto capability = static_cast<int>(number("SIMCUDA_CAPABILITY", 90));
  if (attribute != 75 && attribute != 76) return kInvalidValue;
  *value = attribute == 75 ? capability / 10 : capability % 10;
  return kSuccess;
}
