// SPDX-License-Identifier: GPL-2.0

//! Predicts what a call may return, from what `Documentation/uapi.rst` says about its arguments.

use rust_gup_uapi::raw;

use super::{
    arena::Outlook,
    call::{
        Call,
        Errors, //
    },
    caller::{
        Caller,
        Prepared,
        Range,
        Subject,
        Use, //
    },
    script::{
        CallOperation,
        File,
        OtherFile, //
    }, //
};
use crate::harness::fixture::FLAGS;

impl Caller<'_> {
    /// Returns the results that `Documentation/uapi.rst` allows for a call. 0 stands for success.
    pub(super) fn expected(&self, operation: &CallOperation, prepared: &Prepared) -> Errors {
        match operation.file {
            File::Other(OtherFile::None | OtherFile::Path) => return Errors::of(&[libc::EBADF]),
            File::Other(_) => return Errors::of(&[libc::ENOTTY]),
            _ => {}
        }
        // Other threads may replace or close the file at any time, so the test does not know which file this is.
        let is_shared = self.is_child || matches!(operation.file, File::Shared(_));
        let file_errors = Errors::of(&[libc::EBADF, libc::ENOTTY]);
        let Some(call) = prepared.call else {
            return Errors::of(&[libc::ENOTTY])
                | if is_shared { file_errors } else { Errors::NONE };
        };
        if is_shared {
            return call.possible() | file_errors;
        }
        let mut wrong = Errors::NONE;
        if prepared.bytes.len() < call.first_size() {
            wrong = wrong.with(libc::EINVAL);
        }
        if call.reads_argument() {
            match prepared.readable {
                Outlook::Works => {}
                Outlook::Fails => wrong = wrong.with(libc::EFAULT),
                // The test does not know which structure the module reads, so any request is possible.
                Outlook::Unknown => return call.possible(),
            }
            if prepared.is_unknown_byte_set {
                wrong = wrong.with(libc::E2BIG);
            }
        }
        let mut may = Errors::NONE;
        if call.writes_argument() {
            match prepared.writable {
                Outlook::Works => {}
                Outlook::Fails => wrong = wrong.with(libc::EFAULT),
                Outlook::Unknown => may = may.with(libc::EFAULT),
            }
        }
        let (wrong_more, may_more) = match &prepared.subject {
            Subject::None if matches!(call, Call::Info | Call::Stats) => {
                (Errors::NONE, Errors::NONE)
            }
            // The fields do not belong to this call, so the structure holds garbage.
            Subject::None => return call.possible(),
            Subject::Range(range) => self.expected_of_range(call, range),
            Subject::Use(using) => self.expected_of_use(call, using),
        };
        let wrong = wrong | wrong_more;
        let may = may | may_more;
        if wrong.is_empty() {
            may.with(0)
        } else {
            wrong | may
        }
    }

    /// Returns two sets of errors for a request for a range. If the first set is not empty, the request must get one of
    /// its errors or of the second set; the errors of the second set may happen in any case.
    fn expected_of_range(&self, call: Call, range: &Range) -> (Errors, Errors) {
        let mut wrong = Errors::NONE;
        let mut may = Errors::NONE;
        let mut is_not_supported = false;
        let mut is_denied = range.has(raw::RUST_GUP_FORCE);
        let mut is_invalid = range.reserved != 0
            || range.flags & !FLAGS != 0
            || range.has(raw::RUST_GUP_LONGTERM)
                && (!range.has(raw::RUST_GUP_PIN) || range.has(raw::RUST_GUP_PCI_P2PDMA))
            || range.has(raw::RUST_GUP_SHORT_TERM)
                && (!range.has(raw::RUST_GUP_PIN) || range.has(raw::RUST_GUP_LONGTERM))
            || range.len_bytes == 0;
        let is_fast_pin = range.is_fast_only() && range.has(raw::RUST_GUP_PIN);
        match call {
            Call::Pin => {
                let is_short_term =
                    range.has(raw::RUST_GUP_PIN) && !range.has(raw::RUST_GUP_LONGTERM);
                is_invalid |= range.engine > raw::RUST_GUP_ENGINE_KERNEL
                    || is_short_term && !range.has(raw::RUST_GUP_SHORT_TERM);
                is_denied |= is_short_term;
                is_not_supported = is_fast_pin && range.is_by_kernel();
            }
            Call::Compare => {
                is_invalid |= range.len_bytes > raw::RUST_GUP_COMPARE_MAX_BYTES;
                is_not_supported = is_fast_pin;
            }
            _ => {
                let max = raw::RUST_GUP_MEASURE_MAX_PAGES_PER_CALL;
                is_invalid |= range.is_fast_only()
                    || !(1..=raw::RUST_GUP_MEASURE_MAX_ROUNDS).contains(&range.rounds)
                    || !(1..=max).contains(&range.pages_per_call)
                    || range.engine > raw::RUST_GUP_ENGINE_KERNEL_RANGES
                    || range.engine_b > raw::RUST_GUP_ENGINE_KERNEL_RANGES;
            }
        }
        if is_invalid {
            wrong = wrong.with(libc::EINVAL);
        }
        if is_denied && !self.world.persona.is_admin() {
            wrong = wrong.with(libc::EPERM);
        }
        if is_not_supported {
            wrong = wrong.with(libc::EOPNOTSUPP);
        }
        if let Some(len) = range.len_bytes.checked_sub(1) {
            let addr = range.untagged_addr();
            match addr.checked_add(len) {
                None => wrong = wrong.with(libc::EOVERFLOW),
                // The range wraps around the end of an `unsigned long`.
                Some(last) if usize::try_from(addr).is_ok() && usize::try_from(last).is_err() => {
                    wrong = wrong.with(libc::EOVERFLOW);
                }
                Some(last) if last >= self.world.arena.user_limit => {
                    wrong = wrong.with(libc::EFAULT);
                }
                Some(_) => {}
            }
        }
        if !(wrong.without(libc::EOPNOTSUPP)).is_empty() {
            return (wrong, may);
        }
        let nr_pages = range.nr_pages();
        let nr_charged = match call {
            Call::Measure => nr_pages.min(range.pages_per_call.into()),
            _ => nr_pages,
        };
        match self.world.limit {
            Some(limit) if self.world.is_alone && !self.has_forked => {
                if self.nr_held_pages() + nr_charged > limit {
                    wrong = wrong.with(libc::ENOMEM);
                }
            }
            Some(_) => may = may.with(libc::ENOMEM),
            None => {}
        }
        match (call, range.nr_takeable) {
            (Call::Compare, _) => {}
            (Call::Pin, Some(0)) if !range.is_fast_only() => wrong = wrong.with(libc::EFAULT),
            (Call::Pin, None) if !range.is_fast_only() => may = may.with(libc::EFAULT),
            (Call::Pin, _) => {}
            (_, None) => may = may.with(libc::EAGAIN).with(libc::EFAULT),
            (_, Some(nr)) if nr < nr_pages => {
                wrong = wrong.with(libc::EAGAIN).with(libc::EFAULT);
            }
            (_, Some(_)) => {}
        }
        if call == Call::Measure {
            let len_bytes = u64::from(range.rounds) * size_of::<raw::rust_gup_sample>() as u64;
            let arena = &self.world.arena;
            match arena.copy_outlook(self.thread, range.samples, len_bytes, true) {
                Outlook::Works => {}
                Outlook::Fails => wrong = wrong.with(libc::EFAULT),
                Outlook::Unknown => may = may.with(libc::EFAULT),
            }
        }
        (wrong, may)
    }

    /// Returns the same two sets as `expected_of_range()`, for a call on a handle.
    fn expected_of_use(&self, call: Call, using: &Use) -> (Errors, Errors) {
        let Some(held) = using.held else {
            return (Errors::of(&[libc::ENOENT]), Errors::NONE);
        };
        let mut wrong = Errors::NONE;
        let (len_bytes, writes) = match call {
            Call::Unpin => return (Errors::NONE, Errors::NONE),
            Call::Runs => {
                let size = size_of::<raw::rust_gup_run>() as u64;
                (using.nr_listed() * size, true)
            }
            _ => {
                let end = using.offset.checked_add(using.len_bytes);
                if end.is_none_or(|end| end > held.len_bytes) {
                    wrong = wrong.with(libc::EINVAL);
                }
                if call == Call::Write && !held.writable {
                    wrong = wrong.with(libc::EACCES);
                }
                // An address that is no pointer on this machine is refused even if nothing is to be copied.
                if usize::try_from(using.buf).is_err() {
                    wrong = wrong.with(libc::EFAULT);
                }
                (using.len_bytes, call == Call::Read)
            }
        };
        if !wrong.is_empty() {
            return (wrong, Errors::NONE);
        }
        let arena = &self.world.arena;
        match arena.copy_outlook(self.thread, using.buf, len_bytes, writes) {
            Outlook::Works => (wrong, Errors::NONE),
            Outlook::Fails => (wrong.with(libc::EFAULT), Errors::NONE),
            Outlook::Unknown => (wrong, Errors::of(&[libc::EFAULT])),
        }
    }
}
