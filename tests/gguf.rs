//! Pipelines whose weights come from GGUF files. What single blocks stand for is tested where they
//! are read.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use cogvideox::capi::*;
use common::goldens::{golden, pipeline_folder, Array};
use common::handles::{c_path, c_string, check, Options, Pipeline, Result};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;

fn load(files: &[(&str, &Path)], quantizations: &[(&str, &str)], mode: &str) -> Result<Pipeline> {
    let place = tempfile::tempdir().unwrap();
    // A folder without the weights that come from elsewhere.
    let folder = place.path().join("pipeline");
    copy(&pipeline_folder("5b"), &folder);
    for (component, _) in files {
        for name in ["model.safetensors", "diffusion_pytorch_model.safetensors"] {
            let _ = std::fs::remove_file(folder.join(component).join(name));
        }
    }
    Pipeline::load_quantized(&folder, quantizations, |options| {
        for (component, path) in files {
            let (component, path) = (c_string(component), c_path(path));
            let (component, path) = (component.as_ptr(), path.as_ptr());
            // SAFETY: the options and the strings are live.
            check(unsafe { cvx_load_options_set_component_weights(options, component, path) })?;
        }
        for component in [c"transformer", c"text_encoder"] {
            let mode = c_string(mode);
            // SAFETY: the options and the strings are live.
            check(unsafe {
                cvx_load_options_set_weight_streaming(options, component.as_ptr(), mode.as_ptr())
            })?;
        }
        Ok(())
    })
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

fn latents(pipeline: &Pipeline) -> Array<f32> {
    let mut options = Options::short(3);
    options.num_frames(5);
    pipeline.generate(&options).unwrap().latents().unwrap()
}

/// Root mean square of the difference over that of `expected`.
fn away(found: &Array<f32>, expected: &Array<f32>) -> f64 {
    let square = |sum: f64, x: f64| sum + x * x;
    let pairs = found.data.iter().zip(&expected.data);
    let off = pairs.map(|(a, b)| f64::from(a - b)).fold(0.0, square);
    (off / expected.data.iter().map(|&x| f64::from(x)).fold(0.0, square)).sqrt()
}

#[test]
fn a_transformer_and_a_text_encoder_come_from_gguf_files() {
    let whole = latents(&Pipeline::load(&pipeline_folder("5b")).unwrap());
    let (transformer, t5) = (golden("gguf/transformer.gguf"), golden("gguf/text_encoder.gguf"));
    let files: [(&str, &Path); 2] = [("transformer", &transformer), ("text_encoder", &t5)];
    for part in [&files[..], &files[..1], &files[1..]] {
        let found = latents(&load(part, &[], "resident").unwrap());
        let off = away(&found, &whole);
        // A mixture of formats, the worst of them in four bits.
        assert!(off > 0.0 && off < 0.4, "{part:?}: {off}");
    }

    let pipeline = load(&files, &[], "resident").unwrap();
    let plain = latents(&pipeline);
    assert_eq!(latents(&pipeline.another().unwrap()), plain);
    for mode in ["file", "host"] {
        assert_eq!(latents(&load(&files, &[], mode).unwrap()), plain, "{mode}");
    }
    let quantized = load(&files, &[("transformer", "int8")], "resident").unwrap();
    let found = latents(&quantized);
    assert!(found != plain && away(&found, &plain) < 0.05, "{}", away(&found, &plain));
}

/// The transformer's tensors of a family, under the names of the original model and joined as it has
/// them, in a safetensors file.
fn write_original(family: &str, prefix: &str, path: &Path) {
    let file = pipeline_folder(family).join("transformer/diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut found: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for (name, tensor) in tensors.iter() {
        let (module, ending) = name.rsplit_once('.').unwrap();
        let of = |name: &str| tensors.tensor(name).unwrap().data().to_vec();
        let (mut shape, mut data) = (tensor.shape().to_vec(), tensor.data().to_vec());
        let block = module.strip_prefix("transformer_blocks.").and_then(|m| m.split_once('.'));
        let Some((number, layer)) = block else {
            let original = match module {
                "time_embedding.linear_1" => "time_embed.0",
                "time_embedding.linear_2" => "time_embed.2",
                "ofs_embedding.linear_1" => "ofs_embed.0",
                "ofs_embedding.linear_2" => "ofs_embed.2",
                "patch_embed.proj" => "mixins.patch_embed.proj",
                "patch_embed.text_proj" => "mixins.patch_embed.text_proj",
                "patch_embed" => "mixins.pos_embed",
                "norm_final" => "transformer.final_layernorm",
                "norm_out.linear" => "mixins.final_layer.adaLN_modulation.1",
                "norm_out.norm" => "mixins.final_layer.norm_final",
                "proj_out" => "mixins.final_layer.linear",
                other => panic!("{other}"),
            };
            found.insert(format!("{prefix}{original}.{ending}"), (shape, data));
            continue;
        };
        let beside = |layer: &str| of(&format!("transformer_blocks.{number}.{layer}.{ending}"));
        let original = match layer {
            "attn1.to_q" => {
                shape[0] *= 3;
                data = [data, beside("attn1.to_k"), beside("attn1.to_v")].concat();
                format!("transformer.layers.{number}.attention.query_key_value")
            }
            "norm1.linear" => {
                shape[0] *= 2;
                let (one, two) = (data, beside("norm2.linear"));
                let half = one.len() / 2;
                data = [&one[..half], &two[..half], &one[half..], &two[half..]].concat();
                format!("mixins.adaln_layer.adaLN_modulations.{number}.1")
            }
            "attn1.to_k" | "attn1.to_v" | "norm2.linear" => continue,
            "attn1.to_out.0" => format!("transformer.layers.{number}.attention.dense"),
            "attn1.norm_q" => format!("mixins.adaln_layer.query_layernorm_list.{number}"),
            "attn1.norm_k" => format!("mixins.adaln_layer.key_layernorm_list.{number}"),
            "ff.net.0.proj" => format!("transformer.layers.{number}.mlp.dense_h_to_4h"),
            "ff.net.2" => format!("transformer.layers.{number}.mlp.dense_4h_to_h"),
            "norm1.norm" => format!("transformer.layers.{number}.input_layernorm"),
            "norm2.norm" => format!("transformer.layers.{number}.post_attention_layernorm"),
            other => panic!("{other}"),
        };
        found.insert(format!("{prefix}{original}.{ending}"), (shape, data));
    }
    // A table that is computed anew.
    found.entry(format!("{prefix}mixins.pos_embed.pos_embedding")).or_insert((vec![1], vec![0; 4]));
    let views = found.iter().map(|(name, (shape, data))| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn the_original_models_names_are_read_as_diffusers_has_them() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("original.safetensors");
    for (family, prefix) in [("2b", ""), ("5b", "model.diffusion_model."), ("1.5-5b", "")] {
        write_original(family, prefix, &path);
        let with = |quantizations: &[(&str, &str)], own: bool, mode: &str| {
            let loaded =
                Pipeline::load_quantized(&pipeline_folder(family), quantizations, |options| {
                    let (path, mode) = (c_path(&path), c_string(mode));
                    // SAFETY: the options and the strings are live.
                    unsafe {
                        let name = c"transformer".as_ptr();
                        if !own {
                            check(cvx_load_options_set_component_weights(
                                options,
                                name,
                                path.as_ptr(),
                            ))?;
                        }
                        check(cvx_load_options_set_weight_streaming(options, name, mode.as_ptr()))
                    }
                });
            latents(&loaded.unwrap())
        };
        for mode in ["resident", "file", "host"] {
            let found = with(&[], false, mode);
            assert_eq!(found, with(&[], true, "resident"), "{family}, {mode}");
        }
        for kind in ["int8", "int4"] {
            let found = with(&[("transformer", kind)], false, "host");
            let expected = with(&[("transformer", kind)], true, "resident");
            assert_eq!(found, expected, "{family}, {kind}");
        }
    }
    // In blocks, of which a joined tensor's rows are parted.
    let (original, renamed) = (golden("gguf/original.gguf"), golden("gguf/renamed.gguf"));
    let expected = latents(&load(&[("transformer", &renamed)], &[], "resident").unwrap());
    for mode in ["resident", "file", "host"] {
        let found = load(&[("transformer", &original)], &[], mode).unwrap();
        assert_eq!(latents(&found), expected, "{mode}");
    }
    let int8 = [("transformer", "int8")];
    let pipeline = Pipeline::load_quantized(&pipeline_folder("5b"), &int8, |options| {
        let (name, path) = (c"transformer".as_ptr(), c_path(&original));
        // SAFETY: the options and the strings are live.
        check(unsafe { cvx_load_options_set_component_weights(options, name, path.as_ptr()) })
    })
    .unwrap();
    let saved = place.path().join("saved");
    // SAFETY: the pipeline and the string are live.
    check(unsafe { cvx_pipeline_save(pipeline.0, c_path(&saved).as_ptr()) }).unwrap();
    assert_eq!(latents(&Pipeline::load(&saved).unwrap()), latents(&pipeline));
}

/// A matrix's first bytes as blocks of Q4_0, and the numbers that those stand for.
fn in_blocks(data: &[u8], elements: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut blocks, mut numbers) = (Vec::new(), Vec::new());
    for part in data[..elements / 2].chunks(16) {
        // 2⁻⁷ in half precision.
        blocks.extend([0x00, 0x20]);
        blocks.extend(part);
        let number = |nibble: u8| (f32::from(nibble) - 8.0) * 0.007_812_5;
        let low = part.iter().map(|byte| number(byte & 15));
        let high = part.iter().map(|byte| number(byte >> 4));
        numbers.extend(low.chain(high).flat_map(f32::to_le_bytes));
    }
    (blocks, numbers)
}

#[test]
fn safetensors_files_with_blocks_are_read_as_they_are_traded() {
    let place = tempfile::tempdir().unwrap();
    let file = pipeline_folder("5b").join("transformer/diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut kept = Vec::new();
    for (name, tensor) in tensors.iter() {
        let shape = tensor.shape().to_vec();
        let module = name.strip_suffix(".weight").filter(|_| name.contains(".ff.net."));
        let Some(module) = module.filter(|_| shape[1] % 32 == 0) else {
            let data = tensor.data().to_vec();
            kept.push((name.to_string(), shape.clone(), Dtype::F32, data.clone()));
            kept.push((format!("numbers {name}"), shape, Dtype::F32, data));
            continue;
        };
        let (blocks, numbers) = in_blocks(tensor.data(), shape[0] * shape[1]);
        let rows = vec![shape[0], shape[1] / 32 * 18];
        kept.push((format!("{module}.Q4_0_qweight"), rows, Dtype::U8, blocks));
        kept.push((format!("numbers {name}"), shape, Dtype::F32, numbers));
    }
    let write = |file: &str, numbers: bool| {
        let of_file = kept.iter().filter(|(name, ..)| name.starts_with("numbers ") == numbers);
        let views = of_file.map(|(name, shape, dtype, data)| {
            let name = name.strip_prefix("numbers ").unwrap_or(name);
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        let path = place.path().join(file);
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        path
    };
    let (blocks, numbers) =
        (write("blocks.safetensors", false), write("numbers.safetensors", true));
    assert!(std::fs::metadata(&blocks).unwrap().len() < std::fs::metadata(&numbers).unwrap().len());
    let expected = latents(&load(&[("transformer", &numbers)], &[], "resident").unwrap());
    for mode in ["resident", "file", "host"] {
        let found = latents(&load(&[("transformer", &blocks)], &[], mode).unwrap());
        assert_eq!(found, expected, "{mode}");
    }
    let odd = place.path().join("odd.safetensors");
    let view = TensorView::new(Dtype::U8, vec![2, 17], &[0; 34]).unwrap();
    let name = "transformer_blocks.0.ff.net.2.Q4_0_qweight";
    std::fs::write(&odd, safetensors::serialize([(name, view)], None).unwrap()).unwrap();
    let failure = load(&[("transformer", &odd)], &[], "resident").map(drop).unwrap_err();
    assert_eq!(failure.code, CVX_ERROR_INVALID_CHECKPOINT, "{failure}");
    assert!(
        failure.message.contains(name) && failure.message.contains("whole blocks"),
        "{failure}"
    );
}

#[test]
fn a_joined_tensor_that_has_no_such_parts_is_named() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("odd.safetensors");
    let name = "transformer.layers.0.attention.query_key_value.weight";
    let data = vec![0; 4 * 4 * 4];
    let view = TensorView::new(Dtype::F32, vec![4, 4], &data).unwrap();
    std::fs::write(&path, safetensors::serialize([(name, view)], None).unwrap()).unwrap();
    let failure = load(&[("transformer", &path)], &[], "resident").map(drop).unwrap_err();
    assert_eq!(failure.code, CVX_ERROR_INVALID_CHECKPOINT, "{failure}");
    for word in ["odd.safetensors", name, "multiple of 3 rows", "[4, 4]"] {
        assert!(failure.message.contains(word), "{failure}");
    }
}

#[test]
fn what_came_from_gguf_is_saved_as_the_numbers_it_stands_for() {
    let place = tempfile::tempdir().unwrap();
    let transformer = golden("gguf/transformer.gguf");
    let folder = pipeline_folder("5b");
    for kind in [None, Some("int8")] {
        let quantizations: Vec<_> = kind.map(|kind| ("transformer", kind)).into_iter().collect();
        let pipeline = Pipeline::load_quantized(&folder, &quantizations, |options| {
            let path = c_path(&transformer);
            // SAFETY: the options and the string are live.
            check(unsafe {
                cvx_load_options_set_component_weights(
                    options,
                    c"transformer".as_ptr(),
                    path.as_ptr(),
                )
            })
        })
        .unwrap();
        let saved = place.path().join(kind.unwrap_or("whole"));
        let path = c_path(&saved);
        // SAFETY: the pipeline and the string are live.
        check(unsafe { cvx_pipeline_save(pipeline.0, path.as_ptr()) }).unwrap();
        assert_eq!(latents(&Pipeline::load(&saved).unwrap()), latents(&pipeline), "{kind:?}");
    }
}

#[test]
fn safetensors_files_serve_too_and_files_that_do_not_fit_are_named() {
    let own = pipeline_folder("5b").join("transformer/diffusion_pytorch_model.safetensors");
    let whole = latents(&Pipeline::load(&pipeline_folder("5b")).unwrap());
    let found = load(&[("transformer", &own)], &[], "resident").unwrap();
    assert_eq!(latents(&found), whole);

    let (t5, none) = (golden("gguf/text_encoder.gguf"), golden("gguf/none.gguf"));
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    for (path, code, words) in [
        (&t5, CVX_ERROR_INVALID_CHECKPOINT, ["text_encoder.gguf", "expected by the config"]),
        (&none, CVX_ERROR_NOT_FOUND, ["none.gguf", "found none"]),
        (&readme, CVX_ERROR_INVALID_CHECKPOINT, ["README.md", "safetensors"]),
    ] {
        let failure = load(&[("transformer", path)], &[], "resident").map(drop).unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(words.iter().all(|word| failure.message.contains(word)), "{failure}");
    }
    let failure = load(&[("unet", &t5)], &[], "resident").map(drop).unwrap_err();
    assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT);
    assert!(failure.message.contains("unet"), "{failure}");
    let failure = load(&[("vae", Path::new(""))], &[], "resident").map(drop).unwrap_err();
    assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT, "{failure}");
}
