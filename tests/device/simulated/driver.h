// What the parts of the stand-in for libcuda.so.1 share: driver.cpp and modules.cpp.
#pragma once

#define DRIVER_API extern "C" __attribute__((visibility("default")))

// Values of CUresult.
constexpr int kSuccess = 0, kInvalidValue = 1, kNotInitialized = 3, kNoDevice = 100,
              kInvalidDevice = 101, kInvalidContext = 201, kInvalidHandle = 400;

// The number of the calling thread's context.
int current_context();

// Tells the simulated libtorch_cuda.so of a launch: 0, or that the device is lost.
int tell_launch(const char *name);
