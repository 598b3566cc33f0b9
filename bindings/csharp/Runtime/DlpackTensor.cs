using System;
using System.Runtime.InteropServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// A DLManagedTensor of dlpack.h, for libraries that take such. It keeps its memory alive, so
    /// the video may be disposed of first. Dispose calls its deleter, unless
    /// <see cref="HandOver"/> gave it to somebody who does.
    /// </summary>
    public sealed class DlpackTensor : IDisposable
    {
        private readonly DlpackHandle handle;

        internal DlpackTensor(IntPtr native)
        {
            handle = new DlpackHandle(native);
        }

        private DlpackHandle Handle
        {
            get { return NativeHandle.Open(handle, "DlpackTensor"); }
        }

        /// <summary>The DLManagedTensor, which stays this object's.</summary>
        public IntPtr Pointer
        {
            get { return Handle.DangerousGetHandle(); }
        }

        /// <summary>
        /// The DLManagedTensor, for a consumer that calls its deleter. This object is then as if
        /// disposed of.
        /// </summary>
        /// <returns>A pointer to a DLManagedTensor.</returns>
        public IntPtr HandOver()
        {
            IntPtr native = Handle.DangerousGetHandle();
            handle.SetHandleAsInvalid();
            return native;
        }

        /// <summary>The first number, on the tensor's device.</summary>
        public IntPtr Data
        {
            get
            {
                using (new Lease(Handle))
                {
                    IntPtr data = Marshal.ReadIntPtr(Native, DlpackLayout.Data);
                    return new IntPtr(data.ToInt64() + Marshal.ReadInt64(Native, DlpackLayout.ByteOffset));
                }
            }
        }

        /// <summary>DLPack's number of the kind of device: 1 for the CPU, 2 for CUDA.</summary>
        public int DeviceType
        {
            get
            {
                using (new Lease(Handle)) return Marshal.ReadInt32(Native, DlpackLayout.DeviceType);
            }
        }

        /// <summary>Which device of its kind, from 0.</summary>
        public int DeviceId
        {
            get
            {
                using (new Lease(Handle)) return Marshal.ReadInt32(Native, DlpackLayout.DeviceId);
            }
        }

        /// <summary>DLPack's number of the kind of numbers: 1 unsigned integers, 2 floats, 4 bfloat16.</summary>
        public int TypeCode
        {
            get
            {
                using (new Lease(Handle)) return Marshal.ReadByte(Native, DlpackLayout.TypeCode);
            }
        }

        /// <summary>Bits of a number: 8, 16 or 32.</summary>
        public int TypeBits
        {
            get
            {
                using (new Lease(Handle)) return Marshal.ReadByte(Native, DlpackLayout.TypeBits);
            }
        }

        /// <summary>The sides.</summary>
        public long[] Shape
        {
            get
            {
                using (new Lease(Handle)) return Sides(DlpackLayout.Shape);
            }
        }

        /// <summary>
        /// Numbers (not bytes) from element to element along each side; null if the tensor is
        /// densely packed and does not say.
        /// </summary>
        public long[] Strides
        {
            get
            {
                using (new Lease(Handle)) return Sides(DlpackLayout.Strides);
            }
        }

        /// <summary>Calls the tensor's deleter, unless it was handed over.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }

        private IntPtr Native
        {
            get { return handle.DangerousGetHandle(); }
        }

        private long[] Sides(int field)
        {
            IntPtr from = Marshal.ReadIntPtr(Native, field);
            if (from == IntPtr.Zero) return null;
            var sides = new long[Marshal.ReadInt32(Native, DlpackLayout.Rank)];
            Marshal.Copy(from, sides, 0, sides.Length);
            return sides;
        }
    }
}
