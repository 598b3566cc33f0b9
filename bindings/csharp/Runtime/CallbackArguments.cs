namespace CogVideoX
{
    /// <summary>How far a load or a run is.</summary>
    public struct ProgressInfo
    {
        internal ProgressInfo(Stage stage, ulong done, ulong total, double timestep)
        {
            Stage = stage;
            Done = done;
            Total = total;
            Timestep = timestep;
        }

        /// <summary>What it is doing.</summary>
        public Stage Stage { get; private set; }

        /// <summary>Units of the stage that are finished; see <see cref="CogVideoX.Stage"/>.</summary>
        public ulong Done { get; private set; }

        /// <summary>Units of the stage in all.</summary>
        public ulong Total { get; private set; }

        /// <summary>
        /// The training timestep of the denoising step that has just finished, from 0 to the
        /// number of training timesteps; -1 outside denoising.
        /// </summary>
        public double Timestep { get; private set; }

        /// <summary>Stage and count, such as "Denoise 3/50".</summary>
        /// <returns>A text for people.</returns>
        public override string ToString()
        {
            return Stage + " " + Done + "/" + Total;
        }
    }

    /// <summary>A message for the host's log.</summary>
    public struct LogMessage
    {
        internal LogMessage(LogLevel level, string text)
        {
            Level = level;
            Text = text;
        }

        /// <summary>How much it matters.</summary>
        public LogLevel Level { get; private set; }

        /// <summary>One line.</summary>
        public string Text { get; private set; }

        /// <summary>Level and text, such as "Warning: the prompt was cut".</summary>
        /// <returns>A text for people.</returns>
        public override string ToString()
        {
            return Level + ": " + Text;
        }
    }

    /// <summary>A denoising step, of which a cache callback is asked.</summary>
    public struct StepInfo
    {
        internal StepInfo(int step, int numSteps, double timestep)
        {
            Step = step;
            NumSteps = numSteps;
            Timestep = timestep;
        }

        /// <summary>The step, from 0.</summary>
        public int Step { get; private set; }

        /// <summary>How many steps the run has.</summary>
        public int NumSteps { get; private set; }

        /// <summary>
        /// The pipeline's own timestep: what pipe.current_timestep is in diffusers.
        /// </summary>
        public double Timestep { get; private set; }
    }

    /// <summary>An attention layer in a denoising step, of which a cache callback is asked.</summary>
    public struct LayerInfo
    {
        internal LayerInfo(int step, int numSteps, int layer, double timestep, string layerName)
        {
            Step = step;
            NumSteps = numSteps;
            Layer = layer;
            Timestep = timestep;
            LayerName = layerName;
        }

        /// <summary>The step, from 0.</summary>
        public int Step { get; private set; }

        /// <summary>How many steps the run has.</summary>
        public int NumSteps { get; private set; }

        /// <summary>The attention layer, from 0.</summary>
        public int Layer { get; private set; }

        /// <summary>The pipeline's own timestep.</summary>
        public double Timestep { get; private set; }

        /// <summary>
        /// The layer's name in the checkpoint, such as "transformer_blocks.0.attn1".
        /// </summary>
        public string LayerName { get; private set; }
    }
}
