use super::*;
use crate::checkpoint::config::*;

fn transformer(json: &str) -> crate::Result<TransformerConfig> {
    TransformerConfig::parse(Path::new("transformer/config.json"), json, &mut Vec::new())
}
fn vae(json: &str) -> crate::Result<VaeConfig> {
    VaeConfig::parse(Path::new("vae/config.json"), json, &mut Vec::new())
}
fn t5(json: &str) -> crate::Result<T5Config> {
    T5Config::parse(Path::new("text_encoder/config.json"), json)
}
fn scheduler(json: &str) -> crate::Result<SchedulerConfig> {
    let path = Path::new("scheduler/scheduler_config.json");
    SchedulerConfig::parse(path, json, SchedulerClass::Dpm, &mut Vec::new())
}

/// `T5 v1.1 xxl` as CogVideoX publishes it.
const XXL: &str = r#"{"architectures":["T5EncoderModel"],"classifier_dropout":0.0,"d_ff":10240,
    "d_kv":64,"d_model":4096,"decoder_start_token_id":0,"dense_act_fn":"gelu_new",
    "dropout_rate":0.1,"eos_token_id":1,"feed_forward_proj":"gated-gelu","initializer_factor":1.0,
    "is_encoder_decoder":true,"is_gated_act":true,"layer_norm_epsilon":1e-06,"model_type":"t5",
    "num_decoder_layers":24,"num_heads":64,"num_layers":24,"output_past":true,"pad_token_id":0,
    "relative_attention_max_distance":128,"relative_attention_num_buckets":32,
    "tie_word_embeddings":false,"torch_dtype":"bfloat16","transformers_version":"4.44.0",
    "use_cache":true,"vocab_size":32128}"#;

#[test]
fn empty_configs_have_the_defaults_of_the_reference() {
    let config = transformer("{}").unwrap();
    assert_eq!((config.num_attention_heads, config.attention_head_dim), (30, 64));
    assert_eq!((config.width(), config.num_layers), (1920, 30));
    assert_eq!((config.sample_width, config.sample_height, config.sample_frames), (90, 60, 49));
    assert_eq!((config.time_embed_dim, config.text_embed_dim), (512, 4096));
    assert_eq!((config.patch_size, config.patch_size_t), (2, None));
    assert_eq!(config.spatial_interpolation_scale, 1.875);
    assert!(config.flip_sin_to_cos && config.attention_bias && config.patch_bias);
    assert!(!config.positions.rotary());
    let config = vae("{}").unwrap();
    assert_eq!(config.block_out_channels, [128, 256, 256, 512]);
    assert_eq!((config.latent_channels, config.spatial_compression_ratio()), (16, 8));
    assert_eq!(config.scaling_factor, 1.15258426);
    let config = scheduler("{}").unwrap();
    assert_eq!((config.num_train_timesteps, config.snr_shift_scale), (1000, 3.0));
    assert_eq!(config.timestep_spacing, TimestepSpacing::Leading);
    // The default of transformers is the first T5, which is not CogVideoX's.
    assert_unsupported(t5("{}"), &["feed_forward_proj", "\"gated-gelu\"", "\"relu\""]);
}

#[test]
fn t5_xxl_is_accepted() {
    let config = t5(XXL).unwrap();
    assert_eq!((config.d_model, config.d_ff, config.num_layers), (4096, 10240, 24));
    assert_eq!((config.num_heads, config.d_kv, config.vocab_size), (64, 64, 32128));
}

#[test]
fn transformer_fields_that_cannot_be_honoured() {
    for (json, parts) in [
        (r#"{"activation_fn":"geglu"}"#, ["activation_fn", "\"gelu-approximate\"", "\"geglu\""]),
        (r#"{"timestep_activation_fn":"relu"}"#, ["timestep_activation_fn", "silu", "relu"]),
        (r#"{"use_learned_positional_embeddings":true}"#, ["use_learned", "false", "true"]),
        (r#"{"quantization_config":{"a":1}}"#, ["quantization", "quantised weights", "a"]),
        (r#"{"patch_size_t":2}"#, ["patch_size_t", "rotary", "2"]),
        (r#"{"num_layers":5000}"#, ["num_layers", "[1, 4096]", "5000"]),
        (r#"{"num_attention_heads":4096,"attention_head_dim":4096}"#, ["num_att", "at most", "×"]),
    ] {
        assert_unsupported(transformer(json), &[&parts[..], &["transformer/config.json"]].concat());
    }
    let learned = r#"{"use_rotary_positional_embeddings":true,
        "use_learned_positional_embeddings":true}"#;
    assert!(transformer(learned).unwrap().positions.learned());
    let both = learned.replace("}", r#","patch_size_t":2}"#);
    assert_unsupported(transformer(&both), &["patch_size_t", "rotary positions alone", "2"]);
    assert!(transformer(r#"{"_x":1,"new_field":null,"dropout":0.1,"ofs_embed_dim":null}"#).is_ok());
    assert!(transformer(r#"{"activation_fn":"gelu"}"#).is_ok());
    // The offset's embedding is added to the timestep's.
    let offset = |json: &str| transformer(json).map(|config| config.ofs_embed_dim);
    assert_eq!(offset(r#"{"ofs_embed_dim":512}"#), Ok(Some(512)));
    assert_eq!(offset(r#"{"ofs_embed_dim":0}"#), Ok(None));
    let wide = transformer(r#"{"ofs_embed_dim":256}"#);
    assert_invalid(wide, &["ofs_embed_dim", "null or time_embed_dim 512", "256"]);
}

#[test]
fn transformer_fields_that_are_wrong() {
    let rotary = |dim: i64| {
        format!("{{\"use_rotary_positional_embeddings\":true,\"attention_head_dim\":{dim}}}")
    };
    assert!(transformer(&rotary(48)).is_ok());
    for (json, parts) in [
        (rotary(40).as_str(), ["attention_head_dim", "multiple of 16", "40"]),
        (r#"{"attention_head_dim":3}"#, ["attention_head_dim", "multiple of 16", "90"]),
        (r#"{"num_layers":0}"#, ["num_layers", "[1, 4096]", "0"]),
        (r#"{"num_layers":-1}"#, ["num_layers", "[1, 4096]", "-1"]),
        (r#"{"num_layers":1.5}"#, ["num_layers", "an integer", "1.5"]),
        (r#"{"num_layers":null}"#, ["num_layers", "an integer", "null"]),
        (r#"{"num_layers":1e300}"#, ["num_layers", "an integer", "1e"]),
        (r#"{"num_layers":18446744073709551615}"#, ["num_layers", "an integer", "18446"]),
        (r#"{"norm_eps":"x"}"#, ["norm_eps", "a number", "\"x\""]),
        (r#"{"norm_eps":0}"#, ["norm_eps", "a number in", "0"]),
        (r#"{"attention_bias":1}"#, ["attention_bias", "true or false", "1"]),
        (r#"{"activation_fn":[1]}"#, ["activation_fn", "a string", "[1]"]),
        (r#"{"sample_width":1}"#, ["sample_width", "patch_size 2", "1"]),
        (r#"{"_class_name":"SD3Transformer2DModel"}"#, ["_class_name", "CogVideoX", "SD3"]),
        (r#"[1]"#, ["config.json", "a JSON object", "[1]"]),
        (r#"{"norm_eps":NaN}"#, ["config.json", "a JSON object", "line 1"]),
    ] {
        assert_invalid(transformer(json), &parts);
    }
    assert_eq!(transformer(r#"{"num_layers":4.0}"#).unwrap().num_layers, 4);
}

#[test]
fn vae_fields() {
    let json = r#"{"use_quant_conv":true,"shift_factor":0.5,"latents_mean":[0.0],
        "force_upcast":true,"in_channels":3,"temporal_compression_ratio":4.0}"#;
    let config = vae(json).unwrap();
    assert_eq!((config.shift_factor, config.temporal_compression_ratio), (Some(0.5), 4));
    assert!(
        vae(r#"{"latent_channels":3,"use_post_quant_conv":true}"#).unwrap().use_post_quant_conv
    );
    for (json, parts) in [
        (r#"{"up_block_types":["A","A","A","A"]}"#, ["up_block_types", "UpBlock3D", "\"A\""]),
        (r#"{"act_fn":"mish"}"#, ["act_fn", "\"silu\" or \"swish\"", "\"mish\""]),
        (r#"{"temporal_compression_ratio":3}"#, ["temporal_compression", "power of two", "3"]),
        (r#"{"temporal_compression_ratio":16}"#, ["temporal_compression", "2^3", "16"]),
        (r#"{"out_channels":4}"#, ["out_channels", "3", "4"]),
        (r#"{"block_out_channels":[1,1,1,1,1,1,1,1,1]}"#, ["block_out", "at most 8", "9"]),
        (r#"{"quantization_config":{"a":1}}"#, ["quantization", "quantised weights", "a"]),
    ] {
        assert_unsupported(vae(json), &parts);
    }
    for (json, parts) in [
        (r#"{"norm_num_groups":48}"#, ["block_out_channels", "norm_num_groups 48", "128"]),
        (r#"{"down_block_types":["CogVideoXDownBlock3D"]}"#, ["down_block_types", "4 times", "1"]),
        (r#"{"use_post_quant_conv":true}"#, ["use_post_quant_conv", "latent_channels", "true"]),
        (r#"{"block_out_channels":[]}"#, ["block_out_channels", "not empty", "[]"]),
        (r#"{"block_out_channels":7}"#, ["block_out_channels", "a list", "7"]),
        (r#"{"scaling_factor":0}"#, ["scaling_factor", "a number", "0"]),
    ] {
        assert_invalid(vae(json), &parts);
    }
}

#[test]
fn t5_fields() {
    let with = |from: &str, to: &str| t5(&XXL.replace(from, to));
    for (from, to, parts) in [
        ("gelu_new", "relu", ["dense_act_fn", "gelu_new", "relu"]),
        ("\"is_gated_act\":true", "\"is_gated_act\":false", ["is_gated_act", "true", "false"]),
        ("\"t5\"", "\"umt5\"", ["model_type", "\"t5\"", "\"umt5\""]),
        ("gated-gelu", "gated-silu", ["feed_forward_proj", "gated-gelu", "gated-silu"]),
        (
            "\"use_cache\":true",
            "\"quantization_config\":{\"a\":1}",
            ["quantization", "quantised weights", "a"],
        ),
        ("buckets\":32", "buckets\":30", ["num_buckets", "multiple of 4", "30"]),
        ("\"vocab_size\":32128", "\"vocab_size\":99999999999", ["vocab_size", "integer", "999"]),
    ] {
        assert_unsupported(with(from, to), &[&parts[..], &["text_encoder/config.json"]].concat());
    }
    assert_invalid(with("distance\":128", "distance\":8"), &["max_distance", "32", "found 8"]);
    assert_invalid(with("\"d_kv\":64", "\"d_kv\":\"64\""), &["d_kv", "an integer", "\"64\""]);
}

#[test]
fn scheduler_fields() {
    let config = scheduler(r#"{"trained_betas":[0.1,0.2],"num_train_timesteps":2}"#).unwrap();
    assert_eq!(config.trained_betas, Some(vec![0.1, 0.2]));
    assert_eq!(scheduler(r#"{"trained_betas":null}"#).unwrap().trained_betas, None);
    for (json, parts) in [
        (r#"{"beta_schedule":"sigmoid"}"#, ["beta_schedule", "squaredcos_cap_v2", "sigmoid"]),
        (r#"{"prediction_type":"flow"}"#, ["prediction_type", "v_prediction", "flow"]),
        (r#"{"timestep_spacing":"karras"}"#, ["timestep_spacing", "trailing", "karras"]),
        (r#"{"thresholding":true}"#, ["thresholding", "false", "true"]),
        (r#"{"num_train_timesteps":1000000000}"#, ["num_train", "100000", "1000000000"]),
    ] {
        assert_unsupported(scheduler(json), &parts);
    }
    for (json, parts) in [
        (r#"{"trained_betas":[0.1]}"#, ["trained_betas", "1000 values", "1"]),
        (r#"{"trained_betas":[2]}"#, ["trained_betas", "a number in [0, 1]", "2"]),
        (r#"{"beta_end":-1}"#, ["beta_end", "a number in [0, 1]", "-1"]),
        (r#"{"snr_shift_scale":0}"#, ["snr_shift_scale", "a number", "0"]),
        (r#"{"_class_name":["x"]}"#, ["_class_name", "a string", "x"]),
    ] {
        assert_invalid(scheduler(json), &parts);
    }
}

/// What published and users' folders have that neither diffusers nor this library knows.
#[test]
fn unknown_fields_are_passed_over_and_told() {
    let mut warnings = Vec::new();
    let w = &mut warnings;
    let fun = r#"{"add_noise_in_another_model":true,"_name_or_path":"x","new":null}"#;
    assert!(TransformerConfig::parse(Path::new("transformer/config.json"), fun, w).is_ok());
    let first_revision = r#"{"mid_block_add_attention":true,"sample_size":256}"#;
    assert!(VaeConfig::parse(Path::new("vae/config.json"), first_revision, w).is_ok());
    let other = r#"{"_class_name":"CogVideoXDDIMScheduler","use_karras_sigmas":false}"#;
    let path = Path::new("scheduler/scheduler_config.json");
    let config = SchedulerConfig::parse(path, other, SchedulerClass::Dpm, w).unwrap();
    assert_eq!(config.class, SchedulerClass::Dpm);
    let expected = [
        ["transformer/config.json", "\"add_noise_in_another_model\"", "passed over", "true"],
        ["vae/config.json", "\"mid_block_add_attention\"", "passed over", "true"],
        ["vae/config.json", "\"sample_size\"", "passed over", "256"],
        ["scheduler_config.json", "CogVideoXDDIMScheduler", "DPMScheduler", "is used"],
        ["scheduler_config.json", "\"use_karras_sigmas\"", "passed over", "false"],
    ];
    assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
    for (warning, parts) in warnings.iter().zip(expected) {
        assert_parts(warning, &parts);
    }
}
