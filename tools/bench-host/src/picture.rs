// SPDX-License-Identifier: GPL-2.0

//! A picture (SVG) of the ratios.

use std::path::Path;

use anyhow::{
    anyhow,
    Result, //
};
use plotters::prelude::*;

use crate::report::Report;

const FONT: &str = "sans-serif";
const COLOUR: RGBColor = RGBColor(0xc4, 0x4e, 0x1a);
const WIDTH: u32 = 800;
const LABELS: u32 = 380;
const BAR: u32 = 18;

/// Draws how many times as fast as the kernel the module is, with a line for the noise.
pub(crate) fn write(report: &Report, folder: &Path) -> Result<()> {
    draw(report, &folder.join("bench-host.svg")).map_err(|err| anyhow!("cannot draw: {err}"))
}

fn draw(report: &Report, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let nr = report.rows.len();
    let area = SVGBackend::new(path, (WIDTH, 80 + BAR * nr as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let most = report
        .rows
        .iter()
        .map(|row| row.ratio.p90)
        .fold(2.0, f64::max);
    let least = report.rows.iter().map(|row| row.ratio.p10);
    let least = least.fold(0.5, f64::min);
    let mut chart = ChartBuilder::on(&area)
        .caption(
            format!(
                "times as fast as {} (ns a page), {}",
                report.kernel, report.processor
            ),
            (FONT, 16),
        )
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(LABELS)
        .build_cartesian_2d((0.9 * least..1.2 * most).log_scale(), (nr as f64)..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .label_style((FONT, 12))
        .draw()?;
    for (i, row) in report.rows.iter().enumerate() {
        let (top, middle) = (i as f64 + 0.15, i as f64 + 0.5);
        let bar = Rectangle::new([(1.0, top), (row.ratio.median, top + 0.7)], COLOUR.filled());
        let noise = PathElement::new([(row.ratio.p10, middle), (row.ratio.p90, middle)], BLACK);
        chart.draw_series([bar])?;
        chart.draw_series([noise])?;
        let (_, y) = chart.backend_coord(&(1.0, middle));
        let style = (FONT, 11).into_text_style(&area);
        area.draw(&Text::new(
            format!("{}  {:.2}", row.name, row.ratio.median),
            (8, y - 6),
            style,
        ))?;
    }
    area.present()?;
    Ok(())
}
