using System;
using System.Runtime.InteropServices;

namespace CogVideoX.Native
{
    /// <summary>
    /// What a callback's user_data is: a GCHandle of the object that knows the host's delegates.
    /// The library owns it from the setter on and frees it through free_user_data.
    /// </summary>
    internal static class UserData
    {
        /// <summary>A setter of a callback, called with the user_data.</summary>
        internal delegate IntPtr Setter(IntPtr userData);

        /// <summary>Calls the setter with a handle of target, and throws what it returns.</summary>
        internal static void Give(object target, Setter setter)
        {
            IntPtr userData = GCHandle.ToIntPtr(GCHandle.Alloc(target));
            bool given = false;
            try
            {
                IntPtr error = setter(userData);
                given = true; // taken over in any case, also by a setter that fails
                Errors.Check(error);
            }
            finally
            {
                if (!given) Free(userData);
            }
        }

        internal static T Get<T>(IntPtr userData) where T : class
        {
            return (T)GCHandle.FromIntPtr(userData).Target;
        }

        internal static void Free(IntPtr userData)
        {
            GCHandle.FromIntPtr(userData).Free();
        }
    }
}
