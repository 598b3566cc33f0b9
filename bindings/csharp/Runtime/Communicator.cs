using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// What a process gives to others and takes from them, of ranks that follow one another; in host
    /// memory, which is there during the call only.
    /// </summary>
    public sealed class Exchange
    {
        private cvx_exchange_info info;
        private bool ended;

        internal Exchange(ref cvx_exchange_info info)
        {
            this.info = info;
        }

        /// <summary>
        /// The first of the ranks that exchange: those from it on, and no others, make the same call.
        /// </summary>
        public int FirstRank
        {
            get { return info.first_rank; }
        }

        /// <summary>How many ranks exchange, this one included.</summary>
        public int RankCount
        {
            get { return info.num_ranks; }
        }

        /// <summary>
        /// What one of them is given; nothing for this rank itself, and where the other side knows
        /// that there is nothing.
        /// </summary>
        /// <param name="index">From 0, which is FirstRank.</param>
        /// <returns>A copy.</returns>
        public byte[] Send(int index)
        {
            var part = new byte[Length(info.send_bytes, index)];
            if (part.Length > 0) Marshal.Copy(Place(info.send, index), part, 0, part.Length);
            return part;
        }

        /// <summary>How many bytes one of them gives.</summary>
        /// <param name="index">From 0, which is FirstRank.</param>
        public int ReceiveLength(int index)
        {
            return Length(info.receive_bytes, index);
        }

        /// <summary>Takes what one of them gave.</summary>
        /// <param name="index">From 0, which is FirstRank.</param>
        /// <param name="part">As many bytes as ReceiveLength says.</param>
        public void Receive(int index, byte[] part)
        {
            if (part == null) throw new ArgumentNullException("part");
            int length = Length(info.receive_bytes, index);
            if (part.Length != length)
            {
                throw new ArgumentException(
                    "expected " + length + " bytes, found " + part.Length, "part");
            }
            if (length > 0) Marshal.Copy(part, 0, Place(info.receive, index), length);
        }

        internal void End()
        {
            ended = true;
        }

        private int Length(IntPtr bytes, int index)
        {
            if (ended) throw new ObjectDisposedException("Exchange");
            if (index < 0 || index >= info.num_ranks) throw new ArgumentOutOfRangeException("index");
            return checked((int)Marshal.ReadInt64(bytes, index * sizeof(long)));
        }

        private static IntPtr Place(IntPtr places, int index)
        {
            return Marshal.ReadIntPtr(places, index * IntPtr.Size);
        }
    }

    /// <summary>
    /// This process's end of what connects the processes that share the runs of a pipeline
    /// (<see cref="LoadOptions.Communicator"/>). All ranks call the same functions in the same order;
    /// what is not set is made of the first. An exception of a function is a failure, and ends the
    /// run with <see cref="ErrorCode.CallbackFailed"/>. <see cref="Abort"/> may be called from any
    /// thread.
    /// </summary>
    public sealed class Communicator : IDisposable
    {
        private readonly CommunicatorHandle handle;

        /// <summary>The end of one of several processes.</summary>
        /// <param name="rank">From 0.</param>
        /// <param name="rankCount">From 2 to 1024.</param>
        /// <param name="allToAll">Gives each rank its part and takes one from each.</param>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public Communicator(int rank, int rankCount, Action<Exchange> allToAll)
        {
            if (allToAll == null) throw new ArgumentNullException("allToAll");
            Loader.Ensure();
            handle = New(rank, rankCount, allToAll);
        }

        private Communicator(CommunicatorHandle made)
        {
            handle = made;
        }

        internal CommunicatorHandle Handle
        {
            get { return NativeHandle.Open(handle, "Communicator"); }
        }

        /// <summary>The rank of this process.</summary>
        public int Rank
        {
            get { using (new Lease(Handle)) return NativeMethods.cvx_communicator_rank(handle); }
        }

        /// <summary>How many ranks there are.</summary>
        public int RankCount
        {
            get { using (new Lease(Handle)) return NativeMethods.cvx_communicator_num_ranks(handle); }
        }

        /// <summary>
        /// NCCL's unique id: one process makes it, and the host carries it to the others.
        /// </summary>
        /// <exception cref="CogVideoXException">DeviceUnavailable where there is no NCCL.</exception>
        public static byte[] NcclUniqueId()
        {
            Loader.Ensure();
            return NewId();
        }

        /// <summary>
        /// The end of one of several processes with a CUDA device each, which NCCL connects; returns
        /// once all with the same id have called it.
        /// </summary>
        /// <param name="rank">From 0.</param>
        /// <param name="rankCount">From 2 to 1024.</param>
        /// <param name="uniqueId">What NcclUniqueId gave to one process.</param>
        /// <param name="device">"cuda" or "cuda:N".</param>
        public static Communicator Nccl(int rank, int rankCount, byte[] uniqueId, string device)
        {
            if (uniqueId == null) throw new ArgumentNullException("uniqueId");
            if (device == null) throw new ArgumentNullException("device");
            Loader.Ensure();
            return new Communicator(NewNccl(rank, rankCount, uniqueId, device));
        }

        /// <summary>How each of the ranks gives the same part to all.</summary>
        /// <param name="allGather">The function.</param>
        public void SetAllGather(Action<Exchange> allGather)
        {
            Set(allGather, data => NativeMethods.cvx_communicator_set_all_gather(
                Handle, Thunks.Exchanges, data, Thunks.Free));
        }

        /// <summary>
        /// How the first of the ranks gives a part to all: the others take it as the first's.
        /// </summary>
        /// <param name="broadcast">The function.</param>
        public void SetBroadcast(Action<Exchange> broadcast)
        {
            Set(broadcast, data => NativeMethods.cvx_communicator_set_broadcast(
                Handle, Thunks.Exchanges, data, Thunks.Free));
        }

        /// <summary>How all ranks wait for each other.</summary>
        /// <param name="barrier">The function.</param>
        public void SetBarrier(Action<Exchange> barrier)
        {
            Set(barrier, data => NativeMethods.cvx_communicator_set_barrier(
                Handle, Thunks.Exchanges, data, Thunks.Free));
        }

        /// <summary>
        /// Told that this rank's run has failed: it sees to it that the exchanges of others fail.
        /// </summary>
        /// <param name="abort">Takes the code and the message.</param>
        public void SetAbort(Action<ErrorCode, string> abort)
        {
            if (abort == null) throw new ArgumentNullException("abort");
            UserData.Give(new AbortCallback(abort), data => NativeMethods.cvx_communicator_set_abort(
                Handle, Thunks.Aborts, data, Thunks.Free));
        }

        /// <summary>
        /// Ends this rank's run, under way or next, with an error that the host has from another rank.
        /// </summary>
        /// <param name="code">What it failed with.</param>
        /// <param name="message">Its message.</param>
        public void Abort(ErrorCode code, string message)
        {
            if (message == null) throw new ArgumentNullException("message");
            Errors.Check(NativeMethods.cvx_communicator_abort(
                Handle, (int)code, Utf8.Bytes(message, "message")));
        }

        /// <summary>
        /// After a failure: the host has put all ranks right, and runs may begin again.
        /// </summary>
        public void Reset()
        {
            Errors.Check(NativeMethods.cvx_communicator_reset(Handle));
        }

        /// <summary>Frees it. Pipelines that were loaded with it are not affected.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }

        // Apart from its caller; Loader says why.
        [MethodImpl(MethodImplOptions.NoInlining)]
        private static CommunicatorHandle New(int rank, int rankCount, Action<Exchange> allToAll)
        {
            IntPtr made = IntPtr.Zero;
            UserData.Give(new ExchangeCallback(allToAll), data => NativeMethods.cvx_communicator_new(
                rank, rankCount, Thunks.Exchanges, data, Thunks.Free, out made));
            return new CommunicatorHandle(made);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static byte[] NewId()
        {
            var id = new byte[Limits.NcclUniqueIdBytes];
            Errors.Check(NativeMethods.cvx_nccl_unique_id(id, (UIntPtr)id.Length));
            return id;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static CommunicatorHandle NewNccl(int rank, int rankCount, byte[] uniqueId, string device)
        {
            IntPtr made;
            Errors.Check(NativeMethods.cvx_communicator_new_nccl(
                rank, rankCount, uniqueId, (UIntPtr)uniqueId.Length, Utf8.Bytes(device, "device"), out made));
            return new CommunicatorHandle(made);
        }

        private static void Set(Action<Exchange> function, UserData.Setter setter)
        {
            if (function == null) throw new ArgumentNullException("function");
            UserData.Give(new ExchangeCallback(function), setter);
        }
    }
}
