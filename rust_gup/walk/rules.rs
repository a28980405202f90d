// SPDX-License-Identifier: GPL-2.0

//! The rules of a request: the access, the kind of reference, and whether it may be held for long.

/// How the caller accesses the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The caller reads the pages.
    Read,
    /// The caller writes to the pages, and may read them.
    #[doc(alias = "FOLL_WRITE")]
    Write,
}

impl Access {
    /// Returns whether the caller writes to the pages.
    #[inline(always)]
    pub const fn is_write(self) -> bool {
        matches!(self, Self::Write)
    }
}

/// The two kinds of references, `FOLL_GET` and `FOLL_PIN`. They are types, so that code which releases one kind as the
/// other does not compile.
pub trait RefKind {
    /// Whether the kind is [`Pin`].
    const PINS: bool;
}

/// A plain reference, which keeps the page from being freed. For callers that use `struct page` itself, not the
/// contents.
#[doc(alias("FOLL_GET", "get_user_pages_fast"))]
#[derive(Clone, Copy, Debug)]
pub enum Get {}

impl RefKind for Get {
    const PINS: bool = false;
}

/// A pin. It tells the kernel that the contents are accessed, so that the kernel keeps the page where the owner sees
/// the accesses.
#[doc(alias("FOLL_PIN", "pin_user_pages_fast"))]
#[derive(Clone, Copy, Debug)]
pub enum Pin {}

impl RefKind for Pin {
    const PINS: bool = true;
}

/// The rules by which the walk decides about a page, in addition to its entry and the kind of reference.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How the caller accesses the pages.
    pub access: Access,
    /// Whether the reference may be held for as long as user space likes. Only with [`Pin`].
    #[doc(alias = "FOLL_LONGTERM")]
    pub longterm: bool,
}

/// Rules that are known at compile time. The hot loop is compiled for each of them.
pub trait StaticRules {
    /// The rules, as a value.
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
    /// Reads the pages, and holds them for a short time.
    ShortRead = Read, false;
    /// Writes to the pages, and holds them for a short time.
    ShortWrite = Write, false;
    /// Reads the pages, and holds them for as long as user space likes.
    LongRead = Read, true;
    /// Writes to the pages, and holds them for as long as user space likes.
    LongWrite = Write, true;
}
