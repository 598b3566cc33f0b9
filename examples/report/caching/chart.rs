//! The chart: speed-up against PSNR, a color for each technique.

use super::measure::Measured;
use super::Conditions;
use crate::machine::Clock;
use crate::settings::{Setting, Technique, SKIP_RANGES};
use crate::Result;
use plotters::coord::types::RangedCoordf64;
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

/// A white card with dark letters: it reads on light and on dark pages alike.
const CARD: RGBColor = WHITE;
const INK: RGBColor = RGBColor(38, 38, 38);
const FAINT: RGBColor = RGBColor(225, 225, 225);
const SIZE: (u32, u32) = (1000, 700);
const FONT: &str = "Helvetica, Arial, sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn color(technique: Technique) -> RGBColor {
    match technique {
        Technique::Pab => RGBColor(0, 95, 184),
        Technique::FasterCache => RGBColor(200, 72, 10),
        Technique::TaylorSeer => RGBColor(120, 60, 160),
        Technique::MagCache => RGBColor(20, 130, 120),
        Technique::TeaCache => RGBColor(120, 120, 120),
        Technique::FirstBlockCache => RGBColor(190, 40, 110),
        Technique::CfgCache => RGBColor(150, 110, 20),
        Technique::Tuned => RGBColor(20, 130, 40),
    }
}

/// A curve through the settings of a technique, from mild to strong.
struct Curve {
    label: String,
    color: RGBColor,
    dash: Dash,
    /// Speed-up and PSNR of each.
    points: Vec<(f64, f64)>,
}

/// Pixels drawn and left out; `None` for a line without gaps.
type Dash = Option<(u32, u32)>;

/// Presets that are one point in the chart.
struct Preset {
    technique: Technique,
    label: String,
    point: (f64, f64),
}

fn point(one: &Measured) -> (f64, f64) {
    (one.median(|clip| clip.speed_up), one.median(|clip| clip.psnr))
}

/// What has a place in the chart: a PSNR that is a number.
fn finite(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
}

fn curves(measured: &[Measured]) -> Vec<Curve> {
    let through = |wanted: &dyn Fn(&Setting) -> bool| {
        finite(measured.iter().filter(|one| wanted(&one.setting)).map(point))
    };
    let mut curves = Vec::new();
    for technique in Technique::OF_ATTENTION {
        let dashes = [Some((9, 5)), None, Some((2, 4))];
        for (window, dash) in technique.windows().into_iter().zip(dashes) {
            curves.push(Curve {
                label: format!("{}, window: {}", technique.label(), window.name),
                color: color(technique),
                dash,
                points: through(&|setting| {
                    matches!(setting, Setting::SkipRange(t, _, w) if (*t, *w) == (technique, window))
                }),
            });
        }
    }
    curves.push(Curve {
        label: "FasterCache, unconditional half: 2nd to 5th".to_string(),
        color: RGBColor(150, 95, 0),
        dash: None,
        points: through(&|setting| matches!(setting, Setting::UnconditionalSkipRange(_))),
    });
    for technique in Technique::ALL {
        // TaylorSeer has one curve for each part of the model that it predicts.
        for part in ["lite", "modules", ""] {
            let of_part = |name: &str| match part {
                "" => !name.starts_with("lite") && !name.starts_with("modules"),
                part => name.starts_with(part),
            };
            let points = through(&|setting| {
                matches!(setting, Setting::Written(one)
                    if one.technique == technique && of_part(one.name))
            });
            if !points.is_empty() {
                curves.push(Curve {
                    label: format!("{} {part}", technique.label()).trim_end().to_string(),
                    color: color(technique),
                    dash: (part == "modules").then_some((2, 4)),
                    points,
                });
            }
        }
    }
    curves
}

/// Presets of one technique with the same frames share a label.
fn presets(measured: &[Measured]) -> Vec<Preset> {
    let mut presets: Vec<Preset> = Vec::new();
    for one in measured {
        let (Setting::Preset(technique, name), (_, psnr)) = (one.setting, point(one)) else {
            continue;
        };
        let same = |other: &&mut Preset| other.technique == technique && other.point.1 == psnr;
        match presets.iter_mut().find(same) {
            Some(other) => other.label = format!("{} = {name}", other.label),
            None if psnr.is_finite() => presets.push(Preset {
                technique,
                label: format!("{} {name}", technique.label()),
                point: point(one),
            }),
            None => {}
        }
    }
    presets
}

/// Writes the chart as SVG.
pub fn draw(conditions: &Conditions, measured: &[Measured], path: &Path) -> Result<()> {
    let (curves, presets) = (curves(measured), presets(measured));
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&CARD)?;
    let all = curves.iter().flat_map(|curve| &curve.points).chain(presets.iter().map(|p| &p.point));
    let (mut x, mut y) = ((1.0, 1.0f64), (f64::INFINITY, f64::NEG_INFINITY));
    for &(speed_up, psnr) in all {
        x = (f64::min(x.0, speed_up), f64::max(x.1, speed_up));
        y = (y.0.min(psnr), y.1.max(psnr));
    }
    if y.0 > y.1 {
        y = (0.0, 60.0); // Nothing was reused: axes without points.
    }
    let (wide, high) = ((x.1 - x.0).max(0.1), (y.1 - y.0).max(5.0));
    let mut chart = ChartBuilder::on(&area)
        .margin(18)
        .margin_top(78)
        .margin_right(28)
        .x_label_area_size(58)
        .y_label_area_size(70)
        .build_cartesian_2d(
            x.0 - 0.03 * wide..x.1 + 0.06 * wide,
            y.0 - 0.06 * high..y.1 + 0.06 * high,
        )?;
    chart
        .configure_mesh()
        .x_desc(match conditions.clock {
            Clock::Wall => "times as fast as uncached, prompt to last frame",
            Clock::Processor => "times less processor time than uncached, prompt to last frame",
        })
        .y_desc("PSNR against uncached, dB")
        .x_label_formatter(&|x| format!("{x:.1}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .x_labels(10)
        .y_labels(8)
        .label_style((FONT, 18, &INK))
        .axis_desc_style((FONT, 19, &INK))
        .axis_style(INK)
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for curve in &curves {
        draw_curve(&mut chart, curve)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .margin(12)
        .legend_area_size(46)
        .label_font((FONT, 17, &INK))
        .background_style(CARD.mix(0.9))
        .border_style(FAINT)
        .draw()?;
    let middle = Pos::new(HPos::Center, VPos::Top);
    for (text, top, size) in [
        ("Caching: speed against likeness to the uncached run", 16, 25),
        ("diamonds: presets; curves: from mild to strong settings of a technique", 50, 17),
    ] {
        let style = (FONT, size, &INK).into_text_style(&area).pos(middle);
        area.draw(&Text::new(text, (SIZE.0 as i32 / 2, top), style))?;
    }
    let pixels = |point: &(f64, f64)| chart.backend_coord(point);
    label_points(&area, &curves, &presets, &pixels)?;
    area.present()?;
    Ok(())
}

fn draw_curve(chart: &mut Chart, curve: &Curve) -> Result<()> {
    let (style, dash) = (curve.color.stroke_width(2), curve.dash);
    let path = curve.points.clone();
    let series = match dash {
        None => chart.draw_series(LineSeries::new(path, style))?,
        Some((drawn, left_out)) => {
            chart.draw_series(DashedLineSeries::new(path, drawn, left_out, style))?
        }
    };
    series.label(&curve.label).legend(move |(x, y)| {
        let line = [(x, y), (x + 40, y)];
        let (drawn, left_out) = dash.unwrap_or((40, 0));
        DashedPathElement::new(line, drawn, left_out, style)
    });
    Ok(())
}

/// A place in pixels, and a rectangle: left, top, right, bottom.
type Pixel = (i32, i32);
type Space = (i32, i32, i32, i32);

/// Draws the points, with the skip ranges at them and the presets' names near theirs, where
/// there is room.
fn label_points(
    area: &Area,
    curves: &[Curve],
    presets: &[Preset],
    pixels: &dyn Fn(&(f64, f64)) -> Pixel,
) -> Result<()> {
    let mut taken: Vec<Space> = Vec::new();
    let around = |(x, y): Pixel, radius: i32| (x - radius, y - radius, x + radius, y + radius);
    for curve in curves {
        for point in &curve.points {
            area.draw(&Circle::new(pixels(point), 4, curve.color.filled()))?;
            taken.push(around(pixels(point), 4));
        }
    }
    for preset in presets {
        let (x, y) = pixels(&preset.point);
        let diamond = |r: i32| vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)];
        area.draw(&Polygon::new(diamond(12), CARD))?;
        area.draw(&Polygon::new(diamond(10), color(preset.technique)))?;
        taken.push(around((x, y), 10));
    }
    for preset in presets {
        let style = (FONT, 18, &color(preset.technique));
        label(area, &mut taken, &preset.label, pixels(&preset.point), 14, style)?;
    }
    for curve in curves {
        for (n, point) in SKIP_RANGES.iter().zip(&curve.points) {
            label(area, &mut taken, &n.to_string(), pixels(point), 6, (FONT, 15, &curve.color))?;
        }
    }
    Ok(())
}

/// Writes a text near a point, at the first of some places that nothing takes yet.
fn label(
    area: &Area,
    taken: &mut Vec<Space>,
    text: &str,
    (x, y): Pixel,
    distance: i32,
    (font, size, color): (&str, i32, &RGBColor),
) -> Result<()> {
    let width = text.chars().count() as i32 * size * 11 / 20; // About: letters differ.
    let (high, wide) = (size / 2, width / 2);
    let mut places = Vec::new();
    for far in [distance, 2 * distance, 4 * distance] {
        places.extend([
            (x + far, y - high),
            (x - far - width, y - high),
            (x - wide, y - far - size),
            (x - wide, y + far),
            (x + far, y - far - high),
            (x + far, y + far - high),
            (x - far - width, y - far - high),
            (x - far - width, y + far - high),
        ]);
    }
    let (most_x, most_y) = (SIZE.0 as i32 - 20, SIZE.1 as i32 - 80);
    let free = |&&(left, top): &&Pixel| {
        let (right, bottom) = (left + width, top + size);
        let clear =
            |other: &Space| right < other.0 || left > other.2 || bottom < other.1 || top > other.3;
        left > 90 && top > 80 && right < most_x && bottom < most_y && taken.iter().all(clear)
    };
    let (left, top) = *places.iter().find(free).unwrap_or(&places[0]);
    taken.push((left, top, left + width, top + size));
    let style = (font, size, color).into_text_style(area).pos(Pos::new(HPos::Left, VPos::Top));
    area.draw(&Text::new(text.to_string(), (left, top), style))?;
    Ok(())
}
