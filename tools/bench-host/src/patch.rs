// SPDX-License-Identifier: GPL-2.0

//! What the kernel patches in its code at boot (`arch/x86/kernel/alternative.c`), as far as fast GUP has it, and what a
//! program cannot execute.
//!
//! Retpolines, static calls and static branches stay as the image has them. `check.rs` compares the outcome with a
//! kernel that was booted.

use anyhow::{
    bail,
    ensure,
    Result, //
};
use iced_x86::{
    Code,
    Decoder,
    DecoderOptions,
    Instruction,
    OpKind, //
};

use crate::memory::Area;

/// Lists in the kernel or a module: each as its address and its length in bytes.
pub(crate) struct Sites {
    /// `struct alt_instr`.
    pub(crate) alternatives: (u64, usize),
    /// Jumps to the return thunk.
    pub(crate) returns: (u64, usize),
    /// Calls of `__fentry__()`.
    pub(crate) mcount: (u64, usize),
}

/// The feature that every CPU has (`X86_FEATURE_ALWAYS`). The code is patched for a CPU without any other feature, so
/// without mitigations.
const FEATURE_ALWAYS: u16 = 3 * 32 + 21;

const FLAG_NOT: u16 = 1 << 0;
const FLAG_DIRECT_CALL: u16 = 1 << 1;

/// Size of `struct alt_instr` in bytes.
const ALT_INSTR: usize = 14;

const NOP: u8 = 0x90;
const CLI: u8 = 0xfa;
const STI: u8 = 0xfb;
const RET: u8 = 0xc3;
const INT3: u8 = 0xcc;
const CALL: u8 = 0xe8;
const JMP: u8 = 0xe9;

/// The NOPs of 1 to 8 bytes (`arch/x86/include/asm/nops.h`).
const NOPS: [&[u8]; 9] = [
    &[],
    &[0x90],
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];

/// Patches the code as the kernel does while it boots, or loads a module.
pub(crate) fn apply(area: &mut Area, sites: &Sites) -> Result<()> {
    apply_returns(area, sites.returns)?;
    apply_alternatives(area, sites.alternatives)?;
    apply_mcount(area, sites.mcount)
}

/// `apply_returns()`: without the feature RETHUNK a return is a plain one.
fn apply_returns(area: &mut Area, (list, len_bytes): (u64, usize)) -> Result<()> {
    for site in (list..list + len_bytes as u64).step_by(4) {
        let addr = relative(area, site)?;
        let code = area.bytes(addr, 5)?;
        if code[0] == JMP {
            code.copy_from_slice(&[RET, INT3, INT3, INT3, INT3]);
        }
    }
    Ok(())
}

/// `ftrace_init()`: nothing is traced.
fn apply_mcount(area: &mut Area, (list, len_bytes): (u64, usize)) -> Result<()> {
    for site in (list..list + len_bytes as u64).step_by(8) {
        let addr = u64::from_le_bytes(area.bytes(site, 8)?.try_into()?);
        if let Ok(code) = area.bytes(addr, 5) {
            if code[0] == CALL {
                code.copy_from_slice(NOPS[5]);
            }
        }
    }
    Ok(())
}

/// `apply_alternatives()`.
fn apply_alternatives(area: &mut Area, (list, len_bytes): (u64, usize)) -> Result<()> {
    ensure!(
        len_bytes % ALT_INSTR == 0,
        "struct alt_instr has another size"
    );
    let entries = (list..list + len_bytes as u64).step_by(ALT_INSTR);
    let mut sites = Vec::new();
    for entry in entries {
        let site = relative(area, entry)?;
        let instead = relative(area, entry + 4)?;
        let rest = area.bytes(entry + 8, 6)?;
        let feature = u16::from_le_bytes([rest[0], rest[1]]);
        let flags = u16::from_le_bytes([rest[2], rest[3]]);
        let (len, len_instead) = (usize::from(rest[4]), usize::from(rest[5]));
        sites.push((site, len));
        if (feature == FEATURE_ALWAYS) == (flags & FLAG_NOT != 0) {
            continue;
        }
        let mut code = area.bytes(instead, len_instead)?.to_vec();
        if flags & FLAG_DIRECT_CALL != 0 {
            code = direct_call(area, site, instead)?;
        }
        relocate(&mut code, instead, site)?;
        code.resize(len, NOP);
        area.bytes(site, len)?.copy_from_slice(&code);
    }
    for (site, len) in sites {
        let code = area.bytes(site, len)?;
        optimize_nops(code);
        allow_in_user_space(code);
    }
    Ok(())
}

/// `alt_replace_call()`: the pointer that the original instruction calls is known by now.
fn direct_call(area: &mut Area, site: u64, instead: u64) -> Result<Vec<u8>> {
    let code: [u8; 6] = (&*area.bytes(site, 6)?).try_into()?;
    ensure!(
        code[..2] == [0xff, 0x15],
        "an unknown indirect call at {site:#x}"
    );
    let offset = i32::from_le_bytes([code[2], code[3], code[4], code[5]]);
    let pointer = (site + 6).wrapping_add(i64::from(offset) as u64);
    let target = u64::from_le_bytes(area.bytes(pointer, 8)?.try_into()?);
    let mut call = vec![CALL];
    // Relative to the replacement, as all of them are.
    call.extend((target.wrapping_sub(instead + 5) as u32).to_le_bytes());
    Ok(call)
}

/// `apply_relocation()`: adapts operands that are relative to the instruction, and that point out of the code.
fn relocate(code: &mut [u8], from: u64, to: u64) -> Result<()> {
    let end = from + code.len() as u64;
    let moved = from.wrapping_sub(to) as u32;
    let mut decoder = Decoder::with_ip(64, &*code, from, DecoderOptions::NONE);
    let mut fixes = Vec::new();
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let offsets = decoder.get_constant_offsets(&instruction);
        let at = (instruction.ip() - from) as usize;
        let (target, offset, size) = match instruction.op0_kind() {
            OpKind::NearBranch64 => (
                instruction.near_branch_target(),
                offsets.immediate_offset(),
                offsets.immediate_size(),
            ),
            _ if instruction.is_ip_rel_memory_operand() => (
                instruction.ip_rel_memory_address(),
                offsets.displacement_offset(),
                offsets.displacement_size(),
            ),
            _ => continue,
        };
        if (from..=end).contains(&target) {
            continue;
        }
        if size != 4 {
            bail!("a short operand points out of the replacement at {from:#x}");
        }
        fixes.push(at + offset);
    }
    for at in fixes {
        let word: &mut [u8; 4] = (&mut code[at..at + 4]).try_into()?;
        *word = u32::from_le_bytes(*word).wrapping_add(moved).to_le_bytes();
    }
    Ok(())
}

/// `optimize_nops()`: several NOPs become one.
fn optimize_nops(code: &mut [u8]) {
    let mut decoder = Decoder::new(64, &*code, DecoderOptions::NONE);
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for instruction in &mut decoder {
        let start = instruction.ip() as usize;
        let end = start + instruction.len();
        if instruction.code() == Code::INVALID {
            return;
        }
        let is_nop = matches!(instruction.code(), Code::Nopw | Code::Nopd | Code::Nopq)
            || matches!(
                instruction.code(),
                Code::Nop_rm16 | Code::Nop_rm32 | Code::Nop_rm64
            );
        match runs.last_mut() {
            _ if !is_nop => {}
            Some(run) if run.1 == start => run.1 = end,
            _ => runs.push((start, end)),
        }
    }
    for (start, end) in runs {
        add_nop(&mut code[start..end]);
    }
}

/// `add_nop()`.
fn add_nop(code: &mut [u8]) {
    let len = code.len();
    match NOPS.get(len) {
        Some(nop) => code.copy_from_slice(nop),
        None if len < 128 => {
            code.fill(INT3);
            code[0] = 0xeb;
            code[1] = len as u8 - 2;
        }
        None => {
            code.fill(INT3);
            code[0] = JMP;
            code[1..5].copy_from_slice(&(len as u32 - 5).to_le_bytes());
        }
    }
}

/// Makes a NOP of an instruction that would switch interrupts off or on. The kernel's function does that once a call,
/// and the module once a window.
fn allow_in_user_space(code: &mut [u8]) {
    if let Some(first @ (&mut CLI | &mut STI)) = code.first_mut() {
        *first = NOP;
    }
}

/// Reads a pointer that is relative to itself.
fn relative(area: &mut Area, addr: u64) -> Result<u64> {
    let word: [u8; 4] = (&*area.bytes(addr, 4)?).try_into()?;
    Ok(addr.wrapping_add(i64::from(i32::from_le_bytes(word)) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::HUGE;

    /// Patches the code `original`, for which there is one alternative.
    fn patched(original: &[u8], instead: &[u8], feature: u16, flags: u16) -> Vec<u8> {
        let mut area = Area::aligned(HUGE, HUGE).expect("there is memory");
        let base = area.addr() as u64;
        let (replacement, entry) = (base + 0x100, base + 0x200);
        let mut put = |addr: u64, bytes: &[u8]| {
            let place = area.bytes(addr, bytes.len()).expect("it is in the area");
            place.copy_from_slice(bytes);
        };
        put(base, original);
        put(replacement, instead);
        put(entry, &(base.wrapping_sub(entry) as u32).to_le_bytes());
        let distance = replacement.wrapping_sub(entry + 4) as u32;
        put(entry + 4, &distance.to_le_bytes());
        put(entry + 8, &feature.to_le_bytes());
        put(entry + 10, &flags.to_le_bytes());
        put(entry + 12, &[original.len() as u8, instead.len() as u8]);
        // A pointer behind the code, for an indirect call.
        put(base + 0x40, &(base + 0x300).to_le_bytes());
        let sites = Sites {
            alternatives: (entry, ALT_INSTR),
            returns: (entry, 0),
            mcount: (entry, 0),
        };
        apply(&mut area, &sites).expect("it can be patched");
        let code = area.bytes(base, original.len());
        code.expect("it is in the area").to_vec()
    }

    #[test]
    fn an_alternative_replaces_code_if_the_cpu_has_the_feature() {
        let (original, instead) = ([0x31, 0xc0, NOP, NOP, NOP], [0x31, 0xc9]);
        let replaced = [0x31, 0xc9, 0x0f, 0x1f, 0x00];
        let kept = [0x31, 0xc0, 0x0f, 0x1f, 0x00];
        let of = |feature, flags| patched(&original, &instead, feature, flags);
        assert_eq!(of(FEATURE_ALWAYS, 0), replaced);
        assert_eq!(of(FEATURE_ALWAYS, FLAG_NOT), kept);
        assert_eq!(of(8, 0), kept);
        assert_eq!(of(8, FLAG_NOT), replaced);
    }

    #[test]
    fn an_operand_that_points_out_of_the_replacement_keeps_its_target() {
        // From 0x100 on the jump goes to 0x105 + 0x20, so from 0 on it has to go 0x120 bytes on.
        let code = patched(&[NOP; 5], &[JMP, 0x20, 0, 0, 0], FEATURE_ALWAYS, 0);
        assert_eq!(code, [JMP, 0x20, 1, 0, 0]);
        // mov 0x20(%rip), %eax
        let code = patched(&[NOP; 6], &[0x8b, 0x05, 0x20, 0, 0, 0], FEATURE_ALWAYS, 0);
        assert_eq!(code, [0x8b, 0x05, 0x20, 1, 0, 0]);
        // A jump within the replacement stays as it is.
        let code = patched(&[NOP; 4], &[0xeb, 0x00, 0x31, 0xc0], FEATURE_ALWAYS, 0);
        assert_eq!(code, [0xeb, 0x00, 0x31, 0xc0]);
    }

    #[test]
    fn an_indirect_call_becomes_a_direct_one() {
        // call *0x3a(%rip), whose pointer says 0x300
        let call = [0xff, 0x15, 0x3a, 0, 0, 0];
        let flags = FLAG_DIRECT_CALL;
        let code = patched(&call, &[CALL, 0, 0, 0, 0], FEATURE_ALWAYS, flags);
        assert_eq!(code, [CALL, 0xfb, 2, 0, 0, NOP]);
    }

    #[test]
    fn returns_are_plain_and_nothing_is_traced() {
        let mut area = Area::aligned(HUGE, HUGE).expect("there is memory");
        let base = area.addr() as u64;
        let code = [JMP, 1, 2, 3, 4, CALL, 5, 6, 7, 8, RET];
        let (returns, mcount) = (base + 0x100, base + 0x200);
        let mut put = |addr: u64, bytes: &[u8]| {
            let place = area.bytes(addr, bytes.len()).expect("it is in the area");
            place.copy_from_slice(bytes);
        };
        put(base, &code);
        put(returns, &(base.wrapping_sub(returns) as u32).to_le_bytes());
        // The second function is in code that is gone after boot.
        put(mcount, &(base + 5).to_le_bytes());
        put(mcount + 8, &0x1000_u64.to_le_bytes());
        let sites = Sites {
            alternatives: (returns, 0),
            returns: (returns, 4),
            mcount: (mcount, 16),
        };
        apply(&mut area, &sites).expect("it can be patched");
        let code = area.bytes(base, code.len()).expect("it is in the area");
        let patched = [RET, INT3, INT3, INT3, INT3, 0x0f, 0x1f, 0x44, 0, 0, RET];
        assert_eq!(code, patched);
    }

    #[test]
    fn interrupts_stay_as_they_are() {
        let call = [0xff, 0x15, 0x3a, 0, 0, 0];
        let code = patched(&call, &[CLI], FEATURE_ALWAYS, 0);
        assert_eq!(code, [NOP, 0x0f, 0x1f, 0x44, 0, 0]);
    }

    #[test]
    fn many_nops_become_a_jump() {
        let mut code = [NOP; 12];
        optimize_nops(&mut code);
        assert_eq!(code[..2], [0xeb, 10]);
        assert!(code[2..].iter().all(|byte| *byte == INT3));
        // What is no NOP ends a run of them.
        let mut code = [NOP, NOP, 0x31, 0xc0, NOP];
        optimize_nops(&mut code);
        assert_eq!(code, [0x66, NOP, 0x31, 0xc0, NOP]);
    }
}
