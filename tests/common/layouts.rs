//! Pipeline folders laid out as the published ones are: the same files, fields, names, shapes and
//! dtypes, of the real size or of a small one. Every weight is zero, a hole in its file, which takes no
//! room on the disk.

use serde_json::{json, Map, Value};
use std::path::Path;
use tempfile::TempDir;

/// Name and shape of each tensor of a component, in the order of its files.
type Tensors = Vec<(String, Vec<usize>)>;

/// What is different between published folders.
#[derive(Debug, Clone)]
pub struct Layout {
    pub name: &'static str,
    pub class: &'static str,
    /// Fields of `transformer/config.json` away from those of `Size`.
    pub transformer: Value,
    /// Further fields of `vae/config.json`.
    pub vae: Value,
    pub snr_shift_scale: f64,
    /// Dtype as safetensors names it, and how many files, of text encoder, transformer and VAE.
    pub files: [(&'static str, usize); 3],
    /// Lines end with CR LF.
    pub crlf: bool,
}

/// The sides of the networks.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub heads: usize,
    pub head_dim: usize,
    pub layers: usize,
    pub time: usize,
    pub text: usize,
    pub text_length: usize,
    pub latent: usize,
    pub vae: [usize; 4],
    pub vae_layers: usize,
    pub vae_groups: usize,
    pub t5_layers: usize,
    pub t5_heads: usize,
    pub t5_ff: usize,
    pub vocabulary: usize,
}

/// Small networks, whatever the model.
pub const SMALL: Size = Size {
    heads: 2,
    head_dim: 16,
    layers: 2,
    time: 16,
    text: 32,
    text_length: 16,
    latent: 4,
    vae: [4, 4, 8, 8],
    vae_layers: 1,
    vae_groups: 2,
    t5_layers: 2,
    t5_heads: 4,
    t5_ff: 48,
    vocabulary: 900,
};

/// 2b's transformer and what all published models share.
pub const OF_2B: Size = Size {
    heads: 30,
    head_dim: 64,
    layers: 30,
    time: 512,
    text: 4096,
    text_length: 226,
    latent: 16,
    vae: [128, 256, 256, 512],
    vae_layers: 3,
    vae_groups: 32,
    t5_layers: 24,
    t5_heads: 64,
    t5_ff: 10240,
    vocabulary: 32128,
};

/// 5b's and 1.5's.
pub const OF_5B: Size = Size { heads: 48, layers: 42, ..OF_2B };

impl Layout {
    fn field(&self, name: &str) -> Option<usize> {
        self.transformer[name].as_u64().map(|value| value as usize)
    }

    fn transformer_config(&self, size: Size) -> Value {
        let mut config = json!({
            "_class_name": "CogVideoXTransformer3DModel",
            "_diffusers_version": "0.30.0",
            "activation_fn": "gelu-approximate",
            "attention_bias": true,
            "attention_head_dim": size.head_dim,
            "dropout": 0.0,
            "flip_sin_to_cos": true,
            "freq_shift": 0,
            "in_channels": size.latent,
            "max_text_seq_length": size.text_length,
            "norm_elementwise_affine": true,
            "norm_eps": 1e-5,
            "num_attention_heads": size.heads,
            "num_layers": size.layers,
            "out_channels": size.latent,
            "patch_size": 2,
            "spatial_interpolation_scale": 1.875,
            "temporal_compression_ratio": 4,
            "temporal_interpolation_scale": 1.0,
            "text_embed_dim": size.text,
            "time_embed_dim": size.time,
            "timestep_activation_fn": "silu",
        });
        add(&mut config, &self.transformer);
        config
    }

    fn transformer_tensors(&self, size: Size) -> Tensors {
        let config = self.transformer_config(size);
        let side = |name: &str| config[name].as_u64().unwrap() as usize;
        let width = size.heads * size.head_dim;
        let over_time = self.field("patch_size_t");
        let mut all = Tensors::new();
        let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
        let mut linear = |name: &str, outputs: usize, inputs: usize| {
            add(format!("{name}.weight"), &[outputs, inputs]);
            add(format!("{name}.bias"), &[outputs]);
        };
        linear("patch_embed.text_proj", width, size.text);
        linear("time_embedding.linear_1", size.time, width);
        linear("time_embedding.linear_2", size.time, size.time);
        if let Some(ofs) = self.field("ofs_embed_dim") {
            linear("ofs_embedding.linear_1", ofs, ofs);
            linear("ofs_embedding.linear_2", ofs, ofs);
        }
        linear("norm_out.linear", 2 * width, size.time);
        linear("proj_out", 4 * over_time.unwrap_or(1) * size.latent, width);
        for layer in 0..size.layers {
            let block = format!("transformer_blocks.{layer}");
            for part in ["to_q", "to_k", "to_v", "to_out.0"] {
                linear(&format!("{block}.attn1.{part}"), width, width);
            }
            linear(&format!("{block}.ff.net.0.proj"), 4 * width, width);
            linear(&format!("{block}.ff.net.2"), width, 4 * width);
            linear(&format!("{block}.norm1.linear"), 6 * width, size.time);
            linear(&format!("{block}.norm2.linear"), 6 * width, size.time);
        }
        let mut norm = |name: String, width: usize| {
            add(format!("{name}.weight"), &[width]);
            add(format!("{name}.bias"), &[width]);
        };
        norm("norm_final".into(), width);
        norm("norm_out.norm".into(), width);
        for layer in 0..size.layers {
            let block = format!("transformer_blocks.{layer}");
            norm(format!("{block}.attn1.norm_q"), size.head_dim);
            norm(format!("{block}.attn1.norm_k"), size.head_dim);
            norm(format!("{block}.norm1.norm"), width);
            norm(format!("{block}.norm2.norm"), width);
        }
        match over_time {
            Some(time) => {
                add("patch_embed.proj.weight".into(), &[width, side("in_channels") * 4 * time])
            }
            None => add("patch_embed.proj.weight".into(), &[width, side("in_channels"), 2, 2]),
        }
        add("patch_embed.proj.bias".into(), &[width]);
        if config["use_learned_positional_embeddings"] == true {
            let frames = (side("sample_frames") - 1) / 4 + 1;
            let patches = side("sample_height") / 2 * (side("sample_width") / 2);
            let tokens = size.text_length + frames * patches;
            add("patch_embed.pos_embedding".into(), &[1, tokens, width]);
        }
        all
    }

    fn vae_config(&self, size: Size) -> Value {
        let mut config = json!({
            "_class_name": "AutoencoderKLCogVideoX",
            "_diffusers_version": "0.30.0.dev0",
            "act_fn": "silu",
            "block_out_channels": size.vae,
            "down_block_types": vec!["CogVideoXDownBlock3D"; 4],
            "force_upcast": true,
            "in_channels": 3,
            "latent_channels": size.latent,
            "latents_mean": null,
            "latents_std": null,
            "layers_per_block": size.vae_layers,
            "norm_eps": 1e-6,
            "norm_num_groups": size.vae_groups,
            "out_channels": 3,
            "sample_height": 480,
            "sample_width": 720,
            "scaling_factor": 0.7,
            "shift_factor": null,
            "temporal_compression_ratio": 4,
            "up_block_types": vec!["CogVideoXUpBlock3D"; 4],
            "use_post_quant_conv": false,
            "use_quant_conv": false,
        });
        add(&mut config, &self.vae);
        config
    }

    /// Writes the folder.
    pub fn write(&self, size: Size) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let component = |library: &str, class: &str| json!([library, class]);
        self.json(
            &root.join("model_index.json"),
            &json!({
                "_class_name": self.class,
                "_diffusers_version": "0.30.0.dev0",
                "scheduler": component("diffusers", "CogVideoXDDIMScheduler"),
                "text_encoder": component("transformers", "T5EncoderModel"),
                "tokenizer": component("transformers", "T5Tokenizer"),
                "transformer": component("diffusers", "CogVideoXTransformer3DModel"),
                "vae": component("diffusers", "AutoencoderKLCogVideoX"),
            }),
        );
        let scheduler = json!({
            "_class_name": "CogVideoXDDIMScheduler",
            "_diffusers_version": "0.30.0.dev0",
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "clip_sample": false,
            "clip_sample_range": 1.0,
            "num_train_timesteps": 1000,
            "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": true,
            "sample_max_value": 1.0,
            "set_alpha_to_one": true,
            "snr_shift_scale": self.snr_shift_scale,
            "steps_offset": 0,
            "timestep_spacing": "trailing",
            "trained_betas": null,
        });
        self.json(&root.join("scheduler/scheduler_config.json"), &scheduler);
        let t5 = json!({
            "_name_or_path": "google/t5-v1_1-xxl",
            "architectures": ["T5EncoderModel"],
            "classifier_dropout": 0.0,
            "d_ff": size.t5_ff,
            "d_kv": size.text / size.t5_heads,
            "d_model": size.text,
            "decoder_start_token_id": 0,
            "dense_act_fn": "gelu_new",
            "dropout_rate": 0.1,
            "eos_token_id": 1,
            "feed_forward_proj": "gated-gelu",
            "initializer_factor": 1.0,
            "is_encoder_decoder": true,
            "is_gated_act": true,
            "layer_norm_epsilon": 1e-6,
            "model_type": "t5",
            "num_decoder_layers": size.t5_layers,
            "num_heads": size.t5_heads,
            "num_layers": size.t5_layers,
            "output_past": true,
            "pad_token_id": 0,
            "relative_attention_max_distance": 128,
            "relative_attention_num_buckets": 32,
            "tie_word_embeddings": false,
            "use_cache": true,
            "vocab_size": size.vocabulary,
        });
        self.json(&root.join("text_encoder/config.json"), &t5);
        self.json(&root.join("transformer/config.json"), &self.transformer_config(size));
        self.json(&root.join("vae/config.json"), &self.vae_config(size));
        let tokenizer = super::goldens::pipeline_folder("2b").join("tokenizer");
        std::os::unix::fs::symlink(tokenizer, root.join("tokenizer")).unwrap();
        let [text_encoder, transformer, vae] = self.files;
        weights(&root.join("text_encoder"), "model", &t5_tensors(size), text_encoder);
        let stem = "diffusion_pytorch_model";
        weights(&root.join("transformer"), stem, &self.transformer_tensors(size), transformer);
        weights(&root.join("vae"), stem, &vae_tensors(size), vae);
        folder
    }

    /// How many tensors the components have: text encoder, transformer, VAE.
    pub fn counts(&self, size: Size) -> [usize; 3] {
        [t5_tensors(size).len(), self.transformer_tensors(size).len(), vae_tensors(size).len()]
    }

    fn json(&self, path: &Path, value: &Value) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut text = serde_json::to_string_pretty(value).unwrap() + "\n";
        if self.crlf {
            text = text.replace('\n', "\r\n");
        }
        std::fs::write(path, text).unwrap();
    }
}

fn add(config: &mut Value, more: &Value) {
    let more: Map<String, Value> = more.as_object().cloned().unwrap_or_default();
    config.as_object_mut().unwrap().extend(more);
}

fn t5_tensors(size: Size) -> Tensors {
    let mut all = vec![("shared.weight".to_string(), vec![size.vocabulary, size.text])];
    for block in 0..size.t5_layers {
        let at = |name: &str| format!("encoder.block.{block}.layer.{name}.weight");
        for part in ["q", "k", "v", "o"] {
            all.push((at(&format!("0.SelfAttention.{part}")), vec![size.text; 2]));
        }
        if block == 0 {
            let bias = at("0.SelfAttention.relative_attention_bias");
            all.push((bias, vec![32, size.t5_heads]));
        }
        all.push((at("0.layer_norm"), vec![size.text]));
        all.push((at("1.DenseReluDense.wi_0"), vec![size.t5_ff, size.text]));
        all.push((at("1.DenseReluDense.wi_1"), vec![size.t5_ff, size.text]));
        all.push((at("1.DenseReluDense.wo"), vec![size.text, size.t5_ff]));
        all.push((at("1.layer_norm"), vec![size.text]));
    }
    all.push(("encoder.final_layer_norm.weight".into(), vec![size.text]));
    all
}

/// The autoencoder's tensors, part by part.
struct Vae {
    latent: usize,
    all: Tensors,
}

impl Vae {
    fn pair(&mut self, name: &str, shape: &[usize]) {
        self.all.push((format!("{name}.weight"), shape.to_vec()));
        self.all.push((format!("{name}.bias"), vec![shape[0]]));
    }

    fn conv(&mut self, name: &str, inputs: usize, outputs: usize, side: usize) {
        self.pair(&format!("{name}.conv"), &[outputs, inputs, side, side, side]);
    }

    /// Of the decoder a norm is modulated by the latents.
    fn norm(&mut self, name: &str, width: usize, spatial: bool) {
        if !spatial {
            return self.pair(name, &[width]);
        }
        self.pair(&format!("{name}.norm_layer"), &[width]);
        self.conv(&format!("{name}.conv_y"), self.latent, width, 1);
        self.conv(&format!("{name}.conv_b"), self.latent, width, 1);
    }

    fn resnet(&mut self, name: &str, inputs: usize, outputs: usize, spatial: bool) {
        self.norm(&format!("{name}.norm1"), inputs, spatial);
        self.norm(&format!("{name}.norm2"), outputs, spatial);
        self.conv(&format!("{name}.conv1"), inputs, outputs, 3);
        self.conv(&format!("{name}.conv2"), outputs, outputs, 3);
        if inputs != outputs {
            self.pair(&format!("{name}.conv_shortcut"), &[outputs, inputs, 1, 1, 1]);
        }
    }
}

fn vae_tensors(size: Size) -> Tensors {
    let mut vae = Vae { latent: size.latent, all: Tensors::new() };
    for side in ["encoder", "decoder"] {
        let decodes = side == "decoder";
        let mut widths = size.vae;
        if decodes {
            widths.reverse();
        }
        let (first, last) = (widths[0], widths[3]);
        vae.conv(&format!("{side}.conv_in"), if decodes { size.latent } else { 3 }, first, 3);
        let (blocks, between) = match decodes {
            true => ("up_blocks", "upsamplers"),
            false => ("down_blocks", "downsamplers"),
        };
        let mut before = first;
        for (block, &width) in widths.iter().enumerate() {
            let name = format!("{side}.{blocks}.{block}");
            for resnet in 0..size.vae_layers + usize::from(decodes) {
                vae.resnet(&format!("{name}.resnets.{resnet}"), before, width, decodes);
                before = width;
            }
            if block < 3 {
                vae.pair(&format!("{name}.{between}.0.conv"), &[width, width, 3, 3]);
            }
        }
        for resnet in 0..2 {
            let widest = size.vae[3];
            let name = format!("{side}.mid_block.resnets.{resnet}");
            vae.resnet(&name, widest, widest, decodes);
        }
        vae.norm(&format!("{side}.norm_out"), last, decodes);
        vae.conv(&format!("{side}.conv_out"), last, if decodes { 3 } else { 2 * size.latent }, 3);
    }
    vae.all
}

/// Writes safetensors files whose numbers are holes, and the index of several.
fn weights(folder: &Path, stem: &str, tensors: &Tensors, (dtype, files): (&str, usize)) {
    let element = if dtype == "F32" { 4 } else { 2 };
    let bytes = |shape: &[usize]| shape.iter().product::<usize>() * element;
    let total: usize = tensors.iter().map(|(_, shape)| bytes(shape)).sum();
    let name = |file: usize| match files {
        1 => format!("{stem}.safetensors"),
        _ => format!("{stem}-{:05}-of-{files:05}.safetensors", file + 1),
    };
    let mut headers = vec![(Map::new(), 0usize); files];
    let (mut map, mut done) = (Map::new(), 0usize);
    for (tensor, shape) in tensors {
        // Files of about one size.
        let file = (done * files / total.max(1)).min(files - 1);
        let (header, end) = &mut headers[file];
        let offsets = [*end, *end + bytes(shape)];
        header.insert(
            tensor.clone(),
            json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}),
        );
        map.insert(tensor.clone(), name(file).into());
        *end = offsets[1];
        done += bytes(shape);
    }
    for (file, (mut header, end)) in headers.into_iter().enumerate() {
        header.insert("__metadata__".into(), json!({"format": "pt"}));
        let mut text = serde_json::to_vec(&header).unwrap();
        text.resize(text.len().next_multiple_of(8), b' ');
        let path = folder.join(name(file));
        let start = [&(text.len() as u64).to_le_bytes()[..], &text].concat();
        std::fs::write(&path, &start).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len((start.len() + end) as u64).unwrap();
    }
    if files > 1 {
        let index = json!({"metadata": {"total_size": total}, "weight_map": map});
        let path = folder.join(format!("{stem}.safetensors.index.json"));
        std::fs::write(path, serde_json::to_string_pretty(&index).unwrap()).unwrap();
    }
}
