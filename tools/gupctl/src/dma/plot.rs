// SPDX-License-Identifier: GPL-2.0

//! Pictures (SVG) of registrations, one for each size.

use std::{
    fs,
    io,
    path::Path, //
};

use plotters::prelude::*;

use super::{
    Outcome,
    Phases,
    Row, //
};
use crate::{
    bench::plot::{
        save,
        Area,
        DrawResult,
        FONT, //
    },
    size, //
};

/// Name of a phase, its colour, and the function that returns its cost.
type Phase = (&'static str, RGBColor, fn(&Phases) -> u64);

/// The phases of a registration, drawn from left to right.
const PHASES: [Phase; 5] = [
    ("take", RGBColor(0xc4, 0x4e, 0x1a), |p| p.take_ns),
    ("list", RGBColor(0x1f, 0x77, 0xb4), |p| p.list_ns),
    ("map", RGBColor(0x2c, 0x8c, 0x2c), |p| p.map_ns),
    ("unmap", RGBColor(0x9a, 0xcc, 0x9a), |p| p.unmap_ns),
    ("release", RGBColor(0xe8, 0xa8, 0x80), |p| p.release_ns),
];

/// Writes a picture for each size into a folder.
pub(super) fn write_all(rows: &[Row], unit: &str, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut sizes: Vec<_> = rows.iter().map(|row| row.len_bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for len_bytes in sizes {
        let bars = bars(rows, len_bytes);
        if bars.is_empty() {
            continue;
        }
        let bytes = size::format(len_bytes as u64);
        let caption = format!("registering {bytes}: {unit}");
        let height = 100 + 22 * u32::try_from(bars.len()).unwrap_or(u32::MAX);
        save(folder, &format!("dma-{bytes}.svg"), (720, height), |area| {
            draw(area, &bars, &caption)
        })?;
    }
    Ok(())
}

/// Returns a name and a registration for each bar.
fn bars(rows: &[Row], len_bytes: usize) -> Vec<(String, Phases)> {
    let measured = |row: &Row| match row.outcome {
        Outcome::Measured { phases, .. } if row.len_bytes == len_bytes => {
            Some((format!("{}, {}", row.kind, row.method), phases))
        }
        _ => None,
    };
    rows.iter().filter_map(measured).collect()
}

/// Draws horizontal bars that consist of the phases, one after the other.
#[expect(
    clippy::cast_precision_loss,
    reason = "the numbers are far below 2^53, and this is for people to look at"
)]
fn draw(area: &Area<'_>, bars: &[(String, Phases)], caption: &str) -> DrawResult {
    let sum = |phases: &Phases| PHASES.iter().map(|(_, _, of)| of(phases)).sum::<u64>();
    let most = bars.iter().map(|(_, phases)| sum(phases)).max();
    let most = most.unwrap_or_default().max(1) as f64;

    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(caption, (FONT, 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(170)
        // Leave room for the legend on the right of the longest bar.
        .build_cartesian_2d(0.0..most * 1.25, bars.len() as f64..0.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .disable_y_mesh()
        .disable_y_axis()
        .label_style((FONT, 14))
        .x_labels(5)
        .x_label_formatter(&|cost| format!("{cost:.0}"))
        .draw()?;
    for (number, (name, colour, of)) in PHASES.iter().enumerate() {
        let parts = bars.iter().enumerate().map(|(bar, (_, phases))| {
            let earlier = PHASES.iter().take(number).map(|(_, _, of)| of(phases));
            let left = earlier.sum::<u64>() as f64;
            let top = bar as f64 + 0.12;
            let right = left + of(phases) as f64;
            Rectangle::new([(left, top), (right, top + 0.76)], colour.filled())
        });
        chart
            .draw_series(parts)?
            .label(*name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 20, y + 5)], colour.filled()));
    }
    for (bar, (name, _)) in bars.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(0.0, bar as f64 + 0.5));
        area.draw(&Text::new(
            name.clone(),
            (x - 165, y - 7),
            (FONT, 14).into_text_style(area),
        ))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font((FONT, 14))
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(method: &'static str, len_bytes: usize, outcome: Outcome) -> Row {
        Row {
            kind: "thp-2m",
            len_bytes,
            method,
            outcome,
        }
    }

    fn measured(take_ns: u64) -> Outcome {
        Outcome::Measured {
            phases: Phases {
                take_ns,
                map_ns: 7,
                ..Phases::default()
            },
            nr_rounds: 1,
            nr_pages: 1,
            nr_fast: 1,
            nr_entries: 1,
            nr_segments: 1,
            list_bytes: 40,
            list_bytes_per_gib: 40,
            transfer_ns: 0,
            arrived: true,
        }
    }

    #[test]
    fn a_picture_has_a_bar_for_each_method_that_was_measured() {
        let not_available = Outcome::NotAvailable {
            reason: "no".into(),
        };
        let rows = [
            row("kernel", 4096, measured(100)),
            row("rust-runs", 4096, measured(10)),
            row("rust-pages", 4096, not_available),
            row("kernel", 8192, measured(200)),
        ];
        let bars = bars(&rows, 4096);
        assert_eq!(bars.len(), 2);
        let mut svg = String::new();
        draw(
            &SVGBackend::with_string(&mut svg, (720, 140)).into_drawing_area(),
            &bars,
            "registering",
        )
        .expect("it can be drawn");
        assert!(svg.contains("thp-2m, rust-runs") && svg.contains("release"));
        // A phase that takes no time has no width; its place is still a number.
        assert!(!svg.contains("NaN"));
    }
}
