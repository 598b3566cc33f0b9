// A worker as a service has it: requests wait in a bounded queue, several are generated at once by
// clones that share one copy of the weights, each can be cancelled, and it ends in order.
//
//   Worker MODEL OUTPUT_FOLDER [CLONES [STEPS]]
//
// Reads requests from its input, a line each:   generate NAME PROMPT   or   cancel NAME
// and writes what becomes of them:              NAME queued | 40 % | done FILE | cancelled | failed WHY
// The end of the input lets it finish what it has; the line "stop" cancels that, and so does Ctrl-C
// (which mono tells a program only if its input is a terminal).

using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using CogVideoX;

/// <summary>The queue and those who work on it. Answers come from several threads.</summary>
internal sealed class Worker : IDisposable
{
    private sealed class Request
    {
        internal string Name;
        internal GenerateOptions Options;
        internal CancellationTokenSource Cancellation;
    }

    private const int Capacity = 16;

    private readonly string folder;
    private readonly Action<string, string> answer;
    private readonly CancellationTokenSource stop = new CancellationTokenSource();
    private readonly ConcurrentDictionary<string, Request> known = new ConcurrentDictionary<string, Request>();
    private readonly ConcurrentQueue<Request> queue = new ConcurrentQueue<Request>();
    private readonly SemaphoreSlim waiting = new SemaphoreSlim(0);
    private readonly Pipeline[] pipelines;
    private readonly Task[] loops;
    private volatile bool closed;

    internal Worker(string model, string folder, int clones, Action<string, string> answer)
    {
        this.folder = folder;
        this.answer = answer;
        // The weights are loaded once; the clones use the same.
        pipelines = new Pipeline[clones];
        pipelines[0] = Pipeline.Load(model);
        for (int i = 1; i < clones; i++) pipelines[i] = pipelines[0].Clone();
        using (CacheConfig cache = CacheConfig.Pab())
        {
            foreach (Pipeline pipeline in pipelines) pipeline.EnableCache(cache);
        }
        loops = pipelines.Select(pipeline => Serve(pipeline)).ToArray();
    }

    /// <summary>Queues a request, or says why not.</summary>
    internal void Enqueue(string name, GenerateOptions options)
    {
        var request = new Request
        {
            Name = name,
            Options = options,
            Cancellation = CancellationTokenSource.CreateLinkedTokenSource(stop.Token),
        };
        if (queue.Count >= Capacity)
        {
            answer(name, "failed the queue is full");
        }
        else if (!known.TryAdd(name, request))
        {
            answer(name, "failed there is a request of this name");
        }
        else
        {
            answer(name, "queued");
            queue.Enqueue(request);
            waiting.Release();
        }
    }

    /// <summary>Cancels a request that waits or is generated.</summary>
    internal void Cancel(string name)
    {
        Request request;
        if (known.TryGetValue(name, out request)) request.Cancellation.Cancel();
    }

    /// <summary>Cancels everything; to be called from any thread.</summary>
    internal void Stop()
    {
        stop.Cancel();
    }

    // One loop for each pipeline. No thread waits in it: GenerateAsync runs on the pipeline's own
    // worker thread.
    private async Task Serve(Pipeline pipeline)
    {
        while (true)
        {
            await waiting.WaitAsync().ConfigureAwait(false);
            Request request;
            if (!queue.TryDequeue(out request))
            {
                if (closed) return;
                continue;
            }
            try
            {
                await Generate(pipeline, request).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                answer(request.Name, "cancelled");
            }
            catch (Exception e) when (e is CogVideoXException || e is ArgumentException)
            {
                answer(request.Name, "failed " + e.Message);
            }
            known.TryRemove(request.Name, out request);
        }
    }

    private async Task Generate(Pipeline pipeline, Request request)
    {
        string file = Path.Combine(folder, request.Name + ".mp4");
        Video.CheckPath(file); // before a long run, not after it
        request.Options.OnProgress = info =>
        {
            if (info.Stage == Stage.Denoise) answer(request.Name, 100 * info.Done / info.Total + " %");
            return true;
        };
        using (Video video = await pipeline
            .GenerateAsync(request.Options, null, request.Cancellation.Token).ConfigureAwait(false))
        {
            video.Save(file);
        }
        answer(request.Name, "done " + file);
    }

    /// <summary>Takes no more requests, and returns when those it has are done or cancelled.</summary>
    public void Dispose()
    {
        closed = true;
        waiting.Release(loops.Length);
        Task.WaitAll(loops);
        foreach (Pipeline pipeline in pipelines) pipeline.Dispose();
    }
}

internal static class Program
{
    private static int Main(string[] arguments)
    {
        if (arguments.Length < 2)
        {
            Console.Error.WriteLine("usage: Worker MODEL OUTPUT_FOLDER [CLONES [STEPS]]");
            return 2;
        }
        int clones = arguments.Length > 2 ? int.Parse(arguments[2]) : 2;
        int steps = arguments.Length > 3 ? int.Parse(arguments[3]) : 50;
        var gate = new object();
        bool interrupted = false;
        try
        {
            using (var worker = new Worker(arguments[0], arguments[1], clones, (name, state) =>
            {
                lock (gate) Console.WriteLine(name + " " + state);
            }))
            {
                var lines = new BlockingCollection<string>();
                Console.CancelKeyPress += (sender, key) =>
                {
                    key.Cancel = true; // ends in order instead
                    interrupted = true;
                    worker.Stop();
                    lines.CompleteAdding();
                };
                var reader = new Thread(() => Read(lines)) { IsBackground = true };
                reader.Start();
                foreach (string line in lines.GetConsumingEnumerable())
                {
                    if (line == "stop")
                    {
                        worker.Stop();
                        break;
                    }
                    Obey(worker, line, steps);
                }
            }
        }
        catch (CogVideoXException e)
        {
            Console.Error.WriteLine("Worker: " + e.Message);
            return 1;
        }
        return interrupted ? 130 : 0;
    }

    // On a thread of its own, because nothing interrupts a console that waits for a line.
    private static void Read(BlockingCollection<string> lines)
    {
        try
        {
            string line;
            while ((line = Console.ReadLine()) != null) lines.Add(line);
            lines.CompleteAdding();
        }
        catch (InvalidOperationException)
        {
            // Ctrl-C has completed it.
        }
    }

    private static void Obey(Worker worker, string line, int steps)
    {
        string[] words = line.Split(new[] { ' ' }, 3);
        if (words.Length == 3 && words[0] == "generate")
        {
            worker.Enqueue(words[1], new GenerateOptions(words[2]) { NumInferenceSteps = steps });
        }
        else if (words.Length == 2 && words[0] == "cancel")
        {
            worker.Cancel(words[1]);
        }
        else if (line.Length > 0)
        {
            Console.Error.WriteLine("expected \"generate NAME PROMPT\" or \"cancel NAME\", found \"" + line + "\"");
        }
    }
}
