"""TeaCache on diffusers' CogVideoX transformer, as its authors run it there (arXiv 2411.19108;
their TeaCache4CogVideoX1.5). diffusers has no TeaCache of its own."""

import contextlib

import torch

# Polynomials that turn the distance of two timestep embeddings into the expected distance of
# two outputs, highest power first, as the authors fitted them for each published model.
COEFFICIENTS = {
    "2b": [-3.10658903e+01, 2.54732368e+01, -5.92380459e+00, 1.75769064e+00, -3.61568434e-03],
    "5b": [-1.53880483e+03, 8.43202495e+02, -1.34363087e+02, 7.97131516e+00, -5.23162339e-02],
    "1.5-5b": [2.50210439e+02, -1.65061612e+02, 3.57804877e+01, -7.81551492e-01, 3.58559703e-02],
}


class TeaCacheBlocks(torch.nn.Module):
    """Stands for all blocks of a transformer: runs them, or adds what they added when they last
    ran."""

    def __init__(self, blocks, steps, rel_l1_thresh, coefficients):
        super().__init__()
        self.blocks = [blocks]  # In a list: they remain the transformer's own modules.
        self.steps = steps
        self.threshold = rel_l1_thresh
        self.coefficients = coefficients
        self.step = 0
        self.accumulated = 0.0
        self.embedding = None
        self.residuals = None
        self.distances = []  # What was compared with the threshold, in each step between.

    def must_compute(self, embedding):
        """The first and the last step compute; a step between when the distances accumulated
        since the last computed step reach the threshold."""
        if self.step in (0, self.steps - 1):
            self.accumulated = 0.0
            return True
        before = self.embedding
        distance = ((embedding - before).abs().mean() / before.abs().mean()).item()
        rescaled = 0.0
        for coefficient in self.coefficients:
            rescaled = rescaled * distance + coefficient
        self.accumulated += rescaled
        self.distances.append(self.accumulated)
        if self.accumulated < self.threshold:
            return False
        self.accumulated = 0.0
        return True

    def forward(self, hidden_states, encoder_hidden_states, temb, **arguments):
        compute = self.must_compute(temb)
        self.embedding = temb
        self.step += 1
        if not compute:
            video, text = self.residuals
            return hidden_states + video, encoder_hidden_states + text
        video, text = hidden_states, encoder_hidden_states
        for block in self.blocks[0]:
            video, text = block(
                hidden_states=video, encoder_hidden_states=text, temb=temb, **arguments
            )
        self.residuals = (video - hidden_states, text - encoder_hidden_states)
        return video, text


@contextlib.contextmanager
def enabled(transformer, steps, rel_l1_thresh=0.2, coefficients=None):
    """Runs `transformer` with TeaCache for one run of `steps` steps."""
    blocks = transformer.transformer_blocks
    cached = TeaCacheBlocks(blocks, steps, rel_l1_thresh, coefficients)
    transformer.transformer_blocks = torch.nn.ModuleList([cached])
    try:
        yield cached
    finally:
        transformer.transformer_blocks = blocks
