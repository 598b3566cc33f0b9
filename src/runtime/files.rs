//! Opening files that a host names.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a regular file that is not empty, and tells its length; or what is there instead.
///
/// Nothing that is opened here may block the host: a named pipe waits for its writer, and
/// files of /proc, which say that they are regular and have no bytes, may wait for events. So
/// the kind is looked at before opening, which for a device has effects of its own, and once
/// more on what was opened, which may be another file by then.
pub(crate) fn open_regular(path: &Path) -> std::io::Result<Result<(File, u64), &'static str>> {
    if let Err(kind) = length(&std::fs::metadata(path)?) {
        return Ok(Err(kind));
    }
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let length = length(&file.metadata()?);
    Ok(length.map(|length| (file, length)))
}

fn length(found: &Metadata) -> Result<u64, &'static str> {
    match found.file_type() {
        kind if kind.is_dir() => Err("a folder"),
        kind if !kind.is_file() => Err("a special file"),
        _ if found.len() == 0 => Err("0 bytes"),
        _ => Ok(found.len()),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use crate::Error;
    use std::path::Path;
    use std::time::Duration;

    /// That `read` refuses, at once and by name, what might block and what is no file.
    pub fn reads_regular_files_only(read: fn(&Path) -> Option<Error>) {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // Reading it waits for the kernel's next message; it says "regular, 0 bytes".
        let messages = folder.path().join("messages");
        std::os::unix::fs::symlink("/proc/kmsg", &messages).unwrap();
        let inside = folder.path().to_path_buf();
        for (path, found) in [(pipe, "a special file"), (messages, "0 bytes"), (inside, "a folder")]
        {
            let name = path.display().to_string();
            let (told, answer) = std::sync::mpsc::channel();
            std::thread::spawn(move || told.send(read(&path)));
            let error = answer.recv_timeout(Duration::from_secs(20)).expect("it does not block");
            let error = error.expect("refused").to_string();
            assert!(error.contains(&name) && error.ends_with(&format!("found {found}")), "{error}");
        }
    }
}
