//! `include/cogvideox.h`: made from the sources, compiled in every C and C++ there is, and
//! the same functions as the library exports.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use cogvideox::cache::CacheConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of `src/capi` with exported items, in the order in which a reader meets them in
/// the header.
const SOURCES: &[&str] = &[
    "version",
    "capability",
    "error",
    "user_data",
    "callbacks",
    "cancel_token",
    "device",
    "load_options",
    "communicator",
    "pipeline",
    "pipeline_info",
    "memory_info",
    "pipeline_lora",
    "pipeline_save",
    "limits",
    "generate_options",
    "generate_settings",
    "prompt_embeddings",
    "batch",
    "image",
    "input_video",
    "scheduler_settings",
    "step",
    "frames",
    "device_frames",
    "generate",
    "job",
    "pipeline_submit",
    "cache_config",
    "cache_fields",
    "cache_json",
    "cache_callbacks",
    "pipeline_cache",
    "pipeline_tune",
    "calibration",
    "plan",
    "cache_stats",
    "contact_sheet",
    "video",
    "video_encode",
    "video_memory",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(root().join("include/cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root().join(format!("src/capi/{source}.rs")));
    }
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

fn committed() -> String {
    std::fs::read_to_string(root().join("include/cogvideox.h")).unwrap_or_default()
}

/// The header without its comments.
fn code(header: &str) -> String {
    header.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, code)| code)).collect()
}

/// The functions that a header declares: their names, each with its whole declaration.
fn declared(header: &str) -> BTreeMap<String, String> {
    let code = code(header);
    let declarations = code.split(';').filter(|text| !text.contains("typedef"));
    declarations
        .filter_map(|text| {
            let (before, _) = text.split_once('(')?;
            let name = before.rsplit([' ', '*', '\n']).next()?;
            name.starts_with("cvx_").then(|| (name.to_string(), text.trim().to_string()))
        })
        .collect()
}

#[test]
fn the_committed_header_is_what_the_sources_make() {
    let generated = generated();
    if std::env::var_os("UPDATE_HEADER").is_some_and(|value| value == "1") {
        // Renamed into place: the tests beside this one compile it meanwhile.
        let new = root().join("include/cogvideox.h.new");
        std::fs::write(&new, &generated).unwrap();
        std::fs::rename(new, root().join("include/cogvideox.h")).unwrap();
    }
    let committed = committed();
    let line = generated.lines().zip(committed.lines()).position(|(a, b)| a != b);
    assert!(
        generated == committed,
        "include/cogvideox.h is out of date from line {} on: run `make header`",
        line.unwrap_or_else(|| generated.lines().count().min(committed.lines().count())) + 1
    );
}

/// Whoever adds a callback shows that one which throws is heard of: tests/cpp/test_throwing.cpp.
#[test]
fn every_function_that_takes_a_callback_is_given_one_that_throws() {
    let tests = std::fs::read_to_string(root().join("tests/cpp/test_throwing.cpp")).unwrap();
    let words: BTreeSet<&str> =
        tests.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let header = committed();
    let code = code(&header);
    let callbacks: BTreeSet<&str> = code
        .split(['(', ' ', '*', ')', ','])
        .filter(|word| word.starts_with("cvx_") && word.ends_with("_callback"))
        .collect();
    assert!(callbacks.len() >= 13, "{callbacks:?}");
    let takes = |declaration: &str| {
        let (_, parameters) = declaration.split_once('(').unwrap();
        let mut types = parameters.split(',').filter_map(|one| one.split_whitespace().next());
        types.any(|one| callbacks.contains(one) && one != "cvx_free_callback")
    };
    let takers: Vec<_> =
        declared(&header).into_iter().filter(|(_, declaration)| takes(declaration)).collect();
    assert!(takers.len() >= 18, "{}", takers.len());
    for (name, _) in takers {
        assert!(words.contains(name.as_str()), "{name}: no callback of it throws in any test");
    }
}

#[test]
fn every_exported_item_is_documented_and_every_function_with_its_first_version() {
    let header = committed();
    let names = declared(&header);
    let mut comment = "";
    let mut seen = BTreeSet::new();
    for part in header.split("/**").skip(1) {
        let (text, code) = part.split_once("*/").expect("a comment ends");
        comment = text;
        for name in names.keys().filter(|name| code.contains(&format!("{name}("))) {
            assert!(text.contains("Since 0."), "no \"Since\" in the comment of {name}");
            seen.insert(name.clone());
        }
        let blocks = code.matches("\n\n").count();
        assert!(blocks <= 3, "something undocumented behind {}:{code}", text.trim());
    }
    assert!(comment.contains("where they lie"), "the last comment is {comment}");
    let missing: Vec<_> = names.keys().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "without a comment: {missing:?}");
    assert!(names.len() > 60, "{} functions found", names.len());
}

/// Each technique and preset is named where hosts look for them, in the comment of
/// `cvx_cache_config_new`; each field has a setter of its own or a row below the technique's heading
/// in docs/caching-techniques.md.
#[test]
fn every_technique_is_documented() {
    let header = committed();
    let (before, _) = header.split_once("cvx_cache_config_new(").expect("is declared");
    let (_, comment) = before.rsplit_once("/**").expect("has a comment");
    let page = std::fs::read_to_string(root().join("docs/caching-techniques.md")).unwrap();
    let mut fields_seen = 0;
    for technique in CacheConfig::techniques() {
        let presets = CacheConfig::presets(technique).unwrap();
        for word in presets.iter().chain([&technique]) {
            assert!(comment.contains(&format!("\"{word}\"")), "{technique}: no \"{word}\" there");
        }
        let heading = format!("\n## {technique}\n");
        let section = page.split_once(&heading).map_or("", |(_, rest)| rest);
        let section = section.split("\n## ").next().unwrap_or(section);
        let settings = CacheConfig::new(technique, None).unwrap().settings();
        for field in settings.as_object().unwrap().keys() {
            let setter = header.contains(&format!("cvx_cache_config_set_{field}("));
            let row = section.contains(&format!("\n| `{field}` |"));
            assert!(setter || row, "{technique}: {field} is nowhere explained");
            fields_seen += 1;
        }
    }
    assert!(fields_seen > 40, "{fields_seen} fields");
}

#[test]
fn errors_must_be_used_and_types_are_the_same_everywhere() {
    let header = committed();
    for (name, declaration) in declared(&header) {
        let answers_error = declaration.contains(&format!("cvx_error *{name}("));
        let must_use = declaration.starts_with("CVX_MUST_USE");
        assert_eq!(answers_error, must_use, "{declaration}");
    }
    let code = code(&header);
    let words: BTreeSet<_> = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for unportable in ["bool", "_Bool", "int", "long", "short", "unsigned", "enum", "wchar_t"] {
        assert!(!words.contains(unportable), "{unportable}");
    }
}

#[test]
fn exported_symbols_are_exactly_the_headers_functions() {
    // The library that was built with this test lies beside it; cargo only links it to
    // target/release when it is built by itself.
    let library = std::env::current_exe().unwrap().with_file_name("libcogvideox.so");
    assert!(library.exists(), "{} is built with the tests", library.display());
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output();
    let output = String::from_utf8(output.expect("nm comes with the C compiler").stdout).unwrap();
    let exported: BTreeSet<String> = output
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .map(|symbol| symbol.split('@').next().unwrap_or(symbol).to_string())
        .collect();
    let declared: BTreeSet<String> = declared(&committed()).into_keys().collect();
    let only =
        |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    assert_eq!(only(&exported, &declared), [""; 0], "exported, but not in the header");
    assert_eq!(only(&declared, &exported), [""; 0], "in the header, but not exported");
}

/// Compiles `program` with every standard of a language; returns how many were tried.
fn compiles(compiler: &str, language: &str, standards: &[&str], program: &str) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("program");
    std::fs::write(&source, program).unwrap();
    let run = |standard: &str, file: &Path| {
        Command::new(compiler)
            .args(["-x", language, &format!("-std={standard}"), "-fsyntax-only"])
            .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wundef", "-I"])
            .arg(root().join("include"))
            .arg(file)
            .output()
    };
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "int main(void);\n").unwrap();
    let mut tried = 0;
    for standard in standards {
        // Compilers and standards that are not here can't be tried.
        match run(standard, &empty) {
            Ok(output) if output.status.success() => {}
            _ => continue,
        }
        let output = run(standard, &source).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{compiler} -std={standard}:\n{errors}");
        tried += 1;
    }
    tried
}

const C_STANDARDS: [&str; 5] = ["c99", "c11", "c17", "c2x", "gnu11"];
const CPP_STANDARDS: [&str; 6] = ["c++98", "c++11", "c++14", "c++17", "c++20", "c++23"];

#[test]
fn the_header_compiles_without_warnings_in_every_c_and_cpp() {
    let program = "#include \"cogvideox.h\"\n#include \"cogvideox.h\"\n\
        static int32_t on(const cvx_progress_info *info, void *data) {\n\
            (void)data; return info->stage == CVX_STAGE_DENOISE && info->done > 3;\n}\n\
        int main(void) {\n\
            cvx_generate_options *options = cvx_generate_options_new();\n\
            cvx_error *error = cvx_generate_options_set_progress_callback(options, on, 0, 0);\n\
            const char *text = cvx_error_message(error);\n\
            cvx_error_free(error);\n\
            cvx_generate_options_free(options);\n\
            return text != 0 && CVX_ABI_VERSION == cvx_abi_version();\n}\n";
    let c = ["cc", "gcc", "clang"];
    let cpp = ["c++", "g++", "clang++"];
    assert!(c.map(|cc| compiles(cc, "c", &C_STANDARDS, program)).iter().sum::<usize>() >= 3);
    assert!(cpp.map(|cc| compiles(cc, "c++", &CPP_STANDARDS, program)).iter().sum::<usize>() >= 4);
}

#[test]
fn dropping_an_error_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("drop.c");
    std::fs::write(&source, "#include \"cogvideox.h\"\nvoid f(void) { cvx_abi_check(1); }\n")
        .unwrap();
    let include = root().join("include");
    let output = Command::new("cc")
        .args(["-c", "-o", "/dev/null", "-Werror", "-I", include.to_str().unwrap()])
        .arg(&source)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("unused"), "{output:?}");
}

/// What src/capi would have for a function that is to go.
#[test]
fn a_deprecated_function_is_a_warning_that_names_what_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (source, header) = (folder.path().join("a.rs"), folder.path().join("a.h"));
    let text = "/// Deprecated since 0.2: use cvx_new.\n#[deprecated(note = \"use cvx_new\")]\n\
                #[no_mangle]\npub extern \"C\" fn cvx_old() -> i32 {\n    0\n}\n";
    std::fs::write(&source, text).unwrap();
    let config = cbindgen::Config::from_file(root().join("include/cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config).with_src(&source);
    builder.generate().unwrap().write_to_file(&header);
    let program = folder.path().join("a.c");
    std::fs::write(&program, "#include \"a.h\"\nint f(void) { return cvx_old(); }\n").unwrap();
    let compile = |more: &[&str]| {
        let mut command = Command::new("cc");
        command.args(["-c", "-o", "/dev/null", "-Werror=deprecated-declarations"]).args(more);
        command.arg(&program).output().unwrap()
    };
    let refused = compile(&[]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("use cvx_new"), "{told}");
    let accepted = compile(&["-DCVX_DEPRECATED(instead)="]);
    assert!(accepted.status.success(), "{accepted:?}");
}
