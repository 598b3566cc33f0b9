//! Files made to do harm: each must be refused with an error, without a panic or a large
//! allocation.

use super::*;
use crate::tokenizer::config::Config;
use crate::tokenizer::{json, spiece};
use crate::Error;
use tempfile::tempdir;

fn from_spiece(bytes: &[u8]) -> crate::Result<T5Tokenizer> {
    spiece::parse(Path::new("spiece.model"), bytes, Config::empty())?.build()
}

fn from_json(text: &str) -> crate::Result<T5Tokenizer> {
    json::parse(Path::new("tokenizer.json"), text, Config::empty())?.build()
}

#[track_caller]
fn assert_invalid(result: crate::Result<T5Tokenizer>, parts: &[&str]) {
    let Error::InvalidCheckpoint(message) = result.err().expect("an error") else {
        panic!("not InvalidCheckpoint");
    };
    assert!(!message.contains('\n') && message.len() < 1000, "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

/// One field of a protocol buffer that holds bytes.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    let mut length = bytes.len();
    while length > 127 {
        out.push(length as u8 | 128);
        length >>= 7;
    }
    out.push(length as u8);
    [&out[..], bytes].concat()
}

fn piece(text: &[u8], score: f32, kind: u8) -> Vec<u8> {
    let score = [&[0x15][..], &score.to_le_bytes()].concat();
    field(1, &[&field(1, text)[..], &score, &[0x18, kind]].concat())
}

fn pieces() -> Vec<u8> {
    let all = [("<pad>", 3), ("</s>", 3), ("<unk>", 2), ("▁a", 1), ("b", 1)];
    all.iter().flat_map(|(text, kind)| piece(text.as_bytes(), -1.0, *kind)).collect()
}

/// A charsmap of these units and replacements.
fn charsmap(units: &[u32], replacements: &[u8]) -> Vec<u8> {
    let mut out = ((units.len() * 4) as u32).to_le_bytes().to_vec();
    out.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    out.extend_from_slice(replacements);
    out
}

fn with_charsmap(charsmap: &[u8]) -> crate::Result<T5Tokenizer> {
    from_spiece(&[pieces(), field(3, &field(2, charsmap))].concat())
}

#[test]
fn a_small_sound_model() {
    let tokenizer = from_spiece(&pieces()).unwrap();
    let ids = tokenizer.encode("ab a ☃", 8, &Control::default()).unwrap();
    // A metaspace before an unknown character is unknown with it here.
    assert_eq!(ids, [3, 4, 3, 2, 1, 0, 0, 0]);
    assert_eq!(tokenizer.vocab_size(), 105);
}

#[test]
fn damaged_protocol_buffers() {
    assert_invalid(from_spiece(b""), &["spiece.model", "at least 3", "found 0"]);
    assert_invalid(from_spiece(b"\xff\xff\xff\xff"), &["spiece.model", "sentencepiece"]);
    let sound = pieces();
    assert_invalid(from_spiece(&sound[..sound.len() - 1]), &["spiece.model", "sentencepiece"]);
    assert_invalid(from_spiece(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]), &["spiece.model"]);
    let not_text = [pieces(), piece(b"\xff\xfe", 0.0, 1)].concat();
    assert_invalid(from_spiece(&not_text), &["spiece.model", "sentencepiece"]);
}

#[test]
fn pieces_out_of_bounds() {
    let long = [pieces(), piece(&vec![b'a'; 1025], 0.0, 1)].concat();
    assert_invalid(from_spiece(&long), &["pieces of at most 1024 bytes", "aaa"]);
    for score in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let bad = [pieces(), piece(b"x", score, 1)].concat();
        assert_invalid(from_spiece(&bad), &["finite scores", "\"x\""]);
    }
    // The same piece twice and an empty piece do no harm.
    let odd = [pieces(), piece(b"b", -0.5, 1), piece(b"", 0.0, 1)].concat();
    let tokenizer = from_spiece(&odd).unwrap();
    assert_eq!(tokenizer.encode("ab", 3, &Control::default()).unwrap(), [3, 5, 1]);
    let some = [pieces(), piece(b"<extra_id_0>", 0.0, 4)].concat();
    assert_invalid(from_spiece(&some), &["<extra_id_", "expected extra_ids 100", "found 1"]);
}

#[test]
fn another_kind_of_model() {
    let bpe = [pieces(), field(2, &[0x18, 2])].concat();
    let error = from_spiece(&bpe).err().unwrap();
    assert!(matches!(&error, Error::UnsupportedModel(m) if m.contains("found Bpe")), "{error}");
    let error = from_json(r#"{"model":{"type":"BPE","vocab":{},"merges":[]}}"#).err().unwrap();
    assert!(matches!(&error, Error::UnsupportedModel(m) if m.contains("\"BPE\"")), "{error}");
}

#[test]
fn charsmaps_that_lead_outside() {
    // The trie says where it goes next: label, whether a value follows, distance.
    let unit =
        |label: u32, value: bool, distance: u32| label | u32::from(value) << 8 | distance << 10;
    let mut units = vec![0u32; 512];
    units[0] = unit(0, false, 256);
    units[256 ^ 0x61] = unit(0x61, true, 0x61 ^ 0x10);
    units[256 ^ 0x10] = 1 << 31;
    let tokenizer = with_charsmap(&charsmap(&units, b"b\0")).unwrap();
    let ids = tokenizer.encode("☃ a", 6, &Control::default()).unwrap();
    assert_eq!(ids[..4], [2, 2, 4, 1], "a is replaced by b");

    let refuse = |bytes: &[u8], found: &str| {
        assert_invalid(with_charsmap(bytes), &["spiece.model", "precompiled_charsmap", found]);
    };
    refuse(b"abc", "fewer than 4 bytes");
    refuse(&u32::MAX.to_le_bytes(), "a trie length");
    refuse(&[0; 4], "a trie length");
    refuse(&[&charsmap(&units, b"")[..8], &[6, 0, 0, 0][..]].concat(), "a trie length");
    refuse(&charsmap(&units, b"\xff\0"), "no UTF-8 text");
    refuse(&charsmap(&units[..256], b"b\0"), "a step out of the trie");
    refuse(&charsmap(&[0], b"b\0"), "a step out of the trie");
    let changed = |place: usize, to: u32| {
        let mut units = units.clone();
        units[place] = to;
        units
    };
    let far = changed(256 ^ 0x61, unit(0x61, true, (1 << 21) - 1));
    refuse(&charsmap(&far, b"b\0"), "a step out of the trie");
    for value in [3, u32::MAX >> 1] {
        let units = changed(256 ^ 0x10, 1 << 31 | value);
        refuse(&charsmap(&units, b"b\0"), "a value outside of the text");
    }
    let inside = changed(256 ^ 0x10, 1 << 31 | 1);
    refuse(&charsmap(&inside, "é\0".as_bytes()), "a value outside of the text");
    refuse(&charsmap(&units, &[b'b'; 300]), "a replacement of more than 256 bytes");
    // A trie that leads back to itself is walked once.
    let around = changed(256 ^ 0x61, unit(0x61, false, 0x61));
    with_charsmap(&charsmap(&around, b"b\0")).unwrap();
}

#[test]
fn replacements_by_nothing_do_not_upset_the_library() {
    let mut units = vec![0u32; 512];
    units[0] = 256 << 10;
    units[256 ^ 0x61] = 0x61 | 1 << 8 | (0x61 ^ 0x10) << 10;
    units[256 ^ 0x10] = 1 << 31;
    let tokenizer = with_charsmap(&charsmap(&units, b"\0")).unwrap();
    for text in ["a", "aaa", "ab", "ba", "a b a", "éaé", "aéa", "a\u{301}", "</s>a</s>", "☃a"]
    {
        tokenizer.encode(text, 16, &Control::default()).unwrap();
    }
    // A token that the normalizer leaves nothing of would be found everywhere.
    let config = r#"{"added_tokens_decoder":{"9":{"content":"aa","normalized":true}}}"#;
    let target = tempdir().unwrap();
    let bytes = [pieces(), field(3, &field(2, &charsmap(&units, b"\0")))].concat();
    std::fs::write(target.path().join("spiece.model"), bytes).unwrap();
    std::fs::write(target.path().join("tokenizer_config.json"), config).unwrap();
    assert_invalid(T5Tokenizer::load(target.path()), &["added tokens", "normalizer", "\"aa\""]);
}

const JSON: &str = r#"{"added_tokens":[],"normalizer":null,"model":{"type":"Unigram","unk_id":2,
    "vocab":[["<pad>",0.0],["</s>",0.0],["<unk>",0.0],["▁a",-1.0],["b",-2]]}}"#;

#[test]
fn damaged_tokenizer_json() {
    from_json(JSON).unwrap();
    for text in ["", "{", "[]", "{}", r#"{"model":{}}"#, r#"{"model":{"vocab":7}}"#] {
        assert_invalid(from_json(text), &["tokenizer.json", "expected a tokenizer"]);
    }
    for (from, to, part) in [
        ("[\"b\",-2]", "[\"b\"]", "model.vocab"),
        ("[\"b\",-2]", "[2,\"b\"]", "model.vocab"),
        ("[\"b\",-2]", "[\"b\",1e999]", "expected a tokenizer"),
        (",[\"<unk>\",0.0],[\"▁a\",-1.0],[\"b\",-2]", "", "3 to 1048576"),
        ("\"added_tokens\":[]", "\"added_tokens\":[{\"id\":-1,\"content\":\"x\"}]", "tokenizer"),
        ("\"added_tokens\":[]", "\"added_tokens\":[{\"id\":7}]", "content"),
        ("\"added_tokens\":[]", "\"added_tokens\":[{\"id\":7,\"content\":\"\"}]", "1 to 1024"),
    ] {
        assert!(JSON.contains(from), "{from}");
        assert_invalid(from_json(&JSON.replace(from, to)), &["tokenizer.json", part]);
    }
    for (map, part) in [("!", "not base64"), ("AAAA", "fewer than 4"), ("AAAAAA", "a trie length")]
    {
        let text = format!("{{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"{map}\"}}");
        let text = JSON.replace("null", &text);
        assert_invalid(from_json(&text), &["tokenizer.json", part]);
    }
    let many: Vec<String> =
        (0..5000).map(|i| format!("{{\"id\":{i},\"content\":\"<{i}>\"}}")).collect();
    let text = JSON.replace("[],", &format!("[{}],", many.join(",")));
    assert_invalid(from_json(&text), &["added tokens", "at most 4096"]);
}

#[test]
fn a_config_that_contradicts_the_vocabulary_or_itself() {
    let load = |config: &str| {
        let target = tempdir().unwrap();
        std::fs::write(target.path().join("spiece.model"), pieces()).unwrap();
        std::fs::write(target.path().join("tokenizer_config.json"), config).unwrap();
        T5Tokenizer::load(target.path())
    };
    load("{}").unwrap();
    for (config, part) in [
        ("[]", "a JSON object"),
        (r#"{"extra_ids":-1}"#, "extra_ids"),
        (r#"{"extra_ids":"x"}"#, "extra_ids"),
        (r#"{"eos_token":null}"#, "eos_token"),
        (r#"{"pad_token":7}"#, "pad_token"),
        (r#"{"eos_token":{"no":1}}"#, "eos_token"),
        (r#"{"extra_special_tokens":7}"#, "extra_special_tokens"),
        (r#"{"added_tokens_decoder":[]}"#, "added_tokens_decoder"),
        (r#"{"added_tokens_decoder":{"x":{"content":"a"}}}"#, "an id"),
        (r#"{"eos_token":""}"#, "added tokens"),
    ] {
        assert_invalid(load(config), &[part]);
    }
    for config in [r#"{"padding_side":"left"}"#, r#"{"extra_ids":1000000}"#] {
        assert!(matches!(load(config), Err(Error::UnsupportedModel(_))), "{config}");
    }
}

/// A small generator for reproducible damage (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

#[test]
fn random_bytes_and_flipped_bits_never_panic() {
    let sound = std::fs::read(folder("2b").join("spiece.model")).unwrap();
    let mut random = Random(11);
    let (mut built, mut refused) = (0, 0);
    for round in 0..120 {
        let mut bytes = sound.clone();
        if round % 4 == 0 {
            bytes = (0..random.below(400)).map(|_| random.below(256) as u8).collect();
        } else {
            for _ in 0..=random.below(8) {
                let place = random.below(bytes.len());
                bytes[place] ^= 1 << random.below(8);
            }
        }
        match from_spiece(&bytes) {
            Ok(tokenizer) => {
                built += 1;
                let text = "A red ﬁsh\u{1} naïve 東京 😀 ㎏ <extra_id_3> </s>";
                tokenizer.encode(text, 16, &Control::default()).unwrap();
            }
            Err(Error::InvalidCheckpoint(_) | Error::UnsupportedModel(_)) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(built > 10 && refused > 30, "{built} built, {refused} refused");
}

#[test]
fn random_texts_never_panic() {
    let tokenizer = T5Tokenizer::load(&folder("2b")).unwrap();
    let mut random = Random(13);
    let parts = [
        "a",
        " ",
        "\t",
        "é",
        "e\u{301}",
        "\u{1}",
        "\u{ad}",
        "ﬁ",
        "東",
        "👨‍👩‍👧",
        "▁",
        "</s>",
        "<extra_id_0>",
        "\u{200b}",
        "㍿",
        "\u{fdfa}",
        "\u{10ffff}",
        "\0",
        "\u{feff}",
    ];
    for _ in 0..2000 {
        let text: String = (0..random.below(12))
            .map(|_| match random.below(4) {
                0 => char::from_u32(random.below(0x11_0000) as u32).unwrap_or('x').to_string(),
                _ => parts[random.below(parts.len())].to_string(),
            })
            .collect();
        let ids = tokenizer.encode(&text, 16, &Control::default()).unwrap();
        assert_eq!(ids.len(), 16);
    }
}
