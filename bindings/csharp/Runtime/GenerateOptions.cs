using System;
using System.Collections.Generic;

namespace CogVideoX
{
    /// <summary>
    /// What a run is asked to do. A run reads them when it starts (a job when it is submitted):
    /// they may be changed afterwards, and serve many runs, also at once. The library checks the
    /// values when the run starts; a value outside its range is a <see cref="CogVideoXException"/>
    /// with <see cref="ErrorCode.InvalidArgument"/> that names the option. A text that cannot be
    /// UTF-8 ended by NUL, as it holds a NUL or half a surrogate pair, is an
    /// <see cref="ArgumentException"/>, here as in every call that takes one.
    /// </summary>
    public sealed partial class GenerateOptions
    {
        /// <summary>Options with every default.</summary>
        public GenerateOptions()
        {
            Prompt = "";
            NumVideos = 1;
            LoraScale = 1;
            MemoryCheck = true;
            FramesFormat = PixelFormat.Rgb8;
        }

        /// <summary>Options with a prompt, and every other default.</summary>
        /// <param name="prompt">What the video shows.</param>
        public GenerateOptions(string prompt) : this()
        {
            Prompt = prompt;
        }

        /// <summary>
        /// What the video shows; 256 KiB of UTF-8 at most. Tokens beyond
        /// <see cref="MaxSequenceLength"/> are cut off, and the log says so. Default: "".
        /// </summary>
        public string Prompt { get; set; }

        /// <summary>
        /// What guidance leads away from; without effect where guidance is off. Default: null,
        /// which means "".
        /// </summary>
        public string NegativePrompt { get; set; }

        /// <summary>
        /// The prompt's embeddings instead of <see cref="Prompt"/>, which must be "" then. With both
        /// sides' embeddings the run needs no text encoder. Default: null, the prompt.
        /// </summary>
        public PromptEmbeddings PromptEmbeddings { get; set; }

        /// <summary>
        /// The negative prompt's embeddings instead of <see cref="NegativePrompt"/>, as many tokens as
        /// those of the prompt. Default: null, the negative prompt.
        /// </summary>
        public PromptEmbeddings NegativePromptEmbeddings { get; set; }

        /// <summary>
        /// Width in pixels, from 8 to 16384, a multiple of 8; set <see cref="Height"/> with it.
        /// Default: 0, the model's own.
        /// </summary>
        public int Width { get; set; }

        /// <summary>
        /// Height in pixels, from 8 to 16384, a multiple of 8; set <see cref="Width"/> with it.
        /// Default: 0, the model's own.
        /// </summary>
        public int Height { get; set; }

        /// <summary>
        /// Frames of the video, from 1 to 4096; 9, 17, 49 and 81 are made as they are, and others
        /// may be rounded up, which the log says. Default: 0, the model's own number.
        /// </summary>
        public int NumFrames { get; set; }

        /// <summary>
        /// Denoising steps, from 1 to the model's number of training timesteps. Default: null, the
        /// pipeline's own number, 50.
        /// </summary>
        public int? NumInferenceSteps { get; set; }

        /// <summary>
        /// How strongly the video follows the prompt, from -1e6 to 1e6; 1 or less means no
        /// guidance, which halves the work. Default: null, the pipeline's own, 6.
        /// </summary>
        public double? GuidanceScale { get; set; }

        /// <summary>
        /// What the weights of the active LoRA adapters are multiplied by in this run, from -1e6 to
        /// 1e6; 0 runs as without them. Default: 1.
        /// </summary>
        public double LoraScale { get; set; }

        /// <summary>
        /// Whether a run that can't fit into memory is refused with OutOfMemory before anything is
        /// computed, see Pipeline.EstimateMemory. Default: true.
        /// </summary>
        public bool MemoryCheck { get; set; }

        /// <summary>Whether guidance grows over the run, along a cosine. Default: false.</summary>
        public bool UseDynamicCfg { get; set; }

        /// <summary>
        /// How much noise each step of the DDIM scheduler adds, from 0 to 1; the DPM scheduler
        /// ignores it. Default: 0.
        /// </summary>
        public double Eta { get; set; }

        /// <summary>
        /// What the run's random numbers start from: the same seed, options, device and dtype give
        /// the same video, and the same noise as torch.Generator on the CPU. Default: 0.
        /// </summary>
        public ulong Seed { get; set; }

        /// <summary>
        /// Which scheduler the run steps with: "ddim" or "dpm". Null (default): what the pipeline
        /// was loaded with.
        /// </summary>
        public string Scheduler { get; set; }

        /// <summary>
        /// Which training timesteps are visited: "leading", "linspace" or "trailing". Null
        /// (default): what the pipeline was loaded with.
        /// </summary>
        public string TimestepSpacing { get; set; }

        /// <summary>
        /// What the schedule's signal-to-noise ratio is divided by, from 1e-6 to 1e6. Null
        /// (default): what the pipeline was loaded with.
        /// </summary>
        public double? SnrShiftScale { get; set; }

        /// <summary>
        /// Whether nothing of the sample is left at the last training timestep. Null (default):
        /// what the pipeline was loaded with.
        /// </summary>
        public bool? RescaleBetasZeroSnr { get; set; }

        /// <summary>
        /// Tokens that a prompt is cut or padded to, from 1 to 8192. Default: 0, the model's own
        /// number.
        /// </summary>
        public int MaxSequenceLength { get; set; }

        /// <summary>How many videos of the prompt are made, from 1 to 256. Default: 1.</summary>
        public int NumVideos { get; set; }

        /// <summary>What the run ends with. Default: <see cref="OutputKind.Frames"/>.</summary>
        public OutputKind Output { get; set; }

        /// <summary>
        /// Custom timesteps, strictly descending, from 0 to the number of training timesteps less
        /// 1; they win over <see cref="NumInferenceSteps"/>. Default: null, the scheduler's own.
        /// </summary>
        public IReadOnlyList<long> Timesteps { get; set; }

        /// <summary>
        /// Latents to start from instead of noise, with the shape that
        /// <see cref="Pipeline.LatentShape"/> tells. Default: null, noise.
        /// </summary>
        public Latents Latents { get; set; }

        /// <summary>
        /// The image that an image-to-video pipeline (<see cref="Pipeline.PipelineTask"/>) starts from; it
        /// is resized to the size of the run. Default: null, as text to video has it.
        /// </summary>
        public SourceImage Image { get; set; }

        /// <summary>
        /// The video that the run begins with, for pipelines for video to video and for text to video, and
        /// with a mask for inpainting: it is made noisy and then made anew as the prompt says. The run makes as many frames, at its own
        /// size. In the 1.5 family their latent frames must be even in number: 13 to 16, 45 to 48 or 77
        /// to 80 frames will do. Default: null.
        /// </summary>
        public SourceVideo Video { get; set; }

        /// <summary>
        /// The video that a control model's video follows, frame by frame: such a pipeline
        /// (<see cref="Pipeline.PipelineTask"/>) needs one. Default: null.
        /// </summary>
        public SourceVideo ControlVideo { get; set; }

        /// <summary>
        /// What of <see cref="Video"/> an inpainting model makes anew; it needs both or neither.
        /// Default: null.
        /// </summary>
        public SourceMask Mask { get; set; }

        /// <summary>
        /// The last frame, for inpainting models, beside or instead of <see cref="Image"/>, which is the
        /// first. Default: null.
        /// </summary>
        public SourceImage LastImage { get; set; }

        /// <summary>
        /// A prompt for each video of one run, in place of <see cref="Prompt"/>, which is empty then.
        /// Default: null.
        /// </summary>
        public IReadOnlyList<string> Prompts { get; set; }

        /// <summary>
        /// A negative prompt for each video, in place of <see cref="NegativePrompt"/>. Default: null.
        /// </summary>
        public IReadOnlyList<string> NegativePrompts { get; set; }

        /// <summary>
        /// A seed for each video, in place of <see cref="Seed"/>, from which all draw as one batch: each
        /// video is then that of a run of its own, within rounding. Default: null.
        /// </summary>
        public IReadOnlyList<ulong> Seeds { get; set; }

        /// <summary>
        /// How much of <see cref="Video"/> is made anew, from 0 to 1; smaller numbers keep more of it and
        /// take fewer steps. Only with a video. Default: null, 0.8, and 1 of inpainting models.
        /// </summary>
        public double? Strength { get; set; }

        /// <summary>
        /// Whether the VAE decodes overlapping tiles: less memory, more time, a slightly different
        /// picture. Default: false.
        /// </summary>
        public bool VaeTiling { get; set; }

        /// <summary>Turns tiling on with tiles of this size. Default: null.</summary>
        public VaeTile VaeTile { get; set; }

        /// <summary>
        /// Whether the VAE decodes several videos one after another: less memory, the same
        /// picture. Default: false.
        /// </summary>
        public bool VaeSlicing { get; set; }

        /// <summary>
        /// Follows the run, on the thread that runs it. Answers true to go on, false to stop,
        /// which the run ends with OperationCanceledException. An exception stops the run too,
        /// and is the inner one of what the run throws. Default: null.
        /// </summary>
        public Func<ProgressInfo, bool> OnProgress { get; set; }

        /// <summary>
        /// Receives the run's messages, on the thread that runs it. An exception stops the run at
        /// its next progress. Default: null, which leaves them to <see cref="LoadOptions.OnLog"/>.
        /// </summary>
        public Action<LogMessage> OnLog { get; set; }

        /// <summary>
        /// Given the frames chunk by chunk as they are decoded, the first before the last is
        /// decoded, in order within a video, on the thread that runs. The chunk is valid during
        /// the call only. Answers and exceptions as for <see cref="OnProgress"/>. Default: null.
        /// </summary>
        public Func<FrameChunk, bool> OnFrames { get; set; }

        /// <summary>
        /// Called after each denoising step, on the thread that runs: it may read and replace latents,
        /// change guidance, show previews and save the run. The step is valid during the call only.
        /// Answers and exceptions as for <see cref="OnProgress"/>. Default: null.
        /// </summary>
        public Func<StepEnd, bool> OnStep { get; set; }

        /// <summary>
        /// A file that <see cref="StepEnd.Save"/> wrote in a run with the same options: this one goes on
        /// from there and gives the bytes of the unbroken run; a cache starts anew. Default: null, it
        /// starts from noise.
        /// </summary>
        public string Resume { get; set; }

        /// <summary>
        /// Given the frames on the device that decodes them, as soon as their work is launched, with the
        /// order, thread, answers and exceptions of <see cref="OnFrames"/>. Default: null.
        /// </summary>
        public Func<DeviceFrameChunk, bool> OnDeviceFrames { get; set; }

        /// <summary>
        /// The host's own memory on the device that decodes, which frames are written into besides: a
        /// buffer made of an address there, or of host memory on the CPU. Default: null.
        /// </summary>
        public FrameBuffer DeviceFrameBuffer { get; set; }

        /// <summary>
        /// A CUDA stream of the host's (cudaStream_t) that the library's writing of frames on the device
        /// is ordered against. Default: zero, none.
        /// </summary>
        public IntPtr Stream { get; set; }

        /// <summary>
        /// A CUDA event of the host's (cudaEvent_t) that the library's writing of frames on the device
        /// waits for: when decoding begins, and after each call of <see cref="OnDeviceFrames"/>.
        /// Default: none.
        /// </summary>
        public IntPtr WaitEvent { get; set; }

        /// <summary>
        /// A CUDA event of the host's, of the device's primary context, that a run records behind each
        /// group of frames on the device and behind the video. Default: none.
        /// </summary>
        public IntPtr RecordEvent { get; set; }

        /// <summary>
        /// The pixels that <see cref="OnFrames"/> and <see cref="OnDeviceFrames"/> are given. Default:
        /// Rgb8.
        /// </summary>
        public PixelFormat FramesFormat { get; set; }

        /// <summary>
        /// The host's own memory, which the frames are written into besides. Default: null.
        /// </summary>
        public FrameBuffer FrameBuffer { get; set; }

        /// <summary>
        /// Whether the decoded frames stay on the pipeline's device, for
        /// <see cref="Video.DeviceFrames"/> and <see cref="Video.FramesDlpack"/>. Default: false,
        /// they are brought to the host's memory.
        /// </summary>
        public bool FramesOnDevice { get; set; }
    }

    /// <summary>The tiles of a decoder that tiles.</summary>
    public sealed class VaeTile
    {
        /// <summary>Tiles of the model's own size and overlap.</summary>
        public VaeTile()
        {
            OverlapHeight = -1;
            OverlapWidth = -1;
        }

        /// <summary>Height in pixels, from 8 to 16384. Default: 0, the model's own.</summary>
        public int MinHeight { get; set; }

        /// <summary>Width in pixels, from 8 to 16384. Default: 0, the model's own.</summary>
        public int MinWidth { get; set; }

        /// <summary>
        /// The fraction of a tile's height that it shares, from 0 to below 1. Default: negative,
        /// the model's own, 1/6.
        /// </summary>
        public double OverlapHeight { get; set; }

        /// <summary>
        /// The fraction of a tile's width that it shares, from 0 to below 1. Default: negative,
        /// the model's own, 1/5.
        /// </summary>
        public double OverlapWidth { get; set; }
    }
}
