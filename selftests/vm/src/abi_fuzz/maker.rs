// SPDX-License-Identifier: GPL-2.0

//! Makes scripts: valid operations in which some fields are replaced by values at limits, or beyond.
//!
//! When a script fails, proptest makes it shorter by leaving out operations, and [`plainer`](super::plainer) makes the
//! remaining ones plainer. An operation is drawn as a whole, because the values that a field may have depend on the
//! other fields, and because a strategy for each field would take longer than the calls.

use proptest::{
    bool::weighted,
    collection::vec,
    prelude::any,
    sample::Index,
    strategy::{
        NewTree,
        Strategy,
        ValueTree, //
    },
    test_runner::{
        Reason,
        TestRng,
        TestRunner, //
    }, //
};
use rand::Rng;
use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::raw;

use super::{
    arena::{
        Region,
        MAX_THREADS, //
    },
    call::{
        Call,
        SLOW_FLAGS, //
    },
    plainer::OperationTree,
    script::{
        Addr,
        Argument,
        CallOperation,
        ChildEnd,
        End,
        Fields,
        File,
        FileOperation,
        Handle,
        Len,
        MemoryOperation,
        Offset,
        Operation,
        OtherCall,
        OtherFile,
        Scope,
        Script,
        NR_OWN_FILES,
        NR_SHARED_FILES, //
    }, //
};
use crate::harness::{
    fixture::FLAGS,
    number::{
        resized,
        DIRECTION_SHIFT,
        MAX_SIZE, //
    }, //
};

/// Average number of operations of a case, of all threads together.
const NR_OPERATIONS: usize = 1000;
/// Average number of operations that are left out at once when a script is made shorter.
const NR_TOGETHER: usize = 16;

/// Returns page sizes, limits of integer types, and the numbers around them.
fn numbers() -> [u64; 14] {
    [
        0,
        1,
        2,
        page_bytes() as u64 - 1,
        page_bytes() as u64,
        page_bytes() as u64 + 1,
        0x7fff_ffff,
        0xffff_ffff,
        1 << 32,
        1 << 44,
        i64::MAX as u64,
        1 << 63,
        u64::MAX - 1,
        u64::MAX,
    ]
}

/// Returns ends of address spaces, and kernel addresses.
fn addresses(user_limit: u64) -> [u64; 19] {
    let page = page_bytes() as u64;
    [
        0,
        1,
        page - 1,
        page,
        0xffff,
        user_limit / 2,
        user_limit - page - 1,
        user_limit - page,
        user_limit - 1,
        user_limit,
        user_limit + page - 1,
        user_limit.wrapping_add(page),
        1 << 63,
        0xffff_8000_0000_0000,
        0xffff_8880_0000_0000,
        0xffff_ffff_8100_0000,
        0xffff_ffff_ff60_0000,
        u64::MAX - page,
        u64::MAX,
    ]
}

/// Draws a script.
pub(super) fn script(
    scope: Scope,
    user_limit: u64,
    runner: &mut TestRunner,
) -> Result<impl ValueTree<Value = Script>, Reason> {
    // The calls that may be drawn depend on this, so it stays the same when a script is made shorter.
    let alone = scope.only_calls || runner.rng().random();
    let nr_threads = if alone {
        1
    } else {
        runner.rng().random_range(2..=MAX_THREADS)
    };
    let operations = vec(
        Operations {
            scope,
            user_limit,
            alone,
        },
        0..=2 * NR_TOGETHER,
    );
    let nr_groups = NR_OPERATIONS / nr_threads / NR_TOGETHER;
    let threads = vec(vec(operations, 0..=2 * nr_groups), nr_threads);
    let end = (0..8_u8, any::<Index>());
    let signal_us = (any::<bool>(), 500..3000_u16);
    (threads, end, signal_us, weighted(1.0 / 16.0), 0..4_usize)
        .prop_map(
            move |(threads, (end, at), signal_us, with_secret, limit_choice)| {
                let threads: Vec<_> = threads.into_iter().map(|groups| groups.concat()).collect();
                let at = at.index(threads[0].len() + 1);
                Script {
                    end: match end {
                        5 => End::Exit(at),
                        6 if !scope.only_calls => End::Exec(at),
                        7 if !scope.only_calls => End::Kill(at),
                        _ => End::Clean,
                    },
                    signal_us: match signal_us {
                        (true, period) if !alone => period,
                        _ => 0,
                    },
                    with_secret,
                    limit_choice,
                    threads,
                }
            },
        )
        .new_tree(runner)
}

/// Strategy for all operations that a thread may do.
#[derive(Clone, Copy, Debug)]
struct Operations {
    scope: Scope,
    user_limit: u64,
    alone: bool,
}

impl Strategy for Operations {
    type Tree = OperationTree;
    type Value = Operation;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let mut maker = Maker {
            rng: runner.rng(),
            scope: self.scope,
            user_limit: self.user_limit,
            alone: self.alone,
        };
        Ok(OperationTree::new(maker.operation()))
    }
}

struct Maker<'r> {
    rng: &'r mut TestRng,
    scope: Scope,
    user_limit: u64,
    alone: bool,
}

impl Maker<'_> {
    fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_ratio(1, n)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.random_range(0..of.len())]
    }

    /// Returns a number up to `max`. Small numbers are more frequent.
    fn small(&mut self, max: usize) -> usize {
        let max = self.rng.random_range(0..=max);
        self.rng.random_range(0..=max)
    }

    fn operation(&mut self) -> Operation {
        if self.scope.only_calls {
            return Operation::Call(self.call());
        }
        match self.rng.random_range(0..800) {
            0 => {
                let nr = self.rng.random_range(1..20);
                let calls = (0..nr).map(|_| self.call_of_child()).collect();
                Operation::Fork(
                    calls,
                    self.pick(&[
                        ChildEnd::Exit,
                        ChildEnd::Exit,
                        ChildEnd::Kill,
                        ChildEnd::Exec,
                    ]),
                )
            }
            1..40 => Operation::Memory(self.memory()),
            40..60 => Operation::File(self.file_operation()),
            60..70 => Operation::OtherCall(self.pick(&[
                OtherCall::Read,
                OtherCall::Write,
                OtherCall::Seek,
                OtherCall::Sync,
                OtherCall::Map,
                OtherCall::Poll,
                OtherCall::Truncate,
                OtherCall::List,
            ])),
            _ => Operation::Call(self.call()),
        }
    }

    fn memory(&mut self) -> MemoryOperation {
        // Collapsing keeps all processors busy, so it is drawn less often.
        if self.one_in(80) {
            return MemoryOperation::Collapse;
        }
        self.pick(&[
            MemoryOperation::Protect(true),
            MemoryOperation::Protect(false),
            MemoryOperation::Unmap,
            MemoryOperation::Map,
            MemoryOperation::Discard,
            MemoryOperation::Move,
            MemoryOperation::BlockAgain,
            MemoryOperation::CheckLocked,
        ])
    }

    fn file_operation(&mut self) -> FileOperation {
        let own = self.rng.random_range(0..NR_OWN_FILES);
        if self.alone || self.one_in(8) {
            return FileOperation::Renew(own);
        }
        let a = self.rng.random_range(0..NR_SHARED_FILES);
        let b = self.rng.random_range(0..NR_SHARED_FILES);
        self.pick(&[
            FileOperation::Open(a),
            FileOperation::OpenReadOnly(a),
            FileOperation::Close(a),
            FileOperation::Duplicate(a, b),
            FileOperation::Replace(a, b),
            FileOperation::Pass(a),
        ])
    }

    /// Draws a call of a child. It must not change the handles of the parent's own files.
    fn call_of_child(&mut self) -> CallOperation {
        let mut call = self.call();
        let takes_or_releases = matches!(Call::of(call.number), Some(Call::Pin | Call::Unpin));
        if takes_or_releases && matches!(call.file, File::Own(_)) {
            call.file = File::Shared(0);
        }
        call
    }

    fn call(&mut self) -> CallOperation {
        let call = match self.rng.random_range(0..100) {
            0..34 => Call::Pin,
            34..46 => Call::Unpin,
            46..61 => Call::Read,
            61..76 => Call::Write,
            76..86 => Call::Runs,
            86..90 => Call::Compare,
            90..94 => Call::Measure,
            94..97 => Call::Info,
            _ => Call::Stats,
        };
        let file = match self.rng.random_range(0..100) {
            0..2 => File::Other(self.pick(&[
                OtherFile::None,
                OtherFile::Path,
                OtherFile::Pipe,
                OtherFile::Null,
            ])),
            2..40 if !self.alone => File::Shared(self.rng.random_range(0..NR_SHARED_FILES)),
            2..20 => File::Own(1),
            _ => File::Own(0),
        };
        let is_shared = matches!(file, File::Shared(_));
        let number = self.number(call);
        let argument = self.argument(call, is_shared);
        let by_address = matches!(argument, Argument::At(_));
        CallOperation {
            file,
            number,
            compat: self.scope.compat && !by_address && self.one_in(3),
            argument,
            fields: self.fields(call, is_shared),
            garbage: self.rng.random_range(1..1 << 48),
            unknown_byte: if self.one_in(2) {
                Some(self.small(64))
            } else {
                None
            },
        }
    }

    /// Returns the number of `call`, or sometimes a wrong one.
    fn number(&mut self, call: Call) -> u32 {
        let number = call.number();
        let with_size = |size: usize| resized(number, size);
        match self.rng.random_range(0..100) {
            0..3 => with_size(call.size() + 1 + self.small(300)),
            3 => with_size(MAX_SIZE),
            4 => with_size(self.rng.random_range(0..call.size())),
            5 => with_size(call.size() - 1),
            6 => number ^ (1 << self.rng.random_range(DIRECTION_SHIFT..32)),
            7 => (number & !0xff) | self.rng.random_range(0..256),
            // Use another type, but none whose ioctls all files serve.
            8 => number ^ (u32::from(self.pick(&[1_u8, 4, 0x40, 0x80])) << 8),
            _ => number,
        }
    }

    fn argument(&mut self, call: Call, is_shared: bool) -> Argument {
        match self.rng.random_range(0..100) {
            0..4 => Argument::AtEnd,
            4..7 => Argument::Crossing(self.rng.random_range(1..call.size())),
            7..10 => Argument::Scratch(self.small(page_bytes())),
            10..13 => Argument::ReadOnly(self.small(page_bytes())),
            13..15 => Argument::At(Addr::Number(self.pick(&addresses(self.user_limit)))),
            15 => Argument::At(self.bad_place()),
            // The thread must know whether a handle was made, otherwise it cannot predict the next call.
            16..19 if is_shared || call != Call::Pin => Argument::At(self.changing_place()),
            _ => Argument::Good(self.small(page_bytes())),
        }
    }

    fn bad_place(&mut self) -> Addr {
        let region = self.pick(&[Region::Gone, Region::NoAccess]);
        Addr::In(region, self.small(region.len_bytes() - 1))
    }

    fn changing_place(&mut self) -> Addr {
        match self.rng.random_range(0..8) {
            0 => Addr::Vdso,
            1 => Addr::Vvar,
            2 => {
                let region = self.pick(&[Region::Holes, Region::Untouched, Region::File]);
                self.within(region)
            }
            3..5 => self.within(Region::Blocked),
            _ => self.within(Region::Contested),
        }
    }

    fn within(&mut self, region: Region) -> Addr {
        let page = self.rng.random_range(0..region.len_bytes() / page_bytes()) * page_bytes();
        let offset = if self.one_in(2) {
            0
        } else {
            self.small(page_bytes() - 1)
        };
        Addr::In(region, page + offset)
    }

    fn fields(&mut self, call: Call, is_shared: bool) -> Fields {
        match call {
            Call::Info | Call::Stats => Fields::None,
            Call::Pin | Call::Compare | Call::Measure => self.range(call, is_shared),
            Call::Unpin | Call::Read | Call::Write | Call::Runs => self.of_handle(call),
        }
    }

    fn range(&mut self, call: Call, is_shared: bool) -> Fields {
        let mut flags = match self.rng.random_range(0..8) {
            0 | 1 => 0,
            2 => raw::RUST_GUP_PIN | raw::RUST_GUP_LONGTERM,
            3 => raw::RUST_GUP_FAST_ONLY,
            4 => raw::RUST_GUP_PIN,
            _ => raw::RUST_GUP_PIN | self.pick(&[raw::RUST_GUP_LONGTERM, raw::RUST_GUP_SHORT_TERM]),
        };
        if self.one_in(2) {
            flags |= raw::RUST_GUP_WRITE;
        }
        if call != Call::Measure && self.one_in(8) {
            flags |= raw::RUST_GUP_FAST_ONLY;
        }
        for flag in SLOW_FLAGS {
            if self.one_in(16) {
                flags |= flag;
            }
        }
        let addr = match self.rng.random_range(0..100) {
            0..8 => Addr::Number(self.pick(&addresses(self.user_limit))),
            8..12 => self.bad_place(),
            12..16 => self.within(Region::Frozen),
            16..26 => self.within(Region::Scratch),
            26..42 => {
                let region = self.pick(&[
                    Region::Contested,
                    Region::Contested,
                    Region::Holes,
                    Region::Untouched,
                    Region::File,
                    Region::Huge,
                    Region::Huge,
                    Region::Secret,
                ]);
                self.within(region)
            }
            42..45 => self.within(Region::Blocked),
            45..47 => self.pick(&[Addr::Stack, Addr::Vdso, Addr::Vvar]),
            _ => self.within(Region::Stable),
        };
        // Other threads may write through a shared file. They must not write to memory whose contents the thread knows,
        // nor to its stack or the kernel's code and data.
        let must_stay = match addr {
            Addr::In(region, _) => is_shared && region.is_own(),
            Addr::Stack | Addr::Vdso | Addr::Vvar => true,
            Addr::Number(_) => false,
        };
        let mut rounds = self.rng.random_range(1..=3);
        let mut len = match self.rng.random_range(0..100) {
            0..5 => Len::Bytes(self.pick(&numbers())),
            5..7 => Len::UpTo(self.pick(&addresses(self.user_limit))),
            7..9 => Len::UpToLimit(self.pick(&[-1, 0, 1, page_bytes() as i64])),
            9..11 => Len::Bytes(u64::from(self.pick(&[1_u32, 4]) << 10) << 20),
            _ => Len::Bytes(1 + self.small(16 * page_bytes()) as u64),
        };
        let mut addr = addr;
        if self.one_in(30) {
            rounds = self.pick(&[
                0,
                raw::RUST_GUP_MEASURE_MAX_ROUNDS,
                raw::RUST_GUP_MEASURE_MAX_ROUNDS + 1,
                u32::MAX,
            ]);
            // Otherwise the call would take long.
            (addr, len) = (self.bad_place(), Len::Bytes(page_bytes() as u64));
        }
        if self.one_in(30) {
            flags ^= 1 << self.rng.random_range(0..32);
        }
        if self.one_in(60) {
            flags = self.pick(&[u32::MAX, FLAGS, !FLAGS, raw::RUST_GUP_LONGTERM]);
        }
        // With FORCE a range continues beyond its region, into others.
        let is_forced = flags & raw::RUST_GUP_FORCE != 0;
        let is_bounded = matches!(
            addr,
            Addr::Number(_) | Addr::In(Region::Gone | Region::NoAccess | Region::Frozen, _)
        );
        if must_stay || is_forced && !is_bounded {
            flags &= !raw::RUST_GUP_WRITE;
        }
        let engine = |maker: &mut Self| match maker.rng.random_range(0..16) {
            0..9 => raw::RUST_GUP_ENGINE_RUST,
            9..13 => raw::RUST_GUP_ENGINE_KERNEL,
            13 => raw::RUST_GUP_ENGINE_RUST_PAGES,
            14 => raw::RUST_GUP_ENGINE_KERNEL_RANGES,
            _ => maker.pick(&[4, 5, 0x8000_0000, u32::MAX]),
        };
        Fields::Range {
            addr,
            len,
            flags,
            engine: engine(self),
            engine_b: engine(self),
            reserved: if self.one_in(30) {
                self.pick(&[1, 0x8000_0000, u32::MAX])
            } else {
                0
            },
            rounds,
            pages_per_call: if self.one_in(10) {
                self.pick(&[
                    0,
                    1,
                    raw::RUST_GUP_MEASURE_MAX_PAGES_PER_CALL,
                    raw::RUST_GUP_MEASURE_MAX_PAGES_PER_CALL + 1,
                    u32::MAX,
                ])
            } else {
                1 + self.small(20) as u32
            },
            samples: self.buffer(Region::Bounce),
        }
    }

    fn of_handle(&mut self, call: Call) -> Fields {
        let handle = match self.rng.random_range(0..100) {
            0..4 => Handle::Number(self.pick(&numbers())),
            4..7 => Handle::Released(self.small(8)),
            7..9 => Handle::OfOther(self.small(8)),
            9 => Handle::Next,
            _ => Handle::Held(self.small(8)),
        };
        let offset = match self.rng.random_range(0..20) {
            0 => Offset::Bytes(self.pick(&numbers())),
            1..8 => Offset::FromEnd(self.small(2 * page_bytes()) as u64),
            8 => Offset::FromEnd(self.pick(&numbers())),
            _ => Offset::Bytes(self.small(8 * page_bytes()) as u64),
        };
        Fields::Handle {
            handle,
            offset,
            len: match self.rng.random_range(0..20) {
                0 => self.pick(&numbers()),
                1..5 => self.small(16 * page_bytes()) as u64,
                _ => self.small(600) as u64,
            },
            // WRITE copies from the pattern to the pattern, so that the pattern stays.
            buf: self.buffer(if call == Call::Write {
                Region::Stable
            } else {
                Region::Bounce
            }),
            first: if self.one_in(3) {
                self.pick(&numbers())
            } else {
                self.small(4) as u64
            },
            capacity: if self.one_in(6) {
                self.pick(&numbers())
            } else {
                self.small(40) as u64
            },
        }
    }

    /// Draws the address of a buffer, mostly in region `good`.
    fn buffer(&mut self, good: Region) -> Addr {
        match self.rng.random_range(0..100) {
            0..3 => Addr::Number(self.pick(&addresses(self.user_limit))),
            3..6 => self.bad_place(),
            6..9 => self.within(Region::Frozen),
            9..14 => self.changing_place(),
            14..17 => self.within(Region::Scratch),
            // A buffer that ends about where the memory ends.
            17..22 => Addr::In(good, good.len_bytes() - 1 - self.small(2 * page_bytes())),
            _ => Addr::In(good, self.small(page_bytes())),
        }
    }
}
