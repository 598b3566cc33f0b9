namespace CogVideoX
{
    /// <summary>A LoRA adapter of a pipeline at one moment.</summary>
    public struct LoraAdapter
    {
        internal LoraAdapter(string name, double weight) : this()
        {
            Name = name;
            Weight = weight;
        }

        /// <summary>What it is called.</summary>
        public string Name { get; private set; }

        /// <summary>Its weight if it is active; 0 if it is not.</summary>
        public double Weight { get; private set; }

        /// <summary>Name and weight.</summary>
        /// <returns>Such as "style: 0.5".</returns>
        public override string ToString()
        {
            return Name + ": " + Weight.ToString(System.Globalization.CultureInfo.InvariantCulture);
        }
    }
}
