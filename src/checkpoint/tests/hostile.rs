//! Files made to do harm: each must be refused with an error, without a panic, a large
//! allocation or a read outside of the folder.

use super::*;
use crate::checkpoint::WeightFiles;
use tempfile::tempdir;

const ONE: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

fn open(bytes: &[u8]) -> crate::Result<WeightFiles> {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    WeightFiles::open(folder.path(), "model", None)
}

fn header(text: &str, data: usize) -> crate::Result<WeightFiles> {
    open(&safetensors(text, &vec![0; data]))
}

#[test]
fn a_sound_file_opens() {
    assert_eq!(header(ONE, 8).unwrap().bytes(), 8);
}

#[test]
fn empty_and_short_files() {
    for length in 0..8 {
        assert_invalid(open(&vec![0; length]), &["model.safetensors", "bytes"]);
    }
}

#[test]
fn a_header_length_beyond_the_file_or_beyond_reason() {
    for length in [9u64, 1 << 20, (16 << 20) + 1, u64::MAX - 7, u64::MAX] {
        let mut file = safetensors(ONE, &[0; 8]);
        file[..8].copy_from_slice(&(length + 100 * u64::from(length < 100)).to_le_bytes());
        assert_invalid(open(&file), &["model.safetensors"]);
    }
}

#[test]
fn a_header_that_is_no_json_object_of_tensors() {
    for text in ["", "{", "[]", "null", "{\"a\":1}", "{\"a\":{}}", "\u{0}", "{\"a\":"] {
        assert_invalid(header(text, 0), &["model.safetensors"]);
    }
    assert_invalid(open(&[4, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0xfd, 0xfc]), &["UTF-8"]);
    assert_invalid(header(&"[".repeat(100_000), 0), &["model.safetensors"]);
}

#[test]
fn offsets_that_overlap_leave_gaps_run_backwards_or_leave_the_file() {
    let two = |a: &str, b: &str| {
        format!(
            "{{\"a\":{{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":{a}}},\
             \"b\":{{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":{b}}}}}"
        )
    };
    assert!(header(&two("[0,8]", "[8,16]"), 16).is_ok());
    for (a, b) in [
        ("[0,8]", "[4,12]"),
        ("[0,8]", "[0,8]"),
        ("[0,8]", "[12,20]"),
        ("[8,0]", "[8,16]"),
        ("[0,8]", "[8,18446744073709551615]"),
        ("[-8,0]", "[0,8]"),
    ] {
        assert_invalid(header(&two(a, b), 16), &["model.safetensors"]);
    }
    assert_invalid(header(ONE, 7), &["model.safetensors"]);
    assert_invalid(header(ONE, 9), &["model.safetensors"]);
}

#[test]
fn shapes_whose_product_overflows_or_is_not_the_length() {
    for shape in [
        "[4294967296,4294967296,4]",
        "[18446744073709551615]",
        "[9223372036854775808,2]",
        "[3]",
        "[1]",
        "[-2]",
        "[2.0]",
        "[1,1,1,1,1,1,1,1,2]",
    ] {
        let text = ONE.replace("[2]", shape);
        assert_invalid(header(&text, 8), &["model.safetensors"]);
    }
    // An empty tensor may claim any other dimensions.
    let text = r#"{"a":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}}"#;
    assert_invalid(header(text, 0), &["model.safetensors"]);
}

#[test]
fn dtypes_that_are_not_weights() {
    for (dtype, length) in [("I64", 16), ("F64", 16), ("U8", 2), ("BOOL", 2), ("F8_E4M3", 2)] {
        let text = ONE.replace("F32", dtype).replace("[0,8]", &format!("[0,{length}]"));
        assert_unsupported(header(&text, length), &["\"a\"", "F32, F16 or BF16", dtype]);
    }
    assert_invalid(header(&ONE.replace("F32", "F33"), 8), &["model.safetensors"]);
}

#[test]
fn one_name_twice_in_a_header() {
    let inner = ONE.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    assert_invalid(
        header(&format!("{{{inner},{}}}", inner.replace("[0,8]", "[8,16]")), 16),
        &["model.safetensors"],
    );
}

#[test]
fn names_in_messages_are_escaped_and_cut() {
    let name = "x\\n\\u001b".repeat(1000);
    let text = ONE.replace("\"a\"", &format!("\"{name}\"")).replace("F32", "I32");
    let error = header(&text, 8).unwrap_err().to_string();
    assert!(!error.contains(['\n', '\u{1b}']) && error.len() < 600, "{error}");
}

#[test]
fn folders_and_pipes_in_the_place_of_files() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::create_dir(&path).unwrap();
    assert_invalid(WeightFiles::open(folder.path(), "model", None), &["a folder"]);
    std::fs::remove_dir(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    assert_invalid(WeightFiles::open(folder.path(), "model", None), &["a special file"]);
}

#[test]
fn files_that_say_they_have_no_bytes_are_not_read() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    // Reading it waits for the kernel's next message; as others it says "regular, 0 bytes".
    std::os::unix::fs::symlink("/proc/kmsg", &path).unwrap();
    assert_invalid(WeightFiles::open(folder.path(), "model", None), &["0 bytes"]);
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/proc/self/status", &path).unwrap();
    assert_invalid(WeightFiles::open(folder.path(), "model", None), &["0 bytes"]);
}

#[test]
fn what_cannot_be_looked_at_is_not_said_to_be_missing() {
    use std::os::unix::fs::{symlink, PermissionsExt};

    let root = tempdir().unwrap();
    let path = root.path().join("model.safetensors");
    symlink("model.safetensors", &path).unwrap();
    let looped = WeightFiles::open(root.path(), "model", None).err().unwrap();
    assert!(matches!(&looped, Error::Io(m) if m.contains("model.safetensors")), "{looped}");

    let closed = root.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::write(closed.join("model.safetensors"), safetensors(ONE, &[0; 8])).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
    std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
    // On a thread that is not the superuser's, who may look at everything.
    let inside = closed.join("tokenizer");
    let (weights, tokenizer, pipeline) = std::thread::spawn(move || {
        // SAFETY: changes what this thread may do with files, and nothing else.
        unsafe { libc::setfsuid(65534) };
        (
            WeightFiles::open(&closed, "model", None).err().unwrap(),
            crate::tokenizer::T5Tokenizer::load(&closed).err().unwrap(),
            crate::checkpoint::PipelineFolder::open(&inside).err().unwrap(),
        )
    })
    .join()
    .unwrap();
    for error in [weights, tokenizer, pipeline] {
        assert!(matches!(&error, Error::Io(m) if m.contains("denied")), "{error:?}");
    }
}

/// An index over the shards `1.safetensors` and `2.safetensors`, each holding what it says.
fn sharded(index: &str, first: &str, second: &str) -> crate::Result<WeightFiles> {
    let parent = tempdir().unwrap();
    let folder = parent.path().join("component");
    std::fs::create_dir(&folder).unwrap();
    let text = |name: &str| ONE.replace("\"a\"", &format!("{name:?}"));
    std::fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
    for (path, name) in [("1.safetensors", first), ("2.safetensors", second)] {
        std::fs::write(folder.join(path), safetensors(&text(name), &[0; 8])).unwrap();
    }
    std::fs::write(parent.path().join("3.safetensors"), safetensors(ONE, &[0; 8])).unwrap();
    WeightFiles::open(&folder, "model", None)
}

#[test]
fn an_index_that_contradicts_its_shards() {
    let index = r#"{"metadata":{},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#;
    assert_eq!(sharded(index, "a", "b").unwrap().bytes(), 16);
    assert_invalid(sharded(index, "a", "c"), &["2.safetensors", "\"b\"", "found none"]);
    assert_invalid(sharded(index, "a", "a"), &["2.safetensors", "\"a\"", "1.safetensors"]);
    let one = r#"{"weight_map":{"a":"1.safetensors"}}"#;
    assert_eq!(sharded(one, "a", "b").unwrap().bytes(), 8);
    let unlisted = r#"{"weight_map":{"a":"1.safetensors","c":"1.safetensors"}}"#;
    assert_invalid(sharded(unlisted, "a", "b"), &["1.safetensors", "\"c\"", "found none"]);
}

#[test]
fn a_tensor_that_no_index_entry_lists() {
    let folder = tempdir().unwrap();
    let two = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#;
    std::fs::write(folder.path().join("1.safetensors"), safetensors(two, &[0; 16])).unwrap();
    let index = r#"{"weight_map":{"a":"1.safetensors"}}"#;
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let parts = &["1.safetensors", "\"b\"", "unlisted"];
    assert_invalid(WeightFiles::open(folder.path(), "model", None), parts);
}

#[test]
fn an_index_that_leads_out_of_the_folder_or_nowhere() {
    for shard in
        ["../3.safetensors", "/etc/passwd", "a/../../3.safetensors", "..", "", "a\\\\b.safetensors"]
    {
        let index = format!("{{\"weight_map\":{{\"a\":\"{shard}\"}}}}");
        assert_invalid(sharded(&index, "a", "b"), &["index.json", "weight_map", "plain name"]);
    }
    let index = r#"{"weight_map":{"a":"4.safetensors"}}"#;
    assert_not_found(sharded(index, "a", "b"), &["4.safetensors", "index.json"]);
    for index in ["", "[]", "{}", r#"{"weight_map":{}}"#, r#"{"weight_map":[1]}"#] {
        assert_invalid(sharded(index, "a", "b"), &["index.json"]);
    }
    assert_invalid(sharded(r#"{"weight_map":{"a":7}}"#, "a", "b"), &["plain name", "found 7"]);
    let many: Vec<String> = (0..600).map(|i| format!("\"{i}\":\"{i}.safetensors\"")).collect();
    let index = format!("{{\"weight_map\":{{{}}}}}", many.join(","));
    assert_unsupported(sharded(&index, "a", "b"), &["at most 512 shards"]);
}

#[test]
fn random_bytes_and_flipped_bits_never_panic() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let sound =
        std::fs::read(pipeline("2b").join("vae/diffusion_pytorch_model.safetensors")).unwrap();
    let header = u64::from_le_bytes(sound[..8].try_into().unwrap()) as usize + 8;
    let mut random = Random(7);
    let (mut opened, mut refused) = (0, 0);
    for round in 0..400 {
        let mut bytes = sound.clone();
        if round % 4 == 0 {
            bytes.truncate(8 + random.below(header));
            bytes[8..].iter_mut().for_each(|b| *b = random.below(256) as u8);
        } else {
            for _ in 0..=random.below(4) {
                let place = random.below(header);
                bytes[place] ^= 1 << random.below(8);
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        match WeightFiles::open(folder.path(), "model", None) {
            Ok(_) => opened += 1,
            Err(Error::InvalidCheckpoint(_) | Error::UnsupportedModel(_)) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    // A flipped letter of a tensor's name leaves the file sound.
    assert!(opened > 0 && refused > 100, "{opened} opened, {refused} refused");
}
