using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using CogVideoX;
using static Support;

internal static class ParallelTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("parallel: devices share a run", Devices);
        tests.Add("parallel: processes share a run", Processes);
        tests.Add("parallel: communicators are checked", Checks);
    }

    private static float[] Latents(Pipeline pipeline)
    {
        using (Video video = pipeline.Generate(Options(2))) return video.CopyLatents().Data;
    }

    private static void Near(float[] expected, float[] found, string what)
    {
        Equal(expected.Length, found.Length, what + ", numbers");
        double off = expected.Zip(found, (a, b) => Math.Abs((double)a - b)).Max();
        True(off <= 1e-5, what + ": off by " + off);
    }

    private static void Devices()
    {
        float[] expected;
        using (Pipeline alone = Load()) expected = Latents(alone);
        foreach (int guidance in new[] { 1, 2 })
        {
            var options = new LoadOptions
            {
                Devices = new[] { "cpu", "cpu" },
                GuidanceDegree = guidance,
                SequenceDegree = 2 / guidance,
            };
            using (Pipeline pipeline = Pipeline.Load(Folder(), options))
            {
                Near(expected, Latents(pipeline), "two devices");
                using (CacheStatistics statistics = pipeline.CacheStatistics())
                {
                    Equal(2, statistics.RankCount, "ranks");
                    Equal(guidance, statistics.GuidanceDegree, "guidance");
                    Equal(2 / guidance, statistics.SequenceDegree, "sequence");
                    True(statistics.BytesExchanged > 0 && statistics.MessagesExchanged > 0, "exchanged");
                }
            }
        }
        var three = new LoadOptions { Devices = new[] { "cpu", "cpu", "cpu" } };
        Fails(ErrorCode.InvalidArgument, () => Pipeline.Load(Folder(), three), "nothing fits 3");
    }

    private static void Processes()
    {
        float[] expected;
        using (Pipeline alone = Load()) expected = Latents(alone);
        foreach (bool fails in new[] { false, true })
        {
            var mail = new[] { new BlockingCollection<byte[]>(), new BlockingCollection<byte[]>() };
            var ends = new Communicator[2];
            var gone = new CancellationTokenSource();
            int calls = 0;
            foreach (int rank in new[] { 0, 1 })
            {
                ends[rank] = new Communicator(rank, 2, exchange =>
                {
                    if (fails && rank == 1 && ++calls == 4) throw new InvalidOperationException("pulled");
                    int other = 1 - rank - exchange.FirstRank;
                    if (other < 0 || other >= exchange.RankCount) return;
                    byte[] part = exchange.Send(other);
                    if (part.Length > 0) mail[1 - rank].Add(part);
                    if (exchange.ReceiveLength(other) > 0)
                    {
                        exchange.Receive(other, mail[rank].Take(gone.Token));
                    }
                });
                Equal(rank, ends[rank].Rank, "rank");
                Equal(2, ends[rank].RankCount, "ranks");
            }
            foreach (int rank in new[] { 0, 1 })
            {
                ends[rank].SetAbort((code, message) =>
                {
                    ends[1 - rank].Abort(code, message);
                    gone.Cancel();
                });
            }
            var found = new float[2][];
            var failed = new Exception[2];
            Thread[] threads = new[] { 0, 1 }.Select(rank => new Thread(() =>
            {
                try
                {
                    var options = new LoadOptions { Device = "cpu", Communicator = ends[rank] };
                    using (Pipeline pipeline = Pipeline.Load(Folder(), options)) found[rank] = Latents(pipeline);
                }
                catch (Exception e)
                {
                    failed[rank] = e;
                }
            })).ToArray();
            foreach (Thread thread in threads) thread.Start();
            foreach (Thread thread in threads) thread.Join();
            foreach (int rank in new[] { 0, 1 })
            {
                if (fails)
                {
                    Equal(ErrorCode.CallbackFailed, ((CogVideoXException)failed[rank]).Code, "rank " + rank);
                    ends[rank].Reset();
                }
                else
                {
                    if (failed[rank] != null) throw failed[rank];
                    Near(expected, found[rank], "rank " + rank);
                }
                ends[rank].Dispose();
            }
        }
    }

    private static void Checks()
    {
        Fails(ErrorCode.InvalidArgument, () => new Communicator(2, 2, exchange => { }), "rank");
        Throws<ArgumentNullException>(() => new Communicator(0, 2, null));
        using (var end = new Communicator(0, 2, exchange => { }))
        {
            end.SetAllGather(exchange => { });
            end.SetBroadcast(exchange => { });
            end.SetBarrier(exchange => { });
            Fails(ErrorCode.InvalidArgument, () => end.Abort((ErrorCode)999, "?"), "999");
        }
        Fails(ErrorCode.InvalidArgument, () => Communicator.Nccl(0, 2, new byte[128], "cpu"), "cpu");
        try
        {
            Equal(Limits.NcclUniqueIdBytes, Communicator.NcclUniqueId().Length, "bytes of the id");
        }
        catch (CogVideoXException e)
        {
            Equal(ErrorCode.DeviceUnavailable, e.Code, "without NCCL");
        }
    }
}
