using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>A device, as it was when it was listed.</summary>
    public sealed class DeviceInfo
    {
        internal DeviceInfo(cvx_device_info native)
        {
            IsUsable = native.usable != 0;
            Device = Utf8.Read(native.device);
            Name = Utf8.Read(native.name);
            Uuid = Utf8.Read(native.uuid);
            UnusableReason = Utf8.Read(native.unusable_reason);
            MemoryTotal = native.memory_total;
            MemoryFree = native.memory_free;
            ComputeCapability = new Version(
                native.compute_capability_major, native.compute_capability_minor);
            HasLuid = native.has_luid != 0;
            LuidNodeMask = native.luid_node_mask;
            Luid = native.luid;
        }

        /// <summary>Whether pipelines can be loaded on it.</summary>
        public bool IsUsable { get; private set; }

        /// <summary>What <see cref="LoadOptions.Device"/> takes: "cpu", "cuda:0", …</summary>
        public string Device { get; private set; }

        /// <summary>What its maker calls it, for people; "" where that is not known.</summary>
        public string Name { get; private set; }

        /// <summary>
        /// As NVIDIA's tools write it, such as "GPU-" and 32 digits in groups; "" for the CPU.
        /// </summary>
        public string Uuid { get; private set; }

        /// <summary>Why it cannot be used, in one line; "" if it can be.</summary>
        public string UnusableReason { get; private set; }

        /// <summary>
        /// Bytes of its memory, for the CPU of the machine; 0 where that is not known.
        /// </summary>
        public ulong MemoryTotal { get; private set; }

        /// <summary>Bytes of it that nobody used; 0 where that is not known.</summary>
        public ulong MemoryFree { get; private set; }

        /// <summary>CUDA's compute capability, such as 9.0; 0.0 for the CPU.</summary>
        public Version ComputeCapability { get; private set; }

        /// <summary>
        /// Whether <see cref="Luid"/> and <see cref="LuidNodeMask"/> are known, which is on Windows.
        /// </summary>
        public bool HasLuid { get; private set; }

        /// <summary>The adapter's node, as a mask with one bit.</summary>
        public uint LuidNodeMask { get; private set; }

        /// <summary>Windows' name of the adapter: its 8 bytes, read as one number.</summary>
        public ulong Luid { get; private set; }
    }

    /// <summary>The devices of the machine, and what is kept of their memory.</summary>
    public static class Devices
    {
        /// <summary>
        /// Lists the devices: "cpu" first, then the GPUs that NVIDIA's driver knows, also those
        /// that cannot be used. Loads the CUDA library if there is one.
        /// </summary>
        /// <returns>What is known of each.</returns>
        /// <exception cref="CogVideoXException">
        /// DeviceUnavailable in a process that was forked from one that has worked.
        /// </exception>
        /// <exception cref="CogVideoXLoadException">The native library is not there.</exception>
        public static IReadOnlyList<DeviceInfo> List()
        {
            Loader.Ensure();
            return ReadList();
        }

        /// <summary>
        /// Gives back memory that is kept to be used again: of "cuda" and "cuda:N" what libtorch's
        /// allocator keeps, on all CUDA devices of the process; of "cpu" what malloc keeps. May be
        /// called while pipelines generate.
        /// </summary>
        /// <param name="device">"cpu", "cuda" or "cuda:N".</param>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument for another text, DeviceUnavailable for an index that does not exist.
        /// </exception>
        /// <exception cref="CogVideoXLoadException">The native library is not there.</exception>
        public static void Trim(string device)
        {
            byte[] text = Utf8.Required(device, "device");
            Loader.Ensure();
            TrimNow(text);
        }

        // Apart from their callers; Loader says why.

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static IReadOnlyList<DeviceInfo> ReadList()
        {
            IntPtr made;
            Errors.Check(NativeMethods.cvx_device_list_new(out made));
            using (var list = new DeviceListHandle(made))
            {
                var devices = new List<DeviceInfo>();
                int count = NativeMethods.cvx_device_list_count(list);
                for (int index = 0; index < count; index++)
                {
                    var native = default(cvx_device_info);
                    native.struct_size = (uint)Marshal.SizeOf(typeof(cvx_device_info));
                    Errors.Check(NativeMethods.cvx_device_list_get(list, index, ref native));
                    // Its texts are the list's.
                    devices.Add(new DeviceInfo(native));
                }
                return devices;
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void TrimNow(byte[] device)
        {
            Errors.Check(NativeMethods.cvx_device_trim(device));
        }
    }
}
