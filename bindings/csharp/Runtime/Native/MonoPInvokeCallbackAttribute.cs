using System;

namespace CogVideoX.Native
{
    /// <summary>
    /// Tells ahead-of-time compilers (IL2CPP, Mono AOT) that native code calls the method. They
    /// look for the attribute by its name, in whatever namespace.
    /// </summary>
    [AttributeUsage(AttributeTargets.Method)]
    internal sealed class MonoPInvokeCallbackAttribute : Attribute
    {
        internal MonoPInvokeCallbackAttribute(Type delegateType)
        {
            DelegateType = delegateType;
        }

        internal Type DelegateType { get; private set; }
    }
}
