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
        tests.Add("devices: a limit on memory is without effect on the CPU", Limit);
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
        Equal(false, cpu.HasLuid, "LUID");
        Equal(0UL, cpu.Luid, "LUID");
        True(cpu.MemoryFree > 0 && cpu.MemoryFree <= cpu.MemoryTotal, "memory of the CPU");
        foreach (DeviceInfo gpu in devices.Skip(1))
        {
            True(gpu.Device.StartsWith("cuda:", StringComparison.Ordinal), gpu.Device);
            Equal(gpu.UnusableReason == "", gpu.IsUsable, "usable");
        }
    }

    private static void Limit()
    {
        var options = new LoadOptions { Device = "cpu", MaxDeviceMemory = 1 };
        var messages = new List<string>();
        options.OnLog = message => messages.Add(message.Text);
        using (var pipeline = Pipeline.Load(Folder("2b"), options))
        {
            True(pipeline.WeightBytes > 1, "weights");
        }
        True(messages.Any(text => text.Contains("max_device_memory")), "the log says so");
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
