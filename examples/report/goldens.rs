//! What Python made for the tests: see goldens/make.py.

use crate::clip::Clip;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/report/goldens").join(name)
}

pub fn json(name: &str) -> serde_json::Value {
    serde_json::from_reader(BufReader::new(File::open(path(name)).unwrap())).unwrap()
}

/// A clip of square frames, kept as one picture: the frames below each other.
pub fn clip(name: &str) -> Clip {
    let file = BufReader::new(File::open(path(name)).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgb, "{name}");
    let [width, all] = [info.width, info.height].map(|side| side as usize);
    let number = |byte: &u8| f64::from(*byte) / 255.0;
    let pixels = bytes.chunks_exact(3).map(|p| [&p[0], &p[1], &p[2]].map(number)).collect();
    Clip { frames: all / width, height: width, width, pixels }
}
