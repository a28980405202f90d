// SPDX-License-Identifier: GPL-2.0

//! `gupctl compare`: compares both engines on the same memory.

use std::{
    collections::BTreeSet,
    io, //
};

use rust_gup_memory::Kind;
use rust_gup_uapi::{
    raw::{
        RUST_GUP_DIFF_PINCOUNT,
        RUST_GUP_DIFF_REFCOUNT,
        RUST_GUP_DIFF_REFERENCED,
        RUST_GUP_FORMAT_S390,
        RUST_GUP_NR_LEVELS, //
    },
    Access,
    Compared,
    Device,
    Fallback,
    How,
    Info,
    Request,
    Stop,
    StopAt, //
};
use serde::{
    Serialize,
    Serializer, //
};

use crate::{
    cli::{
        fallback,
        kinds,
        CompareArgs,
        HowArg, //
    },
    output::{
        count,
        Align,
        Output,
        Table, //
    },
    sample::ratio,
    size,
    Verdict, //
};

/// Numbers of pages by the leaf that maps them: pairs of the leaf's size and the number of pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ByLeaf(Vec<(u64, u64)>);

impl ByLeaf {
    /// Combines the module's counts `nr_by_level` with the sizes of this machine's leaves.
    pub(crate) fn of(
        device: &Device,
        nr_by_level: [u64; RUST_GUP_NR_LEVELS as usize],
    ) -> io::Result<Self> {
        let info = device.info()?;
        let leaves = nr_by_level.into_iter().enumerate();
        let leaves = leaves.filter_map(|(level, nr)| Some((info.leaf_bytes(level)?, nr)));
        Ok(Self(leaves.collect()))
    }

    /// Formats the numbers of leaves, such as `512x 4K, 1x 2M`. Base pages count as leaves.
    pub(crate) fn text(&self) -> String {
        let page_bytes = self.0.first().map_or(1, |(bytes, _)| *bytes);
        let parts: Vec<_> = self
            .0
            .iter()
            .filter(|(_, nr_pages)| *nr_pages != 0)
            .map(|(leaf_bytes, nr_pages)| {
                // A range may begin or end within a leaf.
                let nr_leaves = nr_pages.div_ceil(leaf_bytes / page_bytes);
                format!("{nr_leaves}x {}", size::format(*leaf_bytes))
            })
            .collect();
        if parts.is_empty() {
            "-".into()
        } else {
            parts.join(", ")
        }
    }
}

impl Serialize for ByLeaf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let leaves = self.0.iter();
        serializer.collect_map(leaves.map(|(bytes, nr_pages)| (size::format(*bytes), nr_pages)))
    }
}

/// The stop reason and its place, for machines.
#[derive(Debug, Serialize)]
pub(crate) struct StopReport {
    pub(crate) reason: &'static str,
    pub(crate) sentence: String,
    pub(crate) offset: u64,
}

impl StopReport {
    pub(crate) fn of(stop: StopAt, request: &Request) -> Self {
        Self {
            reason: stop.reason.name(),
            sentence: stop.reason.to_string(),
            offset: stop.addr.saturating_sub(request.addr as u64),
        }
    }
}

/// The outcome of one comparison.
#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The machine cannot make memory of this kind.
    NotAvailable { reason: String },
    /// The module refused to compare.
    Refused { reason: String },
    /// The engines were compared.
    Compared(Box<Comparison>),
}

/// What both engines took from the same range.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    is_equal: bool,
    /// Whether the engines differ as documented, because the kernel takes what nobody may read.
    is_documented: bool,
    /// How often the engines were compared. If others change a count meanwhile, it differs in one comparison, but not
    /// in each one.
    nr_tries: u64,
    differences: Vec<&'static str>,
    /// Offset of the first page that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff_offset: Option<u64>,
    errno_rust: i32,
    errno_kernel: i32,
    len_bytes: u64,
    nr_pages_rust: u64,
    nr_pages_kernel: u64,
    nr_equal: u64,
    nr_fast: u64,
    nr_fast_by_leaf: ByLeaf,
    nr_runs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<StopReport>,
    /// What the fast walk met before anyone had taken the memory.
    first: First,
}

impl Comparison {
    /// Returns the last cells of a row of the table.
    fn cells(&self) -> [String; 8] {
        let nr_pages = if self.nr_pages_rust == self.nr_pages_kernel {
            self.nr_pages_rust.to_string()
        } else {
            format!("{}, kernel {}", self.nr_pages_rust, self.nr_pages_kernel)
        };
        [
            size::format(self.len_bytes),
            nr_pages,
            self.nr_fast_by_leaf.text(),
            self.nr_runs.to_string(),
            match (self.is_equal, self.is_documented) {
                (true, _) => "yes",
                (false, true) => "known",
                (false, false) => "NO",
            }
            .into(),
            percent(self.nr_fast, self.nr_pages_rust),
            percent(self.first.nr_fast, self.first.nr_pages),
            self.notes(),
        ]
    }

    /// Returns remarks that do not fit into numbers.
    fn notes(&self) -> String {
        let differences = self.diff_offset.map(|offset| {
            let differences = self.differences.join(", ");
            format!("differ in {differences} at +{}", size::format(offset))
        });
        let error = match (self.errno_rust, self.errno_kernel) {
            (0, 0) => None,
            (rust, kernel) if rust == kernel => Some(format!("both {}", errno_name(rust))),
            (rust, kernel) => Some(format!(
                "rust {}, kernel {}",
                errno_name(rust),
                errno_name(kernel)
            )),
        };
        let stop = self.first.stop.as_ref();
        let stop = stop.map(|stop| format!("{} at +{}", stop.reason, size::format(stop.offset)));
        let tries = (self.nr_tries > 1).then(|| format!("compared {} times", self.nr_tries));
        let notes: Vec<_> = [differences, error, stop, tries]
            .into_iter()
            .flatten()
            .collect();
        notes.join("; ")
    }
}

/// What the engine in Rust meets in memory that nobody has taken yet.
///
/// Afterwards much of what stops the walk is gone, because taking the pages breaks copy-on-write, unshares pages and
/// migrates them.
#[derive(Debug, Serialize)]
pub(crate) struct First {
    errno: i32,
    nr_pages: u64,
    nr_fast: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<StopReport>,
}

impl First {
    fn of(compared: &Compared, request: &Request) -> Self {
        let stop = compared.stop_first();
        Self {
            errno: compared.raw.errno_first,
            nr_pages: compared.raw.nr_pages_first,
            nr_fast: compared.raw.nr_fast_first,
            stop: stop.map(|stop| StopReport::of(stop, request)),
        }
    }
}

/// One comparison, as a row of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    kind: &'static str,
    access: &'static str,
    how: &'static str,
    fast_only: bool,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// The request that is made for each kind of memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) len_bytes: usize,
    pub(crate) access: Access,
    pub(crate) how: How,
    pub(crate) fallback: Fallback,
}

impl Row {
    /// Makes memory of a kind, and lets both engines take it.
    pub(crate) fn of(device: &Device, kind: Kind, question: Question) -> Self {
        Self {
            kind: kind.name(),
            access: question.access.name(),
            how: question.how.name(),
            fast_only: question.fallback == Fallback::Never,
            outcome: outcome(device, kind, question),
        }
    }

    /// Returns the cells of the row.
    fn cells(&self) -> Vec<String> {
        let how = if self.fast_only {
            format!("{}, fast only", self.how)
        } else {
            self.how.into()
        };
        let mut cells = vec![self.kind.into(), how, self.access.into()];
        match &self.outcome {
            Outcome::NotAvailable { reason } => {
                cells.extend(vec!["-".into(); 7]);
                cells.push(format!("not available: {reason}"));
            }
            Outcome::Refused { reason } => {
                cells.extend(vec!["-".into(); 7]);
                cells.push(format!("refused: {reason}"));
            }
            Outcome::Compared(comparison) => cells.extend(comparison.cells()),
        }
        cells
    }

    /// Returns the names of the stop reasons.
    fn stops(&self) -> impl Iterator<Item = &'static str> + '_ {
        let comparison = match &self.outcome {
            Outcome::Compared(comparison) => Some(comparison),
            _ => None,
        };
        let stop = comparison.and_then(|comparison| comparison.stop.as_ref());
        let first = comparison.and_then(|comparison| comparison.first.stop.as_ref());
        stop.into_iter().chain(first).map(|stop| stop.reason)
    }
}

/// Numbers of ranges of which the fast walk took all pages, some, or none. Ranges are counted, not pages, because one
/// range of 1 GiB has more pages than all others together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Reach {
    all: usize,
    some: usize,
    none: usize,
}

impl Reach {
    /// Adds a range. A range without pages is not counted, because it shows nothing.
    fn add(&mut self, nr_fast: u64, nr_pages: u64) {
        match (nr_fast, nr_pages) {
            (_, 0) => {}
            (0, _) => self.none += 1,
            _ if nr_fast == nr_pages => self.all += 1,
            _ => self.some += 1,
        }
    }

    fn text(self) -> String {
        let Self { all, some, none } = self;
        let nr_ranges = count((all + some + none) as u64, "range");
        format!("all pages of {all} of {nr_ranges}, some of {some}, and none of {none}")
    }
}

/// The totals of all comparisons.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) nr_compared: usize,
    pub(crate) nr_different: usize,
    /// Ranges on which the engines differ as documented.
    nr_documented: usize,
    pub(crate) nr_refused: usize,
    pub(crate) nr_pages: u64,
    pub(crate) nr_fast: u64,
    /// What the fast walk took from the ranges that have pages.
    fast: Reach,
    /// What the fast walk took from them before anyone had taken the memory.
    fast_at_first: Reach,
    #[serde(skip)]
    kinds: BTreeSet<&'static str>,
    #[serde(skip)]
    kinds_not_available: BTreeSet<&'static str>,
}

impl Summary {
    pub(crate) fn of(rows: &[Row]) -> Self {
        let mut summary = Self::default();
        for row in rows {
            match &row.outcome {
                Outcome::NotAvailable { .. } => {
                    summary.kinds_not_available.insert(row.kind);
                }
                Outcome::Refused { .. } => summary.nr_refused += 1,
                Outcome::Compared(comparison) => {
                    summary.kinds.insert(row.kind);
                    summary.nr_compared += 1;
                    let is_different = !comparison.is_equal && !comparison.is_documented;
                    summary.nr_different += usize::from(is_different);
                    summary.nr_documented += usize::from(comparison.is_documented);
                    summary.nr_pages += comparison.nr_pages_rust;
                    summary.nr_fast += comparison.nr_fast;
                    summary
                        .fast
                        .add(comparison.nr_fast, comparison.nr_pages_rust);
                    let first = &comparison.first;
                    summary.fast_at_first.add(first.nr_fast, first.nr_pages);
                }
            }
        }
        summary
    }

    pub(crate) fn nr_kinds(&self) -> usize {
        self.kinds.len()
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.nr_different == 0 {
            Verdict::Agreed
        } else {
            Verdict::Differed
        }
    }

    /// Returns the exception from the sentence that the engines agree, if there is one.
    fn documented(&self) -> String {
        match self.nr_documented {
            0 => String::new(),
            nr => format!(
                ", except {nr} of memory without access rights, which this kernel takes for reading \
                 (Documentation/parity.rst)"
            ),
        }
    }

    pub(crate) fn sentence(&self) -> String {
        let not_available = match self.kinds_not_available.len() {
            0 => String::new(),
            nr => format!(" ({nr} more not available here)"),
        };
        let over = format!(
            "{} of {} of memory{not_available}",
            count(self.nr_compared as u64, "range"),
            count(self.nr_kinds() as u64, "kind")
        );
        match (self.nr_compared, self.nr_different) {
            (0, _) => "Nothing could be compared.".into(),
            (_, 0) => format!(
                "The walk in Rust and the kernel agree on {over}{}. The fast walk took {}; before anyone had made the \
                 memory ready, {}.",
                self.documented(),
                self.fast.text(),
                self.fast_at_first.text()
            ),
            (_, nr) => format!("THE WALK IN RUST AND THE KERNEL DIFFER on {nr} of {over}."),
        }
    }
}

fn outcome(device: &Device, kind: Kind, question: Question) -> Outcome {
    let mapping = match kind.map(question.len_bytes) {
        Ok(mapping) => mapping,
        Err(err) => {
            return Outcome::NotAvailable {
                reason: err.to_string(),
            }
        }
    };
    let request = Request::from(&mapping)
        .access(question.access)
        .how(question.how)
        .fallback(question.fallback);
    let result = compare_at_rest(device, &request).and_then(|(compared, first, nr_tries)| {
        let by_leaf = ByLeaf::of(device, compared.raw.nr_by_level)?;
        Ok((compared, first, nr_tries, by_leaf))
    });
    let (compared, first, nr_tries, nr_fast_by_leaf) = match result {
        Ok(result) => result,
        Err(err) => {
            return Outcome::Refused {
                reason: err.to_string(),
            }
        }
    };
    let stop = compared.stop().map(|stop| StopReport::of(stop, &request));
    let differences = compared.differences();
    let is_equal = compared.is_equal();
    let is_documented = !is_equal && is_documented(device, kind, &compared);
    let Compared { raw } = compared;
    Outcome::Compared(Box::new(Comparison {
        is_equal,
        is_documented,
        nr_tries,
        differences,
        diff_offset: (!is_equal).then(|| raw.diff_addr.saturating_sub(raw.addr)),
        errno_rust: raw.errno_rust,
        errno_kernel: raw.errno_kernel,
        len_bytes: raw.len_bytes,
        nr_pages_rust: raw.nr_pages_rust,
        nr_pages_kernel: raw.nr_pages_kernel,
        nr_equal: raw.nr_equal,
        nr_fast: raw.nr_fast,
        nr_fast_by_leaf,
        nr_runs: raw.nr_runs,
        stop,
        first,
    }))
}

/// Returns whether engines that differ do so as `Documentation/parity.rst` says: the kernel's fast path may take
/// `PROT_NONE` for readable on s390.
fn is_documented(device: &Device, kind: Kind, compared: &Compared) -> bool {
    let is_s390 = |info: Info| info.raw.format == RUST_GUP_FORMAT_S390;
    kind == Kind::ProtNone
        && (compared.raw.errno_rust, compared.raw.errno_kernel) == (libc::EFAULT, 0)
        && device.info().is_ok_and(is_s390)
}

/// Compares the engines, and repeats that if only counts differ. The kernel itself takes references now and then, for
/// example for DAMON, which many kernels run by default (`damon_get_folio()`).
fn compare_at_rest(device: &Device, request: &Request) -> io::Result<(Compared, First, u64)> {
    const COUNTS: u32 = RUST_GUP_DIFF_REFCOUNT | RUST_GUP_DIFF_PINCOUNT | RUST_GUP_DIFF_REFERENCED;
    const MAX_CALLS: u32 = 4;
    let mut compared = device.compare(request)?;
    // Only the first comparison sees the memory untouched.
    let first = First::of(&compared, request);
    let mut nr_tries = 1 + compared.raw.nr_retries;
    for _ in 1..MAX_CALLS {
        let only_counts = compared.raw.differences & !COUNTS == 0;
        if compared.is_equal() || !only_counts {
            break;
        }
        compared = device.compare(request)?;
        nr_tries += 1 + compared.raw.nr_retries;
    }
    Ok((compared, first, nr_tries))
}

/// Writes comparisons as a table, and explains the stop reasons that occur in it.
pub(crate) fn write_table(rows: &[Row], output: &mut Output) -> io::Result<()> {
    let mut table = Table::new(&[
        ("kind", Align::Left),
        ("how", Align::Left),
        ("access", Align::Left),
        ("bytes", Align::Right),
        ("pages", Align::Right),
        ("leaves", Align::Right),
        ("runs", Align::Right),
        ("equal", Align::Right),
        ("fast", Align::Right),
        ("at first", Align::Right),
        ("stopped at first by", Align::Left),
    ]);
    for row in rows {
        table.row(row.cells());
    }
    output.table(&table)?;

    output.line(
        "\n fast: pages that the walk in Rust took without a lock; the kernel's slow path took the rest.\n\
         \x20at first: the same, before anyone had taken the memory and made it ready; the kernel got the same pages then.",
    )?;
    let stops: BTreeSet<_> = rows.iter().flat_map(Row::stops).collect();
    let stops: Vec<_> = Stop::all()
        .filter(|stop| stops.contains(stop.name()))
        .map(|stop| (stop.name(), stop.to_string()))
        .collect();
    if !stops.is_empty() {
        output.line("\nWhy the fast walk stopped:")?;
        output.block(&stops)?;
    }
    Ok(())
}

/// Formats a percentage. Shows 100% only if `part` really is `whole`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    let percent = 100.0 * ratio(part, whole);
    if part == whole {
        "100%".into()
    } else {
        format!("{:.1}%", percent.min(99.9))
    }
}

/// Returns the name of an error number with which taking pages can end.
pub(crate) fn errno_name(errno: i32) -> String {
    let name = match errno {
        0 => "fine",
        libc::EFAULT => "EFAULT",
        libc::ENOMEM => "ENOMEM",
        libc::EINVAL => "EINVAL",
        libc::EAGAIN => "EAGAIN",
        libc::EINTR => "EINTR",
        libc::EPERM => "EPERM",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EREMOTEIO => "EREMOTEIO",
        libc::EHWPOISON => "EHWPOISON",
        _ => return format!("error {errno}"),
    };
    name.into()
}

#[derive(Serialize)]
struct Report<'a> {
    comparisons: &'a [Row],
    summary: &'a Summary,
}

pub(crate) fn run(device: &Device, args: &CompareArgs, output: &mut Output) -> io::Result<Verdict> {
    if args.fast_only && !matches!(args.how, HowArg::Get) {
        return Err(io::Error::other(
            "the kernel exports no fast-only pin to compare with: add --how get, or leave out --fast-only",
        ));
    }
    let question = Question {
        len_bytes: args.size,
        access: args.access.into(),
        how: args.how.into(),
        fallback: fallback(args.fast_only),
    };
    let rows: Vec<_> = kinds(&args.kind)
        .into_iter()
        .map(|kind| Row::of(device, kind, question))
        .collect();
    let summary = Summary::of(&rows);
    output.json(&Report {
        comparisons: &rows,
        summary: &summary,
    })?;
    write_table(&rows, output)?;
    output.line(format!("\n{}", summary.sentence()))?;
    if summary.nr_compared == 0 {
        return Err(io::Error::other(
            "nothing could be compared; each line says why",
        ));
    }
    Ok(summary.verdict())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_shown_as_leaves() {
        let text = |nr: [u64; 3]| {
            let leaves = [4 << 10, 2 << 20, 1 << 30].into_iter().zip(nr);
            ByLeaf(leaves.collect()).text()
        };
        assert_eq!(text([0; 3]), "-");
        assert_eq!(text([512, 0, 0]), "512x 4K");
        assert_eq!(text([3, 1024, 0]), "3x 4K, 2x 2M");
        assert_eq!(text([0, 513, 1 << 18]), "2x 2M, 1x 1G");
        assert_eq!(
            ByLeaf(vec![(16 << 10, 2), (32 << 20, 2049)]).text(),
            "2x 16K, 2x 32M"
        );
    }

    #[test]
    fn large_ranges_count_no_more_than_small_ones() {
        let mut reach = Reach::default();
        reach.add(1 << 18, 1 << 18);
        reach.add(0, 1);
        reach.add(511, 512);
        reach.add(0, 0);
        assert_eq!(
            reach.text(),
            "all pages of 1 of 3 ranges, some of 1, and none of 1"
        );
    }

    #[test]
    fn almost_all_is_not_all() {
        assert_eq!(percent(0, 0), "-");
        assert_eq!(percent(1, 3), "33.3%");
        assert_eq!(percent(99_999, 100_000), "99.9%");
        assert_eq!(percent(7, 7), "100%");
    }
}
