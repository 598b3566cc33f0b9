//! From a path to files: which format, and that nothing half-written is left behind.
//!
//! Every file is written under a temporary name beside its place and renamed when it is
//! whole. A failure on the way, a full disk included, removes what was begun, and a file that
//! was there before stays as it was. One that is replaced keeps its permissions and, where the
//! process may give files away, its owner; a symbolic link stays, and the file it leads to is
//! replaced.

use super::{gif, mp4, png, Clip};
use crate::runtime::number::Short;
use crate::{Error, Result};
use rustix::fs::{accessat, Access, AtFlags, CWD};
use std::fs::{Metadata, Permissions};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::{fchown, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempPath;

/// Frames per second that a file may have.
const SLOWEST: f64 = 0.1;
const FASTEST: f64 = 240.0;

/// What files that are being written are called, with a random part between.
const PREFIX: &str = ".cvx-";
const SUFFIX: &str = ".part";
/// A file that was begun so long ago is nobody's: its process was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);
/// As many symbolic links as Linux follows.
const MOST_LINKS: usize = 40;

/// What a path's ending makes of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Mp4,
    Gif,
    PngSequence,
}

impl Clip {
    /// Writes the clip to `path`: `.mp4`, `.gif`, or `.png`, which is a sequence of files (see
    /// [`png::paths`]). `fps` lies in [0.1, 240]; `.png` ignores it.
    pub fn save(&self, path: &Path, fps: f64) -> Result<()> {
        match format(path, fps)? {
            Format::Mp4 => save_one(path, |sink| mp4::write(self, fps, sink)),
            Format::Gif => save_one(path, |sink| gif::write(self, fps, sink)),
            Format::PngSequence => save_sequence(self, path),
        }
    }
}

/// The error that saving to `path` would end with for sure, before there is a clip.
pub fn check(path: &Path, fps: f64) -> Result<()> {
    if format(path, fps)? != Format::PngSequence {
        return Place::find(path).map(drop);
    }
    for path in png::paths(path, 1)? {
        Place::find(&path)?;
    }
    match png::folder_in_the_way(path)? {
        Some(found) => Err(is_a_folder(&found)),
        None => Ok(()),
    }
}

fn format(path: &Path, fps: f64) -> Result<Format> {
    check_fps(fps)?;
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "mp4" => Ok(Format::Mp4),
        "gif" => Ok(Format::Gif),
        "png" => Ok(Format::PngSequence),
        _ => Err(Error::InvalidArgument(format!(
            "path must end in .mp4, .gif or .png, found {:?}",
            path.display().to_string()
        ))),
    }
}

pub(super) fn check_fps(fps: f64) -> Result<()> {
    if (SLOWEST..=FASTEST).contains(&fps) {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "fps must lie in [{SLOWEST}, {FASTEST}], found {}",
        Short(fps)
    )))
}

/// Where a path leads.
struct Place {
    /// Behind symbolic links.
    path: PathBuf,
    folder: PathBuf,
    /// Of the file that is there already.
    before: Option<Metadata>,
}

impl Place {
    /// The place of `path`, in which a file can be put as far as can be seen.
    fn find(path: &Path) -> Result<Place> {
        let target = follow(path)?;
        let folder = folder_of(&target).to_path_buf();
        let no_folder = || Error::NotFound(format!("{}: no such folder", folder.display()));
        match std::fs::metadata(&folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(no_folder()),
            Err(e) if absent(&e) => return Err(no_folder()),
            Err(error) => return Err(io(&folder, &error)),
        }
        let before = match std::fs::symlink_metadata(&target) {
            Ok(found) if found.is_dir() => return Err(is_a_folder(path)),
            Ok(found) if !found.is_file() => {
                return Err(Error::InvalidArgument(format!(
                    "{}: expected a file or nothing, found a special file",
                    path.display()
                )))
            }
            Ok(found) => Some(found),
            Err(e) if absent(&e) => None,
            Err(error) => return Err(io(path, &error)),
        };
        accessat(CWD, &folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(|error| io(&folder, &error.into()))?;
        Ok(Place { path: target, folder, before })
    }

    /// Removes what killed processes left in the folder. Failing to is harmless: it is tidying.
    fn tidy(&self) {
        let Some(before) = SystemTime::now().checked_sub(ABANDONED) else { return };
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let random = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX));
            let ours = random.is_some_and(|random| {
                random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
            });
            let old = |found: Metadata| {
                found.is_file() && found.modified().is_ok_and(|modified| modified < before)
            };
            if ours && entry.metadata().is_ok_and(old) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The path behind symbolic links; the last of them may lead to nothing.
fn follow(path: &Path) -> Result<PathBuf> {
    let mut target = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        match std::fs::read_link(&target) {
            Ok(next) => target = folder_of(&target).join(next),
            // It is no link.
            Err(e) if e.kind() == ErrorKind::InvalidInput => return Ok(target),
            Err(e) if absent(&e) => return Ok(target),
            Err(error) => return Err(io(path, &error)),
        }
    }
    Err(Error::Io(format!("{}: more than {MOST_LINKS} symbolic links", path.display())))
}

/// Nothing is there, or a file where a folder of the path should be.
fn absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn is_a_folder(path: &Path) -> Error {
    Error::InvalidArgument(format!("{}: is a folder", path.display()))
}

pub(super) fn save_one(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut std::fs::File>) -> Result<()>,
) -> Result<()> {
    let place = Place::find(path)?;
    place.tidy();
    let written = write_beside(path, &place, write)?;
    put_in_place(written, &place.path)
}

/// Writes a file to `path`, whatever its ending, whole or not at all.
pub fn save_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    save_one(path, |sink| write(sink))
}

/// Writes pixels R, G, B as one picture to `path`, which must end in `.png`.
pub fn save_png(path: &Path, width: usize, height: usize, rgb8: &[u8]) -> Result<()> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if !ending.eq_ignore_ascii_case("png") {
        return Err(Error::InvalidArgument(format!(
            "path of a picture must end in .png, found {:?}",
            path.display().to_string()
        )));
    }
    save_one(path, |sink| png::write(width, height, rgb8, sink))
}

fn save_sequence(clip: &Clip, path: &Path) -> Result<()> {
    let paths = png::paths(path, clip.frames().len())?;
    // All places are looked at before anything is written.
    let places = paths.iter().map(|path| Place::find(path)).collect::<Result<Vec<_>>>()?;
    if let Some(place) = places.first() {
        place.tidy();
    }
    let mut written = Vec::with_capacity(paths.len());
    for ((frame, path), place) in clip.frames().zip(&paths).zip(&places) {
        written.push(write_beside(path, place, |sink| {
            png::write(clip.width(), clip.height(), frame, sink)
        })?);
    }
    let places: Vec<_> = places.into_iter().map(|place| place.path).collect();
    put_all_in_place(written, &places)
}

/// Renames the files into place. If one fails, those that were not there before are removed
/// again.
fn put_all_in_place(written: Vec<TempPath>, paths: &[PathBuf]) -> Result<()> {
    let mut made = Vec::new();
    for (written, path) in written.into_iter().zip(paths) {
        let is_new = !path.exists();
        if let Err(error) = put_in_place(written, path) {
            for path in made {
                // Nothing more can be done about a file that cannot be removed.
                let _ = std::fs::remove_file(path);
            }
            return Err(error);
        }
        if is_new {
            made.push(path);
        }
    }
    Ok(())
}

/// A whole file under a temporary name beside `place`, which is gone when it is dropped. `path`
/// is what the host calls it.
fn write_beside(
    path: &Path,
    place: &Place,
    write: impl FnOnce(&mut BufWriter<&mut std::fs::File>) -> Result<()>,
) -> Result<TempPath> {
    let mode = place.before.as_ref().map(|before| before.mode() & 0o777);
    let mut file = tempfile::Builder::new()
        .prefix(PREFIX)
        .suffix(SUFFIX)
        // As for any new file; the process's umask is taken off. A file that others may not read
        // is closed to them from the start.
        .permissions(Permissions::from_mode(mode.unwrap_or(0o666)))
        .tempfile_in(&place.folder)
        .map_err(|error| io(path, &error))?;
    if let (Some(mode), Some(before)) = (mode, &place.before) {
        let own = file.as_file().metadata().map_err(|error| io(path, &error))?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            // Only the superuser may; for anybody else the new file is his own.
            let _ = fchown(file.as_file(), Some(before.uid()), Some(before.gid()));
        }
        let permissions = Permissions::from_mode(mode);
        file.as_file().set_permissions(permissions).map_err(|error| io(path, &error))?;
    }
    let mut sink = BufWriter::new(file.as_file_mut());
    write(&mut sink).map_err(|error| error.context(path.display()))?;
    sink.flush().map_err(|error| io(path, &error))?;
    drop(sink);
    // A disk may run full, or a network drive fail, only when the data gets there.
    file.as_file().sync_all().map_err(|error| io(path, &error))?;
    Ok(file.into_temp_path())
}

fn put_in_place(written: TempPath, path: &Path) -> Result<()> {
    written.persist(path).map_err(|error| io(path, &error.error))
}

fn io(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::NotFound => Error::NotFound(message),
        ErrorKind::OutOfMemory => Error::OutOfMemory(message),
        _ => Error::Io(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failure_while_writing_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        std::fs::write(&path, "before").unwrap();
        let error = save_one(&path, |sink| {
            sink.write_all(&[1; 100_000]).unwrap();
            Err(Error::Io("no space".into()))
        })
        .unwrap_err();
        assert_eq!(error, Error::Io(format!("{}: no space", path.display())));
        assert_eq!(names(folder.path()), ["a.gif"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
    }

    #[test]
    fn a_sequence_that_cannot_be_finished_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x_0000.png"), "before").unwrap();
        // The last name is taken by a folder that appears after the checks.
        let paths: Vec<_> =
            (0..3).map(|index| folder.path().join(format!("x_000{index}.png"))).collect();
        let write = |path: &PathBuf| write_beside(path, &Place::find(path).unwrap(), |_| Ok(()));
        let written = paths.iter().map(|path| write(path).unwrap()).collect::<Vec<_>>();
        std::fs::create_dir(&paths[2]).unwrap();
        assert!(matches!(put_all_in_place(written, &paths), Err(Error::Io(_))));
        assert_eq!(names(folder.path()), ["x_0000.png", "x_0002.png"]);
    }

    /// A sink with room for a few bytes, as on a full disk.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let taken = bytes.len().min(self.0);
            if taken == 0 && !bytes.is_empty() {
                return Err(std::io::Error::from(ErrorKind::StorageFull));
            }
            self.0 -= taken;
            Ok(taken)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_format_tells_that_its_sink_is_full_wherever_it_gets_full() {
        let pixels = (0..16 * 16 * 2 * 3).map(|i| (i * 37 % 251) as u8).collect();
        let clip = Clip::new(16, 16, 2, pixels).unwrap();
        fn write(format: usize, clip: &Clip, mut sink: impl Write) -> Result<()> {
            match format {
                0 => mp4::write(clip, 8.0, &mut sink),
                1 => gif::write(clip, 8.0, &mut sink),
                _ => png::write(16, 16, clip.frames().next().unwrap(), &mut sink),
            }
        }
        for format in 0..3 {
            let mut whole = Vec::new();
            write(format, &clip, &mut whole).unwrap();
            for room in [0, 1, 20, whole.len() / 2, whole.len() - 1] {
                let result = write(format, &clip, Full(room));
                assert!(matches!(result, Err(Error::Io(_))), "{format}, {room}: {result:?}");
            }
            assert!(write(format, &clip, Full(whole.len())).is_ok());
        }
    }
}
