// SPDX-License-Identifier: GPL-2.0

//! What a caller wants of the pages.

/// What the pages will be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They will be read.
    Read,
    /// They will be written to, and perhaps read.
    #[doc(alias = "FOLL_WRITE")]
    Write,
}

impl Access {
    /// Whether the pages will be written to.
    #[inline(always)]
    pub const fn is_write(self) -> bool {
        matches!(self, Self::Write)
    }
}

/// The two kinds of references, `FOLL_GET` and `FOLL_PIN`. They are types, so that what was taken as one kind cannot be
/// released as the other.
pub trait RefKind {
    /// Whether it is [`Pin`].
    const PINS: bool;
}

/// A plain reference: keeps the page from being freed. For who works on `struct page`, not on the contents.
#[doc(alias("FOLL_GET", "get_user_pages_fast"))]
#[derive(Clone, Copy, Debug)]
pub enum Get {}

impl RefKind for Get {
    const PINS: bool = false;
}

/// A pin: says that the contents are accessed, so that the kernel keeps the page where the owner sees the accesses.
#[doc(alias("FOLL_PIN", "pin_user_pages_fast"))]
#[derive(Clone, Copy, Debug)]
pub enum Pin {}

impl RefKind for Pin {
    const PINS: bool = true;
}

/// What decides about a page besides its entry and the kind of reference.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What the pages will be used for.
    pub access: Access,
    /// Whether the reference may be held for as long as user space likes. Only with [`Pin`].
    #[doc(alias = "FOLL_LONGTERM")]
    pub longterm: bool,
}

/// Rules that are known when the walk is compiled: the hot loop is compiled for each.
pub trait StaticRules {
    /// The rules.
    const RULES: Rules;
}

macro_rules! terms {
    ($($(#[$doc:meta])* $name:ident = $access:ident, $longterm:expr;)*) => {
        $(
            $(#[$doc])*
            pub enum $name {}

            impl StaticRules for $name {
                const RULES: Rules = Rules {
                    access: Access::$access,
                    longterm: $longterm,
                };
            }
        )*
    };
}

terms! {
    /// To be read, for a short time.
    ShortRead = Read, false;
    /// To be written to, for a short time.
    ShortWrite = Write, false;
    /// To be read, for as long as user space likes.
    LongRead = Read, true;
    /// To be written to, for as long as user space likes.
    LongWrite = Write, true;
}
