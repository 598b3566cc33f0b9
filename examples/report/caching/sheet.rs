//! The contact sheet: the library's own, with names at its rows.

use super::measure::Measured;
use super::Conditions;
use crate::handles::{save_contact_sheet, Pipeline};
use crate::settings::{Setting, Technique, SKIP_RANGES};
use crate::Result;
use embedded_graphics::mono_font::ascii::{FONT_10X20, FONT_9X18_BOLD};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Point, Size};
use embedded_graphics::text::{Baseline, Text};
use embedded_graphics::Pixel;
use std::convert::Infallible;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

const COLUMNS: i32 = 6;
/// Pixels left of the rows, for their names.
const MARGIN: usize = 250;

/// The uncached run, the presets, and each technique where it reuses most.
fn is_shown(setting: &Setting) -> bool {
    match setting {
        Setting::Uncached | Setting::Preset(..) => true,
        Setting::Written(written) => written.technique == Technique::Tuned,
        Setting::SkipRange(technique, n, window) => {
            Some(n) == SKIP_RANGES.last() && technique.windows().last() == Some(window)
        }
        _ => false,
    }
}

/// Generates the rows again, of the first clip whose uncached run fulfils its prompt (else of
/// the first), and writes them to `path`.
pub fn draw(
    pipeline: &mut Pipeline,
    conditions: &Conditions,
    measured: &[Measured],
    path: &Path,
) -> Result<()> {
    let uncached = measured.first().map_or(&[][..], |one| &one.clips);
    let clip = uncached.iter().position(|clip| clip.verdict.all()).unwrap_or(0);
    let asked = conditions.clips[clip];
    let mut rows: Vec<&Measured> = measured.iter().filter(|one| is_shown(&one.setting)).collect();
    rows.sort_by_key(|one| one.setting.technique().map(|technique| technique.id() != "pab"));
    let mut videos = Vec::new();
    for row in &rows {
        pipeline.set_cache(row.setting.config()?.as_ref())?;
        let (prompt, steps) = (asked.prompt.to_string(), conditions.steps);
        let run = pipeline.generate(&prompt, asked.seed, steps, conditions.clock)?;
        videos.push(run.video);
    }
    pipeline.set_cache(None)?;
    let folder = tempfile::tempdir()?;
    let bare = folder.path().join("sheet.png");
    save_contact_sheet(&videos, COLUMNS, &bare)?;
    let mut sheet = Sheet::read_with_margin(&bare)?;
    let height = sheet.height / rows.len();
    for (place, row) in rows.iter().enumerate() {
        let of_clip = &row.clips[clip];
        let [first, second] = match (row.setting, row.setting.technique()) {
            (Setting::SkipRange(_, n, window), Some(technique)) => {
                [technique.label().to_string(), format!("range {n}, {}", window.name)]
            }
            (setting, Some(technique)) => [technique.label().to_string(), setting.label()],
            (setting, None) => [setting.label(), asked.prompt.words()[..2].join(" ")],
        };
        let numbers = match of_clip.psnr {
            psnr if psnr.is_finite() => {
                format!("{psnr:.1} dB, {:.2}x", row.median(|clip| clip.speed_up))
            }
            _ => String::new(),
        };
        let (left, top) = (12, (place * height + height / 2) as i32 - 34);
        sheet.write(&first, left, top, &FONT_9X18_BOLD);
        sheet.write(&second, left, top + 24, &FONT_10X20);
        sheet.write(&numbers, left, top + 48, &FONT_10X20);
    }
    sheet.save(path)
}

/// A picture of bytes R, G, B.
struct Sheet {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Sheet {
    /// The picture with a margin left of it, in the color of its first pixel.
    fn read_with_margin(path: &Path) -> Result<Sheet> {
        let mut reader = png::Decoder::new(BufReader::new(File::open(path)?)).read_info()?;
        let mut bytes = vec![0; reader.output_buffer_size().ok_or("a picture without a size")?];
        let info = reader.next_frame(&mut bytes)?;
        if (info.color_type, info.bit_depth) != (png::ColorType::Rgb, png::BitDepth::Eight) {
            return Err("contact sheet: expected bytes R, G, B".into());
        }
        let margin = bytes[..3].repeat(MARGIN);
        let rows = bytes.chunks_exact(info.line_size);
        let bytes = rows.flat_map(|row| [&margin, row].concat()).collect();
        Ok(Sheet { width: info.width as usize + MARGIN, height: info.height as usize, bytes })
    }

    fn write(&mut self, text: &str, left: i32, top: i32, font: &MonoFont) {
        let style = MonoTextStyle::new(font, Rgb888::WHITE);
        let text = Text::with_baseline(text, Point::new(left, top), style, Baseline::Top);
        let Ok(_) = text.draw(self);
    }

    fn save(&self, path: &Path) -> Result<()> {
        let file = BufWriter::new(File::create(path)?);
        let mut encoder = png::Encoder::new(file, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::High);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.bytes)?;
        writer.finish()?;
        Ok(())
    }
}

impl OriginDimensions for Sheet {
    fn size(&self) -> Size {
        Size::new(self.width as u32, self.height as u32)
    }
}

impl DrawTarget for Sheet {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> std::result::Result<(), Infallible> {
        for Pixel(Point { x, y }, color) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else {
                continue; // Left of the picture or above it.
            };
            if x < self.width && y < self.height {
                let place = (y * self.width + x) * 3;
                self.bytes[place..place + 3].copy_from_slice(&[color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}
