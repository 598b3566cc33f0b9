// Package cogvideox turns text into video with CogVideoX pipeline folders, and makes it faster
// with training-free caching (Pyramid Attention Broadcast, FasterCache). It is a thin layer
// over the C library libcogvideox, which pkg-config must find under the name cogvideox.
//
//	pipeline, err := cogvideox.Load(ctx, "CogVideoX-5b", nil)
//	if err != nil {
//		return err
//	}
//	defer pipeline.Close()
//	video, err := pipeline.Generate(ctx, cogvideox.GenerateOptions{Prompt: "a panda plays the guitar"})
//	if err != nil {
//		return err
//	}
//	defer video.Close()
//	return video.Save(0, "panda.mp4", pipeline.DefaultFPS())
//
// # Handles
//
// [Pipeline], [CacheConfig], [CacheStats], [Video], [Job] and [DLPack] hold memory of the C
// library and are closed with Close. Closing twice is closing once. Any other use after Close
// panics and names the method. Close never waits and never pulls memory from under a call that
// is still running: what is in use goes when its last call returns. A handle that is forgotten
// is closed when the garbage collector finds it, as a safety net: weights and frames live
// outside Go's heap, so the collector does not know how much memory waits for it.
//
// # Contexts
//
// [Load], [Pipeline.Generate], [Pipeline.DecodeLatents] and [Pipeline.Submit] stop when their
// context ends, within one layer of the model or one chunk of the decoder. The error then
// matches [ErrCancelled], the context's error and its cause. The pipeline stays usable.
//
// # Errors
//
// Errors of the library are [*Error]. Its [Code] is an error itself, so that
// errors.Is(err, cogvideox.ErrBusy) tells kinds apart. Calls that are gathered by errors.Join are all
// made, although an earlier one failed: enable a cache when the setters of its config have succeeded.
//
// # Callbacks
//
// Callbacks are called while the call they belong to is waiting, on its goroutine; those of a
// [Job] on its pipeline's worker, a thread of the C library, one after the other and while the
// program's own goroutines go on. A panic in a callback stops the run and comes out of the
// method that started it as a [*CallbackPanic]; of a job, out of [Job.Video] as an error. A
// callback must not end its goroutine with runtime.Goexit, which testing.T.FailNow calls: the
// program is ended with a message if it does, for C code below it would be torn apart.
//
// # Goroutines
//
// Every method may be called from any goroutine. A pipeline does one piece of work at a time
// and returns [ErrBusy] to a second caller; [Pipeline.Clone] makes another over the same
// weights. Methods that set fields of one [CacheConfig] take turns.
//
// # Debugging
//
// With the build tag cvxgcdebug every call is surrounded by garbage collections, which brings
// out memory that is used after nobody holds it. It is very slow.
package cogvideox
