//! The C boundary: one file per C object, and nothing outside this folder is `extern "C"`.
