// The tests of the C# binding: a console program, so that mono alone runs them.
//
//   tests.exe ROOT C_PROGRAM [NAME ...]
//
// ROOT is the checkout, C_PROGRAM is frames.c compiled; NAMEs choose tests by part of a name.
// COGVIDEOX_LIBRARY names the library.

using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;

internal static class Program
{
    private static int Main(string[] arguments)
    {
        if (arguments.Length > 0 && arguments[0].StartsWith("--child-", StringComparison.Ordinal))
        {
            return Children.Run(arguments);
        }
        if (arguments.Length < 2)
        {
            Console.Error.WriteLine("usage: tests.exe ROOT C_PROGRAM [NAME ...]");
            return 2;
        }
        Support.Root = arguments[0];
        Support.CProgram = arguments[1];
        string[] names = arguments.Skip(2).ToArray();

        var tests = new List<KeyValuePair<string, Action>>();
        LoadTests.List(tests);
        DeviceTests.List(tests);
        ParallelTests.List(tests);
        GenerateTests.List(tests);
        ImageTests.List(tests);
        StepTests.List(tests);
        CacheTests.List(tests);
        LoraTests.List(tests);
        ExceptionTests.List(tests);
        JobTests.List(tests);
        AsyncTests.List(tests);
        FrameTests.List(tests);
        ParityTests.List(tests);
        DisposeTests.List(tests);
        GarbageTests.List(tests);
        MemoryTests.List(tests);
        ExampleTests.List(tests);

        int failed = 0, ran = 0;
        foreach (KeyValuePair<string, Action> test in tests)
        {
            if (names.Length > 0 && !names.Any(name => test.Key.Contains(name))) continue;
            ran++;
            var watch = Stopwatch.StartNew();
            try
            {
                test.Value();
                Console.WriteLine("ok      {0} ({1:0.00} s)", test.Key, watch.Elapsed.TotalSeconds);
            }
            catch (Exception e)
            {
                failed++;
                Console.WriteLine("FAILED  {0}\n{1}", test.Key, e);
            }
        }
        Console.WriteLine("{0} tests, {1} failed", ran, failed);
        return failed > 0 || ran == 0 ? 1 : 0;
    }
}
