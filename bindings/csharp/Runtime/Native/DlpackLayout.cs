namespace CogVideoX.Native
{
    /// <summary>
    /// Where the fields of dlpack.h's DLManagedTensor lie on 64-bit platforms, in bytes. Its
    /// layout is part of DLPack's ABI since version 0.2.
    /// </summary>
    internal static class DlpackLayout
    {
        internal const int Data = 0;
        internal const int DeviceType = 8;
        internal const int DeviceId = 12;
        internal const int Rank = 16;
        internal const int TypeCode = 20;
        internal const int TypeBits = 21;
        internal const int Shape = 24;
        internal const int Strides = 32;
        internal const int ByteOffset = 40;
        internal const int Deleter = 56;
    }
}
