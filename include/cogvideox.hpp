/// libcogvideox for C++17 and later: CogVideoX text and image to video with training-free caching.
///
/// SPDX-License-Identifier: Apache-2.0
///
/// Header-only, over the C functions of cogvideox.h; link with -lcogvideox. A program is:
///
///     auto pipeline = cvx::Pipeline::load("CogVideoX-5b").value();
///     pipeline.enable_cache(cvx::CacheConfig::pab()).value();
///     cvx::GenerateOptions options;
///     options.set_prompt("a panda plays the guitar").value();
///     auto video = pipeline.generate(options).value();
///     video.save("panda.mp4", pipeline.default_fps()).value();
///
/// In the source repository, examples/cpp/generate.cpp is this program, and
/// examples/cpp/editor_loop.cpp one that ticks.
///
/// Objects. Each C handle is a class that can be moved, not copied, and that frees it:
/// Pipeline, LoadOptions, GenerateOptions, Image, CacheConfig, CacheStats, Calibration, Video,
/// Buffer, Job, CancelToken.
/// One that was moved from, released or reset is empty: calls that can fail answer
/// Code::null_argument, others 0 or "", and nothing crashes. get() gives the C handle for what
/// is to be done in C.
///
/// Errors. A call that can fail returns a Result, which must not be dropped. It is true in
/// conditions if the call succeeded; error() says what went wrong; cvx::all gathers several.
/// Neither exceptions nor RTTI are needed.
///
/// The throwing layer. Where exceptions are on, Result::value() returns the value or throws
/// cvx::Exception. Define CVX_HPP_EXCEPTIONS as 0 to leave it out all the same; without
/// exceptions value() does not exist. Files built with and without may be linked together.
///
/// Callbacks. Any callable will do, also one that can only be moved: it is moved to the heap,
/// and destroyed when the library gives up its last use (see cvx_free_callback), so captures by
/// value live long enough. It is called on the thread of the call that it serves, or on the
/// pipeline's worker if it serves a job; by several threads at once if its options serve several
/// runs at once, or its config several pipelines. What it throws never crosses the library: it
/// stops the run, which fails with Code::callback_failed, and value() throws it on. (A log
/// callback cannot stop a run by itself: the next callback of the run does, or its end.) Without
/// exceptions a callable must not throw.
///
/// Memory. Views (Span, Frame, Frames, std::string_view) own nothing: they are good as long as
/// the object that gave them, also if that is moved. Every std::string_view that the library
/// returns is ended by NUL, so that data() is a C string. Texts passed in are UTF-8, read
/// during the call only.
///
/// Threads. A const member function may be called by many threads at once, another by one at a
/// time. Pipeline says what may be called while it generates.
#ifndef COGVIDEOX_HPP
#define COGVIDEOX_HPP

#include "cogvideox/cache_config.hpp"
#include "cogvideox/cache_stats.hpp"
#include "cogvideox/callback_info.hpp"
#include "cogvideox/cancel_token.hpp"
#include "cogvideox/communicator.hpp"
#include "cogvideox/constants.hpp"
#include "cogvideox/device.hpp"
#include "cogvideox/error.hpp"
#include "cogvideox/frames.hpp"
#include "cogvideox/generate_options.hpp"
#include "cogvideox/image.hpp"
#include "cogvideox/job.hpp"
#include "cogvideox/load_options.hpp"
#include "cogvideox/pipeline.hpp"
#include "cogvideox/result.hpp"
#include "cogvideox/span.hpp"
#include "cogvideox/text.hpp"
#include "cogvideox/version.hpp"
#include "cogvideox/video.hpp"

#endif // COGVIDEOX_HPP
