// Stand-ins for those classes of Unreal's build tool that the Build.cs in docs/unreal.md uses, and
// a program that says what the rules ask for.

using System;
using System.Collections.Generic;
using System.IO;

namespace UnrealBuildTool
{
    public enum UnrealTargetPlatform { Linux, Win64 }
    public enum StagedFileType { UFS, NonUFS }

    public class ReadOnlyTargetRules
    {
        public UnrealTargetPlatform Platform;
    }

    public class RuntimeDependencyList
    {
        public void Add(string path, StagedFileType type)
        {
            Console.WriteLine("stage " + type + " " + path);
        }
    }

    public class ModuleRules
    {
        public enum ModuleType { CPlusPlus, External }

        public static string Folder;
        public ModuleType Type;
        public List<string> PublicDefinitions = new List<string>();
        public List<string> PublicSystemIncludePaths = new List<string>();
        public List<string> PublicAdditionalLibraries = new List<string>();
        public List<string> PublicRuntimeLibraryPaths = new List<string>();
        public RuntimeDependencyList RuntimeDependencies = new RuntimeDependencyList();

        public ModuleRules(ReadOnlyTargetRules target) { }

        protected string ModuleDirectory { get { return Folder; } }
    }

    public static class Program
    {
        // StandIns.exe FOLDER PLATFORM
        public static void Main(string[] arguments)
        {
            ModuleRules.Folder = arguments[0];
            var target = new ReadOnlyTargetRules();
            target.Platform = (UnrealTargetPlatform)Enum.Parse(typeof(UnrealTargetPlatform), arguments[1]);
            ModuleRules rules = new CogVideoX(target);
            Console.WriteLine("type " + rules.Type);
            Say("define", rules.PublicDefinitions);
            Say("include", rules.PublicSystemIncludePaths);
            Say("link", rules.PublicAdditionalLibraries);
            Say("rpath", rules.PublicRuntimeLibraryPaths);
        }

        private static void Say(string what, List<string> values)
        {
            foreach (string value in values) Console.WriteLine(what + " " + value);
        }
    }
}
