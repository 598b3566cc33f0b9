use super::*;
use crate::Error;
use serde::Deserialize;
use tempfile::tempdir;

#[derive(Deserialize)]
struct Case {
    name: String,
    text: String,
    max_length: usize,
    truncated: bool,
    /// Without the padding at the end.
    ids: Vec<i64>,
}

fn cases() -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/tokens.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn ids_are_those_of_transformers_from_either_file() {
    for name in ["2b", "5b", "1.5-5b", "5b-sharded"] {
        let tokenizer = T5Tokenizer::load(&folder(name)).unwrap();
        assert_eq!(tokenizer.vocab_size(), 900, "{name}");
        for case in cases() {
            let (control, lines) = logging();
            let ids = tokenizer.encode(&case.text, case.max_length, &control).unwrap();
            let mut expected = case.ids.clone();
            expected.resize(case.max_length, 0);
            assert_eq!(ids, expected, "{name}: {} at {}", case.name, case.max_length);
            let told = lines.lock().unwrap().len();
            assert_eq!(told, usize::from(case.truncated), "{name}: {}", case.name);
        }
    }
}

#[test]
fn a_cut_is_told_with_the_number_of_tokens_and_the_removed_text() {
    let tokenizer = T5Tokenizer::load(&folder("2b")).unwrap();
    let (control, lines) = logging();
    let ids = tokenizer.encode("a red ball moves right\nover the river", 4, &control).unwrap();
    assert_eq!((ids.len(), ids[3]), (4, 1));
    let lines = lines.lock().unwrap();
    let (level, line) = &lines[0];
    assert_eq!(*level, LogLevel::Warning);
    assert!(line.contains("max_length 4 leaves 3; removed"), "{line}");
    assert!(line.contains("the river\"") && !line.contains('\n'), "{line}");
    // Neither `</s>` nor padding counts as a token of the text.
    let (control, lines) = self::logging();
    let whole = tokenizer.encode("a red ball", 226, &control).unwrap();
    let length = whole.iter().position(|&id| id == 1).unwrap() + 1;
    assert_eq!(tokenizer.encode("a red ball", length, &control).unwrap(), whole[..length]);
    assert!(lines.lock().unwrap().is_empty());
}

#[test]
fn lengths_and_texts_are_bounded() {
    let tokenizer = T5Tokenizer::load(&folder("2b")).unwrap();
    let control = Control::default();
    for length in [0, (1 << 16) + 1, usize::MAX] {
        let error = tokenizer.encode("a", length, &control).unwrap_err();
        assert!(matches!(&error, Error::InvalidArgument(m) if m.contains("max_length")), "{error}");
    }
    assert_eq!(tokenizer.encode("a", 1 << 16, &control).unwrap().len(), 1 << 16);
    let text = "a ".repeat(128 << 10);
    assert_eq!(tokenizer.encode(&text, 3, &control).unwrap().len(), 3);
    let error = tokenizer.encode(&(text + "a"), 3, &control).unwrap_err();
    assert!(matches!(&error, Error::InvalidArgument(m) if m.contains("262144")), "{error}");
}

#[test]
fn one_tokenizer_serves_many_threads() {
    let tokenizer = T5Tokenizer::load(&folder("2b")).unwrap();
    let cases = cases();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for case in &cases {
                    let ids = tokenizer.encode(&case.text, case.max_length, &Control::default());
                    assert!(ids.unwrap().starts_with(&case.ids), "{}", case.name);
                }
            });
        }
    });
}

/// A copy of the 2b tokenizer folder with another config.
fn with_config(config: &str) -> crate::Result<T5Tokenizer> {
    let target = tempdir().unwrap();
    std::fs::copy(folder("2b").join("spiece.model"), target.path().join("spiece.model")).unwrap();
    std::fs::write(target.path().join("tokenizer_config.json"), config).unwrap();
    T5Tokenizer::load(target.path())
}

#[test]
fn tokenizer_json_wins_over_spiece_model_and_none_is_an_error() {
    let target = tempdir().unwrap();
    let missing = T5Tokenizer::load(target.path()).err().unwrap();
    assert!(matches!(&missing, Error::NotFound(m) if m.contains("spiece.model")), "{missing}");
    std::fs::write(target.path().join("spiece.model"), b"damaged").unwrap();
    let json = folder("5b").join("tokenizer.json");
    std::fs::copy(json, target.path().join("tokenizer.json")).unwrap();
    T5Tokenizer::load(target.path()).unwrap();
}

#[test]
fn the_config_sets_special_tokens_and_extra_ids() {
    let control = Control::default();
    let encode = |config: &str, text: &str, length: usize| {
        with_config(config).unwrap().encode(text, length, &control).unwrap()
    };
    // 800 pieces; without extra ids a sentinel is plain text.
    assert_eq!(with_config("{\"extra_ids\":0}").unwrap().vocab_size(), 800);
    assert_eq!(encode("{\"extra_ids\":10}", "<extra_id_0>", 3), [809, 1, 0]);
    assert_eq!(encode("{\"pad_token\":\"<unk>\"}", "", 3), [1, 2, 2]);
    assert_eq!(encode("{\"eos_token\":\"<pad>\"}", "", 2), [0, 0]);
    // A token that is not in the vocabulary gets the next id.
    assert_eq!(with_config("{\"bos_token\":\"<begin>\"}").unwrap().vocab_size(), 901);
    assert_eq!(encode("{\"bos_token\":\"<begin>\"}", "<begin>", 2), [900, 1]);
    assert_ne!(encode("{\"split_special_tokens\":true}", "</s>", 3)[0], 1);
}

#[test]
fn tokens_listed_with_flags_swallow_the_spaces_around_them() {
    let config = r#"{"added_tokens_decoder":{"899":{"content":"<extra_id_0>","lstrip":true,
        "rstrip":true,"normalized":false,"single_word":false,"special":true}}}"#;
    let tokenizer = with_config(config).unwrap();
    let ids = tokenizer.encode("  <extra_id_0>  ", 3, &Control::default()).unwrap();
    assert_eq!(ids, [899, 1, 0]);
}
