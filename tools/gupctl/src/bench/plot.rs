// SPDX-License-Identifier: GPL-2.0

//! Pictures (SVG) of measurements.

use std::{
    fs,
    io,
    path::Path, //
};

use plotters::{
    coord::{
        ranged1d::{
            KeyPointHint,
            NoDefaultFormatting,
            Ranged,
            ValueFormatter, //
        },
        Shift, //
    },
    prelude::*, //
};

use super::report::{
    Report,
    Row, //
};
use crate::size;

const SIZE: (u32, u32) = (720, 400);
pub(crate) const FONT: &str = "sans-serif";
const KERNEL_COLOUR: RGBColor = RGBColor(0x60, 0x60, 0x60);
const RUST_COLOUR: RGBColor = RGBColor(0xc4, 0x4e, 0x1a);
const PAGES_COLOUR: RGBColor = RGBColor(0x1f, 0x77, 0xb4);

/// Name and colour of each engine.
const ENGINES: [(&str, RGBColor); 2] = [("rust", RUST_COLOUR), ("rust-pages", PAGES_COLOUR)];

/// The bars show measurements with this number of pages a call.
const BAR_PAGES_PER_CALL: u32 = 512;

/// Writes all pictures that the measurements allow into a folder.
pub(crate) fn write_all(reports: &[&Report], folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    // Of several runs use the windows of the first one. Runs with other windows are not drawn.
    let Some(report) = reports.first() else {
        return Ok(());
    };
    let unit = report.machine.unit.name();
    let rows: Vec<_> = reports
        .iter()
        .filter(|other| other.window_entries == report.window_entries)
        .flat_map(|report| &report.measurements)
        .filter(|row| row.is_measured() && row.access == "write")
        .collect();
    for how in ["get", "pin"] {
        let of_how: Vec<_> = rows.iter().copied().filter(|row| row.how == how).collect();
        for kind in kinds(&of_how) {
            let chart = CostBySize::of(&of_how, kind);
            if chart.kernel.len() > 1 {
                let name = format!("cost-{kind}-{how}.svg");
                let caption = format!("{kind}, {how}: {unit} a page, by bytes a call");
                save(folder, &name, SIZE, |area| chart.draw(area, &caption))?;
            }
        }
    }
    let bars = Bars::of(&rows);
    if !bars.0.is_empty() {
        let caption =
            format!("times as fast as the kernel ({unit}, {BAR_PAGES_PER_CALL} pages a call)");
        save(folder, "ratios.svg", bars.size(), |area| {
            bars.draw(area, &caption)
        })?;
    }
    Ok(())
}

/// Draws a picture into the file `name` of a folder.
pub(crate) fn save(
    folder: &Path,
    name: &str,
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> DrawResult,
) -> io::Result<()> {
    let mut svg = String::new();
    draw(&SVGBackend::with_string(&mut svg, size).into_drawing_area())
        .map_err(|err| io::Error::other(format!("cannot draw {name}: {err}")))?;
    fs::write(folder.join(name), svg)
}

/// Returns the kinds of the rows, each once.
fn kinds<'a>(rows: &[&'a Row]) -> Vec<&'a str> {
    let mut kinds = Vec::new();
    for row in rows {
        if !kinds.contains(&row.kind.as_str()) {
            kinds.push(&row.kind);
        }
    }
    kinds
}

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type DrawResult = Result<(), Box<dyn std::error::Error>>;

/// Cost of a page against the size of the range. One call takes the whole range.
#[derive(Default)]
struct CostBySize {
    kernel: Vec<(f64, f64)>,
    engines: [Vec<(f64, f64)>; ENGINES.len()],
}

impl CostBySize {
    fn of(rows: &[&Row], kind: &str) -> Self {
        let mut chart = Self::default();
        let of_kind = rows
            .iter()
            .filter(|row| row.kind == kind && row.is_one_call());
        for row in of_kind {
            let Some((kernel, other)) = row.sides() else {
                continue;
            };
            let bytes = row.len_bytes as f64;
            if !chart.kernel.iter().any(|(x, _)| *x == bytes) {
                chart.kernel.push((bytes, kernel.take.median));
            }
            for ((name, _), line) in ENGINES.iter().zip(&mut chart.engines) {
                if row.engine == *name {
                    line.push((bytes, other.take.median));
                }
            }
        }
        for line in chart.engines.iter_mut().chain([&mut chart.kernel]) {
            line.sort_by(|a, b| a.0.total_cmp(&b.0));
            line.dedup_by_key(|point| point.0);
            // A logarithmic axis cannot show a cost that is too small, or zero.
            for point in line {
                point.1 = point.1.max(LEAST_COST);
            }
        }
        chart
    }

    fn draw(&self, area: &Area<'_>, caption: &str) -> DrawResult {
        let all = || self.engines.iter().chain([&self.kernel]).flatten();
        let most = |coordinate: fn(&(f64, f64)) -> f64| all().map(coordinate).fold(0.0, f64::max);
        let least = |coordinate: fn(&(f64, f64)) -> f64| {
            all().map(coordinate).fold(f64::INFINITY, f64::min)
        };
        let x = Powers::new(8, least(|p| p.0), most(|p| p.0));
        let y = Powers::new(10, least(|p| p.1), most(|p| p.1));

        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(area)
            .caption(caption, (FONT, 18))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(60)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .label_style((FONT, 14))
            .x_label_formatter(&|bytes| size::format(*bytes as u64))
            .y_label_formatter(&|cost| format!("{cost}"))
            .draw()?;
        let lines = [("kernel", KERNEL_COLOUR, &self.kernel)]
            .into_iter()
            .chain(
                ENGINES
                    .iter()
                    .zip(&self.engines)
                    .map(|((name, colour), line)| (*name, *colour, line)),
            )
            .filter(|(_, _, line)| !line.is_empty());
        for (name, colour, line) in lines {
            let series =
                LineSeries::new(line.iter().copied(), colour.stroke_width(2)).point_size(3);
            chart
                .draw_series(series)?
                .label(name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font((FONT, 14))
            .background_style(WHITE)
            .border_style(KERNEL_COLOUR)
            .draw()?;
        area.present()?;
        Ok(())
    }
}

/// Smaller costs are drawn here.
const LEAST_COST: f64 = 0.001;

/// A logarithmic axis that begins and ends at a power of its base, and has a label at each power.
struct Powers {
    base: f64,
    first: i32,
    last: i32,
}

impl Powers {
    /// Makes an axis from a power that is no larger than `least` to a power that is no smaller than `most`.
    fn new(base: u32, least: f64, most: f64) -> Self {
        let base = f64::from(base);
        let exponent = |number: f64| number.ln() / base.ln();
        // The small number corrects rounding errors of the logarithm, so that an exact power stays what it is.
        let first = (exponent(least) + 1e-9).floor() as i32;
        let last = (exponent(most) - 1e-9).ceil() as i32;
        Self {
            base,
            first,
            last: last.max(first + 1),
        }
    }
}

impl Ranged for Powers {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let exponent = value.ln() / self.base.ln();
        let part = (exponent - f64::from(self.first)) / f64::from(self.last - self.first);
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        (self.first..=self.last)
            .map(|exponent| self.base.powi(exponent))
            .collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.base.powi(self.first)..self.base.powi(self.last)
    }
}

impl ValueFormatter<f64> for Powers {
    fn format(value: &f64) -> String {
        value.to_string()
    }
}

/// Ratios by kind and way of taking: how many times as fast as the kernel each engine is.
struct Bars(Vec<(String, [Option<f64>; ENGINES.len()])>);

impl Bars {
    fn of(rows: &[&Row]) -> Self {
        let mut bars: Vec<(String, [Option<f64>; ENGINES.len()])> = Vec::new();
        let rows: Vec<_> = rows
            .iter()
            .copied()
            .filter(|row| row.is_in_calls_of(BAR_PAGES_PER_CALL) && row.len_bytes == 2 << 20)
            .collect();
        for kind in kinds(&rows) {
            for how in ["get", "pin"] {
                let ratios = ENGINES.map(|(engine, _)| {
                    rows.iter()
                        .find(|row| row.kind == kind && row.how == how && row.engine == engine)
                        .and_then(|row| row.take_ratio())
                });
                if ratios.iter().any(Option::is_some) {
                    bars.push((format!("{kind}, {how}"), ratios));
                }
            }
        }
        Self(bars)
    }

    fn size(&self) -> (u32, u32) {
        (SIZE.0, 90 + 36 * self.0.len() as u32)
    }

    /// Draws horizontal bars that begin at 1, with their numbers.
    fn draw(&self, area: &Area<'_>, caption: &str) -> DrawResult {
        let ratios = || {
            self.0
                .iter()
                .flat_map(|(_, ratios)| ratios.iter().flatten())
        };
        let least = ratios().copied().fold(1.0, f64::min);
        let most = ratios().copied().fold(2.0, f64::max);
        // Leave room for the number on the right of the longest bar.
        let x = Powers::new(2, least, 1.4 * most);
        let left = x.range().start;
        let nr_bars = self.0.len() as f64;

        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(area)
            .caption(caption, (FONT, 18))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(170)
            .build_cartesian_2d(x, nr_bars..0.0)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .disable_y_mesh()
            .disable_y_axis()
            .label_style((FONT, 14))
            .x_label_formatter(&|ratio| format!("{ratio}x"))
            .draw()?;
        for (number, (engine, colour)) in ENGINES.iter().enumerate() {
            let bars = self.0.iter().enumerate().filter_map(|(bar, (_, ratios))| {
                let top = bar as f64 + 0.12 + 0.38 * number as f64;
                let ratio = ratios[number]?;
                Some(Rectangle::new(
                    [(1.0, top), (ratio, top + 0.36)],
                    colour.filled(),
                ))
            });
            chart
                .draw_series(bars)?
                .label(*engine)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 20, y + 5)], colour.filled())
                });
        }
        // Draw the texts next to the bars: names to the left of the axis, numbers to the right of the bars.
        for (bar, (name, ratios)) in self.0.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(left, bar as f64 + 0.5));
            area.draw(&Text::new(
                name.clone(),
                (x - 165, y - 7),
                (FONT, 14).into_text_style(area),
            ))?;
            for (number, ratio) in ratios.iter().enumerate() {
                let Some(ratio) = *ratio else {
                    continue;
                };
                let middle = bar as f64 + 0.30 + 0.38 * number as f64;
                let (x, y) = chart.backend_coord(&(ratio.max(1.0), middle));
                let text = format!("{ratio:.2}");
                area.draw(&Text::new(
                    text,
                    (x + 4, y - 6),
                    (FONT, 12).into_text_style(area),
                ))?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .label_font((FONT, 14))
            .background_style(WHITE)
            .border_style(KERNEL_COLOUR)
            .draw()?;
        area.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::report::tests::{
            report,
            row, //
        },
        *,
    };

    #[test]
    fn an_axis_spans_whole_powers() {
        let axis = Powers::new(8, 4096.0, 1073741824.0);
        assert_eq!((axis.first, axis.last), (4, 10));
        assert_eq!(axis.map(&4096.0, (0, 600)), 0);
        assert_eq!(axis.map(&32768.0, (0, 600)), 100);
        assert_eq!(axis.map(&1073741824.0, (600, 0)), 0);
        let axis = Powers::new(10, 1.3, 184.0);
        assert_eq!((axis.first, axis.last), (0, 3));
        // A single value also gives an axis.
        let axis = Powers::new(10, 100.0, 100.0);
        assert_eq!((axis.first, axis.last), (2, 3));
    }

    fn rows() -> Vec<Row> {
        let mut rows = Vec::new();
        for (len_bytes, nr_pages) in [(2 << 20, 512), (4096, 1)] {
            for (engine, cost) in [("rust", 60.0), ("rust-pages", 90.0)] {
                rows.push(row(
                    ("anon-4k", "pin", engine),
                    len_bytes,
                    nr_pages,
                    [240.0, cost],
                ));
            }
        }
        // This measurement took the range with several calls.
        rows.push(row(("anon-4k", "pin", "rust"), 2 << 20, 1, [900.0, 400.0]));
        rows
    }

    #[test]
    fn a_line_has_each_size_once_and_in_order() {
        let rows = rows();
        let chart = CostBySize::of(&rows.iter().collect::<Vec<_>>(), "anon-4k");
        assert_eq!(chart.kernel, [(4096.0, 240.0), (2097152.0, 240.0)]);
        assert_eq!(chart.engines[0], [(4096.0, 60.0), (2097152.0, 60.0)]);
        assert_eq!(chart.engines[1], [(4096.0, 90.0), (2097152.0, 90.0)]);
    }

    #[test]
    fn bars_are_those_of_whole_calls() {
        let rows = rows();
        let bars = Bars::of(&rows.iter().collect::<Vec<_>>());
        assert_eq!(bars.0.len(), 1);
        assert_eq!(bars.0[0].0, "anon-4k, pin");
        assert_eq!(bars.0[0].1[0], Some(4.0));
    }

    #[test]
    fn pictures_show_what_was_measured() {
        let folder = std::env::temp_dir().join(format!("rust_gup-plot-{}", std::process::id()));
        // A run with other windows is another measurement.
        let other = report(
            65536,
            vec![row(("thp-2m", "pin", "rust"), 2 << 20, 512, [9.0, 1.0])],
        );
        write_all(&[&report(256, rows()), &other], &folder).expect("it can be drawn");
        let svg = |name| fs::read_to_string(folder.join(name)).expect("it was drawn");
        let lines = svg("cost-anon-4k-pin.svg");
        assert!(lines.starts_with("<svg") && lines.trim_end().ends_with("</svg>"));
        for text in ["kernel", "rust-pages", "4K", "2M", "instructions a page"] {
            assert!(lines.contains(text), "{text}");
        }
        assert!(svg("ratios.svg").contains("4.00"));
        assert!(!svg("ratios.svg").contains("thp-2m"));
        assert!(!folder.join("cost-thp-2m-pin.svg").exists());
        fs::remove_dir_all(folder).expect("it was there");
    }
}
