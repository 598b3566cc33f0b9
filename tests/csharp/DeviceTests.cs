using System;
using System.Collections.Generic;
using System.Linq;
using CogVideoX;
using static Support;

internal static class DeviceTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("devices: the CPU and what there is besides", Devices);
        tests.Add("devices: memory is given back", Trim);
    }

    private static void Devices()
    {
        IReadOnlyList<DeviceInfo> devices = CogVideoX.Devices.List();
        DeviceInfo cpu = devices[0];
        Equal("cpu", cpu.Device, "the first device");
        Equal(true, cpu.IsUsable, "usable");
        Equal("", cpu.UnusableReason, "reason");
        Equal("", cpu.Uuid, "UUID");
        Equal(new Version(0, 0), cpu.ComputeCapability, "capability");
        True(cpu.MemoryFree > 0 && cpu.MemoryFree <= cpu.MemoryTotal, "memory of the CPU");
        foreach (DeviceInfo gpu in devices.Skip(1))
        {
            True(gpu.Device.StartsWith("cuda:", StringComparison.Ordinal), gpu.Device);
            Equal(gpu.UnusableReason == "", gpu.IsUsable, "usable");
        }
    }

    private static void Trim()
    {
        CogVideoX.Devices.Trim("cpu");
        CogVideoX.Devices.Trim("cuda");
        Throws<ArgumentNullException>(() => CogVideoX.Devices.Trim(null));
        foreach (string name in new[] { "", "auto", "gpu" })
        {
            var failure = Throws<CogVideoXException>(() => CogVideoX.Devices.Trim(name));
            Equal(ErrorCode.InvalidArgument, failure.Code, "code for \"" + name + "\"");
        }
    }
}
