#!/usr/bin/env python3
"""Proves that the checks find mistakes: plants one at a time in a copy of the sources, and
wants to read a sentence that names it.

    python3 tests/abi/selftest.py [-v] [Csharp | Go | Cpp | Python | Setters | Baseline | History]

A mistake that can no longer be planted, because the sources have changed, fails as well.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import baseline
import check

ROOT = os.environ.get("CVX_ABI_ROOT", check.ROOT)
COPIED = ["include", "bindings/csharp/Runtime", "bindings/go", "tests/python", check.BASELINE]


class Planted(unittest.TestCase):
    """A copy of the sources in self.root."""

    part = None

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = self.folder.name
        for path in COPIED:
            shutil.copytree(os.path.join(ROOT, path), os.path.join(self.root, path),
                            ignore=shutil.ignore_patterns("testdata", "obj", "bin"))

    def tearDown(self):
        self.folder.cleanup()

    def plant(self, files, pattern, replacement):
        """Replaces the one place, in whichever of the files it is."""
        places = 0
        for path in glob.glob(os.path.join(self.root, files), recursive=True):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            changed, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
            places += count
            if count:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(changed)
        self.assertEqual(places, 1, f"places in {files} for {pattern!r}")

    def problems(self, part=None):
        part = part or self.part
        return check.run(self.root, [part])[1][part]

    def refused(self, *words):
        """One of the problems has all the words."""
        problems = self.problems()
        self.assertTrue(any(all(word in problem for word in words) for problem in problems),
                        f"no problem names {words}: {problems}")

    def accepted(self):
        self.assertEqual(self.problems(), [])


class Csharp(Planted):
    part = "csharp"
    natives = "bindings/csharp/Runtime/Native/NativeMethods*.cs"
    structs = "bindings/csharp/Runtime/Native/Structs.cs"
    delegates = "bindings/csharp/Runtime/Native/Delegates.cs"
    thunks = "bindings/csharp/Runtime/Native/Thunks.cs"

    def test_as_it_is(self):
        self.accepted()

    def test_missing_function(self):
        # Under another name, so that what calls it still compiles.
        self.plant(self.natives, r"(\[DllImport\(Library, )([^\]]*\]\s*internal static extern int "
                   r"cvx_video_width\()", r'\1EntryPoint = "cvx_video_height", \2')
        self.refused("function cvx_video_width is missing")

    def test_function_that_is_not_in_the_header(self):
        self.plant(self.natives, r"(\[DllImport[^\]]*\]\s*internal static extern int )cvx_video_width"
                   r"(\([^)]*\);)", r"\1cvx_video_width\2\n\1cvx_video_depth\2")
        self.refused("function cvx_video_depth is not in the header")

    def declare(self, function, pattern, replacement):
        """Changes one declaration. A method as it was stays beside it for those who call it, so
        that the binding compiles and the mistake is left to the checker."""
        whole = rf"\[DllImport[^\]]*\]\s*internal static extern (\w+ {function}\([^;]*\));"

        def changed(match):
            wrong, count = re.subn(pattern, replacement, match[0])
            self.assertEqual(count, 1, f"places in {match[0]} for {pattern!r}")
            return f"{wrong} internal static {match[1]} {{ throw new Exception(); }}"
        self.plant(self.natives, whole, changed)

    def test_parameter_too_wide(self):
        self.declare("cvx_error_code_name", "int code", "long code")
        self.refused("function cvx_error_code_name", "code", "Int64", "i32")

    def test_parameter_of_the_other_sign(self):
        self.declare("cvx_cache_config_set_max_cache_bytes", "ulong", "long")
        self.refused("cvx_cache_config_set_max_cache_bytes", "bytes", "Int64", "u64")

    def test_number_instead_of_size(self):
        self.declare("cvx_pipeline_tokenize", "UIntPtr length", "uint length")
        self.refused("cvx_pipeline_tokenize", "length", "UInt32", "usize")

    def test_float_instead_of_double(self):
        self.declare("cvx_generate_options_set_eta", "double", "float")
        self.refused("cvx_generate_options_set_eta", "Single", "f64")

    def test_pointer_level(self):
        self.declare("cvx_pipeline_clone", "out IntPtr", "IntPtr")
        self.refused("cvx_pipeline_clone", "out_pipeline", "IntPtr", "**struct cvx_pipeline")

    def test_handle_of_another_object(self):
        self.declare("cvx_pipeline_enable_cache", "CacheConfigHandle", "CacheStatsHandle")
        self.refused("cvx_pipeline_enable_cache", "config", "CacheStatsHandle")

    def test_swapped_parameters_of_different_type(self):
        self.declare("cvx_video_check_path", r"(byte\[\] path), (double fps)", r"\2, \1")
        self.refused("cvx_video_check_path", "parameter fps is Double", "const*char")

    def test_swapped_parameters_of_one_type(self):
        self.plant(self.natives, r"(cvx_generate_options_set_size\([^)]*)int width,(\s*)int height",
                   r"\1int height,\2int width")
        self.refused("cvx_generate_options_set_size", "parameter height is called width")

    def test_missing_parameter(self):
        self.declare("cvx_error_code_name", "int code", "")
        self.refused("cvx_error_code_name", "0 parameters, the header has 1")

    def test_answer(self):
        self.plant(self.natives, r"extern ulong (cvx_pipeline_weight_bytes)", r"extern uint \1")
        self.refused("cvx_pipeline_weight_bytes returns UInt32", "u64")

    def test_calling_convention(self):
        self.plant(self.natives, r"Cdecl(, ExactSpelling = true\)\]\s*internal static extern int "
                   r"cvx_abi_version)", r"StdCall\1")
        self.refused("cvx_abi_version", "StdCall")

    def test_constant(self):
        self.plant(self.natives, r"(CVX_ERROR_CANCELLED = )10", r"\g<1>11")
        self.refused("constant CVX_ERROR_CANCELLED is 11, in the header 10")

    def test_missing_constant(self):
        self.plant(self.natives, r"const int CVX_UNCONDITIONAL_RAN = 1;",
                   "const int CVX_UNCONDITIONAL_RUN = 1; internal const int NOT_OF_C = 1;")
        self.plant("bindings/csharp/Runtime/**/*.cs", r"= NativeMethods\.CVX_UNCONDITIONAL_RAN",
                   "= NativeMethods.NOT_OF_C")
        self.refused("constant CVX_UNCONDITIONAL_RAN is missing")
        self.refused("constant CVX_UNCONDITIONAL_RUN is not in the header")

    def test_member_of_an_enum(self):
        self.plant("bindings/csharp/Runtime/**/*.cs", r"= NativeMethods\.CVX_STAGE_ENCODE\b",
                   "= NativeMethods.CVX_STAGE_DECODE")
        self.refused("enum Stage.Encode is 4, CVX_STAGE_ENCODE is 2")

    def test_swapped_fields(self):
        self.plant(self.structs, r"internal int step;\s*internal int num_steps;\s*(internal int layer;)",
                   r"internal int num_steps; internal int step; \1")
        self.refused("struct cvx_layer_info", "field num_steps lies at 4, in C at 8")

    def test_missing_field(self):
        self.plant(self.structs, r"internal int reserved;(?=\s*internal double timestep;\s*\})", "")
        self.refused("struct cvx_step_info: field reserved is missing")

    def test_field_too_narrow(self):
        self.plant(self.structs, r"internal double fraction;", "internal float fraction;")
        self.refused("struct cvx_job_status", "fraction is Single", "f64")

    def test_field_that_is_not_in_the_header(self):
        self.plant(self.structs, r"(internal int level;\s*internal IntPtr message;)", r"\1 internal int more;")
        self.refused("struct cvx_log_info: field more is not in the header")

    def test_parameter_of_a_callback(self):
        self.plant(self.delegates, r"(double cvx_timestep_callback\(ref )cvx_step_info",
                   r"\1cvx_layer_info")
        self.plant(self.thunks, r"(double TimestepThunk\(ref )cvx_step_info(.*\n\s*\{\n\s*)"
                   r"return AskStep\(ref info, user_data\);", r"\1cvx_layer_info\2return 0;")
        self.refused("callback cvx_timestep_callback", "info", "cvx_layer_info")

    def test_answer_of_a_callback(self):
        self.plant(self.delegates, r"void cvx_log_callback", "int cvx_log_callback")
        self.plant(self.thunks, r"static readonly cvx_log_callback Log = LogThunk",
                   "static readonly cvx_log_callback Log = null")
        self.refused("callback cvx_log_callback returns Int32", "void")

    def test_convention_of_a_callback(self):
        self.plant(self.delegates, r"Cdecl(\)\]\s*internal delegate void cvx_free_callback)",
                   r"StdCall\1")
        self.refused("callback cvx_free_callback", "StdCall")

    def test_callback_without_a_method(self):
        self.plant(self.thunks, r"\[MonoPInvokeCallback\(typeof\(cvx_job_callback\)\)\]", "")
        self.refused("callback cvx_job_callback", "MonoPInvokeCallback")


class Go(Planted):
    part = "go"
    sources = "bindings/go/*.go"
    thunks = "bindings/go/trampolines.c"

    def test_as_it_is(self):
        self.accepted()

    def test_missing_function(self):
        self.plant(self.sources, r"C\.cvx_video_width\(", "C.cvx_video_height(")
        self.refused("function cvx_video_width is not used")

    def test_function_that_is_not_in_the_header(self):
        self.plant(self.sources, r"C\.cvx_video_width\(", "C.cvx_video_depth(")
        self.refused("cvx_video_depth")

    def test_missing_constant(self):
        self.plant(self.sources, r"(ErrBusy\s*=\s*Code\()C\.CVX_ERROR_BUSY", r"\g<1>9")
        self.refused("constant CVX_ERROR_BUSY is not used")
        self.refused("constant ErrBusy", "is not made from C.CVX_ERROR_BUSY")

    def test_constant(self):
        self.plant(self.sources, r"(StageEncode\s*=\s*Stage\(C\.CVX_STAGE_)ENCODE", r"\1DECODE")
        self.refused("constant StageEncode", "CVX_STAGE_DECODE")

    def test_constant_of_another_family(self):
        self.plant(self.sources, r"(JobFailed\s*=\s*JobState\(C\.)CVX_JOB_FAILED",
                   r"\1CVX_ERROR_CALLBACK_FAILED")
        self.refused("constant JobFailed", "CVX_ERROR_CALLBACK_FAILED")

    def test_constant_that_is_computed(self):
        self.plant(self.sources, r"(StageEncode\s*=\s*Stage\(C\.CVX_STAGE_ENCODE)\)", r"\1 + 1)")
        self.refused("constant StageEncode", "is not simply CVX_STAGE_ENCODE")

    def test_struct_of_its_own(self):
        with open(os.path.join(self.root, "bindings/go/mirror.go"), "w", encoding="utf-8") as file:
            file.write("package cogvideox\n\nimport \"unsafe\"\n\ntype stepInfo struct {\n"
                       "\tsize, step int32\n}\n\nfunc read(p unsafe.Pointer) int32 {\n"
                       "\treturn (*stepInfo)(p).step\n}\n")
        self.refused("memory of C is read as stepInfo", "mirror.go")

    def test_answer_of_an_export(self):
        self.plant(self.sources, r"(func cogvideoxGoProgress\(.*\) C\.)int32_t", r"\1int64_t")
        self.refused("//export cogvideoxGoProgress", "long")

    def test_parameter_of_an_export(self):
        self.plant(self.sources, r"(func cogvideoxGoLayer\(info \*C\.)cvx_layer_info",
                   r"\1cvx_step_info")
        self.refused("cogvideoxGoLayer")

    def test_swapped_parameters_of_an_export(self):
        self.plant(self.sources, r"(func cogvideoxGoLog\()(info \*C\.cvx_log_info), "
                   r"(userData unsafe\.Pointer)", r"\1\3, \2")
        self.refused("cogvideoxGoLog")

    def test_callback_of_another_type(self):
        self.plant(self.thunks, r"(const cvx_timestep_callback \w+ = )\w+;", r"\1attention_weight;")
        self.refused("attention_weight")

    def test_callback_that_a_cast_makes_fit(self):
        self.plant(self.thunks, r"(const cvx_timestep_callback \w+ = )\w+;",
                   r"\1(cvx_timestep_callback)attention_weight;")
        self.refused("cvx_timestep_callback", "without a cast")

    def test_missing_callback(self):
        self.plant(self.thunks, r"const cvx_job_callback \w+ = job;", "")
        self.refused("cvx_job_callback")

    def test_arguments_handed_on_otherwise(self):
        self.plant(self.thunks, r"(cogvideoxGoFree\()user_data\)", r"\1NULL)")
        self.refused("cogvideoxGoFree", "hands")


class Cpp(Planted):
    part = "cpp"
    sources = "include/cogvideox/*.hpp"
    callbacks = "include/cogvideox/callbacks.hpp"
    constants = "include/cogvideox/constants.hpp"

    def test_as_it_is(self):
        self.accepted()

    def test_missing_function(self):
        self.plant(self.sources, r"\bcvx_video_width\(", "cvx_video_height(")
        self.refused("function cvx_video_width is not used")

    def test_function_that_is_not_in_the_header(self):
        self.plant(self.sources, r"\bcvx_video_width\(", "cvx_video_depth(")
        self.refused("cvx_video_depth")

    def test_missing_enumerator(self):
        self.plant(self.constants, r"^\s*rebuilt = CVX_UNCONDITIONAL_REBUILT,", "")
        self.refused("enum Unconditional has no enumerator for CVX_UNCONDITIONAL_REBUILT")

    def test_enumerator_of_another_constant(self):
        self.plant(self.constants, r"encode = CVX_STAGE_ENCODE", "encode = CVX_STAGE_DECODE")
        self.refused("Stage::encode", "CVX_STAGE_DECODE", "names do not agree")

    def test_enumerator_of_another_family(self):
        self.plant(self.constants, r"failed = CVX_JOB_FAILED", "failed = CVX_ERROR_CALLBACK_FAILED")
        self.refused("enum JobState mixes constants")

    def test_enumerator_by_number(self):
        self.plant(self.constants, r"encode = CVX_STAGE_ENCODE", "encode = 3")
        self.refused("Stage::encode is not made from a constant")

    def test_width_of_an_enum(self):
        self.plant(self.constants, r"enum class Stage : std::int32_t", "enum class Stage : char")
        self.refused("enum Stage is of char")

    def test_parameter_of_a_callback(self):
        self.plant(self.callbacks, r"(on_progress\(const )cvx_progress_info", r"\1cvx_log_info")
        self.refused("cvx_log_info", "Progress")

    def test_answer_of_a_callback(self):
        self.plant(self.callbacks, r"double on_layer\(", "float on_layer(")
        self.refused("function on_layer looks like a callback and is none", "f32")

    def test_callback_of_another_setter(self):
        self.plant("include/cogvideox/generate_options.hpp", r"detail::on_log<", "detail::on_progress<")
        self.refused("cvx_generate_options_set_log_callback", "on_progress", "cvx_log_callback")

    def test_callback_that_a_cast_makes_fit(self):
        self.plant("include/cogvideox/generate_options.hpp", r"detail::on_log<std::decay_t<Callback>>",
                   "reinterpret_cast<cvx_log_callback>(detail::on_log<std::decay_t<Callback>>)")
        self.refused("a cast makes a function")

    def test_parameter_too_wide(self):
        self.plant(self.sources, r"set_num_frames\(std::int32_t", "set_num_frames(std::int64_t")
        self.refused("cvx_generate_options_set_num_frames", "num_frames", "i64")

    def test_double_instead_of_number(self):
        self.plant(self.sources, r"set_seed\(std::uint64_t", "set_seed(double")
        self.refused("cvx_generate_options_set_seed", "f64", "u64")

    def test_swapped_parameters_of_different_type(self):
        self.plant("include/cogvideox/generate_options.hpp",
                   r"height, width, overlap_height,(\s*)overlap_width",
                   r"overlap_height, overlap_width,\1height, width")
        self.refused("cvx_generate_options_set_vae_tile", "f64", "i32")

    def test_missing_parameter(self):
        self.plant(self.sources, r"(call\(cvx_generate_options_set_size, width), height\)", r"\1)")
        self.refused("cvx_generate_options_set_size")


class Python(Planted):
    part = "python"
    source = "tests/python/cvx.py"

    def test_as_it_is(self):
        self.accepted()

    def test_function_that_is_not_in_the_header(self):
        self.plant(self.source, r'"cvx_video_width": ', '"cvx_video_depth": ')
        self.refused("cvx_video_depth is not in the header")

    def test_parameter_too_narrow(self):
        self.plant(self.source, r'("cvx_generate_options_set_seed": \[P, )U64', r"\1I32")
        self.refused("cvx_generate_options_set_seed", "seed", "c_int", "u64")

    def test_pointer_level(self):
        self.plant(self.source, r'("cvx_pipeline_load": \[STR, P, )OUT', r"\1P")
        self.refused("cvx_pipeline_load", "out_pipeline", "**struct cvx_pipeline")

    def test_missing_parameter(self):
        self.plant(self.source, r'("cvx_video_latents": \[P, OUT), P\]', r"\1]")
        self.refused("cvx_video_latents", "2 parameters, the header has 3")

    def test_answer(self):
        self.plant(self.source, r'("cvx_video_width": \(\[P\], )I32', r"\1I64")
        self.refused("cvx_video_width: returns", "i32")

    def test_error_that_is_none(self):
        self.plant(self.source, r'^(FALLIBLE = \{)', r'\1 "cvx_error_free": [P],')
        self.plant(self.source, r'^    "cvx_error_free": \(\[P\], None\),', "")
        self.refused("cvx_error_free", "void")

    def test_callback(self):
        self.plant(self.source, r"CFUNCTYPE\(F64, P, P\)", "CFUNCTYPE(F64, P)")
        self.refused("WEIGHT_CALLBACK", "1 parameters, the header has 2")

    def test_constant(self):
        self.plant(self.source, r"OUTPUT_FRAMES, OUTPUT_LATENTS = 0, 1",
                   "OUTPUT_FRAMES, OUTPUT_LATENTS = 1, 0")
        self.refused("OUTPUT_FRAMES is 1")


class Setters(Planted):
    """Setters that are not what the header makes."""

    part = "setters"
    header = "include/cogvideox.h"
    files = ["include/cogvideox/cache_config.hpp", "bindings/csharp/Runtime/CacheConfig.Fields.cs",
             "bindings/go/cache_fields.go"]

    def test_as_it_is(self):
        self.accepted()

    def everywhere(self):
        problems = self.problems()
        for path in self.files:
            self.assertTrue(any(path in problem and "run `make setters`" in problem
                                for problem in problems), f"{path}: {problems}")

    def test_other_function(self):
        self.plant(self.files[0], r"call\(cvx_cache_config_set_alpha_low_frequency",
                   "call(cvx_cache_config_set_alpha_high_frequency")
        self.refused("cache_config.hpp is not what the header makes from line")

    def test_other_comment(self):
        self.plant(self.files[1], r"frequencies on each rebuilt step inside its window; gains",
                   "frequencies; gains")
        self.refused("CacheConfig.Fields.cs is not what the header makes from line")

    def test_setter_that_was_added_by_hand(self):
        self.plant(self.files[2], r"\Z", "\nfunc (c *CacheConfig) SetDepth(n int) error { return nil }\n")
        self.refused("cache_fields.go is not what the header makes from line")

    def test_marks_that_are_gone(self):
        self.plant(self.files[0], r"^    // end\n", "")
        self.refused("cache_config.hpp", "the lines between which setters are written are gone")

    def test_comment_that_was_changed_in_the_header(self):
        self.plant(self.header, r"Default: \(-1, 641\)", "Default: (-1, 640)")
        self.everywhere()

    def test_function_that_was_added_to_the_header(self):
        self.plant(self.header, r"(\/\*\*\n \* Sets any field of the config's technique)",
                   "/**\n * How deep.\n *\n * Errors: INVALID_ARGUMENT. Since 0.2.\n */\n"
                   "CVX_MUST_USE\nstruct cvx_error *cvx_cache_config_set_depth("
                   "struct cvx_cache_config *config, int32_t n);\n\n\\1")
        self.everywhere()

    def test_parameters_that_no_binding_has_a_form_for(self):
        self.plant(self.header, r"(cvx_cache_config_set_alpha_low_frequency\([^)]*)double alpha",
                   r"\1float alpha")
        self.refused("cvx_cache_config_set_alpha_low_frequency: no binding has a form")

    def test_comment_without_errors(self):
        self.plant(self.header, r"(always f32\.\n \*\n) \* Errors: [^/]*? \* Since",
                   r"\1 * Since")
        self.refused("cvx_cache_config_set_cache_dtype", "no paragraph")


class Baseline(Planted):
    """The header against what was promised."""

    part = "baseline"
    header = "include/cogvideox.h"

    def broken(self, *words):
        self.refused(*words, "raise CVX_ABI_VERSION")
        # Recording it does not help.
        interface = check.header.read(os.path.join(self.root, self.header))
        self.assertNotEqual(baseline.update(interface, os.path.join(self.root, check.BASELINE)), [])
        self.refused(*words)

    def record(self):
        interface = check.header.read(os.path.join(self.root, self.header))
        self.assertEqual(baseline.update(interface, os.path.join(self.root, check.BASELINE)), [])

    def raise_abi(self):
        self.plant(self.header, r"#define CVX_ABI_VERSION 1$", "#define CVX_ABI_VERSION 2")

    def test_as_it_is(self):
        self.accepted()

    def test_removed_function(self):
        self.plant(self.header, r"^int32_t cvx_video_width\(.*;", "")
        self.broken("function cvx_video_width was removed")

    def test_renamed_function(self):
        self.plant(self.header, r"^int32_t cvx_video_width\(", "int32_t cvx_video_breadth(")
        self.broken("function cvx_video_width was removed")

    def test_removed_function_with_another_abi_number(self):
        self.plant(self.header, r"^int32_t cvx_video_width\(.*;", "")
        self.raise_abi()
        self.refused("CVX_ABI_VERSION is 2, and no baseline is kept for it", "make abi-baseline")
        self.record()
        self.accepted()
        folder = os.path.join(self.root, check.BASELINE)
        self.assertEqual(sorted(os.listdir(folder)), ["abi-1.json", "abi-2.json"])

    def test_abi_number_that_falls(self):
        self.raise_abi()
        self.record()
        self.plant(self.header, r"#define CVX_ABI_VERSION 2$", "#define CVX_ABI_VERSION 1")
        self.refused("CVX_ABI_VERSION is 1, but there was a 2")

    def test_width_of_a_parameter(self):
        self.plant(self.header, r"cvx_error_code_name\(int32_t code", "cvx_error_code_name(int64_t code")
        self.broken("function cvx_error_code_name changed", "i64")

    def test_answer(self):
        self.plant(self.header, r"^uint64_t (cvx_pipeline_weight_bytes)", r"uint32_t \1")
        self.broken("function cvx_pipeline_weight_bytes changed", "u32")

    def test_more_parameters(self):
        self.plant(self.header, r"cvx_error_code_name\(int32_t code", r"\g<0>, int32_t language")
        self.broken("function cvx_error_code_name changed")

    def test_value_of_a_constant(self):
        self.plant(self.header, r"#define CVX_ERROR_IO 12", "#define CVX_ERROR_IO 14")
        self.broken("constant CVX_ERROR_IO changed from 12 to 14")

    def test_removed_constant(self):
        self.plant(self.header, r"#define CVX_LOG_DEBUG 1\n", "")
        self.broken("constant CVX_LOG_DEBUG was removed")

    def test_removed_field(self):
        self.plant(self.header, r"^    int32_t reserved;\n(?=(?:(?!\}).*\n)*\} cvx_step_info;)", "")
        self.broken("struct cvx_step_info: field i32 reserved")

    def test_order_of_fields(self):
        self.plant(self.header, r"(int32_t step;)((?:(?!int32_t)[^;])*)(int32_t num_steps;)(?="
                   r"(?:(?!int32_t)[^;])*int32_t reserved;[^;]*double timestep;\s*\} cvx_step_info;)",
                   r"\3\2\1")
        self.broken("struct cvx_step_info: field i32 step")

    def test_callback(self):
        self.plant(self.header, r"typedef double (\(\*cvx_timestep_callback\))", r"typedef float \1")
        self.broken("callback cvx_timestep_callback changed")

    def test_struct_that_grows(self):
        self.plant(self.header, r"^    int32_t reserved;\n((?:.*\n)*?)\} cvx_step_info;",
                   r"    int32_t reserved;\n\1    double more;\n} cvx_step_info;")
        self.refused("cvx_step_info", "make abi-baseline")
        self.record()
        self.accepted()

    def test_addition(self):
        self.plant(self.header, r"^int32_t cvx_abi_version\(void\);",
                   r"\g<0>\nint32_t cvx_abi_age(void);")
        self.refused("cvx_abi_age", "run `make abi-baseline`")
        self.record()
        self.accepted()
        self.plant(self.header, r"^int32_t cvx_abi_age\(void\);", "")
        self.broken("function cvx_abi_age was removed")

    def test_constant_that_is_no_int32(self):
        self.plant(self.header, r"#define CVX_LOG_DEBUG 1$", "#define CVX_LOG_DEBUG 1.0")
        with self.assertRaisesRegex(ValueError, "CVX_LOG_DEBUG"):
            self.problems()


class History(Planted):
    """Commits that edit the baseline itself."""

    part = "history"

    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.root, check.BASELINE, "abi-1.json")
        self.git("init", "-q")
        self.commit()

    def git(self, *arguments):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        subprocess.run(["git", "-C", self.root, "-c", "user.name=t", "-c", "user.email=t@t",
                        *arguments], check=True, capture_output=True, env=environment)

    def commit(self):
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "step")

    def drop(self, name):
        self.plant(check.BASELINE + "/abi-1.json", rf'^    "{name}": .*\n', "")

    def test_as_it_is(self):
        self.accepted()

    def test_edited_and_not_committed(self):
        self.drop("cvx_video_check_path")
        self.refused("the working tree", "function cvx_video_check_path was removed")

    def test_edited_and_committed_long_ago(self):
        self.drop("cvx_video_check_path")
        self.commit()
        with open(os.path.join(self.root, "later"), "w", encoding="utf-8") as file:
            file.write("later\n")
        self.commit()
        self.refused("commit ", "function cvx_video_check_path was removed")

    def test_added_to(self):
        self.plant(check.BASELINE + "/abi-1.json", r'^(    "cvx_video_check_path": )(.*\n)',
                   r'    "cvx_video_check_more": \2\g<0>')
        self.commit()
        self.accepted()

    def test_deleted(self):
        os.remove(self.path)
        self.refused("abi-1.json was deleted")
        self.commit()
        self.refused("commit ", "abi-1.json was deleted")


if __name__ == "__main__":
    sys.exit(not unittest.main(exit=False).result.wasSuccessful())
