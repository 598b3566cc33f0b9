//! Video files: what a player gets out of them, and what is left behind when writing fails.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use cogvideox::video::Clip;
use cogvideox::Error;
use std::path::Path;
use std::process::Command;

/// A disc that moves over a gradient: sharp edges, smooth areas, motion.
fn disc(width: usize, height: usize, frames: usize) -> Clip {
    let mut rgb8 = Vec::new();
    for frame in 0..frames {
        for y in 0..height {
            for x in 0..width {
                let (dx, dy) = (x as f64 - frame as f64 * 2.0 - 10.0, y as f64 - 16.0);
                let inside = dx.hypot(dy) < 8.0;
                let ground = [(x * 200 / width) as u8, (y * 200 / height) as u8, 90];
                rgb8.extend_from_slice(if inside { &[240, 150, 60] } else { &ground });
            }
        }
    }
    Clip::new(width, height, frames, rgb8).unwrap()
}

/// Peak signal-to-noise ratio of 8-bit pixels, in dB.
fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares: f64 = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    10.0 * (255.0f64.powi(2) / (squares / a.len() as f64)).log10()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_mp4_plays_with_its_colours_rate_and_size() {
    use shiguredo_mp4::boxes::SampleEntry;
    use shiguredo_mp4::demux::{Input, Mp4FileDemuxer};

    for (width, height) in [(64, 32), (33, 47)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.MP4");
        let clip = disc(width, height, 9);
        clip.save(&path, 23.976).unwrap();
        assert_eq!(names(folder.path()), ["a.MP4"]);
        let file = std::fs::read(&path).unwrap();
        let place = |name: &[u8]| file.windows(4).position(|window| window == name).unwrap();
        assert!(place(b"moov") < place(b"mdat"), "the index comes first");
        // The colour box: its size, its type, and BT.709 in limited range.
        let colour = b"\0\0\0\x13colrnclx\0\x01\0\x01\0\x01\0";
        assert!(file.windows(colour.len()).any(|window| window == colour));

        let mut demuxer = Mp4FileDemuxer::new();
        demuxer.handle_input(Input { position: 0, data: &file });
        let mut stream = Vec::new();
        let mut decoder = openh264::decoder::Decoder::new().unwrap();
        let mut decoded = 0;
        let frame_bytes = width * height * 3;
        while let Some(sample) = demuxer.next_sample().unwrap() {
            assert_eq!((sample.track.timescale.get(), sample.duration), (23976, 1000));
            assert_eq!(sample.keyframe, decoded == 0);
            stream.clear();
            if let Some(SampleEntry::Avc1(entry)) = sample.sample_entry {
                let sides = (usize::from(entry.visual.width), usize::from(entry.visual.height));
                assert_eq!(sides, (width.next_multiple_of(2), height.next_multiple_of(2)));
                if decoded == 0 {
                    for set in entry.avcc_box.sps_list.iter().chain(&entry.avcc_box.pps_list) {
                        stream.extend_from_slice(&[0, 0, 0, 1]);
                        stream.extend_from_slice(set);
                    }
                }
            }
            let start = sample.data_offset as usize;
            let mut data = &file[start..start + sample.data_size];
            while let Some((length, rest)) = data.split_first_chunk::<4>() {
                let (unit, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
                stream.extend_from_slice(&[0, 0, 0, 1]);
                stream.extend_from_slice(unit);
                data = rest;
            }
            let picture = decoder.decode(&stream).unwrap().expect("a picture for each sample");
            let original = &clip.rgb8()[decoded * frame_bytes..(decoded + 1) * frame_bytes];
            let found = bt709_to_rgb(&picture, width, height);
            let psnr = psnr(&found, original);
            assert!(psnr > 28.0, "frame {decoded} of {width}x{height}: {psnr} dB");
            decoded += 1;
        }
        assert_eq!(decoded, 9);
    }
}

/// The decoder's picture as RGB by ITU-R BT.709-6 in limited range, chroma repeated.
fn bt709_to_rgb(picture: &openh264::decoder::DecodedYUV, width: usize, height: usize) -> Vec<u8> {
    use openh264::formats::YUVSource;
    let (y_stride, u_stride, v_stride) = picture.strides();
    let mut rgb = Vec::new();
    for row in 0..height {
        for column in 0..width {
            let y = f64::from(picture.y()[row * y_stride + column]) - 16.0;
            let u = f64::from(picture.u()[row / 2 * u_stride + column / 2]) - 128.0;
            let v = f64::from(picture.v()[row / 2 * v_stride + column / 2]) - 128.0;
            let (y, u, v) = (y / 219.0, u / 224.0, v / 224.0);
            let (red, blue) = (y + 1.5748 * v, y + 1.8556 * u);
            let green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152;
            rgb.extend([red, green, blue].map(|value| (value * 255.0).round() as u8));
        }
    }
    rgb
}

#[test]
fn a_gif_repeats_for_ever_at_its_rate_with_good_colours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gif");
    let clip = disc(48, 40, 5);
    clip.save(&path, 8.0).unwrap();
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(std::fs::File::open(&path).unwrap()).unwrap();
    assert_eq!((decoder.width(), decoder.height()), (48, 40));
    let mut found = Vec::new();
    let mut delays = Vec::new();
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        delays.push(frame.delay);
        found.extend(frame.buffer.chunks_exact(4).flat_map(|pixel| pixel[..3].to_vec()));
    }
    assert_eq!(delays, [13, 12, 13, 12, 13]);
    assert_eq!(decoder.repeat(), gif::Repeat::Infinite);
    let psnr = psnr(&found, clip.rgb8());
    assert!(psnr > 30.0, "{psnr} dB");
}

#[test]
fn a_png_sequence_holds_the_exact_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let clip = disc(20, 24, 3);
    clip.save(&folder.path().join("f-%03d.png"), 8.0).unwrap();
    assert_eq!(names(folder.path()), ["f-000.png", "f-001.png", "f-002.png"]);
    for (index, frame) in clip.frames().enumerate() {
        let file = std::fs::File::open(folder.path().join(format!("f-00{index}.png"))).unwrap();
        let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (20, 24));
        assert_eq!(pixels, frame);
    }
}

#[test]
fn what_cannot_be_saved_is_said_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clip = disc(16, 16, 1);
    let save = |name: &str, fps: f64| clip.save(&folder.path().join(name), fps).unwrap_err();
    for name in ["a.avi", "a", ".mp4", "mp4"] {
        let error = save(name, 8.0);
        assert!(matches!(&error, Error::InvalidArgument(m) if m.contains(".mp4, .gif or .png")));
        assert!(error.to_string().contains(name));
    }
    for fps in [0.0, -1.0, f64::NAN, f64::INFINITY, 0.05, 240.5] {
        let error = save("a.mp4", fps);
        assert!(matches!(&error, Error::InvalidArgument(m) if m.contains("[0.1, 240]")), "{error}");
    }
    for ending in ["mp4", "gif", "png"] {
        let error = save(&format!("missing/a.{ending}"), 8.0);
        assert!(matches!(&error, Error::NotFound(m) if m.contains("missing")), "{error}");
    }
    std::fs::create_dir(folder.path().join("taken.gif")).unwrap();
    assert!(matches!(save("taken.gif", 8.0), Error::InvalidArgument(_)));
    assert_eq!(names(folder.path()), ["taken.gif"]);

    let sliver = disc(64, 8, 1);
    let error = sliver.save(&folder.path().join("a.mp4"), 8.0).unwrap_err();
    assert!(matches!(&error, Error::InvalidArgument(m) if m.contains("64x8")), "{error}");
    assert_eq!(names(folder.path()), ["taken.gif"]);
}

/// What runs in a process of its own below, into the folder that CVX_TEST_FOLDER names.
#[test]
fn save_in_child() {
    let Some(folder) = std::env::var_os("CVX_TEST_FOLDER") else { return };
    // Noise, so that no format makes it small.
    let mut state = 1u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    let clip = Clip::new(64, 64, 4, noise.take(64 * 64 * 4 * 3).collect()).unwrap();
    for ending in ["mp4", "gif", "png"] {
        let result = clip.save(&Path::new(&folder).join(format!("a.{ending}")), 120.0);
        println!("{ending}: {}", result.err().map_or("ok".into(), |error| format!("{error:?}")));
    }
}

fn child(folder: &Path, limits: &str) -> (String, String) {
    let this = std::env::current_exe().unwrap();
    let command = format!(
        "{limits} exec '{}' --exact save_in_child --nocapture --test-threads 1",
        this.display()
    );
    let output =
        Command::new("sh").args(["-c", &command]).env("CVX_TEST_FOLDER", folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

#[test]
fn a_file_that_does_not_fit_leaves_no_half_of_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.gif"), "before").unwrap();
    // Files may have 2 blocks of 512 bytes; writing more fails instead of killing.
    let (output, _) = child(folder.path(), "ulimit -f 2; trap '' XFSZ;");
    for ending in ["mp4", "gif", "png"] {
        assert!(
            output.contains(&format!("{ending}: Io(\"{}", folder.path().display())),
            "{output}"
        );
    }
    assert_eq!(names(folder.path()), ["a.gif"]);
    assert_eq!(std::fs::read(folder.path().join("a.gif")).unwrap(), b"before");
}

#[test]
fn encoding_prints_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (output, errors) = child(folder.path(), "");
    assert_eq!(errors, "");
    let lines: Vec<_> = output
        .lines()
        .map(|line| line.strip_prefix("test save_in_child ... ").unwrap_or(line))
        .filter(|line| !line.is_empty() && !line.starts_with("running ") && *line != "ok")
        .filter(|line| !line.starts_with("test result: ok"))
        .collect();
    assert_eq!(lines, ["mp4: ok", "gif: ok", "png: ok"]);
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_file_that_is_replaced_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    for (name, written) in [("a.gif", "a.gif"), ("b.mp4", "b.mp4"), ("c.png", "c_0000.png")] {
        for bits in [0o600, 0o640, 0o666] {
            let path = folder.path().join(written);
            std::fs::write(&path, "before").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(bits)).unwrap();
            disc(16, 16, 1).save(&folder.path().join(name), 8.0).unwrap();
            assert_eq!(mode(&path), bits, "{name}");
            assert_ne!(std::fs::read(&path).unwrap(), b"before");
        }
    }
}

#[test]
fn a_symbolic_link_stays_and_what_it_leads_to_is_written() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("far")).unwrap();
    let target = folder.path().join("far/real.gif");
    let link = folder.path().join("a.gif");
    symlink("second.gif", &link).unwrap();
    symlink("far/real.gif", folder.path().join("second.gif")).unwrap();
    // First it leads to nothing, then to a file.
    for _ in 0..2 {
        disc(16, 16, 1).save(&link, 8.0).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(std::fs::symlink_metadata(&target).unwrap().is_file());
    }
    assert_eq!(names(&folder.path().join("far")), ["real.gif"]);
    assert_eq!(names(folder.path()), ["a.gif", "far", "second.gif"]);

    let looped = folder.path().join("loop.gif");
    symlink("loop.gif", &looped).unwrap();
    let error = disc(16, 16, 1).save(&looped, 8.0).unwrap_err();
    assert!(matches!(&error, Error::Io(m) if m.contains("loop.gif")), "{error}");
}

#[test]
fn what_is_in_the_way_is_told_before_there_is_a_video() {
    use cogvideox::video::save::check;
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    for (taken, path) in [
        ("a_0007.png", "a.png"),
        ("a_12345.png", "a.png"),
        ("f-3.png", "f-%d.png"),
        ("m.mp4", "m.mp4"),
    ] {
        check(&place(path), 8.0).unwrap();
        std::fs::create_dir(place(taken)).unwrap();
        let error = check(&place(path), 8.0).unwrap_err();
        assert!(matches!(&error, Error::InvalidArgument(m) if m.contains(taken)), "{error}");
        std::fs::remove_dir(place(taken)).unwrap();
    }
    // No frame has such a name.
    for free in ["a_007.png", "a_x.png", "a_.png", "a.png", "a_00007.png"] {
        std::fs::create_dir(place(free)).unwrap();
    }
    check(&place("a.png"), 8.0).unwrap();

    assert!(Command::new("mkfifo").arg(place("pipe.gif")).status().unwrap().success());
    for error in [
        check(&place("pipe.gif"), 8.0).unwrap_err(),
        disc(16, 16, 1).save(&place("pipe.gif"), 8.0).unwrap_err(),
    ] {
        assert!(matches!(&error, Error::InvalidArgument(m) if m.contains("special")), "{error}");
    }
}

#[test]
fn a_folder_without_permission_is_not_said_to_be_missing() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for (bits, inside) in [(0o000, "sub/a.gif"), (0o555, "a.gif"), (0o555, "a.png")] {
        let folder = root.path().join("closed");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(bits)).unwrap();
        let path = folder.join(inside);
        // On a thread that is not the superuser's, who may write everywhere.
        let errors = std::thread::spawn(move || {
            // SAFETY: changes what this thread may do with files, and nothing else.
            unsafe { libc::setfsuid(65534) };
            [
                cogvideox::video::save::check(&path, 8.0).unwrap_err(),
                disc(16, 16, 1).save(&path, 8.0).unwrap_err(),
            ]
        });
        for error in errors.join().unwrap() {
            assert!(matches!(&error, Error::Io(m) if m.contains("denied")), "{error:?}");
        }
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn what_killed_processes_left_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 60 * 60);
    for (name, old) in [
        (".cvx-aB3xY9.part", true),
        (".cvx-aB3xY8.part", false),
        (".cvx-aB3xY.part", true),
        (".cvx-notes.part", true),
        (".cvx-aB3xY9.gif", true),
    ] {
        let file = std::fs::File::create(folder.path().join(name)).unwrap();
        if old {
            file.set_modified(long_ago).unwrap();
        }
    }
    disc(16, 16, 1).save(&folder.path().join("a.png"), 8.0).unwrap();
    let left =
        [".cvx-aB3xY.part", ".cvx-aB3xY8.part", ".cvx-aB3xY9.gif", ".cvx-notes.part", "a_0000.png"];
    assert_eq!(names(folder.path()), left);
}

/// What runs in a process of its own below, with CVX_TEST_ROOM MiB of address space left.
#[test]
fn encode_in_child() {
    let Ok(room) = std::env::var("CVX_TEST_ROOM") else { return };
    let clip = disc(512, 512, 2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let used = pages.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096;
    let most = used + (room.parse::<u64>().unwrap() << 20);
    let limit = libc::rlimit { rlim_cur: most, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: changes a limit of this process.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    let result = clip.save(&path, 8.0);
    let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = peak.lines().find(|line| line.starts_with("VmPeak")).unwrap_or_default();
    println!("saved: {result:?} {peak} of {used}");
}

#[test]
fn too_little_memory_for_the_encoder_is_an_error() {
    let mut refused = 0;
    for room in [0, 1, 2, 4, 8, 11, 13, 40] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "encode_in_child", "--nocapture", "--test-threads", "1"])
            .env("CVX_TEST_ROOM", room.to_string())
            // Else each thread has address space of its own in reserve.
            .env("MALLOC_ARENA_MAX", "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{room} MiB: {} {text}", output.status);
        if text.contains("saved: Err(OutOfMemory(") {
            refused += 1;
        } else {
            assert!(text.contains("saved: Ok(())"), "{room} MiB: {text}");
        }
    }
    assert!((1..8).contains(&refused), "{refused} of 8 refused");
}
