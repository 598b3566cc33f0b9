// Stand-ins for what the scripts of docs/unity.md use of Unity, with its names and signatures.

using System;

namespace UnityEngine
{
    public class MonoBehaviour { }

    public static class Application
    {
        public static string streamingAssetsPath { get; set; }
    }

    public enum TextureFormat
    {
        RGBA32 = 4
    }

    public class Texture2D
    {
        private readonly int size;

        public Texture2D(int width, int height, TextureFormat format, bool mipChain)
        {
            size = width * height * 4;
        }

        public byte[] Loaded { get; private set; }

        public void LoadRawTextureData(byte[] data)
        {
            if (data.Length != size) throw new ArgumentException("data");
            Loaded = data;
        }

        public void Apply(bool updateMipmaps) { }
    }
}

namespace UnityEditor
{
    public enum BuildTarget
    {
        StandaloneWindows64 = 19,
        StandaloneLinux64 = 24
    }
}

namespace UnityEditor.Build
{
    public interface IPostprocessBuildWithReport
    {
        int callbackOrder { get; }
        void OnPostprocessBuild(Reporting.BuildReport report);
    }
}

namespace UnityEditor.Build.Reporting
{
    public struct BuildSummary
    {
        public BuildTarget platform;
        public string outputPath;
    }

    public class BuildReport
    {
        public BuildSummary summary;
    }
}
